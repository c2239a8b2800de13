"""Runs the migrations on the connection that `notifier.store.migrate` passes in."""

from alembic import context

from notifier.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
