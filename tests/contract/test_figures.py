"""Counts for those who monitor the program, on either database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from factories import T0, make_delivery, make_event, make_task, rows_of
from fakes import FakeClock
from sqlalchemy import delete, event, insert

from notifier.core.credentials import CredentialState
from notifier.core.delivery import DeliveryState
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.failures import FailureState, OpenFailure
from notifier.core.model import Event, TaskStatus
from notifier.core.routing import RoutedEvent
from notifier.core.severity import Severity
from notifier.store import figures, rows
from notifier.store.engine import SqlStore, open_store
from notifier.store.queries import Queries
from notifier.store.revision import HEAD
from notifier.store.schema import delivery_events, failures
from notifier.store.transaction import Transaction

HOUR = timedelta(hours=1)


def record(tx: Transaction, *events: Event, channel: str = "dba", **changes: Any) -> None:
    tx.events.record([RoutedEvent(event=one, routes=(), channels=(channel,)) for one in events])
    tx.deliveries.record([make_delivery(one, channel=channel, subject=one.subject, **changes) for one in events])


def failure(number: int, severity: Severity, state: FailureState) -> OpenFailure:
    latest = make_event(make_task(f"job-{number}"))
    return OpenFailure(
        id=f"f{number}",
        operation=f"op-{number}",
        state=state,
        first_event_id=latest.id,
        latest=latest,
        opened_at=T0,
        severity=severity,
        changed_at=T0,
    )


async def test_the_revision_is_that_of_the_program(store: SqlStore) -> None:
    assert await store.read(lambda q: q.figures.revision()) == HEAD


async def test_an_empty_database_has_no_figures(store: SqlStore) -> None:
    assert await store.read(lambda q: q.figures.tasks()) == {}
    assert await store.read(lambda q: q.figures.open_failures()) == {}
    assert await store.read(lambda q: q.figures.held()) == {}
    assert await store.read(lambda q: q.figures.credentials()) == {}
    assert await store.read(lambda q: q.figures.unaccounted(T0 - HOUR)) == 0


async def test_tasks_are_counted_by_source_and_status(store: SqlStore, clock: FakeClock) -> None:
    wanted = [("prod", TaskStatus.RUNNING), ("prod", TaskStatus.RUNNING), ("staging", TaskStatus.FAILED)]
    found = [make_task(f"job-{n}", source=source, status=status) for n, (source, status) in enumerate(wanted)]

    def write_all(tx: Transaction) -> None:
        for task in found:
            claim = tx.polls.claim(task.source, "me", tx.now(), HOUR, poll_every=HOUR, force=True)
            assert claim is not None
            write = TaskWrite(recorded=RecordedTask(task=task, occurrence="o"), fingerprint=b"f")
            tx.polls.record_tasks(claim, [write], clock.now())

    await store.transact(write_all)
    assert await store.read(lambda q: q.figures.tasks()) == {("prod", "running"): 2, ("staging", "failed"): 1}


@pytest.mark.parametrize("judged", [1_000, 1])
async def test_open_failures_are_counted_by_severity(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch, judged: int
) -> None:
    """Of more than a scrape may decode, the number is right and the severity of the rest unknown."""
    monkeypatch.setattr(figures, "MAX_JUDGED_FAILURES", judged)

    some = [
        failure(1, Severity.CRITICAL, FailureState.OPEN),
        failure(2, Severity.CRITICAL, FailureState.OPEN),
        failure(3, Severity.WARNING, FailureState.ACKNOWLEDGED),
        failure(4, Severity.ERROR, FailureState.RESOLVED),
    ]
    with store.writer.begin() as connection:
        connection.execute(insert(failures), rows_of(rows.failure_columns(some)))
    found = await store.read(lambda q: q.figures.open_failures())
    if judged == 1_000:
        assert found == {("critical", False): 2, ("warning", True): 1}
    else:
        assert sum(found.values()) == 3
        assert sum(number for (severity, _), number in found.items() if severity is None) == 2


async def test_what_rules_hold_is_counted_by_channel(store: SqlStore) -> None:
    some = [make_event(make_task(f"job-{n}")) for n in range(4)]
    await store.transact(lambda tx: record(tx, some[0], some[1], rule="budget"))
    await store.transact(lambda tx: record(tx, some[2]))
    await store.transact(lambda tx: record(tx, some[3], rule="mute:7k2m", state=DeliveryState.SUPPRESSED))
    assert await store.read(lambda q: q.figures.held()) == {"dba": 2}


async def test_credentials_are_those_recorded(store: SqlStore) -> None:
    state = CredentialState(rate_at=T0, paused_until=T0 + HOUR, refusal="401", refused_version="v", refusals=2)

    def write(tx: Transaction) -> None:
        tx.credentials.state("k")
        tx.credentials.save("k", state)

    await store.transact(write)
    assert await store.read(lambda q: q.figures.credentials()) == {"k": state}


async def test_an_event_without_its_delivery_is_unaccounted_for_an_hour(store: SqlStore) -> None:
    lost, kept = make_event(make_task("lost")), make_event(make_task("kept"))
    await store.transact(lambda tx: record(tx, lost, kept))
    with store.writer.begin() as connection:
        connection.execute(delete(delivery_events).where(delivery_events.c.event_id == lost.id))
    assert await store.read(lambda q: q.figures.unaccounted(lost.observed_at)) == 1
    assert await store.read(lambda q: q.figures.unaccounted(lost.observed_at + HOUR)) == 0
    assert len((await store.read(lambda q: q.ledger())).unaccounted) == 1


async def test_no_figure_is_read_from_a_table_that_grows(sqlite_url: str) -> None:
    """SQLite says `SCAN tasks` where it reads a table, and `SCAN tasks USING … INDEX` where an index is enough."""
    store, seen = open_store(sqlite_url, now=lambda: T0), list[tuple[str, Any]]()

    def note(*given: Any) -> None:
        seen.append(given[2:4])

    def read(q: Queries) -> None:
        event.listen(q._session.connection, "before_cursor_execute", note)
        q.figures.tasks()
        q.figures.open_failures()
        q.figures.held()
        q.figures.unaccounted(T0 - HOUR)

    await store.read(read)
    with store.writer.connect() as connection:
        steps = [
            row[3]
            for statement, parameters in seen
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    await store.aclose()
    assert len(seen) == 5
    grown = {f"SCAN {name}" for name in ("tasks", "failures", "deliveries", "delivery_events", "events")}
    assert grown.isdisjoint(steps)
    assert "SCAN tasks USING COVERING INDEX ix_tasks_source_status" in steps
