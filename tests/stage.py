"""A service in virtual time, on a store in memory: polls, deliveries and people. No network, no waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import cycle
from typing import TypeVar

from factories import make_task
from fakes import FakeSource
from generators.happenings import (
    INSTANCES,
    OPERATIONS,
    Acknowledge,
    CloudMove,
    Deliver,
    Happening,
    Mute,
    Poll,
    Reconfigure,
    Subscribe,
    Unmute,
    Wait,
)
from sqlalchemy import select

from notifier.core.delivery import Delivered, Delivery, GaveUp, Outcome, Retry
from notifier.core.errors import NotifierError
from notifier.core.failures import OpenFailure
from notifier.core.identity import DirectChannel
from notifier.core.model import Task, TaskStatus
from notifier.core.mutes import MuteScope, MuteTimes
from notifier.core.pacing import Pace
from notifier.core.people import Person
from notifier.core.polling import PollRules
from notifier.core.routing import RoutingConfig
from notifier.core.tickets import Ticket, TicketRules, happened, imagined_visit, operation_of
from notifier.deliver import DeliveryRules, deliver_at_once
from notifier.failures import remind_once
from notifier.mutes import MuteRequest, MuteRouting, create, take_steps
from notifier.mutes import end as end_mutes
from notifier.people import acknowledge_task, subscribe_to_events
from notifier.poll import poll_once
from notifier.replay import VirtualTime
from notifier.store.memory import MemoryStore
from notifier.store.queries import Queries
from notifier.store.rows import failure_of
from notifier.store.schema import failures
from notifier.store.transaction import Transaction

T = TypeVar("T")

ANA = Person(id="U1", name="Ana")
POLL_EVERY = timedelta(seconds=30)
DELIVERING = DeliveryRules(schedule=(timedelta(minutes=5),) * 3, lease=timedelta(minutes=1), tickets=True)
MAX_ROUNDS = 2_000
"""Rounds of deliveries after which a test fails in which something is still due."""


class Died(Exception):
    """The process has died in a transaction, which is rolled back with it."""


class MortalStore:
    """A store whose process dies just before a commit."""

    def __init__(self, store: MemoryStore, crash: int | None) -> None:
        self._store = store
        self._left = crash

    async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:  # noqa: ARG002 - all run here
        def work(tx: Transaction) -> T:
            result = fn(tx)
            if self._left is not None:
                self._left -= 1
                if self._left == 0:
                    raise Died
            return result

        return self._store.run(work)

    async def read(self, fn: Callable[[Queries], T]) -> T:
        return await self._store.read(fn)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageChannel:
    """A channel that takes no time."""

    name: str
    tickets: bool
    digest_above: int | None
    digest_size: int
    threads: bool
    pace: Pace = field(default_factory=lambda: Pace(opens_after=1_000_000))
    multi_recipient: bool = False


class Stage:
    """One service and its cloud."""

    def __init__(self, start: datetime, *routings: RoutingConfig) -> None:
        self.time = VirtualTime(start)
        self.store = MemoryStore(self.time.now)
        self.routings = routings
        self.routing = routings[0]
        self.sources = {name: FakeSource(self, name=name) for name in ("prod", "staging")}
        self.sent: list[tuple[datetime, Delivery]] = []
        """Every message that was taken, in order."""
        self._jobs: dict[tuple[str, int], Task] = {}
        """The latest task of each place of each source."""
        self._ended: list[Task] = []
        self._numbers = 0
        self._loop = asyncio.new_event_loop()
        for name in self.sources:
            self.poll_source(name)

    # -- the clock of the sources --

    def now(self) -> datetime:
        return self.time.now()

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nothing waits here, and something would for {seconds} s")

    # -- what happens --

    def happen(self, happening: Happening) -> None:
        match happening:
            case Poll(moves, crash):
                for move in moves:
                    self.move(move)
                for name in self.sources:
                    self.poll_source(name, crash)
            case Wait(length, asleep):
                self.wait(length, asleep=asleep)
            case Deliver(answers):
                self.deliver(cycle(answers))
            case Reconfigure():
                self.routing = self.routings[(self.routings.index(self.routing) + 1) % len(self.routings)]
            case act:
                self.act(act)

    def wait(self, length: timedelta, *, asleep: bool) -> None:
        """Let time pass. A service that is not asleep does what is due when it is, and another one does it later."""
        end = self.time.at + length
        while not asleep and (due := self._next_step()) and due <= end:
            self.time.at = due
            self.tick()
        self.time.at = end
        self.tick()

    def act(self, act: Acknowledge | Mute | Unmute | Subscribe) -> None:
        """Let a person do something."""
        match act:
            case Acknowledge(place):
                self.acknowledge(place)
            case Mute(scope, length):
                self.run(partial(_mute, scope, length))
            case Unmute(scope):
                self.run(lambda tx: end_mutes(tx, scope, ANA))
            case Subscribe(receiver, matchers):
                self.run(lambda tx: subscribe_to_events(tx, DirectChannel(receiver), matchers, ANA))

    def move(self, change: CloudMove) -> None:
        """Let tasks change. A task that has ended is followed by another one of its operation."""
        for offset in range(change.count):
            place = change.place + offset * len(OPERATIONS)
            source = "prod" if place % 2 else "staging"
            known = self._jobs.get((source, place))
            task = known if known and not known.status.terminal else self._started(source, place)
            self._jobs[source, place] = self._changed(task, change)
        for name, shown in self.sources.items():
            shown.tasks = [task for task in (*self._ended, *self._jobs.values()) if task.source == name]

    def _started(self, source: str, place: int) -> Task:
        if (known := self._jobs.get((source, place))) is not None:
            self._ended.append(known)
        self._numbers += 1
        instance = place // len(OPERATIONS)
        number = instance % INSTANCES if place < INSTANCES * len(OPERATIONS) else instance
        return make_task(
            f"job-{self._numbers:05}",
            source=source,
            status=TaskStatus.RUNNING,
            progress=0.0,
            name=OPERATIONS[place % len(OPERATIONS)],
            instance_id=f"id-{number}",
            instance_name=f"db-{number}",
            created_at=self.time.at,
        )

    def _changed(self, task: Task, change: CloudMove) -> Task:
        match change.move:
            case "start":
                return task
            case "progress":
                return replace(task, progress=min((task.progress or 0) + 30, 100))
            case "complete":
                return replace(task, status=TaskStatus.COMPLETED, raw_status="Completed", ended_at=self.time.at)
            case "fail":
                return replace(
                    task, status=TaskStatus.FAILED, raw_status="Failed", ended_at=self.time.at, fail_reason="no quota"
                )

    def poll_source(self, name: str, crash: int | None = None) -> None:
        """Poll a source. A process that dies is followed by another one when its lease has ended."""
        environment = "production" if name == "prod" else "staging"
        rules = PollRules(
            poll_every=POLL_EVERY, lease=timedelta(seconds=15), quiet_baseline=False, environment=environment
        )
        store = MortalStore(self.store, crash)
        try:
            self._loop.run_until_complete(
                poll_once(self.sources[name], store, owner="me", rules=rules, routing=self.routing, force=True)
            )
        except Died:
            self.time.at += rules.lease
            self.poll_source(name)

    def tick(self) -> None:
        """Do what a service does every second: begin and end mutes, remind and escalate."""
        rules = MuteRouting(routing=self.routing)
        for mute_id in self.run(lambda tx: tx.queries.due_mutes()):
            self.run(partial(take_steps, mute_id=mute_id, rules=rules))
        while self.run(partial(remind_once, routing=self.routing)):
            pass

    def _next_step(self) -> datetime | None:
        """Return when a tick has something to do next."""
        due = self.run(lambda tx: (tx.queries.next_due_mute(), tx.queries.next_due_failure()))
        return min((at for at in due if at and at > self.time.at), default=None)

    def deliver(self, answers: Iterator[str]) -> int:
        """Deliver all that is due on every channel; return how many attempts that took."""
        attempts = 0
        for name in self.run(lambda tx: tx.queries.pending_channels(self.time.at)):
            policy = self.routing.policy_of(name)
            channel = StageChannel(
                name=name,
                tickets=policy.tickets,
                digest_above=policy.digest_above,
                digest_size=policy.digest_size,
                threads=policy.threads,
            )
            attempts += self.run(partial(self._deliver_on, channel, answers))
        return attempts

    def _deliver_on(self, channel: StageChannel, answers: Iterator[str], tx: Transaction) -> int:
        def answer(delivery: Delivery) -> Outcome:
            return self._answer(channel, delivery, next(answers))

        return len(deliver_at_once(tx, channel, answer, owner="me", rules=DELIVERING))

    def _answer(self, channel: StageChannel, delivery: Delivery, answer: str) -> Outcome:
        match answer:
            case "later":
                return Retry("HTTP 503")
            case "refused":
                return GaveUp("HTTP 400")
            case "gone":
                return Retry("connection refused")
        self.sent.append((self.time.at, delivery))
        if channel.tickets:
            return _visited(delivery, self.time.at)
        opens = channel.threads and delivery.thread is None
        return Delivered(ref=delivery.id, thread=delivery.id if opens else None)

    def acknowledge(self, place: int) -> None:
        """Acknowledge the latest task of a place, where it needs care."""
        for (_, at), task in self._jobs.items():
            if at == place:
                try:
                    self.run(partial(_acknowledge, task))
                except NotifierError:
                    continue

    def run(self, fn: Callable[[Transaction], T]) -> T:
        return self.store.run(fn)

    # -- the end --

    def settle_down(self) -> None:
        """Let time pass until nothing is left to be sent, with receivers that take everything."""
        for _ in range(MAX_ROUNDS):
            if self.deliver(cycle(["taken"])):
                continue
            due = self.run(lambda tx: tx.queries.next_pending(self.time.at))
            if due is None:
                return
            self.time.at = due
        raise AssertionError(f"something is still due after {MAX_ROUNDS} rounds")

    def history(self) -> Sequence[Delivery]:
        """Return every delivery, in the order of their plans."""
        end = self.time.at + timedelta(days=1)
        return self.run(lambda tx: tx.queries.recorded_history(end - timedelta(days=900), end)).deliveries

    def failures(self) -> Sequence[OpenFailure]:
        """Return every failure, resolved or not."""
        found = select(failures.c.facts).order_by(failures.c.id)
        return self.run(lambda tx: [failure_of(facts) for facts in tx.queries._session.execute(found).scalars()])

    def close(self) -> None:
        self._loop.close()
        self.store.close()


def _mute(scope: str, length: timedelta, tx: Transaction) -> None:
    request = MuteRequest(scope=MuteScope.parse(scope.split()), times=MuteTimes(length=length))
    create(tx, request, ANA)


def _acknowledge(task: Task, tx: Transaction) -> None:
    acknowledge_task(tx, task, ANA)


def _visited(delivery: Delivery, now: datetime) -> Outcome:
    event = delivery.events[0]
    ticket = delivery.ticket or Ticket(
        channel=delivery.channel, operation=operation_of(event) or "", wanted_by=delivery.id, failed_at=happened(event)
    )
    after, _ = imagined_visit(ticket, event, delivery.id, now, TicketRules())
    return Delivered(ref=after.ref, ticket=after)
