"""From what was asked for to an accepted run."""
