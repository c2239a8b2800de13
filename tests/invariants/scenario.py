"""A scenario: the real use cases on a real store, compared with the expectations of an observer.

Every step checks itself. An error message begins with the violated invariant.
"""

from __future__ import annotations

import asyncio
import copy
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Literal, TypeVar

from drain import deliver_due
from fakes import FakeClock
from observer import ExpectedEvent, Facts, Observer
from servers.postgres import Databases
from upstream import WHOLE, Change, Cloud, ListView, Presentation, changed

from notifier.core.delivery import (
    Body,
    Delivered,
    Delivery,
    DeliveryState,
    GaveUp,
    Outcome,
    Parked,
    ResendPolicy,
    Retry,
    Unknown,
)
from notifier.core.matchers import Matcher
from notifier.core.model import Event, Scope, Snapshot
from notifier.core.pacing import Pace
from notifier.core.polling import PollRules
from notifier.core.routing import ChannelPolicy, Route, RoutedEvent, RoutingConfig
from notifier.core.tickets import operation_of
from notifier.deliver import DeliveryRules
from notifier.http import HttpClient
from notifier.poll import PollReport, poll_once
from notifier.ports import CheckResult, DeliveryFilter, EventFilter, RenderRequest, TaskFilter
from notifier.sources.access import SourceAccess, SourceRuntime
from notifier.sources.gaussdb import GaussDBSource, TaskQuery
from notifier.sources.gaussdb_settings import GaussDBSettings
from notifier.sources.payloads import Decode, TaskPage, decode_page
from notifier.store.engine import SqlStore, open_store
from notifier.store.queries import Queries
from notifier.store.sqlite_driver import sqlite_module
from notifier.store.transaction import Transaction

T = TypeVar("T")

PAGE_SIZE = 4
ALL = 100_000
SECOND = timedelta(seconds=1)
SETTLED = (DeliveryState.DELIVERED, DeliveryState.DEAD)
POLLING = PollRules(poll_every=timedelta(seconds=30), lease=timedelta(seconds=60))
DELIVERING = DeliveryRules(schedule=(timedelta(seconds=5), *(timedelta(minutes=5),) * 9), lease=timedelta(seconds=60))


class ProcessKilled(BaseException):
    """The process ends here and loses everything that it did not store."""


# ---- the process and its surroundings ----


