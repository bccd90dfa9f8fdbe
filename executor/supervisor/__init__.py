"""The trust boundary: what is in this package may see plaintext, what is outside may not."""
