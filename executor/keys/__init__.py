"""Key pairs: access to key services, creation, rotation. Private halves stay in processes of their own."""
