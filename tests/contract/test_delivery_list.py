"""Lists and counts of deliveries, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from factories import T0, make_delivery, make_event, make_task

from notifier.core import delivery_lists
from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.delivery_lists import (
    WAITING,
    DeliveryCursor,
    DeliveryListing,
    ListedState,
    latencies_of,
)
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.routing import RoutedEvent
from notifier.store import rows, schema, statements
from notifier.store.engine import SqlStore
from notifier.store.queries import Queries
from notifier.store.transaction import Transaction

WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)
CHANNELS = ("dba", "mail")
DELIVERED = {"state": DeliveryState.DELIVERED}
STATES: tuple[tuple[ListedState, dict[str, Any]], ...] = (
    (ListedState.PARKED, {"state": DeliveryState.PARKED, "reason": "HTTP 401"}),
    (ListedState.DEAD, {"state": DeliveryState.DEAD, "reason": "HTTP 503"}),
    (ListedState.PENDING, {"state": DeliveryState.PENDING}),
    (ListedState.HELD, {"state": DeliveryState.PENDING, "rule": "budget:20/h"}),
    (ListedState.DELIVERED, DELIVERED),
    (ListedState.SUPPRESSED, {"state": DeliveryState.SUPPRESSED, "rule": "mute:7k2m", "reason": "muted"}),
    (ListedState.SUPERSEDED, {"state": DeliveryState.SUPERSEDED}),
    (ListedState.DISMISSED, {"state": DeliveryState.DEAD, "dismissed_at": T0}),
)


def deliveries() -> Iterator[Delivery]:
    """Yield three rounds of a delivery in each state on each channel, an hour apart, failures in the second round."""
    for number in range(3):
        for state, changes in STATES:
            task = make_task(f"{state}-{number}", instance_name=f"{state}-Orders-{number}")
            event = make_event(task, observed_at=T0 + number * HOUR)
            for channel in CHANNELS:
                at = T0 + number * HOUR
                times = {"created_at": at, "settled_at": at + timedelta(seconds=number + 1)}
                yield make_delivery(event, channel=channel, rank=int(number != 1), **times | changes)


@pytest.fixture
async def filled(store: SqlStore) -> SqlStore:
    made = list(deliveries())

    def fill(tx: Transaction) -> None:
        events = {one.events[0].id: one.events[0] for one in made}
        tx.events.record([RoutedEvent(event=event, routes=("all",), channels=CHANNELS) for event in events.values()])
        tasks = [RecordedTask(task=event.task, occurrence="o") for event in events.values() if event.task]
        for task in tasks:
            values = rows.written_values(TaskWrite(recorded=task, fingerprint=b"f"), T0)
            tx.queries._session.execute(statements.RECORD_TASK, [values])
        tx.deliveries.record(made)
        change = schema.deliveries.update()
        for one in made:
            later = {"dismissed_at": one.dismissed_at, "settled_at": one.settled_at}
            tx.queries._session.connection.execute(change.where(schema.deliveries.c.id == one.id).values(later))

    await store.transact(fill)
    return store


async def listed(store: SqlStore, wanted: DeliveryListing) -> list[list[str]]:
    """Return the pages of a list: each row as state, number and channel."""
    found, page = list[list[str]](), await store.read(lambda q: q.delivery_list.page(wanted))
    while True:
        found.append([f"{one.event.task.job_id} {one.channel}" for one in page.rows if one.event.task])
        if page.after is None:
            return found
        wanted = replace(wanted, after=DeliveryCursor.parse(str(page.after)))
        page = await store.read(lambda q, wanted=wanted: q.delivery_list.page(wanted))  # type: ignore[misc]  # a default


@pytest.mark.parametrize("state", ListedState)
async def test_a_list_shows_the_deliveries_of_a_state_once(state: ListedState, filled: SqlStore) -> None:
    pages = await listed(filled, DeliveryListing(states=(state,), limit=4))
    expected = [f"{state}-{number} {channel}" for number in range(3) for channel in CHANNELS]
    assert [len(page) for page in pages] == [4, 2]
    assert [one for page in pages for one in page] == (expected if state.waits else expected[::-1])


async def test_what_waits_is_listed_by_state(filled: SqlStore) -> None:
    pages = await listed(
        filled, DeliveryListing(states=(ListedState.DEAD, ListedState.PARKED), channel="mail", limit=2)
    )
    assert pages == [
        ["parked-0 mail", "parked-1 mail"],
        ["parked-2 mail", "dead-0 mail"],
        ["dead-1 mail", "dead-2 mail"],
    ]


async def test_what_has_ended_is_listed_with_the_newest_first(filled: SqlStore) -> None:
    wanted = DeliveryListing(states=(ListedState.DELIVERED, ListedState.DEAD), channel="dba", limit=4)
    assert await listed(filled, wanted) == [
        ["delivered-2 dba", "dead-2 dba", "delivered-1 dba", "dead-1 dba"],
        ["delivered-0 dba", "dead-0 dba"],
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ORDERS-1", ["parked-1", "dead-1"]),
        ("401", ["parked-0", "parked-1", "parked-2"]),
        ("_", []),
        ("%", []),
        ("nowhere", []),
    ],
)
async def test_a_search_finds_names_and_reasons(text: str, expected: list[str], filled: SqlStore) -> None:
    (page,) = await listed(filled, DeliveryListing(text=text, channel="dba"))
    assert page == [f"{one} dba" for one in expected]


async def test_a_search_finds_the_beginning_of_an_id(filled: SqlStore) -> None:
    wanted = next(one for one in deliveries() if one.state is DeliveryState.DEAD and one.dismissed_at is None)
    assert await listed(filled, DeliveryListing(text=wanted.id[:12])) == [["dead-0 dba"]]


async def test_a_search_goes_on_where_it_was_ended(filled: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.store.delivery_list.SEARCHED", 2)
    wanted = DeliveryListing(states=(ListedState.DELIVERED,), text="orders-0", channel="mail")
    first = await filled.read(lambda q: q.delivery_list.page(wanted))
    assert (first.rows, first.cut) == ((), True)
    pages = await listed(filled, wanted)
    assert [one for page in pages for one in page] == ["delivered-0 mail"]


async def test_a_list_of_what_is_over_may_begin_at_a_time(filled: SqlStore) -> None:
    wanted = DeliveryListing(states=(ListedState.DELIVERED, ListedState.DEAD), channel="mail", since=T0 + 2 * HOUR)
    assert await listed(filled, wanted) == [["delivered-2 mail", "dead-2 mail", "dead-1 mail", "dead-0 mail"]]


async def test_a_list_shows_what_a_rule_did(filled: SqlStore) -> None:
    wanted = DeliveryListing(states=(ListedState.SUPPRESSED,), rule="mute:7k2m", limit=5)
    assert [len(page) for page in await listed(filled, wanted)] == [5, 1]
    assert await listed(filled, replace(wanted, rule="mute:none")) == [[]]


async def test_counts_are_those_of_each_channel(filled: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_lists, "MIN_MEASURED", 1)

    dba, mail = await filled.read(lambda q: q.delivery_list.counts(T0 + HOUR, {"dba"}))
    stuck = await filled.read(lambda q: q.delivery_list.count_not_through())
    lately = {ListedState.DELIVERED, ListedState.SUPPRESSED, ListedState.SUPERSEDED}
    assert dba.counts == mail.counts == {state: 2 if state in lately else 3 for state in ListedState}
    assert (dba.channel, mail.channel, mail.latencies, stuck) == ("dba", "mail", None, 12)
    assert dba.latencies == (timedelta(seconds=2), timedelta(seconds=3), 2)


async def test_planned_pairs_are_compared_with_deliveries(filled: SqlStore) -> None:
    found = await filled.read(lambda q: q.delivery_list.planned_pairs(T0))
    assert found == (24, 48, 48, 0, T0, True)

    def lose_one(tx: Transaction) -> None:
        lost = next(deliveries())
        tx.queries._session.connection.execute(schema.deliveries.delete().where(schema.deliveries.c.id == lost.id))

    await filled.transact(lose_one)
    after = await filled.read(lambda q: q.delivery_list.planned_pairs(T0))
    assert (after.planned, after.accounted, after.unequal) == (48, 47, 1)


async def test_an_empty_database_has_nothing_to_list(store: SqlStore) -> None:
    def read(q: Queries) -> object:
        listing = q.delivery_list
        return (
            listing.count_not_through(),
            listing.counts(T0, ()),
            listing.planned_pairs(T0)[:4],
            listing.page(DeliveryListing(states=WAITING)).rows,
            listing.states(["none"]),
        )

    assert await store.read(read) == (0, [], (0, 0, 0, 0), (), {})


async def test_states_are_those_that_lists_have(filled: SqlStore) -> None:
    wanted = {one.id: state for one, (state, _) in zip(list(deliveries())[::2], STATES * 3, strict=True)}
    assert await filled.read(lambda q: q.delivery_list.states([*wanted, "none"])) == wanted


@pytest.mark.parametrize("text", ["", "dead", "dead.", "dead.-1", "dead.²", "gone.1", "dead.1.2", f"dead.{10**30}"])
def test_a_wrong_cursor_is_none(text: str) -> None:
    assert DeliveryCursor.parse(text) is None


def test_times_of_few_messages_are_not_told() -> None:
    seconds = [timedelta(seconds=number) for number in range(1, 21)]
    assert latencies_of(seconds[:4]) is None
    assert latencies_of(seconds[::-1]) == (timedelta(seconds=10), timedelta(seconds=20), 20)
