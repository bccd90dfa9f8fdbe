"""What is shown: tables, JSON, a run as it goes, errors and exit codes."""
