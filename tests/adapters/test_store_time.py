"""One time for all who use a SQLite database, whatever becomes of the system's clock meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from factories import make_delivery, make_event, make_task
from fakes import FakeClock, FakeSource
from hypothesis import given, settings
from hypothesis import strategies as st

import notifier.steady_time
from notifier.core.delivery import DeliveryState
from notifier.core.events import EventType
from notifier.core.mutes import Mute
from notifier.core.polling import PollRules
from notifier.core.routing import ChannelPolicy, Route, RoutedEvent, RoutingConfig
from notifier.poll import poll_once
from notifier.ports import DeliveryFilter
from notifier.store.engine import SqlStore, open_store
from notifier.store.shared_time import _moved
from notifier.store.transaction import Transaction

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
STEPS = [HOUR, -HOUR, timedelta(seconds=3), timedelta(days=300), -timedelta(days=300), timedelta(days=365 * 56)]

ROUTING = RoutingConfig(
    routes=(Route(name="all", channels=("dba",)),), policies={"dba": ChannelPolicy(name="dba", digest_above=20)}
)
RULES = PollRules(poll_every=timedelta(seconds=30), lease=MINUTE)


class Clocks:
    """The clocks of a machine, both in the hands of a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.system = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
        self.seconds = 1000.0
        self.boot = "this start"
        clocks = self

        class Told(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # always UTC here
                assert tz is UTC
                return clocks.system

        monkeypatch.setattr(notifier.steady_time, "datetime", Told)
        monkeypatch.setattr(notifier.steady_time, "boot_seconds", lambda: self.seconds)
        monkeypatch.setattr(notifier.steady_time, "_boot", lambda: self.boot)

    def go_on(self, length: timedelta) -> None:
        self.system += length
        self.seconds += length.total_seconds()

    def is_set(self, step: timedelta) -> None:
        self.system += step


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


@pytest.fixture
async def service(clocks: Clocks, sqlite_url: str) -> AsyncIterator[SqlStore]:  # noqa: ARG001 - set before it opens
    async with aclosing(open_store(sqlite_url, exclusive=True)) as store:
        yield store


@pytest.fixture
async def command(service: SqlStore, sqlite_url: str) -> AsyncIterator[SqlStore]:  # noqa: ARG001 - opened first
    async with aclosing(open_store(sqlite_url, create=False)) as store:
        yield store


async def now(store: SqlStore) -> datetime:
    return await store.transact(lambda tx: tx.now())


def waiting(state: DeliveryState, wait: timedelta) -> Callable[[Transaction], None]:
    """Record a delivery that is to wait, or one that has ended."""

    def record(tx: Transaction) -> None:
        event = make_event(make_task(f"job {state}"))
        tx.events.record([RoutedEvent(event=event, routes=("all",), channels=("dba",))])
        tx.deliveries.record([make_delivery(event, state=state, available_at=tx.now() + wait, attempt=0)])

    return record


async def waits(store: SqlStore) -> dict[str, timedelta]:
    """Return how much longer everything waits, by the store's time."""
    at = await now(store)
    deliveries = await store.read(lambda q: q.deliveries(DeliveryFilter()))
    mutes = await store.read(lambda q: q.known_mutes())
    sources = await store.read(lambda q: q.source_states())
    channels = await store.transact(lambda tx: {"open": tx.channels.health("dba").open_until})
    found: dict[str, datetime | None] = {f"delivery {d.state}": d.available_at for d in deliveries}
    found |= {f"mute {mute.instance}": mute.until for mute in mutes}
    found |= {f"poll {source.name}": source.next_poll_at for source in sources}
    return {name: until - at for name, until in (found | channels).items() if until}


async def fill(store: SqlStore, clocks: Clocks) -> None:
    await store.transact(waiting(DeliveryState.PENDING, timedelta(hours=8)))
    await store.transact(waiting(DeliveryState.PARKED, 5 * MINUTE))

    def others(tx: Transaction) -> None:
        at = tx.now()
        until = at + 30 * MINUTE
        mute = Mute(id="7k2m", since=at, instance="gauss", until=until, by="U1", name="Ada", created_at=at)
        tx.mutes.save(replace(mute, begun=True, due_at=until), at)
        tx.channels.save_health("dba", replace(tx.channels.health("dba"), open_until=at + MINUTE))

    await store.transact(others)
    source = FakeSource(FakeClock())
    await poll_once(source, store, owner="me", rules=RULES, routing=ROUTING, force=True)
    clocks.go_on(timedelta(seconds=10))


@pytest.mark.parametrize("first", ["service", "command"])
@pytest.mark.parametrize("step", STEPS, ids=str)
async def test_waits_keep_their_length_when_the_clock_is_set(
    service: SqlStore, command: SqlStore, clocks: Clocks, step: timedelta, first: str
) -> None:
    await fill(service, clocks)
    before = await waits(service)
    assert len(before) == 5
    clocks.is_set(step)
    order = [service, command] if first == "service" else [command, service]
    for store in order:
        assert await now(store) == clocks.system
        assert await waits(store) == before


async def test_a_retry_and_a_mute_survive_a_clock_step_during_a_service(
    service: SqlStore, command: SqlStore, clocks: Clocks
) -> None:
    await service.transact(waiting(DeliveryState.DEAD, timedelta()))
    (dead,) = await service.read(lambda q: q.deliveries(DeliveryFilter()))
    for step in (HOUR, -HOUR):
        clocks.is_set(step)
        assert await command.transact(lambda tx: tx.deliveries.retry([dead.id], tx.now())) == 1
        due = await service.transact(lambda tx: tx.deliveries.claim_due("dba", "x", tx.now(), timedelta(), 10))
        assert [claimed.id for claimed in due] == [dead.id]
        with service.writer.begin() as connection:
            connection.exec_driver_sql("UPDATE deliveries SET state = 'dead'")


async def test_what_is_written_down_for_people_has_the_corrected_time(service: SqlStore, clocks: Clocks) -> None:
    source = FakeSource(FakeClock())
    await poll_once(source, service, owner="me", rules=RULES, routing=ROUTING, force=True)
    clocks.is_set(timedelta(days=300))
    source.tasks = [make_task("a", status="running")]
    report = await poll_once(source, service, owner="me", rules=RULES, routing=ROUTING, force=True)
    assert [event.type for event in report.events] == [EventType.TASK_STARTED], "and there was no gap"
    assert report.events[0].observed_at == clocks.system


async def test_a_read_goes_on_with_the_time_until_somebody_writes(service: SqlStore, clocks: Clocks) -> None:
    before = await service.read(lambda q: q.now())
    clocks.is_set(HOUR)
    assert await service.read(lambda q: q.now()) == before
    await now(service)
    assert await service.read(lambda q: q.now()) == clocks.system


async def test_a_clock_that_drifts_a_little_is_not_followed(service: SqlStore, clocks: Clocks) -> None:
    before = await now(service)
    clocks.is_set(timedelta(seconds=1.5))
    assert await now(service) == before


async def test_times_of_a_clock_before_the_present_one_are_left_alone(
    sqlite_url: str, clocks: Clocks, service: SqlStore
) -> None:
    """A machine without a battery starts in 1970, and finds what it recorded in its last life."""
    await fill(service, clocks)
    await service.aclose()
    was, clocks.system, clocks.boot, clocks.seconds = clocks.system, datetime(1970, 1, 1, tzinfo=UTC), "next", 5.0
    async with aclosing(open_store(sqlite_url, exclusive=True)) as store:
        before = await store.read(lambda q: q.source_states())
        assert before[0].last_poll_at is not None
        clocks.system = was + HOUR
        assert await now(store) == was + HOUR
        assert await store.read(lambda q: q.source_states()) == before


def test_a_time_that_would_leave_the_calendar_stays() -> None:
    assert _moved("9999-12-31 00:00:00.000000", 86400.0 * 2) == "9999-12-31 00:00:00.000000"
    assert _moved("2026-01-01 00:00:00.000000", 3601.5) == "2026-01-01 01:00:01.500000"


@settings(max_examples=15)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(-10_000_000, 10_000_000), st.integers(0, 50)), max_size=6))
def test_any_number_of_steps_changes_no_wait(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, steps: list[tuple[bool, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("steps") / "notifier.db"
    path.write_bytes(sqlite_template.read_bytes())

    async def live(clocks: Clocks) -> None:
        async with AsyncExitStack() as stack:
            service = await stack.enter_async_context(aclosing(open_store(f"sqlite:///{path}", exclusive=True)))
            command = await stack.enter_async_context(aclosing(open_store(f"sqlite:///{path}")))
            await fill(service, clocks)
            left = await waits(service)
            for by_command, step, length in steps:
                clocks.is_set(timedelta(seconds=step))
                found = await waits(command if by_command else service)
                assert found.keys() == left.keys()
                assert all(abs(found[name] - left[name]) <= timedelta(seconds=4) for name in left)
                clocks.go_on(timedelta(milliseconds=length))
                left = {name: wait - timedelta(milliseconds=length) for name, wait in left.items()}

    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(live(Clocks(patch)))
