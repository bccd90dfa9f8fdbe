"""The kernel's limits on a run, and the run's folders, processes and view of the file system."""
