"""Claims in the transaction that plans the deliveries, on SQLite."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import pytest
from factories import make_delivery, make_event, make_events, make_task
from fakes import FakeChannel, FakeClock

from notifier import deliver
from notifier.core.delivery import Delivered, Delivery, DeliveryState, Outcome, ResendPolicy
from notifier.core.errors import StoreError
from notifier.core.model import Event
from notifier.core.pacing import Pace
from notifier.core.routing import RoutedEvent
from notifier.deliver import DeliveryPlanner, DeliveryRules, DeliveryWorker
from notifier.ports import DeliveryFilter
from notifier.store.engine import SqlStore
from notifier.store.queries import Queries
from notifier.store.transaction import Transaction

T = TypeVar("T")

RULES = DeliveryRules(schedule=(timedelta(seconds=5),), lease=timedelta(seconds=60))


@pytest.fixture(autouse=True)
def _undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no worker look by itself for what is due."""
    monkeypatch.setattr(deliver, "IDLE_INTERVAL", 600.0)


class CountingStore:
    """A store that counts its transactions. One may fail before it is committed."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.transactions = 0
        self.fails: Callable[[Transaction], None] = lambda _: None
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:
        self.transactions += 1
        self.begun.set()
        await self.may_end.wait()

        def run(tx: Transaction) -> T:
            result = fn(tx)
            self.fails(tx)
            return result

        return await self.store.transact(run, short=short)

    async def read(self, fn: Callable[[Queries], T]) -> T:
        return await self.store.read(fn)


class SlowChannel(FakeChannel):
    """A receiver that takes its time."""

    def __init__(self, answered: asyncio.Event, *, concurrency: int) -> None:
        super().__init__(concurrency=concurrency)
        self._answered = answered

    async def send(self, delivery: Delivery) -> Outcome:
        await super().send(delivery)
        await self._answered.wait()
        return Delivered()


class Desk:
    """Workers of some channels that run all the time, and the planner of their process."""

    def __init__(self, store: SqlStore, clock: FakeClock, *channels: FakeChannel, joining: bool = True) -> None:
        self.store = CountingStore(store)
        self.clock = clock
        self.workers = [
            DeliveryWorker(channel, self.store, clock, random.Random(1), owner="me", rules=RULES)
            for channel in channels
        ]
        self.told = 0
        self.before_sending: list[int] = []
        """How many transactions there had been when each message was sent."""
        for channel in channels:
            channel.answer = self._answer
        self.planner = DeliveryPlanner[Transaction](self.store, self.workers, joining=joining, planned=self._planned)

    def _answer(self, _: Delivery) -> Outcome:
        self.before_sending.append(self.store.transactions)
        return Delivered()

    def _planned(self) -> None:
        self.told += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the workers, which first become idle. A test that ends stops them."""
        tasks = [asyncio.create_task(self._drive(worker)) for worker in self.workers]
        try:
            await self.idle()
            self.store.transactions = 0
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for worker in self.workers:
                worker._cancel_in_flight()

    @staticmethod
    async def _drive(worker: DeliveryWorker) -> None:
        while True:
            await worker.wait(await worker.step())

    async def idle(self) -> None:
        """Wait until every worker waits."""
        while not all(one._waiting and not one._wakeup.is_set() for one in self.workers):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0)

    async def plan(self, *events: Event, channels: tuple[str, ...] = ("dba",)) -> None:
        await self.planner.transact(self.planning(*events, channels=channels))

    def planning(self, *events: Event, channels: tuple[str, ...] = ("dba",)) -> Callable[[Transaction], None]:
        now = self.clock.now()

        def plan(tx: Transaction) -> None:
            tx.events.record([RoutedEvent(event=event, routes=("all",), channels=channels) for event in events])
            planned = [
                make_delivery(event, channel=channel, attempt=0, available_at=now, created_at=now)
                for event in events
                for channel in channels
            ]
            tx.deliveries.record(planned)

        return plan

    async def waiting(self) -> list[Delivery]:
        return list(await self.store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.PENDING))))

    async def until_sent(self, channel: FakeChannel, count: int) -> None:
        while len(channel.sent) < count:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0)


