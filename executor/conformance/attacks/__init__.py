"""What a run tries, in its own interpreter: standard library only, Python 3.9, nothing beyond stated bounds."""
