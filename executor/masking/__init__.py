"""The masker and its needles: every way out leads through it. Pure functions."""
