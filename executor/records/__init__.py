"""Reading runs: lists, details, output, files."""
