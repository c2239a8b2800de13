"""Planned maintenance from the list to the messages: once, whatever is killed and however many replicas there are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from factories import make_event, make_maintenance, make_task
from fakes import START, FakeClock

from notifier.core.credentials import BURST, Credential
from notifier.core.errors import PermissionDenied, SourceError, SourceUnreachable, StoreError
from notifier.core.events import EventType
from notifier.core.failures import FailureState
from notifier.core.maintenance_mutes import MaintenanceMute
from notifier.core.maintenance_values import (
    MaintenanceList,
    MaintenanceRecord,
    MaintenanceRules,
    MaintenanceStatus,
    PlannedMaintenance,
)
from notifier.core.matchers import parse_matchers
from notifier.core.model import Event, SourceOrigin
from notifier.core.rights import SourcePart
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig, route_events
from notifier.maintenance import READ_LEASE, RETRIES, Maintenance, MaintenanceReport, MaintenanceSource
from notifier.planning import announce
from notifier.ports import DeliveryFilter, EventFilter
from notifier.store.engine import SqlStore, open_store
from notifier.store.transaction import Transaction

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ORIGIN = SourceOrigin(source="prod", region="cn-north-4", project_id="p", environment="production")
ROUTING = RoutingConfig(
    routes=(
        Route(name="asking", match=parse_matchers("type=maintenance.awaiting"), channels=("pager",), remind=(HOUR,)),
        Route(name="all", match=parse_matchers("type=maintenance.*"), channels=("dba",)),
    ),
    policies={name: ChannelPolicy(name=name) for name in ("dba", "pager")},
)
RULES = MaintenanceRules()


class FakeList:
    """The list of a source, of which a test says what it shows."""

    name = "prod"
    action = "gaussdb:instance:listScheduleEvents"

    def __init__(self, *rows: PlannedMaintenance) -> None:
        self.rows = rows
        self.error: SourceError | None = None
        self.calls = 0
        self.on_read: Callable[[], Any] = lambda: None

    async def read(self) -> MaintenanceList:
        self.calls += 1
        shown = MaintenanceList(planned=self.rows, complete=True)
        found = self.on_read()
        if found is not None:
            await found
        if self.error:
            raise self.error
        return shown


def reading(reader: FakeList, credential: Credential | None = None, routing: RoutingConfig = ROUTING) -> Maintenance:
    one = MaintenanceSource(reader=reader, origin=ORIGIN, credential=credential)
    return Maintenance(sources={"prod": one}, rules=RULES, routing=routing)


@pytest.fixture
async def replica(store_url: str, clock: FakeClock) -> AsyncIterator[SqlStore]:
    """A second process on the database; on SQLite one that shares the file."""
    async with AsyncExitStack() as stack:
        other = open_store(store_url, now=clock.now)
        stack.push_async_callback(other.aclose)
        yield other


async def events(store: SqlStore) -> list[Event]:
    found = await store.read(lambda q: q.events(EventFilter(limit=100)))
    return [item.event for item in reversed(found)]


async def types(store: SqlStore) -> list[str]:
    return [event.type.removeprefix("maintenance.") for event in await events(store)]


async def sent(store: SqlStore, channel: str) -> list[str]:
    found = await store.read(lambda q: q.deliveries(DeliveryFilter(channel=channel, limit=100)))
    return [event.type.removeprefix("maintenance.") for one in reversed(found) for event in one.events]


async def known(store: SqlStore) -> dict[str, MaintenanceRecord]:
    return dict(await store.transact(lambda tx: tx.maintenance.of_source("prod")))


async def step(store: SqlStore, clock: FakeClock, one: Maintenance, wait: timedelta) -> Sequence[MaintenanceReport]:
    clock.advance(wait)
    return await one.read_due(store)


async def test_a_maintenance_from_its_announcement_to_its_end(store: SqlStore, clock: FakeClock) -> None:
    reader = FakeList(make_maintenance())
    one = reading(reader)
    (report,) = await one.read_due(store)
    assert (report.source, report.listed, report.complete, report.error) == ("prod", 1, True, None)
    assert await one.read_due(store) == []
    assert await step(store, clock, one, RULES.every - timedelta(seconds=1)) == []
    assert len(await step(store, clock, one, timedelta(seconds=1))) == 1
    assert await types(store) == ["announced"]
    assert (await one.remind_due(store)).events == ()
    clock.advance(DAY)
    assert [event.type for event in (await one.remind_due(store)).events] == [EventType.MAINTENANCE_REMINDED]
    assert (await one.remind_due(store)).events == ()
    clock.advance(DAY)
    reader.rows = (make_maintenance(MaintenanceStatus.EXECUTING),)
    await one.read_due(store)
    reader.rows = (make_maintenance(MaintenanceStatus.COMPLETED),)
    assert len(await step(store, clock, one, MINUTE)) == 1  # read more often while it is under way
    assert await types(store) == ["announced", "reminded", "started", "ended"]
    assert await sent(store, "dba") == ["announced", "reminded", "started", "ended"]
    assert await sent(store, "pager") == []
    assert (await known(store))["m-1"].over


async def test_what_waits_for_authorisation_is_open_until_it_is_scheduled(store: SqlStore, clock: FakeClock) -> None:
    reader = FakeList(make_maintenance(MaintenanceStatus.INQUIRING))
    one = reading(reader)
    await one.read_due(store)
    (failure,) = await store.read(lambda q: q.open_failures())
    assert (failure.state, failure.latest.type) == (FailureState.OPEN, EventType.MAINTENANCE_AWAITING)
    assert failure.next_at == START + HOUR
    reader.rows = (make_maintenance(),)
    await step(store, clock, one, RULES.every)
    assert await store.read(lambda q: q.open_failures()) == []
    announced = (await events(store))[-1]
    assert announced.type is EventType.MAINTENANCE_ANNOUNCED
    assert announced.closes is not None
    assert announced.closes.type is EventType.MAINTENANCE_AWAITING
    # Those who were told that it waits are told that it no longer does.
    assert await sent(store, "pager") == ["awaiting", "announced"]


@pytest.mark.parametrize(
    "status", [MaintenanceStatus.EXECUTING, MaintenanceStatus.CANCELED, MaintenanceStatus.COMPLETED]
)
async def test_any_later_state_settles_what_waited(
    store: SqlStore, clock: FakeClock, status: MaintenanceStatus
) -> None:
    reader = FakeList(make_maintenance(MaintenanceStatus.INQUIRING))
    one = reading(reader)
    await one.read_due(store)
    reader.rows = (make_maintenance(status),)
    await step(store, clock, one, RULES.every)
    assert await store.read(lambda q: q.open_failures()) == []


async def test_two_maintenances_of_one_instance_are_two_open_matters(store: SqlStore, clock: FakeClock) -> None:
    reader = FakeList(
        make_maintenance(MaintenanceStatus.INQUIRING), make_maintenance(MaintenanceStatus.INQUIRING, id="m-2")
    )
    one = reading(reader)
    await one.read_due(store)
    assert len(await store.read(lambda q: q.open_failures())) == 2
    reader.rows = (make_maintenance(), reader.rows[1])
    await step(store, clock, one, RULES.every)
    (left,) = await store.read(lambda q: q.open_failures())
    assert left.latest.maintenance is not None
    assert left.latest.maintenance.id == "m-2"


# ---- replicas and kills ----


async def test_one_of_two_replicas_reads(store: SqlStore, replica: SqlStore) -> None:
    reader = FakeList(make_maintenance())
    one = reading(reader)
    reports = await asyncio.gather(one.read_due(store), one.read_due(replica))
    assert sum(map(len, reports)) == 1
    assert reader.calls == 1
    assert await types(store) == ["announced"]


async def test_a_slow_replica_records_nothing(store: SqlStore, replica: SqlStore, clock: FakeClock) -> None:
    slow, fast = FakeList(make_maintenance()), FakeList(make_maintenance(MaintenanceStatus.EXECUTING))

    async def overtake() -> None:
        clock.advance(READ_LEASE)
        assert len(await reading(fast).read_due(replica)) == 1

    slow.on_read = overtake
    (report,) = await reading(slow).read_due(store)
    assert report.fenced
    assert await types(store) == ["started"]
    assert (await known(store))["m-1"].planned.status is MaintenanceStatus.EXECUTING


async def test_two_replicas_remind_once(store: SqlStore, replica: SqlStore, clock: FakeClock) -> None:
    one = reading(FakeList(make_maintenance()))
    await one.read_due(store)
    clock.advance(DAY)
    found = await asyncio.gather(one.remind_due(store), one.remind_due(replica))
    assert sum(len(each.events) for each in found) == 1
    assert await types(store) == ["announced", "reminded"]


class Killed(StoreError):
    """The process ended here."""


def killing(store: SqlStore, transaction: int, *, committed: bool) -> Any:
    """Return a store whose process is killed before, or after, the commit of its n-th transaction."""
    seen = 0

    class Mortal:
        async def transact(self, fn: Callable[[Transaction], Any], *, short: bool = False) -> Any:
            nonlocal seen
            seen += 1
            if seen != transaction:
                return await store.transact(fn, short=short)

            def killed(tx: Transaction) -> Any:
                fn(tx)
                raise Killed("killed")

            if committed:
                await store.transact(fn, short=short)
                raise Killed("killed")
            return await store.transact(killed, short=short)

        async def read(self, fn: Callable[[Any], Any]) -> Any:
            return await store.read(fn)

    return Mortal()


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("transaction", [1, 2, 3])
async def test_a_kill_loses_and_repeats_nothing(
    store: SqlStore, clock: FakeClock, transaction: int, *, committed: bool
) -> None:
    reader = FakeList(make_maintenance(MaintenanceStatus.INQUIRING))
    one = reading(reader)
    with suppress(Killed):
        await one.read_due(killing(store, transaction, committed=committed))
    assert await types(store) == (["awaiting"] if transaction == 3 and committed else [])
    await step(store, clock, one, READ_LEASE)
    await step(store, clock, one, RULES.every)
    assert await types(store) == ["awaiting"]
    assert await sent(store, "dba") == ["awaiting"]
    assert len(await store.read(lambda q: q.open_failures())) == 1


@pytest.mark.parametrize("committed", [False, True])
async def test_a_kill_while_reminding_loses_and_repeats_nothing(
    store: SqlStore, clock: FakeClock, *, committed: bool
) -> None:
    one = reading(FakeList(make_maintenance()))
    await one.read_due(store)
    clock.advance(DAY)
    with suppress(Killed):
        await one.remind_due(killing(store, 1, committed=committed))
    await one.remind_due(store)
    await one.remind_due(store)
    assert await sent(store, "dba") == ["announced", "reminded"]


# ---- errors, rights and the budget ----


async def test_a_missing_right_stops_this_part_alone_and_is_tried_again_slowly(
    store: SqlStore, clock: FakeClock
) -> None:
    reader = FakeList(make_maintenance())
    one = reading(reader)
    reader.error = PermissionDenied("source prod: not allowed to list planned maintenance (HTTP 403).", status=403)
    (report,) = await one.read_due(store)
    assert report.error is reader.error
    lacking = await store.transact(lambda tx: tx.rights.lacking(SourcePart.MAINTENANCE))
    assert lacking == {"prod"}
    clock.advance(RULES.every - timedelta(seconds=1))
    assert await one.read_due(store) == []
    await step(store, clock, one, timedelta(seconds=1))
    assert await step(store, clock, one, RULES.every) == []  # later tries are ever further apart
    reader.error = None
    assert len(await step(store, clock, one, HOUR)) == 1
    assert await store.transact(lambda tx: tx.rights.lacking(SourcePart.MAINTENANCE)) == frozenset()
    assert await types(store) == ["announced"]


async def test_a_service_that_fails_is_tried_again_and_what_is_known_stays(store: SqlStore, clock: FakeClock) -> None:
    reader = FakeList(make_maintenance())
    one = reading(reader)
    await one.read_due(store)
    reader.error = SourceUnreachable("source prod: the service is failing (HTTP 503).", status=503)
    waits = []
    for _ in range(7):
        while not await step(store, clock, one, timedelta(seconds=15)):
            pass
        waits.append((await store.transact(lambda tx: tx.maintenance.lists()))[0])
    assert [(one.next_at - clock.now()) for one in waits[-1:] if one.next_at] == [RETRIES[1]]
    assert waits[0].error == "source prod: the service is failing (HTTP 503)."
    assert waits[-1].failing_since is not None
    assert (await known(store))["m-1"].planned == make_maintenance()
    reader.error = None
    await step(store, clock, one, RETRIES[1])
    (state,) = await store.transact(lambda tx: tx.maintenance.lists())
    assert (state.error, state.failing_since, state.failures) == (None, None, 0)


async def test_reads_wait_while_polls_need_the_budget(store: SqlStore, clock: FakeClock) -> None:
    credential = Credential(key="k", calls_per_minute=60)
    reader = FakeList(make_maintenance())
    one = reading(reader, credential)
    full = clock.now() + timedelta(seconds=BURST)

    def exhaust(tx: Transaction) -> None:
        state = tx.credentials.state("k")
        tx.credentials.save("k", replace(state, rate_at=full))

    await store.transact(exhaust)
    assert await one.read_due(store) == []
    assert reader.calls == 0
    assert len(await step(store, clock, one, timedelta(seconds=BURST))) == 1
    assert reader.calls == 1


async def test_a_list_that_is_no_longer_read_is_deleted(store: SqlStore) -> None:
    await reading(FakeList(make_maintenance())).read_due(store)
    await store.transact(lambda tx: tx.maintenance.keep(["prod"]))
    assert list(await known(store)) == ["m-1"]
    await store.transact(lambda tx: tx.maintenance.keep([]))
    assert await known(store) == {}
    assert await store.transact(lambda tx: tx.maintenance.lists()) == []


async def test_a_list_that_is_read_again_repeats_nothing(store: SqlStore, clock: FakeClock) -> None:
    """As after a reload without `maintenance: true`, and another one with it."""
    reader = FakeList(make_maintenance(MaintenanceStatus.INQUIRING))
    one = reading(reader)
    await one.read_due(store)
    reader.rows = (make_maintenance(updated_at=clock.now()),)
    await step(store, clock, one, RULES.every)
    await store.transact(lambda tx: tx.maintenance.keep([]))
    await step(store, clock, one, RULES.every)
    assert list(await known(store)) == ["m-1"]
    assert await types(store) == ["awaiting", "announced"]
    assert await sent(store, "pager") == ["awaiting", "announced"]


async def test_a_renamed_source_takes_its_maintenance_along(store: SqlStore, clock: FakeClock) -> None:
    await reading(FakeList(make_maintenance())).read_due(store)
    await store.transact(lambda tx: tx.maintenance.rename("prod", "orders"))
    assert await known(store) == {}
    moved = await store.transact(lambda tx: tx.maintenance.of_source("orders"))
    assert moved["m-1"].source == "orders"
    reader = FakeList(make_maintenance())
    reader.name = "orders"
    one = MaintenanceSource(reader=reader, origin=replace(ORIGIN, source="orders"))
    again = Maintenance(sources={"orders": one}, rules=RULES, routing=ROUTING)
    await step(store, clock, again, RULES.every)
    assert await types(store) == ["announced"]


# ---- mutes during maintenance ----


def muting(**changes: Any) -> RoutingConfig:
    mute = MaintenanceMute(name="restarts", match=parse_matchers("source=prod"), reason="the host restarts")
    everything = Route(name="everything", match=(), channels=("dba",))
    return replace(ROUTING, routes=(everything,), during_maintenance=(replace(mute, **changes),))


async def outcome(store: SqlStore, event: Event, routing: RoutingConfig) -> tuple[str, str | None]:
    """Plan an event; return the state of its delivery, and the rule behind it."""

    def plan(tx: Transaction) -> None:
        announce(tx, route_events([event], routing.routes), routing, tx.now())

    await store.transact(plan)
    (found,) = await store.read(lambda q: q.deliveries(DeliveryFilter(event_ids=[event.id], limit=10)))
    return found.state, found.rule


def of_instance(kind: EventType = EventType.TASK_COMPLETED, **changes: Any) -> Event:
    task = make_task("j", **{"source": "prod", "instance_id": "in14", "instance_name": "orders-prod"} | changes)
    return replace(make_event(task), type=kind)


SUPPRESSED, PENDING = ("suppressed", "mute:restarts"), ("pending", None)


@pytest.mark.parametrize(
    ("status", "at", "event", "expected"),
    [
        (MaintenanceStatus.EXECUTING, timedelta(), of_instance(), SUPPRESSED),
        (MaintenanceStatus.SCHEDULED, 2 * DAY - timedelta(seconds=1), of_instance(), PENDING),
        (MaintenanceStatus.SCHEDULED, 2 * DAY, of_instance(), SUPPRESSED),
        (MaintenanceStatus.SCHEDULED, 2 * DAY + 4 * HOUR, of_instance(), PENDING),
        (MaintenanceStatus.INQUIRING, 2 * DAY, of_instance(), PENDING),
        (MaintenanceStatus.EXECUTING, timedelta(), of_instance(instance_id="other"), PENDING),
        (MaintenanceStatus.EXECUTING, timedelta(), of_instance(instance_id=None), SUPPRESSED),
        (MaintenanceStatus.EXECUTING, timedelta(), of_instance(source="test"), PENDING),
    ],
)
async def test_events_of_an_instance_are_suppressed_while_its_maintenance_is_open(
    store: SqlStore,
    clock: FakeClock,
    status: MaintenanceStatus,
    at: timedelta,
    *,
    event: Event,
    expected: tuple[str, str | None],
) -> None:
    routing = muting()
    await reading(FakeList(make_maintenance(status)), routing=routing).read_due(store)
    clock.advance(at)
    assert await outcome(store, event, routing) == expected


async def test_a_mute_during_maintenance_lets_through_what_it_does_not_cover(store: SqlStore) -> None:
    failed = of_instance(EventType.TASK_FAILED)
    await reading(FakeList(make_maintenance(MaintenanceStatus.EXECUTING)), routing=muting()).read_due(store)
    assert await sent(store, "dba") == ["started"]  # what it is about is sent
    assert await outcome(store, failed, muting(except_failures=True)) == PENDING
    assert await outcome(store, replace(failed, id="2", occurrence="2"), muting()) == SUPPRESSED
    elsewhere = muting(match=parse_matchers("source=test"))
    assert await outcome(store, replace(failed, id="3", occurrence="3"), elsewhere) == PENDING
    (found,) = await store.read(lambda q: q.deliveries(DeliveryFilter(event_ids=["2"], limit=1)))
    assert found.reason == "restarts mutes orders-prod while its maintenance is open: the host restarts"
    muted = await store.read(lambda q: q.events(EventFilter(rule="mute:restarts")))
    assert [item.event.id for item in muted] == ["2"]
