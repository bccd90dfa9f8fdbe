"""From a request to an accepted run."""
