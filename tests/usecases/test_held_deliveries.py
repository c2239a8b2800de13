"""Whatever happens, and in whatever order: each event has one account on each channel, and what is held is delivered.

Everything runs on a real database: plans, steps of workers, parking, crashes before the commit, abandoned claims, and
changes of the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import psycopg
import pytest
from factories import T0, make_event, make_task
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifier.channels.rate_limits import parse_budget
from notifier.core import outbox
from notifier.core.delivery import Delivered, Delivery, DeliveryState
from notifier.core.events import EventType
from notifier.core.matchers import parse_matcher
from notifier.core.model import Event
from notifier.core.routing import ChannelPolicy, Otherwise, Route, RoutingConfig, route_events
from notifier.core.windows import parse_window
from notifier.planning import announce, end_unconfigured_holds, routing_at, with_receivers
from notifier.ports import DeliveryFilter
from notifier.store.engine import SqlStore, open_store
from notifier.store.memory import MemoryStore
from notifier.store.transaction import Transaction

T = TypeVar("T")

LEASE, MINUTE = timedelta(minutes=2), timedelta(minutes=1)
CHANNELS = {"dba": 3, "mail": 100, "hook": None, "ops": None}
"""The channels and how many events one of their digests has at most; the last one keeps tickets."""
KINDS = (
    EventType.TASK_STARTED,
    EventType.TASK_PROGRESSED,
    EventType.TASK_COMPLETED,
    EventType.TASK_FAILED,
)
WINDOW = parse_window("08:40-08:50, 09:30-10:00 UTC")


def routing_of(routes: Sequence[str], budget: str | None) -> RoutingConfig:
    known = {
        "night": Route(name="night", channels=("dba", "ops"), active=WINDOW, otherwise=Otherwise.HOLD),
        "groups": Route(name="groups", channels=("dba", "mail", "hook"), wait=5 * MINUTE, group_by=("instance",)),
        "together": Route(name="together", channels=("dba", "mail"), wait=12 * MINUTE),
        "failures": Route(name="failures", channels=("dba", "ops"), match=(parse_matcher("type=task.failed"),)),
        "all": Route(name="all", channels=("mail", "hook")),
    }
    policies = {
        name: ChannelPolicy(
            name=name,
            digest_above=2 if size else None,
            digest_size=size or 100,
            tickets=name == "ops",
            budget=parse_budget(budget) if budget and name in {"dba", "mail"} else None,
        )
        for name, size in CHANNELS.items()
    }
    return RoutingConfig(routes=tuple(known[name] for name in routes), policies=policies)


class Crash(Exception):
    """The process is gone before its transaction has committed."""


@dataclass(slots=True, kw_only=True)
class World:
    """A database and what was sent from it, at a time that only passes when it is told to."""

    run: Callable[[Callable[[Transaction], Any]], Any]
    routing: RoutingConfig
    now: datetime = T0
    happened: int = 0
    sent: list[tuple[str, str, Delivery]] = field(default_factory=list)
    """Channel, id of an event and its delivery, in the order in which they arrived."""
    planned: dict[tuple[str, str], Delivery] = field(default_factory=dict)
    """By event id and channel: what was planned for it first."""
    parked: set[str] = field(default_factory=set)

    def notify(self, tasks: Sequence[tuple[int, EventType]], *, crash: bool) -> None:
        """Plan events as one poll does, after a crash once more."""
        events = [self._event(job, kind) for job, kind in dict(tasks).items()]

        def plan(tx: Transaction, *, crashes: bool = False) -> None:
            routing = routing_at(tx, self.routing, self.now)
            routed = with_receivers(tx, route_events(events, routing.routes), self.routing)
            found = announce(tx, routed, self.routing, self.now)
            if crashes:
                raise Crash
            self.planned |= {(event.id, one.channel): one for one in found.deliveries for event in one.events}

        if crash:
            with pytest.raises(Crash):
                self.run(lambda tx: plan(tx, crashes=True))
        self.run(plan)

    def _event(self, job: int, kind: EventType) -> Event:
        self.happened += 1
        status = {EventType.TASK_FAILED: "failed", EventType.TASK_COMPLETED: "completed"}.get(kind, "running")
        task = make_task(f"job-{job}", status=status, instance_name=f"instance-{job % 2}", instance_id=f"{job % 2}")
        task = replace(task, ended_at=self.now if task.status.terminal else None)
        return make_event(
            task, type=kind, occurrence=f"{self.happened}", observed_at=self.now, occurred_at=task.ended_at
        )

    def step(self, channel: str, *, limit: int = 100, crash: bool = False, dies: bool = False) -> int:
        """Claim what is due on a channel and deliver it; return how much that was. A sender that dies says nothing."""

        def claim(tx: Transaction, *, crashes: bool = False) -> Sequence[Delivery]:
            size = CHANNELS[channel]
            claimed = tx.deliveries.claim_due(channel, "me", self.now, LEASE, limit, digest_size=size)
            if crashes:
                raise Crash
            return claimed

        if crash:
            with pytest.raises(Crash):
                self.run(lambda tx: claim(tx, crashes=True))
        claimed: Sequence[Delivery] = self.run(claim)
        for delivery in claimed:
            assert delivery.rule is None
            self.sent += [(channel, event.id, delivery) for event in delivery.events]
        if dies:
            return 0
        done = [
            outbox.settle(one, Delivered("ref"), started_at=self.now, finished_at=self.now, schedule=(), chance=0.5)
            for one in claimed
        ]
        self.run(lambda tx: tx.deliveries.settle(done, self.now))
        return len(claimed)

    def park(self, channel: str, *, parked: bool) -> None:
        """Park a channel, or let it work again."""
        if parked:
            self.parked.add(channel)
            self.run(lambda tx: tx.channels.park(channel, "wrong token", None, self.now))
        else:
            self.parked.discard(channel)
            self.run(lambda tx: tx.channels.unpark(channel, self.now))

    def configure(self, routing: RoutingConfig) -> None:
        """Start with another configuration."""
        self.routing = routing
        self.run(lambda tx: end_unconfigured_holds(tx, routing))

    def drain(self) -> None:
        """Deliver everything that is due, on every channel that is not parked."""
        for channel in CHANNELS:
            while self.step(channel):
                pass
        self._check_nothing_waits_too_long()

    def _check_nothing_waits_too_long(self) -> None:
        """Nothing is late, be it held until now or not, but for what waits for a claim that somebody left."""
        left = {delivery.id for _, _, delivery in self.sent}
        for one in self.deliveries(DeliveryState.PENDING):
            assert one.available_at > self.now or any(self._follows(one, other) for other in left), one
            assert one.rule is not None or one.id in left or any(self._follows(one, other) for other in left), one

    def _follows(self, one: Delivery, other_id: str) -> bool:
        """Return whether a delivery waits for an abandoned claim about one of its tasks."""
        other = next(each for _, _, each in self.sent if each.id == other_id)
        return other.channel == one.channel and bool(_subjects(one) & _subjects(other))

    def deliveries(self, state: DeliveryState | None = None) -> Sequence[Delivery]:
        found: Sequence[Delivery] = self.run(
            lambda tx: tx.queries.deliveries(DeliveryFilter(state=state, limit=10_000))
        )
        return found[::-1]


def _subjects(delivery: Delivery) -> set[str]:
    return {delivery.subject, *(event.subject for event in delivery.events)} - {""}


_TASKS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(KINDS)), min_size=1, max_size=6)
_CHANNEL = st.sampled_from(list(CHANNELS))
_ROUTES = st.lists(st.sampled_from(["night", "groups", "together", "failures", "all"]), min_size=1, unique=True)
_BUDGET = st.sampled_from([None, "2/h", "4/h"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("notify"), _TASKS, st.booleans()),
        st.tuples(st.just("wait"), st.integers(1, 30)),
        st.tuples(st.just("step"), _CHANNEL, st.integers(1, 4), st.booleans(), st.booleans()),
        st.just(("drain",)),
        st.tuples(st.just("park"), _CHANNEL),
        st.tuples(st.just("unpark"), _CHANNEL),
        st.tuples(st.just("configure"), _ROUTES, _BUDGET),
    ),
    max_size=25,
)


def play(world: World, steps: Sequence[Any]) -> None:
    for name, *how in steps:
        match name:
            case "notify":
                world.notify(how[0], crash=how[1])
            case "wait":
                world.now += MINUTE * how[0]
            case "step" if how[0] not in world.parked:
                world.step(how[0], limit=how[1], crash=how[2], dies=how[3])
            case "drain" if not world.parked:
                world.drain()
            case "park" | "unpark":
                world.park(how[0], parked=name == "park")
            case "configure":
                world.configure(routing_of(*how))
    for channel in list(world.parked):
        world.park(channel, parked=False)
    world.now += timedelta(days=1, minutes=5)  # every window has opened, every claim has ended
    for _ in range(3):
        world.drain()


def check(world: World) -> None:
    """Check what must hold whatever happened."""
    ledger = world.run(lambda tx: tx.queries.ledger())
    assert not ledger.unaccounted
    accounts: dict[tuple[str, str], Delivery] = {}
    for delivery in world.deliveries():
        assert delivery.events
        for event in delivery.events:
            assert (event.id, delivery.channel) not in accounts
            accounts[event.id, delivery.channel] = delivery
    assert accounts.keys() == world.planned.keys()
    assert ledger.pairs == len(accounts)
    for (event_id, channel), delivery in accounts.items():
        assert delivery.rule is None or delivery.state is DeliveryState.SUPPRESSED
        assert delivery.state in (DeliveryState.DELIVERED, DeliveryState.SUPPRESSED), delivery
        sent = [one for name, id_, one in world.sent if (name, id_) == (channel, event_id)]
        assert bool(sent) == (delivery.state is DeliveryState.DELIVERED)
        assert {one.id for one in sent} <= {delivery.id}  # a repeat is the same message
    _check_order(world)


def _check_order(world: World) -> None:
    """About each task, every channel has got the events in the order in which they happened."""
    order = {event_id: place for place, event_id in enumerate(dict.fromkeys(id_ for id_, _ in world.planned))}
    latest: dict[tuple[str, str], int] = {}
    seen: set[tuple[str, str]] = set()
    for channel, event_id, delivery in world.sent:
        if (channel, event_id) in seen:
            continue
        seen.add((channel, event_id))
        event = next(one for one in delivery.events if one.id == event_id)
        assert latest.get((channel, event.subject), -1) < order[event_id]
        latest[channel, event.subject] = order[event_id]


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(routes=_ROUTES, budget=_BUDGET, steps=STEPS)
def test_every_event_has_one_account_and_is_delivered_in_order(
    routes: list[str], budget: str | None, steps: list[Any]
) -> None:
    clock = [T0]
    store = MemoryStore(lambda: clock[0])
    try:
        world = World(run=store.run, routing=routing_of(routes, budget))
        play(_ticking(world, clock), steps)
        check(world)
    finally:
        store.close()


def _ticking(world: World, clock: list[datetime]) -> World:
    """Let the database follow the time of the world."""
    run = world.run

    def at_present(fn: Callable[[Transaction], T]) -> T:
        clock[0] = world.now
        found: T = run(fn)
        return found

    world.run = at_present
    return world


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[tuple[SqlStore, str, list[datetime]]]:
    """Return a database, the address to empty it by, and the time that it has."""
    clock = [T0]
    store = open_store(postgres_url, now=lambda: clock[0])
    yield store, postgres_url, clock
    store.close()


@settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(routes=_ROUTES, budget=_BUDGET, steps=STEPS)
def test_the_same_holds_on_postgresql(
    postgres: tuple[SqlStore, str, list[datetime]], routes: list[str], budget: str | None, steps: list[Any]
) -> None:
    store, url, clock = postgres
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        names = ", ".join(name for (name,) in tables if name != "alembic_version")
        connection.execute(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
    world = World(run=lambda fn: store._transact([fn])[0], routing=routing_of(routes, budget))
    play(_ticking(world, clock), steps)
    check(world)
