"""The secret store's Alembic history, run by `secretstore.database.migrate`."""
