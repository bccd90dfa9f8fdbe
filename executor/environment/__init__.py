"""A run's environment: its variables, and the files of data sources and catalogs. Pure functions."""
