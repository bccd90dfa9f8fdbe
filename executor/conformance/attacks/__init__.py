"""What a run tries. Runs in the run's own interpreter: standard library only, Python 3.9, nothing beyond stated bounds."""
