"""Code that runs in the run's own interpreter: standard library only, Python 3.9."""
