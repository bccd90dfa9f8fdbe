"""The wire between worker and supervisor, and how the processes behind it are started."""
