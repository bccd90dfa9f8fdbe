"""Keeps secrets that can be stored by anyone allowed to, and read only where a run is started.

The package knows nothing of runs, Celery, HTTP or subprocesses. `vault` stores and lists and can only seal;
`reveal` is the one way out, and needs a key service that can unwrap the environment's private key.
"""

__version__ = "0.1.0"
