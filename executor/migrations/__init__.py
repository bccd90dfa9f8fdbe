"""The executor's migrations."""