async def test_an_idle_worker_claims_in_the_transaction_that_plans(store: SqlStore, clock: FakeClock) -> None:
    channel = FakeChannel()
    desk = Desk(store, clock, channel)
    async with desk.running():
        await desk.plan(make_event())
        await desk.until_sent(channel, 1)
        assert (desk.before_sending, desk.told) == ([2], 1)  # that one, and the body


async def test_without_joining_the_worker_is_woken(store: SqlStore, clock: FakeClock) -> None:
    channel = FakeChannel()
    desk = Desk(store, clock, channel, joining=False)
    async with desk.running():
        await desk.plan(make_event())
        await desk.until_sent(channel, 1)
        assert (desk.before_sending, desk.told) == ([3], 1)


async def test_only_the_channels_that_get_something_claim(store: SqlStore, clock: FakeClock) -> None:
    channels = [FakeChannel("first"), FakeChannel("second"), FakeChannel("third")]
    desk = Desk(store, clock, *channels)
    async with desk.running():
        await desk.plan(make_event(), channels=("third", "first"))
        for channel in (channels[0], channels[2]):
            await desk.until_sent(channel, 1)
        await desk.idle()
        assert not channels[1].sent
        # The plan, and for each of the two channels the body and the settlement: the second one takes no step.
        assert desk.store.transactions == 5


async def test_a_transaction_that_plans_nothing_claims_nothing(store: SqlStore, clock: FakeClock) -> None:
    desk = Desk(store, clock, FakeChannel())
    async with desk.running():
        assert await desk.planner.transact(lambda _: "result") == "result"
        await desk.idle()
        assert (desk.store.transactions, desk.told) == (1, 0)


