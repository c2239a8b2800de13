"""Runs the migrations on the connection that `notifier.store.migrate` passes in."""

from alembic import context

from notifier.store.migrate import VERSION_TABLE
from notifier.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=metadata, version_table=VERSION_TABLE, transaction_per_migration=False
)
with context.begin_transaction():
    context.run_migrations()
