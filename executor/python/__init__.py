"""A run's Python: its requirements, and the interpreters of a machine."""
