"""A database of schema 3 with work under way: the upgraded program continues it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta

import pytest
from alembic import command
from databases import at, plain
from drain import deliver_due
from factories import PROJECT_ID, REGION, T0, make_event, make_task, rows_of
from fakes import FakeChannel, FakeClock
from sqlalchemy import Connection, MetaData, text

from notifier.core.delivery import DeliveryState, delivery_id
from notifier.core.model import Event
from notifier.core.pacing import ChannelHealth
from notifier.core.routing import RoutedEvent
from notifier.deliver import DeliveryRules
from notifier.ports import DeliveryFilter
from notifier.store import migrate, rows
from notifier.store.engine import SqlStore, open_store

RULES = DeliveryRules(schedule=(timedelta(seconds=10),), lease=timedelta(minutes=1))
MINUTE = timedelta(minutes=1)
CHANNELS = ("dba", "mail", "dm:U1")
EVENTS = [make_event(make_task(f"job-{n}")) for n in range(3)]
BUDGET = {"rate_at": T0 + MINUTE, "paused_until": T0 + 2 * MINUTE, "open_until": T0 + MINUTE, "failures": 3}
PARKED = {"parked_since": T0, "reason": "HTTP 410", "probe_at": T0 + MINUTE}


def delivery(channel: str, *events: Event, **changes: object) -> Mapping[str, object]:
    digest = len(events) > 1
    return {
        "id": delivery_id(channel, *(event.id for event in events)),
        "channel": channel,
        "lane": "digest" if digest else events[0].subject,
        "digest": digest,
        "state": "pending",
        "available_at": T0,
        "created_at": T0,
    } | changes


DELIVERIES = [
    delivery("dba", EVENTS[0]),
    delivery("dba", EVENTS[1], doubtful=True, attempt=1, body=b"stored", content_type="text/plain"),
    delivery("mail", EVENTS[0], state="parked"),
    delivery("mail", EVENTS[1], state="parked"),
    delivery("mail", EVENTS[2], state="delivered", settled_at=T0),
    delivery("dba", EVENTS[2], available_at=T0 + MINUTE, attempt=1),
    delivery("dm:U1", EVENTS[0], EVENTS[1]),
    delivery("dm:U1", EVENTS[2], state="dead", settled_at=T0, reason="HTTP 400"),
]


def members(one: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    carried = EVENTS[:2] if one["digest"] else [event for event in EVENTS if event.subject == one["lane"]]
    return [
        {"delivery_id": one["id"], "event_id": event.id, "channel": one["channel"], "subject": event.subject}
        | {"position": position}
        for position, event in enumerate(carried)
    ]


def fill(connection: Connection) -> None:
    """Put work under way into a database of schema 3."""
    found = MetaData()
    found.reflect(connection)
    source = {"name": "prod", "region": REGION, "project_id": PROJECT_ID, "last_poll_at": T0, "forgotten_to": T0}
    contents: Mapping[str, Sequence[Mapping[str, object]]] = {
        "sources": [source],
        "events": rows_of(rows.event_columns([RoutedEvent(event=one, routes=(), channels=CHANNELS) for one in EVENTS])),
        "deliveries": DELIVERIES,
        "delivery_events": [member for one in DELIVERIES for member in members(one)],
        "attempts": [
            {"delivery_id": DELIVERIES[1]["id"], "number": 1, "started_at": T0, "finished_at": T0}
            | {"outcome": "unknown", "doubt": "risked"}
        ],
        "channels": [{"name": "dba"}, {"name": "dm:U1"}, {"name": "mail", **PARKED}, {"name": "edits:token", **BUDGET}],
        "watches": [{"source": "prod", "job_id": "job-9", "person": "U1", "created_at": T0}],
    }
    for name, values in contents.items():
        for value in values:
            connection.execute(found.tables[name].insert().values(**value))


async def upgraded(url: str, clock: FakeClock) -> SqlStore:
    with plain(url) as engine, engine.begin() as connection:
        at(connection, "0003")
        fill(connection)
    return open_store(url, migrate=True, now=clock.now)


async def sent_on(store: SqlStore, name: str, clock: FakeClock) -> Sequence[tuple[str, ...]]:
    channel = FakeChannel(name)
    await deliver_due(channel, store, clock, random.Random(1), owner="me", rules=RULES)
    return [tuple(event.job_id for event in one.events) for one in channel.sent]


async def test_what_was_pending_is_delivered_in_order(empty_url: str, clock: FakeClock) -> None:
    async with aclosing(await upgraded(empty_url, clock)) as store:
        assert await sent_on(store, "dba", clock) == [("job-0",), ("job-1",)]
        assert await sent_on(store, "dm:U1", clock) == [("job-0", "job-1")]
        assert await sent_on(store, "mail", clock) == []
        clock.advance(MINUTE)
        assert await sent_on(store, "dba", clock) == [("job-2",)]
        assert await store.transact(lambda tx: tx.channels.unpark_due(tx.now())) == ["mail"]
        assert await sent_on(store, "mail", clock) == [("job-0",), ("job-1",)]
        ledger = await store.read(lambda q: q.ledger())
        assert ledger.unaccounted == ()
        assert ledger.by_state[DeliveryState.DELIVERED] == 8


async def test_what_was_recorded_is_read_by_its_new_names(empty_url: str, clock: FakeClock) -> None:
    async with aclosing(await upgraded(empty_url, clock)) as store:
        found = {one.id: one for one in await store.read(lambda q: q.deliveries(DeliveryFilter()))}
        assert [found[str(one["id"])].subject for one in DELIVERIES] == [
            "" if one["digest"] else one["lane"] for one in DELIVERIES
        ]
        assert [one.id for one in found.values() if one.outcome_unknown] == [DELIVERIES[1]["id"]]
        (attempt,) = await store.read(lambda q: q.attempts(str(DELIVERIES[1]["id"])))
        assert attempt.resolution == "risked"
        (source,) = await store.read(lambda q: q.source_states())
        assert source.pruned_to == T0
        assert await store.transact(lambda tx: tx.people.subscribers("prod", ["job-9"])) == {"job-9": ["U1"]}


async def test_a_budget_of_edits_is_no_channel(empty_url: str, clock: FakeClock) -> None:
    async with aclosing(await upgraded(empty_url, clock)) as store:
        assert [state.name for state in await store.read(lambda q: q.channels())] == ["dba", "dm:U1", "mail"]
        budget = await store.transact(lambda tx: tx.threads.edit_budget("token"))
        assert budget == ChannelHealth(**BUDGET)  # type: ignore[arg-type]  # times and a number


@pytest.mark.parametrize("revision", ["0004"])
def test_a_downgrade_restores_the_former_names(empty_url: str, revision: str) -> None:
    with plain(empty_url) as engine:
        with engine.begin() as connection:
            at(connection, "0003")
            fill(connection)
        migrate.upgrade(engine)
        with engine.begin() as connection:
            config = migrate.alembic_config()
            config.attributes["connection"] = connection
            command.downgrade(config, revision)
        with engine.connect() as connection:
            names = connection.execute(text("SELECT name FROM channels ORDER BY name")).scalars().all()
            lanes = connection.execute(text("SELECT lane FROM deliveries ORDER BY seq")).scalars().all()
            doubtful = connection.execute(text("SELECT count(*) FROM deliveries WHERE doubtful")).scalar()
            people = connection.execute(text("SELECT person FROM watches")).scalars().all()
    assert (names, people, doubtful) == (["dba", "dm:U1", "edits:token", "mail"], ["U1"], 1)
    assert lanes == ["" if one["digest"] else one["lane"] for one in DELIVERIES]
