"""Look-ups on a connection of their own answer as the store does, and report its faults in the same words."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from factories import T0, make_delivery, make_event, make_task, mute_request

from notifier import mutes, people
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.errors import (
    ConfigurationError,
    NotifierError,
    StoreDamaged,
    StoreError,
    StoreMissing,
    StoreUnreachable,
)
from notifier.core.people import Person
from notifier.core.routing import RoutedEvent
from notifier.ports import DeliveryFilter, EventFilter, TaskFilter
from notifier.store import reading
from notifier.store.engine import SqlStore, open_store
from notifier.store.revision import HEAD
from notifier.store.sqlite_driver import sqlite_module
from notifier.store.transaction import Transaction

ALICE = Person(id="cli:alice", name="alice")

READS: dict[str, Callable[[Any], object]] = {
    "sources": lambda q: q.sources(),
    "tasks": lambda q: q.tasks(TaskFilter(instance_name="gauss-6568-zzh", limit=10)),
    "tasks by instance": lambda q: q.tasks(TaskFilter(instance="GAUSS", limit=10)),
    "unacknowledged": lambda q: q.tasks(TaskFilter(unacknowledged=True)),
    "since": lambda q: q.tasks(TaskFilter(job_id="a", since=T0 - timedelta(days=1))),
    "counts": lambda q: q.count_by_source(TaskFilter()),
    "events": lambda q: q.events(EventFilter()),
    "deliveries": lambda q: q.deliveries(DeliveryFilter()),
    "attempts": lambda q: q.attempts("none"),
    "channels": lambda q: q.channels(),
    "actions": lambda q: q.actions(10),
    "mutes": lambda q: q.mutes(T0),
    "ledger": lambda q: q.ledger(),
    "instances": lambda q: q.instances("gauss-6568-zzh", 5),
    "names": lambda q: q.recent_instance_names(5),
}


def fill(tx: Transaction) -> None:
    claim = tx.polls.claim("prod", "me", T0, timedelta(minutes=1))
    assert claim is not None
    tx.polls.fingerprints(claim)
    tasks = (make_task("a"), make_task("b"), make_task("c", instance_id=None, instance_name="muted"))
    written = [RecordedTask(task=task, occurrence="o") for task in tasks]
    tx.polls.record_tasks(claim, [TaskWrite(recorded=one, fingerprint=b"1") for one in written], T0)
    for job in ("a", "b"):
        event = make_event(make_task(job))
        tx.events.record([RoutedEvent(event=event, routes=("all",), channels=("dba",))])
        tx.deliveries.record([make_delivery(event, channel="dba", attempt=0)])
    people.acknowledge_task(tx, make_task("a"), ALICE)
    mutes.create(tx, mute_request("muted", timedelta(hours=2)), ALICE)


@pytest.mark.parametrize("name", READS)
async def test_a_lookup_returns_what_the_store_does(store: SqlStore, store_url: str, name: str) -> None:
    await store.transact(fill)
    found = reading.read(store_url, READS[name])
    assert found == await store.read(READS[name])
    assert found or name in ("attempts", "channels")


async def test_health_has_the_same_facts_and_changes_nothing(store: SqlStore, store_url: str) -> None:
    await store.transact(fill)
    found = reading.read_writable(store_url, lambda q: q.channel_facts())
    assert found.backlogs == (await store.read(lambda q: q.channel_facts())).backlogs


def said(act: Callable[[], object]) -> tuple[type[BaseException], str]:
    with pytest.raises(NotifierError) as caught:
        act()
    return caught.type, str(caught.value)


def both(url: str) -> tuple[tuple[type[BaseException], str], ...]:
    """Return what a look-up says about a database, and what the store says."""
    return (
        said(lambda: reading.read(url, lambda q: q.sources())),
        said(lambda: open_store(url, create=False).close()),
    )


def test_a_missing_database_is_reported_alike(tmp_path: Path) -> None:
    ours, stores = both(f"sqlite:///{tmp_path}/none.db")
    assert ours == stores
    assert ours[0] is StoreMissing


def test_a_file_that_is_no_database_is_reported_alike(tmp_path: Path) -> None:
    (tmp_path / "notifier.db").write_bytes(b"not a database, but long enough to be one" * 100)
    ours, stores = both(f"sqlite:///{tmp_path}/notifier.db")
    assert ours == stores
    assert ours[0] is StoreDamaged


def test_a_url_that_is_none_is_reported_alike() -> None:
    ours, stores = both("mysql://user:password@host/database")
    assert ours == stores
    assert "password" not in ours[1]


def test_a_missing_database_of_a_server_is_reported_alike(postgres_url: str) -> None:
    ours, stores = both(f"{postgres_url.partition('?')[0].rpartition('/')[0]}/none?{postgres_url.partition('?')[2]}")
    assert ours == stores
    assert ours[0] is ConfigurationError


def test_a_server_that_is_not_there_is_reported_alike() -> None:
    ours, stores = both("postgresql://nobody@127.0.0.1:1/none")
    assert ours == stores
    assert ours[0] is StoreUnreachable


def record_version(url: str, version: str) -> None:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute("UPDATE notifier_schema SET version_num = ?", (version,))
    else:
        with psycopg.connect(url) as server:
            server.execute("UPDATE notifier_schema SET version_num = %s", (version,))


@pytest.mark.parametrize("version", ["0001", "9999"])
def test_another_schema_is_left_to_the_store(store_url: str, version: str) -> None:
    record_version(store_url, version)
    try:
        with pytest.raises(reading.OtherSchema):
            reading.read(store_url, lambda q: q.sources())
    finally:
        record_version(store_url, HEAD)  # the server's databases are used again


def test_a_locked_database_cannot_prove_that_it_takes_changes(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.store.sqlite_driver.BUSY_SECONDS", 0.05)
    with closing(sqlite_module().connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="is locked"):
            reading.read_writable(sqlite_url, lambda q: q.sources())
        assert reading.read(sqlite_url, lambda q: q.sources()) == []
