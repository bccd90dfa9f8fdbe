"""What a person can do: each checks, acts and writes the audit entry. Every door is thin over it."""
