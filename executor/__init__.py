"""Runs a project's code and gives each run its secrets for as long as it lasts."""
