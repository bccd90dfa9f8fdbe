"""A run's box: namespaces, a root and a first process of its own, made in process."""
