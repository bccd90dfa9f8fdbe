"""Stands in for the working folder's own room."""
