"""The processes that hold plaintext. They are started, never imported from outside this package."""
