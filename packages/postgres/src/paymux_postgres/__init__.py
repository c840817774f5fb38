"""The store: SQL beside the functions that run it, batches, migrations."""
