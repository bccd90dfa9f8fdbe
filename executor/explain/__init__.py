"""What a run would be given, without submitting it."""
