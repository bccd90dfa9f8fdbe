"""The command line: one file per noun, and `main` that finds the one a command needs."""
