"""What the kernel enforces, and the folders, processes and views that belong to a run."""
