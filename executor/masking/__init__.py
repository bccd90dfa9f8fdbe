"""The masker and its needles: no value leaves by any way but through here. Pure functions."""
