"""A compiled statement and SQLAlchemy's own execution of it: the same rows, and the same changes, on both databases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from factories import T0, make_delivery, make_event, make_storm, make_task, rows_of
from sqlalchemy import Connection, Delete, Insert, Update, select, update
from sqlalchemy.exc import IntegrityError

from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.events import EventType
from notifier.core.failures import ClockKind, FailureClock, OpenFailure
from notifier.core.health_facts import Replica, Role
from notifier.core.identity import DirectChannel
from notifier.core.maintenance_values import MaintenanceRecord, PlannedMaintenance
from notifier.core.model import TaskStatus
from notifier.core.mutes import Mute
from notifier.core.routing import RoutedEvent
from notifier.core.severity import Severity
from notifier.core.tickets import Ticket
from notifier.store import rows, schema, statements
from notifier.store.compiled import CompiledStatement, form_of, marked
from notifier.store.engine import SqlStore
from notifier.store.session import Session
from notifier.store.sqlite_driver import sqlite_module

LATER = T0 + timedelta(hours=1)

RUNNING = make_task("running", status=TaskStatus.RUNNING)
COMPLETED = make_task("completed", status=TaskStatus.COMPLETED, name="ResizeGaussDBV5Flavor")
PROGRESS = make_event(RUNNING, type=EventType.TASK_PROGRESSED)
FAILED, OTHER, THIRD = (make_event(make_task(job_id)) for job_id in ("failed", "other", "third"))
STORM = make_storm()

WAITS = make_delivery(FAILED, attempt=0)
HELD = make_delivery(OTHER, attempt=2, outcome_unknown=True)
RENDERED = make_delivery(THIRD, channel="log", attempt=1)
"""Claimed, without a body."""
PROGRESSED = make_delivery(PROGRESS, attempt=0, rank=1)
SENT_BEFORE = make_delivery(FAILED, channel="mail", attempt=1)
"""Older than AGAIN, about the same subject: one of its recipients still lacks it."""
AGAIN = make_delivery(make_event(make_task("failed"), occurrence="again"), channel="mail", attempt=0)
IN_PERSON = make_delivery(FAILED, channel=f"{DirectChannel.PREFIX}U0123ABCD", attempt=0)
RULED = make_delivery(make_event(make_task("ruled")), attempt=0, rule="budget:20/h", available_at=LATER)
"""Held by a rule, in contrast to HELD, which is claimed."""
DELIVERIES = (WAITS, HELD, RENDERED, PROGRESSED, SENT_BEFORE, AGAIN, IN_PERSON, RULED)
PROCESS = Replica(owner="host:1:a", roles=(Role.POLL,), started_at=T0, seen_at=T0, chat_error="none")

TICKET = Ticket(channel="ops", operation="o", generation=2, ref="7", label="OPS-7", status="new", failed_at=T0)
OF_TICKET = {"of_channel": "ops", "of_operation": "o", "of_generation": 2}

MUTE = Mute(
    id="7k2m",
    instance="i",
    since=T0,
    until=LATER,
    by="me",
    name="gauss",
    created_at=T0,
    length=timedelta(hours=1),
    due_at=T0,
)

OPEN = OpenFailure(
    id="f-1",
    operation="o-1",
    first_event_id=FAILED.id,
    latest=FAILED,
    opened_at=T0,
    severity=Severity.ERROR,
    clocks=(FailureClock(kind=ClockKind.REMIND, name="all", due_at=T0),),
    changed_at=T0,
)

PLANNED = MaintenanceRecord(
    source="prod", planned=PlannedMaintenance(id="m-1", starts_at=T0), first_seen_at=T0, changed_at=T0, due_at=T0
)
HEALTH = {"failures": 3, "good_at": T0, "failing_since": T0, "open_until": None, "paused_until": LATER, "rate_at": T0}
SETTLED = {
    "delivery_id": HELD.id,
    "number": 2,
    "new_state": DeliveryState.PENDING,
    "new_available_at": LATER,
    "new_outcome_unknown": True,
    "new_reason": "no answer",
    "new_settled_at": None,
}
POLLED = {
    "last_poll_at": LATER,
    "next_poll_at": LATER,
    "clock_skew": -1.5,
    "refused_rows": 1,
    "refused_since": T0,
    "last_full_calls": 12,
    "last_full_at": LATER,
    "empty_since": None,
    "baseline_at": T0,
    "active_at": T0,
    "promised_at": LATER,
    "scanned_by": "me",
    "scanned_at": T0,
}
RUNG = {"names": ["prod", "lab"], "new_rung_at": T0}
NEW_EVENT = make_event(make_task("new"))
NEW_DELIVERY = make_delivery(NEW_EVENT, attempt=0)

PARAMETERS: Mapping[str, Any] = {
    "NOTIFY": {},
    "TIME": {},
    "SERVER_TIME": {},
    "CLAIM_POLL": {
        "source": "prod",
        "owner": "me",
        "now": LATER,
        "until": LATER,
        "latest_start": LATER,
        "latest_end": LATER,
        "force": True,
    },
    "EPOCH": {"source": "prod"},
    "DUE_SOURCES": {"now": LATER},
    "SOURCE_NAMES": {},
    "SOURCES_TO_JUDGE": {"before": LATER, "ahead": LATER},
    "CREDENTIAL": {"key": "k"},
    "SAVE_CREDENTIAL": {
        "of_key": "k",
        "new_rate_at": LATER,
        "new_paused_until": None,
        "new_refusal": "no",
        "new_refused_version": None,
        "new_refusals": 2,
        "new_early_at": LATER,
    },
    "FINGERPRINTS": {"source": "prod"},
    "RUNNING_TASKS": {"source": "prod"},
    "RECORD_POLL": {"source": "prod"} | statements.new_values(POLLED | {"rung_poll_at": T0}),
    "RUNG_SOURCES": {"names": ["prod", "lab"]},
    "RING": RUNG | {"new_next_poll_at": LATER},
    "RING_AS_PLANNED": RUNG,
    "RECORDED_TASKS": {"source": "prod", "ids": {"running", "failed", "unknown"}},
    "RECORD_TASK": [
        rows.written_values(TaskWrite(recorded=RecordedTask(task=task, occurrence="o"), fingerprint=b"\x00f"), LATER)
        for task in (make_task("failed"), make_task("new"))  # the first is there already
    ],
    "RECORD_MISSING": [
        {"of_source": "prod", "of_job_id": job_id, "new_missing": 2, "new_unlisted": job_id == "failed"}
        for job_id in ("running", "failed")
    ],
    "TASK_NAMES": {},
    "EVENT": {"event_id": FAILED.id},
    "LATEST_EVENT": {"source": FAILED.source, "job_id": FAILED.job_id},
    "ACKNOWLEDGEMENT": {"event_id": FAILED.id},
    "KNOWN_EVENTS": {"ids": {FAILED.id, "unknown", OTHER.id}},
    "RECORD_EVENT": rows_of(rows.event_columns([RoutedEvent(event=NEW_EVENT, routes=("all",), channels=("dba",))])),
    "RESULTS_OF_INSTANCES": {"instances": [make_task().instance_id, "unknown"], "since": T0 - timedelta(days=1)},
    "OCCURRENCES": {"source": "prod", "ids": ["failed", "other"]},
    "EVENTS_OF_DELIVERIES": {"ids": [delivery.id for delivery in DELIVERIES]},
    "CHANNEL": {"of_name": "dba"},
    "SAVE_HEALTH": {"of_name": "dba"} | statements.new_values(HEALTH),
    "EDIT_BUDGET": {"of_name": "token"},
    "DUE_PROBES": {"now": LATER},
    "PARKED_NAMES": {},
    "PARKED_CHANNELS": {},
    "REPORT_REPLICA": rows.replica_values(replace(PROCESS, seen_at=LATER)),
    "DIRECT_CHANNELS": {},
    "RECORD_DELIVERY": rows_of(rows.delivery_columns([NEW_DELIVERY])),
    "RECORD_DELIVERED_EVENT": [
        {"delivery_id": HELD.id, "event_id": FAILED.id, "channel": "elsewhere", "subject": "s", "position": 1}
    ],
    "RECORD_ATTEMPT": [
        {"delivery_id": HELD.id, "number": number, "started_at": T0, "finished_at": LATER, "outcome": "retry"}
        | {"reason": None, "resolution": None, "reply": "HTTP 500"}
        for number in (1, 2)  # the first is there already
    ],
    "DUE_DELIVERIES": {"channel": "dba", "now": LATER, "limit": 10},
    "DUE_UNRULED": {"channel": "dba", "now": LATER, "limit": 10},
    "BLOCKING_RECIPIENTS": {"ids": [AGAIN.id]},
    "HOLDING_BACK": {"channel": "dba", "subjects": {PROGRESS.subject}},
    "RANK_AS_FAILURES": {},
    "CLAIM_DELIVERIES": {"until": LATER, "owner": "me"},
    "MARK_BEGUN": {"ids": [HELD.id, WAITS.id], "number": 2, "has_begun": True},
    "SAVE_BODY": [
        {"delivery_id": delivery.id, "new_body": b"\x00\xff", "new_content_type": "text/plain", "queued_number": number}
        for delivery, number in ((WAITS, 0), (RENDERED, 1), (HELD, 2))  # the last has a body
    ],
    "LOCK_DELIVERIES": {"ids": [delivery.id for delivery in DELIVERIES]},
    "BODIES": {"ids": [delivery.id for delivery in DELIVERIES]},
    "SETTLE_DELIVERED": [
        {"delivery_id": delivery.id, "number": number, "new_ref": "C:1", "now": LATER}
        for delivery, number in ((HELD, 2), (WAITS, 7))  # the second is late
    ],
    "SETTLE": SETTLED,
    "SETTLE_WITH_RECIPIENTS": SETTLED | {"new_recipients": "[]"},
    "PENDING_CHANNELS": {"now": LATER},
    "NEXT_PENDING": {"now": T0},
    "WAITING_PROGRESS": {"channel": "dba", "subjects": [PROGRESS.subject]},
    "SUPERSEDE": [{"delivery_id": PROGRESSED.id, "new_reason": "superseded", "now": LATER}],
    "LASTING_HOLDS": {"rules": ["budget:20/h", "unknown"]},
    "RECENT_MESSAGES": {"channel": "dba", "limit": 2},
    "HELD_BY_RULE": {"channel": "dba", "rule": "budget:20/h", "limit": 10},
    "HELD_ABOUT": {"channel": "dba", "subjects": [RULED.subject]},
    "HOLDS_OF_EVENTS": {"ids": [RULED.events[0].id, FAILED.id]},
    "LOCK_HELD_ABOUT": {"channels": ["dba", "mail"], "subjects": [RULED.subject]},
    "RELEASE_HELD": {"new_state": DeliveryState.PENDING, "now": LATER},
    "MOVE_EVENT": [
        {"of_event_id": FAILED.id, "of_channel": "dba", "new_delivery_id": RULED.id, "new_position": 1},
        {"of_event_id": "unknown", "of_channel": "dba", "new_delivery_id": RULED.id, "new_position": 2},
    ],
    "DELETE_EMPTIED": {"ids": [RULED.id, "unknown"]},
    "LASTING_STORMS": {"source": "prod"},
    "STORMS": {"ids": [STORM.id]},
    "TICKETS": {"operations": [TICKET.operation, "unknown"]},
    "LOCK_TICKETS": {"channel": "ops", "operations": [TICKET.operation]},
    "HOLD_TICKETS": {"operations": [TICKET.operation, "unknown"]},
    "HELD_ATTEMPTS": {"ids": [HELD.id, WAITS.id, "unknown"]},
    "TICKET_FAILED": OF_TICKET | {"new_failed_at": LATER},
    "TICKET_ATTEMPTED": OF_TICKET | {"now": LATER},
    "RECORD_TICKET": rows.ticket_values(replace(TICKET, status="done")) | {"changed_at": LATER},
    "WANT_TICKET": rows.ticket_values(replace(TICKET, generation=3)) | {"changed_at": LATER},
    "THREAD_REFS": {"channel": "dba", "subjects": [FAILED.subject]},
    "LOUD_THREADS": {"channel": "dba", "subjects": [FAILED.subject]},
    "SUBJECTS_WITH_THREADS": {"subjects": [FAILED.subject, OTHER.subject]},
    "SUBSCRIBERS": {"source": "prod", "ids": ["running", "failed", "unknown"]},
    "POP_SUBSCRIBERS": {"source": "prod", "ids": ["running", "unknown"]},
    "EVENT_SUBSCRIPTIONS": {},
    "RECORD_EVENT_SUBSCRIPTION": {"id": "new", "channel": "dm:U1", "matchers": "failed", "by": "me", "name": "Me"}
    | {"created_at": LATER},
    "END_EVENT_SUBSCRIPTIONS": {"ids": ["known", "unknown"]},
    "SAVE_MUTE": rows.mute_values(replace(MUTE, until=LATER, reason="works", announced=("dba",))),
    "DUE_MUTES": {"now": LATER},
    "NEXT_DUE_MUTE": {},
    "ANY_DUE_FAILURE": {"before": LATER},
    "ANY_DUE_ORIGIN": {"before": LATER, "ahead": LATER},
    "ANY_DUE_MAINTENANCE": {"now": LATER},
    "SAVE_MAINTENANCE": rows_of(rows.maintenance_columns([replace(PLANNED, changed_at=LATER)])),
    "NEXT_DUE_FAILURE": {},
    "DUE_FAILURES": {"before": LATER, "limit": 10},
    "LOCK_FAILURES": {"operations": [OPEN.operation, "unknown"]},
    "LOCK_FAILURES_OF_STORM": {"storm": STORM.id},
    "SAVE_FAILURE": rows_of(rows.failure_columns([replace(OPEN, count=2, changed_at=LATER)])),
    "INSTANCE_SOURCES": {"instance": "gauss-6568-zzh"},
    "MUTE_IDS": {},
    "SHOWN_SINCE": {"after": T0 - timedelta(days=1), "limit": 10},
    "RECENT_THREADS": {"instance": "i", "after": T0 - timedelta(days=1), "limit": 10},
    "RECORD_ACTION": {"at": T0, "by": "me", "name": "Me", "verb": "mute", "target": "i", "detail": None},
    "RECORD_REQUEST": {"key": "new", "seen_at": LATER},
    "DROP_REQUESTS": {"before": LATER},
    "DUE_EDITS": {"channel": "dba", "now": LATER, "progress_before": LATER, "limit": 10},
}
"""What each statement is run with; the seqs of deliveries are added."""

FOR_EVERY_EVENT = (
    "KNOWN_EVENTS",
    "RECORD_EVENT",
    "RECORD_DELIVERY",
    "RECORD_DELIVERED_EVENT",
    "DUE_DELIVERIES",
    "CLAIM_DELIVERIES",
    "EVENTS_OF_DELIVERIES",
    "SAVE_BODY",
    "SETTLE_DELIVERED",
    "RECORD_ATTEMPT",
)

ONE_DATABASE = {"NOTIFY": "postgresql", "SERVER_TIME": "postgresql", "TIME": "sqlite"}

NAMES = {id(statement): name for name, statement in vars(statements).items()}


def _name(statement: object) -> str:
    return NAMES[id(statement)]


@pytest.fixture
def connection(store: SqlStore) -> Any:
    """Return a connection to a database with a row for each statement to find; its transaction is rolled back."""
    with store.writer.connect() as connection, connection.begin() as transaction:
        _fill(connection)
        yield connection
        transaction.rollback()


def _fill(connection: Connection) -> None:
    def put(table: Any, *values: Mapping[str, object]) -> None:
        for one in values:
            connection.execute(table.insert().values(one))

    put(schema.clock, {"id": 1, "boot": "b", "at": T0, "seconds": 1.5, "since": T0})
    put(schema.sources, {"name": "prod", "epoch": 4, "next_poll_at": T0, "last_poll_at": T0, "clock_skew": 0.25})
    put(schema.credentials, {"key": "k", "rate_at": T0, "refusals": 1})
    for task in (RUNNING, FAILED.task, OTHER.task, COMPLETED):
        assert task is not None
        recorded = {"fingerprint": b"\x00\xff", "occurrence": "o", "first_seen_at": T0, "changed_at": T0}
        put(schema.tasks, rows.task_values(task) | recorded)
    put(schema.channels, {"name": "dba", "failures": 1, "rate_at": T0})
    put(schema.channels, {"name": "mail", "parked_since": T0, "probe_at": T0})
    put(schema.replicas, rows.replica_values(PROCESS))
    for person in ("me", "you"):
        put(schema.subscriptions, {"source": "prod", "job_id": "running", "person": person, "created_at": T0})
    subscribed = {"channel": "dm:U1", "matchers": "failed", "by": "me", "name": "Me", "created_at": T0}
    for id_ in ("known", "other"):
        put(schema.event_subscriptions, {"id": id_} | subscribed)
    put(schema.mutes, rows.mute_values(MUTE))
    for row in rows_of(rows.maintenance_columns([PLANNED])):
        put(schema.maintenances, row)
    for row in rows_of(rows.failure_columns([OPEN])):
        put(schema.failures, row)
    put(schema.origins, {"source": "prod", "job_id": "running", "tries": 1, "next_at": T0})
    put(schema.requests, {"key": "old", "seen_at": T0})
    put(schema.acknowledgements, {"event_id": FAILED.id, "by": "me", "name": "Me", "at": T0})
    put(schema.edit_budgets, {"name": "token", "good_at": T0})
    put(schema.storms, rows.storm_values(STORM))
    put(schema.tickets, rows.ticket_values(TICKET) | {"changed_at": T0})
    for delivery in DELIVERIES:
        _put_delivery(connection, delivery)
    changed = update(schema.deliveries)
    held = {"claimed_by": "you", "body": b"{}", "content_type": "application/json", "begun": False}
    connection.execute(changed.where(schema.deliveries.c.id == HELD.id).values(held))
    connection.execute(changed.where(schema.deliveries.c.id == RENDERED.id).values(claimed_by="you"))
    connection.execute(changed.where(schema.deliveries.c.id == IN_PERSON.id).values(storm=STORM.id))
    recipients = '[{"address":"a@b.example","state":"waiting"}]'
    connection.execute(changed.where(schema.deliveries.c.id == SENT_BEFORE.id).values(recipients=recipients))
    attempt = {"delivery_id": HELD.id, "number": 1, "started_at": T0, "finished_at": T0, "outcome": "retry"}
    put(schema.attempts, attempt)
    shown = {
        "event_id": FAILED.id,
        "event_seq": 1,
        "facts": b"{}",
        "shown_at": T0,
        "due_at": T0,
        "loud": True,
        "instance_id": "i",
    }
    put(schema.threads, {"channel": "dba", "subject": FAILED.subject, "ref": "C:1", "instance_id": "i"} | shown)


def _put_delivery(connection: Connection, delivery: Delivery) -> None:
    for event in delivery.events:
        if not connection.execute(select(schema.events.c.id).where(schema.events.c.id == event.id)).all():
            routed = RoutedEvent(event=event, routes=("all",), channels=(delivery.channel,))
            connection.execute(schema.events.insert().values(rows_of(rows.event_columns([routed]))))
    connection.execute(schema.deliveries.insert().values(rows_of(rows.delivery_columns([delivery]))))
    for event in delivery.events:
        values = {"delivery_id": delivery.id, "event_id": event.id, "channel": delivery.channel, "position": 0}
        connection.execute(schema.delivery_events.insert().values(values | {"subject": event.subject}))


def _parameters(connection: Connection, name: str) -> Any:
    given = PARAMETERS[name]
    if name not in {"CLAIM_DELIVERIES", "RANK_AS_FAILURES", "RELEASE_HELD"}:
        return given
    seqs = list(connection.execute(select(schema.deliveries.c.seq)).scalars())
    return given | ({"seqs": seqs, "sent_at_once": seqs[:2]} if name == "CLAIM_DELIVERIES" else {"seqs": seqs})


def _effects(connection: Connection, statement: Any) -> Sequence[Any]:
    """Return the rows of the table that a statement changes; a rolled back insert has used up a number."""
    if not isinstance(statement, Update | Insert | Delete):
        return ()
    found = connection.execute(select(*(one for one in statement.table.columns if one.identity is None)))
    return sorted(map(repr, found))


def _outcome(connection: Connection, statement: Any, result: Any) -> Sequence[Any]:
    names = [one.name for one in statement.exported_columns]
    found = [(tuple(row), [getattr(row, name) for name in names]) for row in result] if names else []
    ordered = "ORDER BY" in str(statement.compile(connection))
    # SQLAlchemy does not count what it inserts, and on SQLite it counts before all rows have been returned.
    changed = result.rowcount if isinstance(statement, Update) and not names else None
    return found if ordered else sorted(found, key=repr), changed, _effects(connection, statement)


def test_every_marked_statement_is_compared_here() -> None:
    of_rows = {_name(statement) for statement in marked() if id(statement) in NAMES}
    assert of_rows - {"SAVEPOINT", "RELEASE", "ROLL_BACK"} == PARAMETERS.keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_compiled_statement_does_what_sqlalchemy_does(connection: Connection, name: str) -> None:
    statement, database = getattr(statements, name), connection.dialect.name
    if ONE_DATABASE.get(name, database) != database:
        return
    parameters = _parameters(connection, name)
    with connection.begin_nested() as undone:
        expected = _outcome(connection, statement, connection.execute(statement, parameters))
        undone.rollback()
    for _ in range(2):  # the first run finds out how columns are converted
        with connection.begin_nested() as undone:
            found = _outcome(connection, statement, Session(connection, lambda _: T0).execute(statement, parameters))
            undone.rollback()
        assert found == expected or name == "SERVER_TIME"
    returned, _, effects = expected
    assert returned or effects != _effects(connection, statement)


@pytest.mark.parametrize("count", [0, 1, 40_000])
def test_a_list_is_one_parameter_however_long(connection: Connection, count: int) -> None:
    ids = [FAILED.id, *(f"unknown-{number}" for number in range(count))][:count]
    found = Session(connection, lambda _: T0).execute(statements.KNOWN_EVENTS, {"ids": ids})
    assert set(found.scalars()) == {FAILED.id} & set(ids)


def test_a_refused_value_is_the_exception_of_sqlalchemy(connection: Connection) -> None:
    (values,) = PARAMETERS["RECORD_EVENT"]
    again = [values, values]
    with pytest.raises(IntegrityError), connection.begin_nested():
        Session(connection, lambda _: T0).execute(statements.RECORD_EVENT, again)
    assert connection.execute(select(1)).scalar() == 1


class _Recorder:
    """A cursor that keeps the values that it is given."""

    def __init__(self, cursor: Any) -> None:
        self.values: list[object] = []
        self._cursor = cursor

    def execute(self, sql: str, values: Sequence[object]) -> None:
        self.values += values
        self._cursor.execute(sql, values)

    def executemany(self, sql: str, given: Iterable[Sequence[object]]) -> None:
        for row in given:
            self.execute(sql, row)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


@pytest.mark.parametrize("name", FOR_EVERY_EVENT)
def test_sqlites_driver_gets_nothing_that_it_has_to_adapt(connection: Connection, name: str) -> None:
    if connection.dialect.name != "sqlite":
        return
    form, recorder = form_of(getattr(statements, name), connection.dialect), _Recorder(connection.connection.cursor())
    assert form is not None
    form.execute(connection, recorder, _parameters(connection, name))
    adapted = {type_ for type_, _ in sqlite_module().adapters}
    assert {type(value) for value in recorder.values} <= {str, int, float} | ({type(None), bytes} & adapted)


def test_a_time_without_a_zone_is_refused_in_changes_of_several_rows(connection: Connection) -> None:
    (values,) = PARAMETERS["RECORD_EVENT"]
    naive = [values | {"observed_at": T0.replace(tzinfo=None)}]
    with pytest.raises(ValueError, match="without a zone"):
        Session(connection, lambda _: T0).execute(statements.RECORD_EVENT, naive)


def test_a_statement_whose_text_depends_on_its_values_is_not_compiled(connection: Connection) -> None:
    listed = select(schema.events.c.id).where(schema.events.c.id.in_(statements.list_parameter("ids")))
    with pytest.raises(TypeError, match="is_in"):
        CompiledStatement(listed, connection.dialect)
