"""Key pairs: access to key services, creation, rotation. Private halves live in processes of their own."""
