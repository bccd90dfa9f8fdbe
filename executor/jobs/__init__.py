"""Jobs: rotating, rewrapping and renaming by a worker, for whoever cannot open a private key, or destroy one.

A job is a row that a worker claims as it claims a run, if it has the key service by which the environment's private key
is wrapped. Its lease has a fencing token, and what it does is committed together with the row that says so: a job whose
worker is gone is claimed once more, and one that was done is not done again.
"""
