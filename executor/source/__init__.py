"""A run's code: its root, what is uploaded, and how that is packed and unpacked."""
