"""The revision of the schema, and where a database records it."""

HEAD = "0010"
"""The revision that this program needs; a test holds it to the newest migration."""

KNOWN = frozenset(f"{number:04}" for number in range(1, int(HEAD) + 1))
"""The revisions that this program can upgrade; a test holds them to the migrations."""

VERSION_TABLE = "notifier_schema"
"""Where the revision is recorded. The name is ours alone: any program may have a table called alembic_version."""

FIRST_TABLES = frozenset({"sources", "tasks", "events", "deliveries", "delivery_events", "attempts"})
"""What every revision has."""
