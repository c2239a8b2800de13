"""The tables, as migrations leave them; a test holds the two together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

from notifier.core.delivery import DeliveryState


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time on both databases; SQLite would drop the zone and hand back a naive one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC; refuse a naive time, which names no moment."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ANN401 - the driver's type
        """Give back UTC, whatever zone the database session has."""
        if value is None:
            return None
        zoned: datetime = value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)
        return zoned


# SQLite numbers rows by itself only for INTEGER; PostgreSQL needs BIGINT to count for years.
Sequence = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

sources = Table(
    "sources",
    metadata,
    Column("name", String, primary_key=True),
    Column("region", String),
    Column("project_id", String),
    Column("baseline_at", UtcDateTime),
    Column("last_poll_at", UtcDateTime),
    Column("last_full_at", UtcDateTime),
    Column("last_full_calls", Integer, nullable=False, server_default=text("1")),
    Column("pruned_to", UtcDateTime),
    Column("last_error", Text),
    Column("failing_since", UtcDateTime),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("announced_since", UtcDateTime),
    Column("next_poll_at", UtcDateTime),
    Column("claimed_by", String),
    Column("claimed_until", UtcDateTime),
    Column("epoch", Sequence, nullable=False, server_default=text("0")),
    Column("refused_since", UtcDateTime),
    Column("refused_rows", Integer, nullable=False, server_default=text("0")),
    Column("empty_since", UtcDateTime),
    Column("clock_skew", Float),
    Column("polled_by", String),
    Column("retired_at", UtcDateTime),
)

tasks = Table(
    "tasks",
    metadata,
    Column("source", String, primary_key=True),
    Column("job_id", String, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", String, nullable=False),
    Column("raw_status", Text, nullable=False),
    Column("progress", Float),
    Column("instance_id", Text),
    Column("instance_name", Text),
    Column("instance_status", Text),
    Column("created_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("fail_reason", Text),
    Column("seconds", Float),
    Column("occurrence", Text, nullable=False),
    Column("missing", Integer, nullable=False, server_default=text("0")),
    Column("unlisted", Boolean, nullable=False, server_default=text("false")),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("events_pruned", Boolean, nullable=False, server_default=text("false")),
    Index("ix_tasks_changed_at", "changed_at"),
    Index("ix_tasks_status_changed_at", "status", "changed_at"),
    Index("ix_tasks_source_status", "source", "status"),
    Index("ix_tasks_source_changed_at", "source", "changed_at"),
    Index("ix_tasks_instance_id", "instance_id"),
    Index("ix_tasks_instance_name", "instance_name"),
    # Holds all that statistics read, in the order in which they are grouped.
    Index("ix_tasks_name_status_changed_at_seconds", "name", "status", "changed_at", "seconds"),
    Index("ix_tasks_job_id", "job_id"),
)

events = Table(
    "events",
    metadata,
    Column("seq", Sequence, Identity(always=True), primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("type", String, nullable=False),
    Column("source", String, nullable=False),
    Column("job_id", String, nullable=False),
    Column("occurrence", Text, nullable=False),
    Column("observed_at", UtcDateTime, nullable=False),
    Column("facts", LargeBinary, nullable=False),
    Column("routes", Text, nullable=False),
    Column("channels", Text, nullable=False),
    Column("channel_count", Integer, nullable=False),
    UniqueConstraint("source", "job_id", "occurrence"),
    Index("ix_events_observed_at_seq", "observed_at", "seq"),
    Index("ix_events_job_id", "job_id"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("seq", Sequence, Identity(always=True), primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("channel", String, nullable=False),
    Column("subject", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("digest", Boolean, nullable=False),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("earlier_attempts", Integer, nullable=False, server_default=text("0")),
    Column("available_at", UtcDateTime, nullable=False),
    Column("claimed_by", String),
    Column("begun", Boolean, nullable=False, server_default=text("true")),
    Column("outcome_unknown", Boolean, nullable=False, server_default=text("false")),
    Column("reason", Text),
    Column("ref", Text),
    Column("body", LargeBinary),
    Column("content_type", String),
    Column("recipients", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("settled_at", UtcDateTime),
    Column("dismissed_at", UtcDateTime),
    Column("retried_at", UtcDateTime),
    CheckConstraint(f"state IN ({', '.join(repr(str(state)) for state in DeliveryState)})", name="state"),
    Index("ix_deliveries_channel_state_seq", "channel", "state", "seq"),
    Index("ix_deliveries_state_seq", "state", "seq"),
)

delivery_events = Table(
    "delivery_events",
    metadata,
    Column("delivery_id", String, ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True),
    Column("event_id", String, ForeignKey("events.id"), primary_key=True),
    Column("channel", String, nullable=False),
    Column("subject", Text, nullable=False),
    Column("position", Integer, nullable=False),
    UniqueConstraint("event_id", "channel"),
    Index("ix_delivery_events_channel_subject", "channel", "subject"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", String, ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime, nullable=False),
    Column("outcome", String, nullable=False),
    Column("reason", Text),
    Column("resolution", String),
    Column("reply", Text),
)

channels = Table(
    "channels",
    metadata,
    Column("name", String, primary_key=True),
    Column("parked_since", UtcDateTime),
    Column("reason", Text),
    Column("probe_at", UtcDateTime),
    Column("settings_digest", String),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("failing_since", UtcDateTime),
    Column("announced_since", UtcDateTime),
    Column("given_up_until", UtcDateTime),
    Column("good_at", UtcDateTime),
    Column("open_until", UtcDateTime),
    Column("paused_until", UtcDateTime),
    Column("rate_at", UtcDateTime),
)

edit_budgets = Table(
    "edit_budgets",
    metadata,
    Column("name", String, primary_key=True),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("failing_since", UtcDateTime),
    Column("good_at", UtcDateTime),
    Column("open_until", UtcDateTime),
    Column("paused_until", UtcDateTime),
    Column("rate_at", UtcDateTime),
)

threads = Table(
    "threads",
    metadata,
    Column("channel", String, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("ref", Text, nullable=False),
    Column("event_id", String, nullable=False),
    Column("event_seq", Sequence, nullable=False),
    Column("instance_id", Text),
    Column("instance_name", Text),
    Column("facts", LargeBinary, nullable=False),
    Column("revision", Integer, nullable=False, server_default=text("0")),
    Column("shown", Integer, nullable=False, server_default=text("0")),
    Column("shown_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime),
    Column("urgency", Integer, nullable=False, server_default=text("0")),
    Index("ix_threads_channel_due_at", "channel", "due_at"),
    Index("ix_threads_event_id", "event_id"),
    Index("ix_threads_subject", "subject"),
    Index("ix_threads_ref", "ref"),
)

acknowledgements = Table(
    "acknowledgements",
    metadata,
    Column("event_id", String, primary_key=True),
    Column("by", String, nullable=False),
    Column("name", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

mutes = Table(
    "mutes",
    metadata,
    Column("instance", Text, primary_key=True),
    Column("until", UtcDateTime, nullable=False),
    Column("by", String, nullable=False),
    Column("name", Text, nullable=False),
    Column("reason", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("label", Text),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("source", String, primary_key=True),
    Column("job_id", String, primary_key=True),
    Column("person", String, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
)

requests = Table(
    "requests",
    metadata,
    Column("key", String, primary_key=True),
    Column("seen_at", UtcDateTime, nullable=False),
    Index("ix_requests_seen_at", "seen_at"),
)

replicas = Table(
    "replicas",
    metadata,
    Column("owner", String, primary_key=True),
    Column("roles", String, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("stopped_at", UtcDateTime),
    Column("chat_down_since", UtcDateTime),
    Column("chat_error", Text),
)

actions = Table(
    "actions",
    metadata,
    Column("seq", Sequence, Identity(always=True), primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("by", String, nullable=False),
    Column("name", Text, nullable=False),
    Column("verb", String, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", Text),
    Index("ix_actions_at", "at"),
)

credentials = Table(
    "credentials",
    metadata,
    Column("key", String, primary_key=True),
    Column("rate_at", UtcDateTime),
    Column("paused_until", UtcDateTime),
    Column("refusal", Text),
    Column("refused_version", String),
    Column("refusals", Integer, nullable=False, server_default=text("0")),
)

# One row, with SQLite only: the time that all processes on the file agree on. A PostgreSQL server has its own clock.
clock = Table(
    "clock",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("boot", String, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("since", UtcDateTime, nullable=False),
)
