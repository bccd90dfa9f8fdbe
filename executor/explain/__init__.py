"""What a run would be given, without submitting it; and what an import would change, before anything is written."""
