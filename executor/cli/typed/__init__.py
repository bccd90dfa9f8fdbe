"""What was typed: options, targets, arguments, files of names and values."""
