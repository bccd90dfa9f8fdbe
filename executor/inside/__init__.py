"""What runs in the run's own interpreter: standard library alone, Python 3.9."""