class CrashingStore:
    """The real store, in a process that is killed in one of its transactions, or delayed before its second."""

    def __init__(
        self, store: SqlStore, crash_at: CrashPoint | None = None, delay: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._store = store
        self._crash_at = crash_at
        self._delay = delay
        self.begun = 0
        self.recorded = False
        """Whether a poll has committed more than its claim, and more than a read of what is recorded."""

    async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:
        self.begun += 1
        if self.begun == 2 and self._delay is not None:
            await self._delay()
        if self._crash_at == CrashPoint(transaction=self.begun, committed=False):
            return await self._store.transact(partial(_run_and_die, fn), short=short)
        result = await self._store.transact(fn, short=short)
        self.recorded = self.recorded or (self.begun > 1 and not isinstance(result, Mapping | None))
        if self._crash_at == CrashPoint(transaction=self.begun, committed=True):
            raise ProcessKilled
        return result

    async def read(self, fn: Callable[[Queries], T]) -> T:
        return await self._store.read(fn)

    async def listen(self, wake: Callable[[], None]) -> None:
        await self._store.listen(wake)

    async def aclose(self) -> None:
        await self._store.aclose()


async def _until_killed(process: Awaitable[T]) -> T:
    """Run a process. When it is killed, all its tasks end before the next process starts."""
    try:
        return await process
    except ProcessKilled:
        begun = asyncio.all_tasks() - {asyncio.current_task()}
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        raise


def _run_and_die(fn: Callable[[Transaction], T], tx: Transaction) -> T:
    fn(tx)
    raise ProcessKilled


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashPoint:
    """The instant at which a process dies: in the transaction of this number, before or after its commit."""

    transaction: int
    committed: bool


class ScriptedSource(GaussDBSource):
    """The real source, with requests answered by a `ListView`."""

    def __init__(self, clock: FakeClock, http: HttpClient, *, name: str = "prod", long: bool = False) -> None:
        settings = GaussDBSettings.model_validate(SOURCE | {"name": name})
        super().__init__(settings, SourceAccess(settings, SourceRuntime(http=http, clock=clock, rng=Random(1))))
        self.view = ListView(cloud=Cloud(), presentation=WHOLE, now=clock.now())
        self.latest: Snapshot | None = None
        self._long = long

    async def list_page(self, query: TaskQuery, offset: int = 0, decode: Decode = decode_page) -> TaskPage:
        return decode(self.view.page(query, offset))

    async def fetch(self, scope: Scope) -> Snapshot:
        return await self._noted(super().fetch(scope))

    async def fetch_slice(self, calls: int) -> Snapshot:
        # Each poll reads the whole list: what a scan over several polls promises is tested apart.
        return await self._noted(super().fetch_slice(max(calls, 1000)))

    async def fetch_ended(self) -> Snapshot:
        return await self._noted(super().fetch_ended())

    async def _noted(self, scan: Awaitable[Snapshot]) -> Snapshot:
        self.latest = None
        self.view.begin()
        snapshot = await scan
        # A long list is one whose scan takes so many calls that active ones come in between.
        self.latest = replace(snapshot, calls=100) if self._long else snapshot
        return self.latest


SOURCE = {
    "kind": "gaussdb",
    "region": "cn-north-4",
    "project_id": "p1",
    "page_size": PAGE_SIZE,
    "auth": {"kind": "aksk", "access_key": "ak", "secret_key": "obviously-fake-secret-key"},
}

Answer = Literal["take", "refuse", "reject", "park", "lose", "swallow", "die before", "die after", "stall"]
ANSWERS: Sequence[Answer] = ("take", "refuse", "reject", "park", "lose", "swallow", "die before", "die after", "stall")

_OUTCOMES: dict[Answer, Outcome] = {
    "take": Delivered("ref"),
    "refuse": Retry("HTTP 503"),
    "reject": GaveUp("HTTP 413"),
    "park": Parked("invalid_auth"),
    "lose": Unknown("no answer"),
    "swallow": Unknown("no answer"),
    "stall": Delivered("ref"),
}
_TAKEN: frozenset[Answer] = frozenset({"take", "swallow", "die after", "stall"})


@dataclass(slots=True)
class Receiver:
    """A channel and its service."""

    name: str
    concurrency: int = 2
    deadline: float = 10.0
    keeps_deadline: bool = False
    pace: Pace = field(default_factory=Pace)
    resend_policy: ResendPolicy = ResendPolicy.IDEMPOTENT
    on_unknown: Literal["resend", "hold"] = "resend"
    body_key: Hashable | None = None
    digest_above: int | None = 3
    digest_size: int = 4
    storm_size: int = 4
    storm_room: int = 1_000_000
    threads: bool = False
    coalesces: bool = False
    tickets: bool = False
    multi_recipient: bool = False
    edit_budget: str | None = None
    failures_only: bool = False
    answers: list[Answer] = field(default_factory=list)
    """Answers to the next attempts; after them it accepts everything."""
    rendered: int = 0
    on_offer: Callable[[Delivery, Answer], Awaitable[None]] | None = None
    on_stall: Callable[[], Awaitable[object]] | None = None
    kind: ClassVar[str] = "receiver"

    def wants(self, notified: ExpectedEvent) -> bool:
        return notified.failed or not self.failures_only

    def route(self) -> Route:
        match = (Matcher(field="status", op="=", value="failed"),) if self.failures_only else ()
        return Route(name=f"to {self.name}", match=match, channels=(self.name,))

    def policy(self) -> ChannelPolicy:
        return ChannelPolicy(
            name=self.name,
            digest_above=self.digest_above,
            digest_size=self.digest_size,
            threads=self.threads,
            storm_size=self.storm_size,
            storm_room=self.storm_room,
        )

    def render(self, request: RenderRequest) -> Body:
        self.rendered += 1  # so that a message rendered twice is not the same twice
        named = " ".join(f"{event.id}={event.job_id}" for event in request.events)
        return Body(content=f"{self.rendered} {named}".encode(), content_type="text/plain")

    async def send(self, delivery: Delivery) -> Outcome:
        answer = self.answers.pop(0) if self.answers else "take"
        if answer == "stall" and self.on_stall is not None:
            await self.on_stall()
        if self.on_offer is not None:
            await self.on_offer(delivery, answer)
        if answer.startswith("die"):
            raise ProcessKilled
        return _OUTCOMES[answer]

    async def find_sent(self, delivery: Delivery) -> Outcome | None:
        raise AssertionError(f"a repeat of {delivery.id} does no harm here")

    async def check(self) -> Sequence[CheckResult]:
        return ()

    async def aclose(self) -> None:
        pass


# ---- expectations ----

Pair = tuple[str, str]
"""An event's id and a channel."""


@dataclass(slots=True)
class Expectations:
    """The expected content of one database. It is restored together with a backup."""

    observer: Observer = field(default_factory=Observer)
    events: dict[str, ExpectedEvent] = field(default_factory=dict)
    """Events by id, in the order in which they were found."""
    due: dict[Pair, None] = field(default_factory=dict)
    """Every event with every channel that routing chose when it was found, in that order."""
    taken: set[str] = field(default_factory=set)
    """Deliveries that the service accepted at least once."""
    delivered: set[str] = field(default_factory=set)
    """Deliveries that are recorded as delivered."""
    rejected: set[str] = field(default_factory=set)
    bodies: dict[str, bytes] = field(default_factory=dict)
    sent_twice: set[str] = field(default_factory=set)
    """Deliveries that two processes sent, one of which was stopped for longer than its lease."""


@dataclass(slots=True)
class IdentityLog:
    """What holds across all restores: an id has one meaning."""

    facts: dict[str, tuple[str, Facts]] = field(default_factory=dict)
    ids: dict[tuple[str, Facts], str] = field(default_factory=dict)
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def check(self, id_: str, notified: ExpectedEvent) -> None:
        key = (notified.job_id, notified.facts)
        assert self.facts.setdefault(id_, key) == key, f"B3: {id_} means {self.facts[id_]} and {key}"
        assert self.ids.setdefault(key, id_) == id_, f"B3: {key} is told under two ids"


class Scenario:
    """One database, one cloud, some channels, and a sequence of processes."""

    def __init__(self, url: str, *, shared: bool = False, long: bool = False, by_pages: bool = False) -> None:
        self.url = url
        self.shared = shared
        """True if other processes may use the database: claims are not released early."""
        self.by_pages = by_pages
        """True if the API uses `offset` as the number of a page."""
        self.clock = FakeClock()
        self.cloud = Cloud()
        self.expectations = Expectations()
        self.identities = IdentityLog()
        self.channels: dict[str, Receiver] = {}
        self.rules = POLLING
        self._unseen: set[str] = set()
        self._offered: list[tuple[str, Answer]] = []
        self._violations: list[AssertionError] = []
        self._runner = asyncio.Runner()
        # No request uses it; loading the machine's certificates would take longer than the test.
        self.http = HttpClient()
        self.source = ScriptedSource(self.clock, self.http, long=long)
        self._starts = 0
        self._start()
        self.add_channel("all")
        self.add_channel("failures", failures_only=True)

    # -- processes --

    def _start(self) -> None:
        self._starts += 1
        self.owner = f"process {self._starts}"
        self.store = open_store(self.url, now=self.clock.now)
        if not self.shared:
            self._transact(lambda tx: tx.replicas.release_claims(None, self.clock.now()))

    def crash(self) -> None:
        """Kill the process and start another."""
        self.store.close()
        self._start()

    def close(self) -> None:
        self.store.close()
        self._runner.run(self.http.aclose())
        self._runner.close()

    def _transact(self, fn: Callable[[Transaction], T]) -> T:
        return self._runner.run(self.store.transact(fn))

    def read(self, fn: Callable[[Queries], T]) -> T:
        return self._runner.run(self.store.read(fn))

    # -- the world --

    def apply_changes(self, *changes: Change) -> None:
        """Apply changes in the cloud, a second apart: its times are in seconds."""
        for change in changes:
            self.clock.advance(SECOND)
            self.cloud = changed(self.cloud, change, self.clock.now())

    def wait(self, delta: timedelta) -> None:
        self.clock.advance(delta)

    def add_channel(self, name: str, *, failures_only: bool = False, concurrency: int = 2) -> None:
        channel = Receiver(name=name, failures_only=failures_only, concurrency=concurrency)
        channel.on_offer = partial(self._on_offer, channel)
        channel.on_stall = partial(self._overtake, channel)
        self.channels[name] = channel

    @property
    def routing(self) -> RoutingConfig:
        return RoutingConfig(
            routes=tuple(channel.route() for channel in self.channels.values()),
            policies={name: channel.policy() for name, channel in self.channels.items()},
        )

    # -- polling --

    def poll(self, presentation: Presentation = WHOLE, *, crash_at: CrashPoint | None = None) -> PollReport | None:
        """Poll once and check what was recorded; None if the process was killed."""
        self.clock.advance(SECOND)
        return self.poll_now(presentation, crash_at=crash_at)

    def poll_now(self, presentation: Presentation = WHOLE, *, crash_at: CrashPoint | None = None) -> PollReport | None:
        """Poll at this instant: a second call repeats the same poll."""
        view = self.source.view = ListView(
            cloud=self.cloud, presentation=presentation, now=self.clock.now(), by_pages=self.by_pages
        )
        store = CrashingStore(self.store, crash_at)
        report: PollReport | None = None
        try:
            report = self._runner.run(_until_killed(self._poll_once(self.source, store)))
        except ProcessKilled:
            self.crash()
        self.cloud = view.cloud
        if store.recorded and self.source.latest is not None:
            self._expect_recorded(view, self.source.latest)
        self.check_events()
        return report

    def poll_source(self, source: ScriptedSource) -> PollReport:
        """Poll a source without any expectation."""
        return self._runner.run(self._poll_once(source, CrashingStore(self.store)))

    async def _poll_once(self, source: ScriptedSource, store: CrashingStore) -> PollReport:
        return await poll_once(
            source,
            store,
            owner=self.owner,
            rules=self.rules,
            routing=self.routing,
            force=True,
        )

    def _expect_recorded(self, view: ListView, snapshot: Snapshot) -> None:
        if snapshot.complete:
            self._expect_all_seen(view)
        promise = "A8" if self.expectations.observer.last_complete_at is None else "A1"
        notified = self.expectations.observer.observe(
            view.scans, view.shown, at=snapshot.taken_at, whole=snapshot.complete
        )
        for event_id, found in self._new_events():
            expected = next((item for item in notified if item.job_id == found.event.job_id), None)
            assert expected, f"{promise}: told {found.event.type} unduly"
            notified.remove(expected)
            self._record_event(event_id, found, expected)
        assert not notified, f"A1: nothing was told of {sorted((e.job_id, e.type) for e in notified)}"

    def _expect_all_seen(self, view: ListView) -> None:
        """By records a complete list lacks nothing; by pages, which cannot overlap, no two in a row lack the same."""
        unseen = view.throughout - view.shown.keys()
        hidden = unseen & self._unseen if self.by_pages else unseen
        assert not hidden, f"A4: the list was called whole without {sorted(hidden)}"
        self._unseen = unseen

    def _new_events(self) -> list[tuple[str, RoutedEvent]]:
        stored = self.read(lambda q: q.events(EventFilter(limit=ALL)))
        return [(item.event.id, item) for item in reversed(stored) if item.event.id not in self.expectations.events]

    def _record_event(self, id_: str, found: RoutedEvent, notified: ExpectedEvent) -> None:
        assert found.event.type == notified.type, (
            f"A1: {notified.job_id} was told as {found.event.type}, it is {notified.type}"
        )
        self.identities.check(id_, notified)
        self.expectations.events[id_] = notified
        wanting = [channel.name for channel in self.channels.values() if channel.wants(notified)]
        closing = set(found.channels).difference(wanting)
        assert list(found.channels) == [*wanting, *(name for name in found.channels if name in closing)], (
            f"P3: {id_} went to {found.channels} instead of {wanting}"
        )
        assert closing <= self._told_of_failures(found.event), f"P3: {id_} went to {found.channels} for no reason"
        self.expectations.due |= {(id_, name): None for name in found.channels}

    def _told_of_failures(self, success: Event) -> set[str]:
        """Return the channels that got a failure which this event closes."""
        if success.closes is None:
            return set()
        stored = self.read(lambda q: q.events(EventFilter(limit=ALL)))
        return {
            name
            for item in stored
            if item.event.type.traits.needs_care and operation_of(item.event) == operation_of(success)
            for name in item.channels
        }

    def check_events(self) -> None:
        """Check that exactly the expected events are recorded, each with one delivery record per channel."""
        stored, deliveries, ledger = self.read(
            lambda q: (q.events(EventFilter(limit=ALL)), q.deliveries(DeliveryFilter(limit=ALL)), q.ledger())
        )
        unexpected = {
            item.event.id: item.event.type for item in stored if item.event.id not in self.expectations.events
        }
        assert not unexpected, f"A5: {unexpected} came from nothing that was shown"
        assert len(stored) == len(self.expectations.events), "A1: a recorded event is gone"
        accounts = [(event.id, d.channel) for d in deliveries for event in d.events]
        assert sorted(accounts) == sorted(self.expectations.due), "P3: not every event has one account for each channel"
        assert ledger.unaccounted == (), "P3: the ledger does not add up"

    def deliveries(self) -> Sequence[Delivery]:
        """Return every delivery, the oldest first."""
        return self.read(lambda q: q.deliveries(DeliveryFilter(limit=ALL)))[::-1]

    # -- delivering --

    def deliver(self, channel: str, *answers: Answer, crash_at: CrashPoint | None = None) -> bool:
        """Make one round on a channel and check it; return whether it sent anything."""
        self.channels[channel].answers = list(answers)
        return self._deliver(channel, CrashingStore(self.store, crash_at), disturbed="stall" in answers)

    def run_until_idle(self, event: asyncio.Event) -> None:
        """Set an event and run the tasks that wait for it until they wait again."""

        async def go_on() -> None:
            event.set()
            for _ in range(20):
                await asyncio.sleep(0)

        self._runner.run(go_on())

    def deliver_late(self, channel: str, *answers: Answer) -> bool:
        """Make one round on a channel in a process that stops between claiming and rendering."""
        self.channels[channel].answers = list(answers)
        delay = partial(self._overtake, self.channels[channel])
        return self._deliver(channel, CrashingStore(self.store, delay=delay), disturbed=True)

    def _deliver(self, channel: str, store: CrashingStore, *, disturbed: bool) -> bool:
        self._offered = []
        try:
            self._runner.run(_until_killed(self._deliver_due(self.channels[channel], store, self.owner)))
        except ProcessKilled:
            disturbed = True
            self.crash()
        for violation in self._violations:
            raise violation
        self._check_deliveries(disturbed=disturbed)
        return bool(self._offered)

    async def _deliver_due(self, receiver: Receiver, store: CrashingStore, owner: str) -> None:
        await deliver_due(receiver, store, self.clock, Random(1), owner=owner, rules=DELIVERING)

    async def _overtake(self, receiver: Receiver) -> None:
        """Let another process deliver while this one is stopped for longer than its lease."""
        self.clock.advance(DELIVERING.lease)
        before = len(self._offered)
        await self._deliver_due(receiver, CrashingStore(self.store), "another process")
        self.expectations.sent_twice |= {delivery_id for delivery_id, _ in self._offered[before:]}

    async def _on_offer(self, receiver: Receiver, delivery: Delivery, answer: Answer) -> None:
        """Record an attempt. A violation is raised after the round, because errors of a channel are caught."""
        self._offered.append((delivery.id, answer))
        try:
            await self._check_offer(receiver, delivery)
        except AssertionError as violation:
            self._violations.append(violation)
        self.expectations.taken |= {delivery.id} if answer in _TAKEN else set()
        self.expectations.rejected |= {delivery.id} if answer == "reject" else set()

    async def _check_offer(self, receiver: Receiver, delivery: Delivery) -> None:
        expectations, id_ = self.expectations, delivery.id
        assert delivery.body is not None
        content = delivery.body.content
        assert expectations.bodies.setdefault(id_, content) == content, f"B2: {id_} was sent again with another body"
        members = tuple(event.id for event in delivery.events)
        assert self.identities.members.setdefault(id_, members) == members, f"B3: {id_} names other events than before"
        phantoms = [event_id for event_id in members if (event_id, receiver.name) not in expectations.due]
        assert not phantoms, f"A8: {receiver.name} was told of {phantoms}, which it had not asked for"
        named = all(f"{event.id}={event.job_id}".encode() in content for event in delivery.events)
        assert named, "A9: a digest does not name all its jobs"
        if id_ not in expectations.sent_twice:
            assert id_ not in expectations.delivered, f"B2: {id_} was sent again after it was delivered"
            await self._check_order(receiver.name, members)

    async def _check_order(self, channel: str, members: Sequence[str]) -> None:
        """Compare with the current state: a round settles some deliveries before it sends others."""
        subjects = {self.expectations.events[event_id].job_id for event_id in members}
        earlier = []
        for event_id, of in self.expectations.due:
            if event_id in members:
                break
            if of == channel and self.expectations.events[event_id].job_id in subjects:
                earlier.append(event_id)
        found = await self.store.read(lambda q: q.deliveries(DeliveryFilter(channel=channel, limit=ALL)))
        settled = {event.id for delivery in found if delivery.state in SETTLED for event in delivery.events}
        waiting = [event_id for event_id in earlier if event_id not in settled]
        assert not waiting, f"B4: {members} overtook {waiting} about the same job"

    def _check_deliveries(self, *, disturbed: bool) -> None:
        """Compare the delivery records with the attempts."""
        for delivery in self.deliveries():
            self._check_delivery(delivery)
        acknowledged = {id_ for id_, answer in self._offered if answer == "take" and not disturbed}
        assert acknowledged <= self.expectations.delivered, "B1: a receiver took a delivery and it is not booked"

    def _check_delivery(self, delivery: Delivery) -> None:
        expectations, id_ = self.expectations, delivery.id
        if delivery.state is DeliveryState.DELIVERED:
            assert id_ in expectations.taken, f"A1: {id_} is booked as delivered and nobody ever took it"
            expectations.delivered.add(id_)
        elif delivery.state is DeliveryState.DEAD:
            attempts_exhausted = delivery.attempt - delivery.earlier_attempts > len(DELIVERING.schedule)
            assert delivery.reason, "B1: given up on without a reason"
            assert id_ in expectations.rejected or attempts_exhausted, f"B1: {id_} was given up on before its time"

    # -- operators --

    def unpark(self, channel: str) -> None:
        """Unpark a channel, as after a correction of its settings."""
        self._transact(lambda tx: tx.channels.unpark(channel, self.clock.now()))

    def retry_dead(self) -> None:
        """Retry dead deliveries."""
        dead = [delivery for delivery in self.deliveries() if delivery.state is DeliveryState.DEAD]
        self._transact(lambda tx: tx.deliveries.retry([delivery.id for delivery in dead], self.clock.now()))
        self.expectations.rejected -= {delivery.id for delivery in dead}

    # -- the end --

    def heal(self) -> None:
        """End all faults, then require that every delivery is settled."""
        self.crash()
        self.wait(max(POLLING.lease, DELIVERING.lease) * 20)
        for _ in range(3):
            self.poll()
        self.drain()
        self.check_convergence()
        waiting = [delivery.id for delivery in self.deliveries() if delivery.state not in SETTLED]
        assert not waiting, f"B1: {waiting} never came to an end"

    def drain(self) -> None:
        """Deliver everything, with receivers that accept everything."""
        for name in self.channels:
            self.unpark(name)
            # Every delivery may have to wait once for its lease or its schedule, and is then taken.
            for _ in range(4 * len(self.deliveries()) + 4):
                if not self.deliver(name) and not self._wait_for_due(name):
                    break
            else:
                raise AssertionError(f"B1: {name} never comes to an end")

    def _wait_for_due(self, channel: str) -> bool:
        pending = DeliveryFilter(state=DeliveryState.PENDING, channel=channel, limit=ALL)
        times = [delivery.available_at for delivery in self.read(lambda q: q.deliveries(pending))]
        later = [time for time in times if time > self.clock.now()]
        if later:
            self.clock.advance(min(later) - self.clock.now())
        return bool(later)

    def check_convergence(self) -> None:
        """Check that the recorded tasks match the cloud, whatever the program requested."""
        stored = {item.task.job_id: item.task for item in self.read(lambda q: q.tasks(TaskFilter(limit=ALL)))}
        listed = self.cloud.listed(self.clock.now())
        behind = [job.job_id for job in listed if job.job_id not in stored]
        # A row without a status changes nothing: the recorded status stays.
        behind += [
            job.job_id
            for job in listed
            if job.status and job.job_id in stored and stored[job.job_id].raw_status != job.status
        ]
        assert not behind, f"A2: {behind} changed, and nobody ever noticed"

    # -- backups --

    def backup(self) -> Backup:
        """Copy the database and its expectations."""
        folder = Path(tempfile.mkdtemp(dir=self._path.parent))
        connection = sqlite_module().connect(str(self._path))
        connection.execute("VACUUM INTO ?", (str(folder / "copy.db"),))
        connection.close()
        return Backup(file=folder / "copy.db", expectations=copy.deepcopy(self.expectations))

    def restore(self, backup: Backup) -> None:
        """Stop, replace the database by the copy, and start again."""
        self.store.close()
        for leftover in self._path.parent.glob(f"{self._path.name}*"):
            leftover.unlink()
        shutil.copy(backup.file, self._path)
        self.expectations = copy.deepcopy(backup.expectations)
        self._start()

    @property
    def _path(self) -> Path:
        return Path(self.url.removeprefix("sqlite:///"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A copy of a database and of its expectations."""

    file: Path
    expectations: Expectations


# ---- creation ----

ScenarioFactory = Callable[..., AbstractContextManager[Scenario]]
"""Creates a scenario on a new database; takes the options of `Scenario`."""

# Every step waits for the disk several times; in memory the tests take half the time.
_MEMORY = Path("/dev/shm")  # noqa: S108 - only ever used for a fresh folder with a name of its own


@contextmanager
def sqlite_scenario(template: Path, **how: Any) -> Iterator[Scenario]:
    """Create a scenario on a copy of a SQLite file."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        shutil.copy(template, f"{folder}/notifier.db")
        with closing(Scenario(f"sqlite:///{folder}/notifier.db", **how)) as scenario:
            yield scenario


@contextmanager
def postgres_scenario(databases: Databases, **how: Any) -> Iterator[Scenario]:
    """Create a scenario on a database of a server."""
    with databases.database() as url, closing(Scenario(url, shared=True, **how)) as scenario:
        yield scenario
