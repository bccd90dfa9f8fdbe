"""What a run finds in its environment: variables, files of data sources and catalogs. Pure functions."""
