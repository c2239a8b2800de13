"""Several processes on one database: clocks that disagree, being woken, and transactions that cross."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from functools import partial

import pytest
from factories import make_delivery, make_event, make_events, make_task
from fakes import FakeChannel, FakeClock, FakeSource
from timeouts import HANG_TIMEOUT

from notifier import deliver as delivering
from notifier.core.alerts import decide_alerts
from notifier.core.delivery import Delivered, Delivery, DeliveryState, Outcome, Parked, Retry
from notifier.core.errors import SourceUnreachable
from notifier.core.health import judge
from notifier.core.health_facts import Expected
from notifier.core.model import Event
from notifier.core.outbox import Settlement, settle
from notifier.core.polling import PollRules
from notifier.core.routing import ChannelPolicy, Route, RoutedEvent, RoutingConfig
from notifier.deliver import DeliveryRules, DeliveryWorker
from notifier.monitor import MonitorRules, apply_alerts
from notifier.poll import PollReport, poll_once
from notifier.ports import DeliveryFilter, EventFilter
from notifier.store.engine import SqlStore, open_store
from notifier.store.transaction import Transaction

POLLING = PollRules(poll_every=timedelta(seconds=30), lease=timedelta(seconds=15))
DELIVERING = DeliveryRules(schedule=(timedelta(seconds=5),) * 50, lease=timedelta(seconds=60))
ROUTING = RoutingConfig(
    routes=(Route(name="all", channels=("dba",)),), policies={"dba": ChannelPolicy(name="dba", digest_above=None)}
)
SKEW = timedelta(minutes=10)


class Replica:
    """One process: a clock of its own, and the same list and channel as every other."""

    def __init__(self, name: str, store: SqlStore, clock: FakeClock, channel: FakeChannel) -> None:
        self.source = FakeSource(clock)
        self._name = name
        self._store = store
        self._delivery_worker = DeliveryWorker(channel, store, clock, random.Random(1), owner=name, rules=DELIVERING)

    async def poll(self) -> PollReport:
        return await poll_once(self.source, self._store, owner=self._name, rules=POLLING, routing=ROUTING)

    async def deliver(self) -> None:
        await self._delivery_worker.drain()


class Several:
    """A database with a clock, and replicas whose clocks are minutes before and behind it."""

    def __init__(self, store: SqlStore, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.channel = FakeChannel()
        skews = (-SKEW, timedelta(), SKEW)
        clocks = [FakeClock(clock.now() + skew) for skew in skews]
        self._clocks = [clock, *clocks]
        self.replicas = [Replica(f"replica {n}", store, own, self.channel) for n, own in enumerate(clocks)]

    def advance(self, by: timedelta) -> None:
        for clock in self._clocks:
            clock.advance(by)

    def show(self, *statuses: str) -> None:
        for replica in self.replicas:
            replica.source.tasks = [make_task(f"job-{n}", status=status) for n, status in enumerate(statuses)]

    async def look(self) -> list[PollReport]:
        """Let every replica look whether the list is due, and return the polls that came of it."""
        reports = [await replica.poll() for replica in self.replicas]
        for replica in self.replicas:
            await replica.deliver()
        return [report for report in reports if report.polled]


@pytest.fixture
def several(store: SqlStore, clock: FakeClock) -> Several:
    return Several(store, clock)


# ---- clocks ----


async def test_replicas_with_different_clocks_poll_as_often_as_one_would(several: Several) -> None:
    polls = 0
    for _ in range(120):
        polls += len(await several.look())
        several.replicas.append(several.replicas.pop(0))
        several.advance(POLLING.due_check_interval)
    assert polls == 120 * POLLING.due_check_interval / POLLING.poll_every


async def test_replicas_with_different_clocks_send_once_and_nothing_is_late(several: Several) -> None:
    several.show("running")
    await several.look()
    for status in ("failed", "running", "completed"):
        several.replicas.append(several.replicas.pop(0))
        several.advance(POLLING.poll_every)
        several.show(status, "running")
        (report,) = await several.look()
        assert (report.fenced, report.complete) == (False, True)
    events = [item.event for item in await several.store.read(lambda q: q.events(EventFilter()))]
    assert {event.late for event in events} == {False}
    assert {event.job_id for event in events} == {"job-0", "job-1"}
    assert all(event.observed_at <= several.clock.now() for event in events)
    assert len(several.channel.sent) == len({delivery.id for delivery in several.channel.sent}) == len(events) == 4


async def test_a_claim_holds_against_a_clock_that_is_ahead(several: Several) -> None:
    now = several.clock.now()
    await several.store.transact(lambda tx: tx.polls.claim("prod", "slow", now, POLLING.lease))
    assert await several.look() == []
    several.advance(POLLING.lease)
    assert len(await several.look()) == 1


async def test_a_pause_after_a_failure_is_kept_by_all(several: Several) -> None:
    for replica in several.replicas:
        replica.source.error = SourceUnreachable("no answer")
    assert len(await several.look()) == 1
    several.advance(POLLING.poll_every * 0.7)
    assert await several.look() == []
    several.advance(POLLING.poll_every * 0.1)
    assert len(await several.look()) == 1


async def test_absence_is_counted_whichever_replica_polls(several: Several) -> None:
    several.show("completed", "running")
    await several.look()
    several.show("completed")
    told = []
    for _ in range(2):
        several.replicas.append(several.replicas.pop(0))
        several.advance(POLLING.poll_every)
        (report,) = await several.look()
        told.append([event.type for event in report.events])
    assert told == [[], ["task.unlisted"]]


# ---- being woken ----


async def test_another_processes_plan_is_sent_without_an_idle_wait(
    postgres_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "IDLE_INTERVAL", 3600.0)
    sent = asyncio.Event()
    channel = FakeChannel()

    def answer(_: Delivery) -> Outcome:
        sent.set()
        return Delivered()

    channel.answer = answer
    one, other = (open_store(postgres_url, now=clock.now) for _ in range(2))
    worker = DeliveryWorker(channel, one, clock, random.Random(1), owner="one", rules=DELIVERING)
    ready = asyncio.Event()

    async def keep_delivering() -> None:
        while True:
            report = await worker.step()
            await worker.wait(report)

    def wake() -> None:
        ready.set()
        worker.wake()

    tasks = [asyncio.create_task(one.listen(wake)), asyncio.create_task(keep_delivering())]
    async with asyncio.timeout(HANG_TIMEOUT):
        await ready.wait()
        await other.transact(partial(plan, deliveries=[delivery_of(make_event(), "dba", clock.now())]))
        await sent.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await one.aclose()
    await other.aclose()


def delivery_of(event: Event, channel: str, now: datetime) -> Delivery:
    return make_delivery(event, channel=channel, available_at=now, created_at=now, attempt=0, subject=event.subject)


def plan(tx: Transaction, deliveries: Sequence[Delivery]) -> None:
    tx.channels.parked()
    routed = {
        event.id: RoutedEvent(event=event, routes=("all",), channels=tuple(CHANNELS))
        for delivery in deliveries
        for event in delivery.events
    }
    tx.events.record(list(routed.values()))
    tx.deliveries.record(deliveries)


def monitor(tx: Transaction) -> None:
    facts = tx.queries.health_facts()
    verdict = judge(MONITORING.expected, facts)
    apply_alerts(tx, decide_alerts(MONITORING.expected, facts, None), MONITORING, RoutingConfig(), verdict)


# ---- transactions that cross ----

CHANNELS = ("chat", "mail", "tickets")
MONITORING = MonitorRules(expected=Expected(channels=CHANNELS[::-1], failing_after=timedelta()))
STORES, HANDS, TURNS, BATCH = 3, 3, 30, 5


class Hand:
    """Something that works on the database as a replica or an operator does, in an order of its own."""

    def __init__(self, number: int, store: SqlStore, ids: list[str], sent: list[str]) -> None:
        self._name = f"hand {number}"
        self._store = store
        self._rng = random.Random(number)
        self._ids = ids
        self._sent = sent
        self._events = iter(make_events(TURNS * BATCH, source=f"source-{number}"))
        self._claimed: list[Delivery] = []

    async def work(self) -> None:
        acts: list[Callable[[Transaction], object]] = [self._poll, self._turn, self._turn, self._turn, self._operate]
        for _ in range(TURNS):
            await self._store.transact(self._rng.choice(acts))
        await self._store.transact(self._settle)

    def _poll(self, tx: Transaction) -> None:
        now = tx.now()
        claim = tx.polls.claim(self._name, self._name, now, POLLING.lease, force=True)
        assert claim is not None
        assert tx.polls.claim_is_current(claim)
        events = [next(self._events) for _ in range(BATCH)]
        planned = [delivery_of(event, channel, now) for event in events for channel in self._shuffled(CHANNELS)]
        plan(tx, planned)
        self._ids += [delivery.id for delivery in planned]

    def _turn(self, tx: Transaction) -> None:
        channel = self._claimed[0].channel if self._claimed else self._rng.choice(CHANNELS)
        now, health = tx.now(), tx.channels.health(channel)
        self._settle(tx)
        tx.deliveries.retry_now(channel, now)
        self._claimed += tx.deliveries.claim_due(channel, self._name, now, DELIVERING.lease, BATCH)
        tx.channels.save_health(channel, health)

    def _settle(self, tx: Transaction) -> None:
        if self._claimed:
            tx.channels.health(self._claimed[0].channel)
            tx.deliveries.settle([self._ended(tx.now(), delivery) for delivery in self._claimed], tx.now())
            self._sent += [delivery.id for delivery in self._claimed]
            self._claimed = []

    def _ended(self, now: datetime, delivery: Delivery) -> Settlement:
        outcomes: list[Outcome] = [Delivered(), Retry("busy"), Parked("no token")]
        outcome = self._rng.choice(outcomes)
        return settle(
            delivery, outcome, started_at=now, finished_at=now, schedule=DELIVERING.schedule, chance=self._rng.random()
        )

    def _operate(self, tx: Transaction) -> None:
        now = tx.now()
        digests = {channel: str(self._rng.random()) for channel in self._shuffled(CHANNELS)}
        acts: list[Callable[[], object]] = [
            lambda: tx.deliveries.retry(self._shuffled(self._ids)[:50], now),
            lambda: tx.channels.unpark(self._rng.choice(CHANNELS), now),
            lambda: tx.channels.unpark_due(now + timedelta(days=1)),
            lambda: tx.channels.sync(digests, now),
            lambda: tx.replicas.release_claims("nobody", now),
            lambda: monitor(tx),
        ]
        self._rng.choice(acts)()

    def _shuffled(self, values: Sequence[str]) -> list[str]:
        return self._rng.sample(values, len(values))


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[list[SqlStore]]:
    async with AsyncExitStack() as stack:
        opened = [open_store(postgres_url) for _ in range(STORES)]
        for store in opened:
            stack.push_async_callback(store.aclose)
        yield opened


async def test_transactions_of_many_replicas_never_deadlock(stores: list[SqlStore]) -> None:
    """PostgreSQL ends one of a circle after a second, and what waits too long after ten: that would be a StoreError."""
    ids: list[str] = []
    sent: list[str] = []
    hands = [Hand(n, stores[n % STORES], ids, sent) for n in range(STORES * HANDS)]
    async with asyncio.timeout(HANG_TIMEOUT):
        await asyncio.gather(*(hand.work() for hand in hands))
    ledger = await stores[0].read(lambda q: q.ledger())
    assert ledger.unaccounted == ()
    assert ledger.pairs == len(ids) == sum(ledger.by_state.values())
    found = await stores[0].read(lambda q: q.deliveries(DeliveryFilter(limit=10_000)))
    assert sum(delivery.attempt for delivery in found) == len(sent) > STORES * HANDS
    assert {delivery.state for delivery in found} >= {DeliveryState.DELIVERED}
