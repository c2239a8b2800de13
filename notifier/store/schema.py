"""The tables, as migrations leave them; a test holds the two together."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import text

from notifier.core.delivery import DeliveryState
from notifier.store.values import text_of, time_of, utc_of


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware UTC time on both databases; SQLite would drop the zone and hand back a naive one.

    It converts by itself what SQLAlchemy would convert field by field, at several times the cost.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[datetime | None], Any]:
        """Store UTC; refuse a naive time, which names no moment."""
        return text_of if dialect.name == "sqlite" else utc_of

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], datetime | None]:  # noqa: ARG002 - of any
        """Give back UTC, whatever zone the database session has."""
        return time_of if dialect.name == "sqlite" else utc_of

    def process_literal_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:  # noqa: ANN401 - the driver's
        """Write a time into the text of a statement."""
        return value and (value.astimezone(UTC).replace(tzinfo=None) if dialect.name == "sqlite" else utc_of(value))


# SQLite numbers rows by itself only for INTEGER; PostgreSQL needs BIGINT to count for years.
Sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

sources = sa.Table(
    "sources",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("region", sa.String),
    sa.Column("project_id", sa.String),
    sa.Column("feeds", sa.String, nullable=False, server_default=text("''")),
    sa.Column("baseline_at", UtcDateTime),
    sa.Column("last_poll_at", UtcDateTime),
    sa.Column("last_full_at", UtcDateTime),
    sa.Column("last_full_calls", sa.Integer, nullable=False, server_default=text("1")),
    sa.Column("pruned_to", UtcDateTime),
    sa.Column("last_error", sa.Text),
    sa.Column("failing_since", UtcDateTime),
    sa.Column("failures", sa.Integer, nullable=False, server_default=text("0")),
    sa.Column("announced_since", UtcDateTime),
    sa.Column("next_poll_at", UtcDateTime),
    sa.Column("claimed_by", sa.String),
    sa.Column("claimed_until", UtcDateTime),
    sa.Column("epoch", Sequence, nullable=False, server_default=text("0")),
    sa.Column("refused_since", UtcDateTime),
    sa.Column("refused_rows", sa.Integer, nullable=False, server_default=text("0")),
    sa.Column("empty_since", UtcDateTime),
    sa.Column("clock_skew", sa.Float),
    sa.Column("polled_by", sa.String),
    sa.Column("retired_at", UtcDateTime),
    sa.Column("introduced_at", UtcDateTime),
    sa.Column("active_at", UtcDateTime),
    sa.Column("promised_at", UtcDateTime),
    sa.Column("scanned_by", sa.String),
    sa.Column("scanned_at", UtcDateTime),
    sa.Column("rung_at", UtcDateTime),
    sa.Column("rung_epoch", Sequence),
)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("job_id", sa.String, primary_key=True),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("raw_status", sa.Text, nullable=False),
    sa.Column("progress", sa.Float),
    sa.Column("instance_id", sa.Text),
    sa.Column("instance_name", sa.Text),
    sa.Column("instance_status", sa.Text),
    sa.Column("created_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("fail_reason", sa.Text),
    sa.Column("seconds", sa.Float),
    sa.Column("occurrence", sa.Text, nullable=False),
    sa.Column("missing", sa.Integer, nullable=False, server_default=text("0")),
    sa.Column("unlisted", sa.Boolean, nullable=False, server_default=text("false")),
    sa.Column("first_seen_at", UtcDateTime, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Column("events_pruned", sa.Boolean, nullable=False, server_default=text("false")),
    sa.Column("started_by", sa.Text),
    sa.Column("alarm", sa.Text),
    sa.Index("ix_tasks_changed_at", "changed_at"),
    sa.Index("ix_tasks_status_changed_at", "status", "changed_at"),
    sa.Index("ix_tasks_source_status", "source", "status"),
    sa.Index("ix_tasks_source_changed_at", "source", "changed_at"),
    sa.Index("ix_tasks_instance_id_status_changed_at", "instance_id", "status", "changed_at"),
    sa.Index("ix_tasks_instance_name", "instance_name"),
    # Holds all that statistics read, in the order in which they are grouped.
    sa.Index("ix_tasks_name_status_changed_at_seconds_source", "name", "status", "changed_at", "seconds", "source"),
    # Holds all that usual durations are measured on. A task enters it when it ends, and so progress costs nothing.
    sa.Index(
        "ix_tasks_source_name_status_changed_at_instance_id_seconds",
        *("source", "name", "status", "changed_at", "instance_id", "seconds"),
        sqlite_where=text("seconds IS NOT NULL"),
        postgresql_where=text("seconds IS NOT NULL"),
    ),
    # Holds all that timelines read of failures, which may be thousands. Hardly any task is in it.
    sa.Index(
        "ix_tasks_failed",
        *("status", "changed_at", "source", "name", "instance_id", "instance_name"),
        sqlite_where=(IS_FAILED := text("status = 'failed'")),
        postgresql_where=IS_FAILED,
    ),
    # The beginning of an id is searched for; PostgreSQL may order texts by the rules of a language.
    sa.Index("ix_tasks_job_id", "job_id", postgresql_ops={"job_id": "text_pattern_ops"}),
)

IS_BLIND = text("type IN ('source.gap', 'source.recovered')")
"""Condition of events that name a time in which a source was not observed."""

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", Sequence, sa.Identity(always=True), primary_key=True, autoincrement=True),
    sa.Column("id", sa.String, nullable=False, unique=True),
    sa.Column("type", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("job_id", sa.String, nullable=False),
    sa.Column("occurrence", sa.Text, nullable=False),
    sa.Column("observed_at", UtcDateTime, nullable=False),
    sa.Column("facts", sa.LargeBinary, nullable=False),
    sa.Column("routes", sa.Text, nullable=False),
    sa.Column("channels", sa.Text, nullable=False),
    sa.Column("channel_count", sa.Integer, nullable=False),
    sa.UniqueConstraint("source", "job_id", "occurrence"),
    sa.Index("ix_events_observed_at_seq", "observed_at", "seq"),
    sa.Index("ix_events_job_id", "job_id"),
    # Timelines show when nobody looked: hardly any event is in it.
    sa.Index("ix_events_blind", "observed_at", sqlite_where=IS_BLIND, postgresql_where=IS_BLIND),
)

_IN_STORM = text("storm IS NOT NULL")
_RULED = text("rule IS NOT NULL")
NOT_THROUGH_ROWS = "state IN ('parked', 'dead') AND dismissed_at IS NULL"
"""The deliveries that somebody has to do something about. Statements give it in the same words as the indexes."""
_NOT_THROUGH = text(NOT_THROUGH_ROWS)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("seq", Sequence, sa.Identity(always=True), primary_key=True, autoincrement=True),
    sa.Column("id", sa.String, nullable=False, unique=True),
    sa.Column("channel", sa.String, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("digest", sa.Boolean, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, server_default=text("0")),
    sa.Column("earlier_attempts", sa.Integer, nullable=False, server_default=text("0")),
    sa.Column("available_at", UtcDateTime, nullable=False),
    sa.Column("claimed_by", sa.String),
    sa.Column("begun", sa.Boolean, nullable=False, server_default=text("true")),
    sa.Column("outcome_unknown", sa.Boolean, nullable=False, server_default=text("false")),
    sa.Column("reason", sa.Text),
    sa.Column("ref", sa.Text),
    sa.Column("body", sa.LargeBinary),
    sa.Column("content_type", sa.String),
    sa.Column("recipients", sa.Text),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("settled_at", UtcDateTime),
    sa.Column("dismissed_at", UtcDateTime),
    sa.Column("retried_at", UtcDateTime),
    sa.Column("rank", sa.Integer, nullable=False, server_default=text("1")),
    sa.Column("routing", sa.Text),
    sa.Column("storm", sa.String),
    sa.Column("rule", sa.Text),
    sa.CheckConstraint(
        f"state IN ({', '.join(repr(str(state)) for state in DeliveryState)})",
        name=sa.schema.conv("ck_deliveries_ck_deliveries_state"),  # as the first migration has named it
    ),
    sa.Index("ix_deliveries_channel_state_rank_seq", "channel", "state", "rank", "seq"),
    # Hardly any delivery is in it: those of a storm go out one after the other, and people list the tasks of one.
    sa.Index("ix_deliveries_storm_seq", "storm", "seq", sqlite_where=_IN_STORM, postgresql_where=_IN_STORM),
    sa.Index("ix_deliveries_state_seq", "state", "seq"),
    # Few deliveries are in those two, and none that was sent: they are counted and listed on every page.
    sa.Index("ix_deliveries_not_through", "state", "seq", sqlite_where=_NOT_THROUGH, postgresql_where=_NOT_THROUGH),
    sa.Index(
        "ix_deliveries_not_through_of_channel",
        *("channel", "state", "seq"),
        sqlite_where=_NOT_THROUGH,
        postgresql_where=_NOT_THROUGH,
    ),
    # Only what a rule holds or suppresses is in it: what is held is released by rule, and people ask what a rule did.
    sa.Index(
        "ix_deliveries_rule_state_channel", "rule", "state", "channel", sqlite_where=_RULED, postgresql_where=_RULED
    ),
)

delivery_events = sa.Table(
    "delivery_events",
    metadata,
    sa.Column("delivery_id", sa.String, sa.ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("event_id", sa.String, sa.ForeignKey("events.id"), primary_key=True),
    sa.Column("channel", sa.String, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.UniqueConstraint("event_id", "channel"),
    sa.Index("ix_delivery_events_channel_subject", "channel", "subject"),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("delivery_id", sa.String, sa.ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime, nullable=False),
    sa.Column("outcome", sa.String, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("resolution", sa.String),
    sa.Column("reply", sa.Text),
)

channels = sa.Table(
    "channels",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("parked_since", UtcDateTime),
    sa.Column("reason", sa.Text),
    sa.Column("probe_at", UtcDateTime),
    sa.Column("settings_digest", sa.String),
    sa.Column("failures", sa.Integer, nullable=False, server_default=text("0")),
    sa.Column("failing_since", UtcDateTime),
    sa.Column("announced_since", UtcDateTime),
    sa.Column("given_up_until", UtcDateTime),
    sa.Column("good_at", UtcDateTime),
    sa.Column("open_until", UtcDateTime),
    sa.Column("paused_until", UtcDateTime),
    sa.Column("rate_at", UtcDateTime),
)

edit_budgets = sa.Table(
    "edit_budgets",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False, server_default=text("0")),
    sa.Column("failing_since", UtcDateTime),
    sa.Column("good_at", UtcDateTime),
    sa.Column("open_until", UtcDateTime),
    sa.Column("paused_until", UtcDateTime),
    sa.Column("rate_at", UtcDateTime),
)

threads = sa.Table(
    "threads",
    metadata,
    sa.Column("channel", sa.String, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("ref", sa.Text, nullable=False),
    sa.Column("event_id", sa.String, nullable=False),
    sa.Column("event_seq", Sequence, nullable=False),
    sa.Column("instance_id", sa.Text),
    sa.Column("instance_name", sa.Text),
    sa.Column("facts", sa.LargeBinary, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, server_default=text("0")),
    sa.Column("shown", sa.Integer, nullable=False, server_default=text("0")),
    sa.Column("shown_at", UtcDateTime, nullable=False),
    sa.Column("due_at", UtcDateTime),
    sa.Column("urgency", sa.Integer, nullable=False, server_default=text("0")),
    sa.Column("copies", sa.Text),
    sa.Column("routing", sa.Text),
    sa.Column("loud", sa.Boolean, nullable=False, server_default=text("false")),
    sa.Index("ix_threads_channel_due_at", "channel", "due_at"),
    sa.Index("ix_threads_event_id", "event_id"),
    sa.Index("ix_threads_subject", "subject"),
    sa.Index("ix_threads_ref", "ref"),
)

storms = sa.Table(
    "storms",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("channel", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("facts", sa.LargeBinary, nullable=False),
    sa.Index("ix_storms_source_ended_at", "source", "ended_at"),
)

tickets = sa.Table(
    "tickets",
    metadata,
    sa.Column("channel", sa.String, primary_key=True),
    sa.Column("operation", sa.String, primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.String, nullable=False, unique=True),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("ref", sa.Text),
    sa.Column("label", sa.Text),
    sa.Column("url", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("closed_at", UtcDateTime),
    sa.Column("closed_by", sa.String),
    sa.Column("previous", sa.Text),
    sa.Column("wanted_by", sa.String),
    sa.Column("failed_at", UtcDateTime),
    sa.Column("solved_at", UtcDateTime),
    sa.Column("attempted_at", UtcDateTime),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Index("ix_tickets_operation", "operation"),
)

_UNRESOLVED = text("state <> 'resolved'")
_DUE = text("due_at IS NOT NULL")

failures = sa.Table(
    "failures",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("operation", sa.String, nullable=False),
    sa.Column("job_id", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("latest_event_id", sa.String, nullable=False),
    sa.Column("opened_at", UtcDateTime, nullable=False),
    sa.Column("due_at", UtcDateTime),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Column("facts", sa.LargeBinary, nullable=False),
    # What is resolved is in none of those with a condition.
    sa.Index(
        "ix_failures_operation_job_id",
        "operation",
        "job_id",
        unique=True,
        sqlite_where=_UNRESOLVED,
        postgresql_where=_UNRESOLVED,
    ),
    sa.Index("ix_failures_operation", "operation"),
    sa.Index("ix_failures_due_at", "due_at", sqlite_where=_DUE, postgresql_where=_DUE),
    sa.Index("ix_failures_latest_event_id", "latest_event_id", sqlite_where=_UNRESOLVED, postgresql_where=_UNRESOLVED),
    sa.Index("ix_failures_state_changed_at", "state", "changed_at"),
)

# Where ended tasks changed, so that statistics read only these again.
task_changes = sa.Table(
    "task_changes",
    metadata,
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("slot", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Index("ix_task_changes_source_revision", "source", "revision"),
)

acknowledgements = sa.Table(
    "acknowledgements",
    metadata,
    sa.Column("event_id", sa.String, primary_key=True),
    sa.Column("by", sa.String, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("ix_acknowledgements_at", "at"),
)

mutes = sa.Table(
    "mutes",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("instance", sa.Text),
    sa.Column("label", sa.Text),
    sa.Column("matchers", sa.Text),
    sa.Column("except_failures", sa.Boolean, nullable=False, server_default=text("false")),
    sa.Column("by", sa.String, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("cron", sa.Text),
    sa.Column("timezone", sa.Text),
    sa.Column("seconds", sa.Float),
    sa.Column("last", UtcDateTime),
    sa.Column("configured", sa.Boolean, nullable=False, server_default=text("false")),
    sa.Column("announce", sa.Boolean),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("until", UtcDateTime, nullable=False),
    sa.Column("begun", sa.Boolean, nullable=False, server_default=text("false")),
    sa.Column("announced", sa.Text),
    sa.Column("ended_by", sa.Text),
    sa.Column("due_at", UtcDateTime),
    sa.Index("ix_mutes_due_at", "due_at"),
    sa.Index("ix_mutes_until", "until"),
)

subscriptions = sa.Table(
    "subscriptions",
    metadata,
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("job_id", sa.String, primary_key=True),
    sa.Column("person", sa.String, primary_key=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

event_subscriptions = sa.Table(
    "event_subscriptions",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("channel", sa.String, nullable=False),
    sa.Column("matchers", sa.Text, nullable=False),
    sa.Column("by", sa.String, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.Index("ix_requests_seen_at", "seen_at"),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("fingerprint", sa.String, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index("ix_idempotency_keys_created_at", "created_at"),
)

replicas = sa.Table(
    "replicas",
    metadata,
    sa.Column("owner", sa.String, primary_key=True),
    sa.Column("roles", sa.String, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.Column("stopped_at", UtcDateTime),
    sa.Column("chat_down_since", UtcDateTime),
    sa.Column("chat_error", sa.Text),
)

actions = sa.Table(
    "actions",
    metadata,
    sa.Column("seq", Sequence, sa.Identity(always=True), primary_key=True, autoincrement=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("by", sa.String, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("verb", sa.String, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("detail", sa.Text),
    sa.Index("ix_actions_at", "at"),
)

credentials = sa.Table(
    "credentials",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("rate_at", UtcDateTime),
    sa.Column("paused_until", UtcDateTime),
    sa.Column("refusal", sa.Text),
    sa.Column("refused_version", sa.String),
    sa.Column("refusals", sa.Integer, nullable=False, server_default=text("0")),
    sa.Column("early_at", UtcDateTime),
)

calendars = sa.Table(
    "calendars",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("origin", sa.String),
    sa.Column("entries", sa.LargeBinary),
    sa.Column("fetched_at", UtcDateTime),
    sa.Column("tried_at", UtcDateTime),
    sa.Column("next_at", UtcDateTime),
    sa.Column("error", sa.Text),
)

# The search for who started each task. What it found is in `tasks.started_by`, where lists read it.
origins = sa.Table(
    "origins",
    metadata,
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("job_id", sa.String, primary_key=True),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("next_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("trace_id", sa.Text),
    sa.Column("lag", sa.Float),
    sa.Index(
        "ix_origins_next_at",
        "next_at",
        sqlite_where=(IS_SEARCHED := text("next_at IS NOT NULL")),
        postgresql_where=IS_SEARCHED,
    ),
    sa.Index("ix_origins_ended_at", "ended_at"),
)

missing_rights = sa.Table(
    "missing_rights",
    metadata,
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("part", sa.String, primary_key=True),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("retry_at", UtcDateTime, nullable=False),
    sa.Column("refusals", sa.Integer, nullable=False),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("origin", sa.String),
    sa.Column("next_at", UtcDateTime),
    sa.Column("tried_at", UtcDateTime),
    sa.Column("read_at", UtcDateTime),
    sa.Column("error", sa.Text),
    sa.Column("revision", sa.Integer, nullable=False, server_default=text("0")),
)

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("account", sa.String, primary_key=True),
    sa.Column("project_id", sa.String, primary_key=True),
    sa.Column("region", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False, unique=True),
    sa.Column("found_at", UtcDateTime, nullable=False),
    sa.Column("missed", sa.Integer, nullable=False, server_default=text("0")),
    sa.Column("missing_since", UtcDateTime),
    sa.Column("gone_at", UtcDateTime),
)

doorbell_topics = sa.Table(
    "doorbell_topics",
    metadata,
    sa.Column("urn", sa.String, primary_key=True),
    sa.Column("confirmed_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("failed_at", UtcDateTime),
    sa.Column("error", sa.Text),
)

schedules = sa.Table(
    "schedules",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("expression", sa.Text),
    sa.Column("next_at", UtcDateTime),
    sa.Column("last_at", UtcDateTime),
    sa.Column("detail", sa.Text),
)

# What the cloud plans to do to instances, and when the list of each source is read.
maintenances = sa.Table(
    "maintenances",
    metadata,
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("over", sa.Boolean, nullable=False),
    sa.Column("due_at", UtcDateTime),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Column("facts", sa.LargeBinary, nullable=False),
    sa.Index("ix_maintenances_due_at", "due_at", sqlite_where=_DUE, postgresql_where=_DUE),
    sa.Index("ix_maintenances_over", "over", "changed_at"),
)

maintenance_lists = sa.Table(
    "maintenance_lists",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("epoch", sa.Integer, nullable=False, server_default=text("0")),
    sa.Column("next_at", UtcDateTime),
    sa.Column("read_at", UtcDateTime),
    sa.Column("error", sa.Text),
    sa.Column("failing_since", UtcDateTime),
    sa.Column("failures", sa.Integer, nullable=False, server_default=text("0")),
)

web_sessions = sa.Table(
    "web_sessions",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("how", sa.String, nullable=False),
    sa.Column("groups", sa.Text, nullable=False),
    sa.Column("proof", sa.String, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.Column("ends_at", UtcDateTime, nullable=False),
    sa.Column("address", sa.String, nullable=False),
    sa.Column("browser", sa.Text, nullable=False),
    sa.Index("ix_web_sessions_seen_at", "seen_at"),
    sa.Index("ix_web_sessions_address", "address"),
)

api_tokens = sa.Table(
    "api_tokens",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("digest", sa.String, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scopes", sa.String, nullable=False),
    sa.Column("by", sa.String, nullable=False),
    sa.Column("by_name", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime),
    sa.Column("used_at", UtcDateTime),
)

# One row, with SQLite only: the time that all processes on the file agree on. A PostgreSQL server has its own clock.
clock = sa.Table(
    "clock",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("boot", sa.String, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
)
