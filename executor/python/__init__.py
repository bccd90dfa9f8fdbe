"""A run's Python: what it asks for and which interpreters there are."""
