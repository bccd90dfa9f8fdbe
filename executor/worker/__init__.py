"""The worker: from a claimed run to its outcome. It never holds a value."""