async def test_a_claim_that_fails_costs_no_planned_delivery(
    store: SqlStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = FakeChannel()
    desk = Desk(store, clock, channel)
    async with desk.running():
        with monkeypatch.context() as patch:
            patch.setattr(desk.workers[0], "claim_reserved", _fail)
            await desk.plan(make_event())
        await desk.until_sent(channel, 1)
        assert (desk.before_sending, desk.told) == ([4], 1)  # planned twice, claimed by a step, and the body


def _fail(_: object) -> None:
    raise ZeroDivisionError


async def test_what_is_rolled_back_is_not_sent_and_the_worker_goes_on(store: SqlStore, clock: FakeClock) -> None:
    channel = FakeChannel()
    desk = Desk(store, clock, channel)
    async with desk.running():
        desk.store.fails = _refuse
        with pytest.raises(StoreError, match="the disk is full"):
            await desk.plan(make_event())
        desk.store.fails = lambda _: None
        assert (await desk.waiting(), desk.told) == ([], 0)
        await desk.plan(make_event())
        await desk.until_sent(channel, 1)
        assert [delivery.attempt for delivery in channel.sent] == [1]


def _refuse(tx: Transaction) -> None:
    if tx.deliveries.planned_channels:
        raise StoreError("the disk is full")


async def test_a_caller_that_is_cancelled_leaves_no_claim_behind(store: SqlStore, clock: FakeClock) -> None:
    """The transaction commits whatever becomes of its caller: what it claimed is sent."""
    channel = FakeChannel()
    desk = Desk(store, clock, channel)
    async with desk.running():
        desk.store.begun.clear()
        planning = asyncio.create_task(desk.plan(make_event()))
        await desk.store.begun.wait()
        planning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await planning
        await desk.plan(make_event(make_task("other")))
        await desk.until_sent(channel, len({d.id for d in (*channel.sent, *await desk.waiting())}))
        assert all(delivery.attempt == 1 for delivery in channel.sent)


async def test_a_reserved_worker_takes_no_step(store: SqlStore, clock: FakeClock) -> None:
    channel = FakeChannel(concurrency=4)
    desk = Desk(store, clock, channel)
    async with desk.running():
        desk.store.may_end.clear()
        desk.store.begun.clear()
        planning = asyncio.create_task(desk.plan(make_event()))
        await desk.store.begun.wait()
        for worker in desk.workers:
            worker.wake()
        for _ in range(10):
            await asyncio.sleep(0)
        assert desk.store.transactions == 1
        desk.store.may_end.set()
        await planning
        await desk.until_sent(channel, 1)
        await desk.idle()
        assert await desk.waiting() == []


async def test_a_busy_worker_is_woken(store: SqlStore, clock: FakeClock) -> None:
    answered = asyncio.Event()
    channel = SlowChannel(answered, concurrency=1)
    desk = Desk(store, clock, channel)
    first, second = make_events(2)
    async with desk.running():
        await desk.plan(first)
        await desk.until_sent(channel, 1)
        await desk.idle()
        await desk.plan(second)
        assert {delivery.attempt for delivery in await desk.waiting()} == {0, 1}
        answered.set()
        await desk.until_sent(channel, 2)


async def test_what_has_finished_is_settled_before_others_join(
    store: SqlStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill repeats what has begun and is not settled, which `concurrency` bounds."""
    channel = FakeChannel(concurrency=2)
    desk = Desk(store, clock, channel)
    (worker,) = desk.workers
    first, second = make_events(2)
    async with desk.running():
        with monkeypatch.context() as patch:
            patch.setattr(worker, "wake", lambda: None)
            await desk.plan(first)
            while not worker._finished:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0)
            await desk.plan(second)
            assert sorted(delivery.attempt for delivery in await desk.waiting()) == [0, 1]
        worker.wake()
        await desk.until_sent(channel, 2)


async def test_a_joined_claim_spends_the_rate(store: SqlStore, clock: FakeClock) -> None:
    channel = FakeChannel(concurrency=8)
    channel.pace = Pace(per_second=1, burst=3)
    desk = Desk(store, clock, channel)
    async with desk.running():
        await desk.plan(*make_events(5))
        await desk.until_sent(channel, 3)
        waiting = [delivery for delivery in await desk.waiting() if delivery.attempt == 0]
        assert len(waiting) == 2


async def test_a_stop_releases_what_has_joined_and_is_not_begun(store: SqlStore, clock: FakeClock) -> None:
    channel = FakeChannel(resend_policy=ResendPolicy.IDEMPOTENT)
    desk = Desk(store, clock, channel)
    (worker,) = desk.workers
    waiting = asyncio.create_task(worker.wait(await worker.step()))
    await desk.idle()
    desk.store.begun.clear()
    desk.store.may_end.clear()
    planning = asyncio.create_task(desk.plan(make_event()))
    await desk.store.begun.wait()
    worker.wake()
    await waiting
    stopping = asyncio.create_task(worker.stop(1, 1))
    desk.store.may_end.set()
    await planning
    await stopping
    (left,) = await desk.waiting()
    assert (left.attempt, left.attempt - left.earlier_attempts, left.outcome_unknown, channel.sent) == (1, 0, False, [])


async def test_order_holds_where_an_older_delivery_is_in_flight(store: SqlStore, clock: FakeClock) -> None:
    answered = asyncio.Event()
    channel = SlowChannel(answered, concurrency=4)
    desk = Desk(store, clock, channel)
    started = make_event(make_task("a", status="running"))
    failed = replace(make_event(make_task("a")), id="00000000-0000-5000-8000-000000000001")
    async with desk.running():
        await desk.plan(started)
        await desk.until_sent(channel, 1)
        await desk.idle()
        await desk.plan(failed)
        await desk.idle()
        assert [delivery.events[0].id for delivery in channel.sent] == [started.id]
        answered.set()
        await desk.until_sent(channel, 2)
        assert [delivery.events[0].id for delivery in channel.sent] == [started.id, failed.id]
