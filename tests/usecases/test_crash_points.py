"""A process that dies at any step boundary of polling and delivering, and the next one, on either database.

The boundaries are those at which the world differs: inside (all but committed) and after every transaction, and after
every message, edit and call. What a process reads changes nothing: to die before or after that, or before the next
change, is to die after the last one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar, cast
from zoneinfo import ZoneInfo

import pytest
from factories import make_event, make_task
from fakes import FakeChannel, FakeClock, FakeSource
from memory_tickets import MemorySettings, MemoryTickets, Tracker

from notifier.channels.base import ChannelContext
from notifier.config.loading import loads
from notifier.core import dispatch
from notifier.core.alarms import AlarmFacts, AlarmFeed, AlarmLevel
from notifier.core.delivery import Delivered, Delivery, DeliveryState, Outcome, ResendPolicy, Thread
from notifier.core.model import Scope, Snapshot, Task
from notifier.core.pacing import Pace
from notifier.core.tickets import operation_of
from notifier.deliver import DeliveryWorker
from notifier.http import HttpClient
from notifier.ports import DeliveryFilter, EventFilter
from notifier.service.service import Service
from notifier.store.engine import SqlStore, open_store
from notifier.store.queries import Queries
from notifier.store.transaction import Transaction
from notifier.wiring.app import App
from notifier.wording.localizer import Localizer

T = TypeVar("T")

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
LEASES = timedelta(minutes=2)
"""Longer than any claim of this story holds."""


class Killed(BaseException):
    """The process is gone. Nothing in the program catches it."""


class Fuse:
    """Lets so many steps pass. At the next one the process dies, and does nothing more."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.burnt = False

    def step(self) -> None:
        self.check()
        self.burnt = self.left == 0
        self.check()
        self.left -= 1

    def check(self) -> None:
        """Raise Killed where the process is dead."""
        if self.burnt:
            raise Killed


class MortalStore:
    """A real store in a process that can die."""

    def __init__(self, store: SqlStore, fuse: Fuse) -> None:
        self.store = store
        self.serial = store.serial
        self.fuse = fuse
        self.joined = 0
        """Transactions that planned deliveries and claimed some."""

    async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:
        self.fuse.check()
        result = await self.store.transact(lambda tx: self._inside(fn, tx), short=short)
        self.fuse.step()
        return result

    def _inside(self, fn: Callable[[Transaction], T], tx: Transaction) -> T:
        result = fn(tx)
        if tx.deliveries.planned_channels:
            waiting = tx.queries.deliveries(DeliveryFilter(state=DeliveryState.PENDING))
            self.joined += any(delivery.attempt for delivery in waiting)
        self.fuse.step()
        return result

    async def read(self, fn: Callable[[Queries], T]) -> T:
        self.fuse.check()
        return await self.store.read(fn)

    async def listen(self, wake: Callable[[], None]) -> None:
        await self.store.listen(wake)

    async def aclose(self) -> None:
        await self.store.aclose()


class MortalSource(FakeSource):
    """A task list that is read by a process that can die."""

    fuse: Fuse

    async def fetch(self, scope: Scope) -> Snapshot:
        self.fuse.check()
        return await super().fetch(scope)


class MortalChannel(FakeChannel):
    """A channel that a process uses that can die."""

    fuse: Fuse

    async def send(self, delivery: Delivery) -> Outcome:
        self.fuse.check()
        outcome = await super().send(delivery)
        self.fuse.step()
        return outcome


class MortalChat(MortalChannel):
    """A channel whose messages show tasks and have copies. What was sent can be found again."""

    def __init__(self) -> None:
        super().__init__(resend_policy=ResendPolicy.RECONCILABLE)
        self.threads, self.edit_budget = True, "token"
        self.edit_pace = Pace(per_second=1_000, burst=1_000)
        self.shows: dict[str, str] = {}
        """The type of event that each message of a task shows, by reference. Each is in the channel itself."""
        self.answer = self._post

    def _post(self, delivery: Delivery) -> Outcome:
        ref, (event,) = f"ref of {delivery.id}", delivery.events
        if delivery.thread and not dispatch.is_loud_trouble(delivery):
            return Delivered(ref)
        self.shows[ref] = event.type
        return Delivered(ref, copy=ref) if delivery.thread else Delivered(ref, thread=ref)

    async def find_sent(self, delivery: Delivery) -> Outcome | None:
        self.fuse.check()
        sent = any(earlier.id == delivery.id for earlier in self.sent)
        return self._post(delivery) if sent else None

    async def show(self, thread: Thread) -> Outcome:
        await self._edit(thread, thread.ref)
        return Delivered()

    async def show_copy(self, thread: Thread, ref: str) -> Outcome | None:
        await self._edit(thread, ref)
        return Delivered()

    async def _edit(self, thread: Thread, ref: str) -> None:
        self.fuse.check()
        self.shows[ref] = thread.event.type
        self.fuse.step()


class MortalTickets(MemoryTickets):
    """A channel that keeps tickets, whose process can die after each call."""

    fuse: Fuse

    def _begin(self, name: str) -> None:
        self.fuse.check()
        super()._begin(name)

    def _end(self) -> None:
        super()._end()
        self.fuse.step()


CONFIGURATION = """
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}}
channels: [{name: dba, kind: console}]
routes: [{name: everything, channels: [dba]}]
"""


class World:
    """A task list, a receiver and a database that outlive the processes between them."""

    def __init__(
        self, url: str, channel: MortalChannel | MortalTickets | None = None, configuration: str = CONFIGURATION
    ) -> None:
        self.url = url
        self.config = loads(configuration, {})
        self.clock = FakeClock()
        self.source = MortalSource(self.clock)
        self.channel = channel or MortalChannel()
        self.chapters: list[Sequence[Task]] = [[]]

    async def live(self, fuse: Fuse) -> None:
        """Be one process, from the opening of the store until the story has been told. Raises Killed."""
        self.source.fuse = self.channel.fuse = fuse
        store = open_store(self.url, exclusive=True, now=self.clock.now)
        try:
            service = Service(self.app(MortalStore(store, fuse)))
            await service.start()
            await self.read_all(service)
            await service.release()
        finally:
            await store.aclose()

    async def read_all(self, service: Service) -> None:
        """Poll and deliver until the story is over."""
        while self.chapters:
            self.source.tasks = list(self.chapters[0])
            await service.polling.poll(self.source, force=True)
            await service.delivering.drain()
            self.chapters.pop(0)

    def app(self, store: MortalStore) -> App:
        return App(
            config=self.config,
            store=store,
            sources={self.source.name: self.source},
            channels={"dba": self.channel},
            clock=self.clock,
            rng=random.Random(1),
        )

    async def survives(self, step: int) -> bool:
        """Let a process die at this step, and another take over; True when all is done before it comes to that."""
        try:
            await self.live(Fuse(step))
        except Killed:
            self.clock.advance(LEASES)
            await self.live(Fuse(-1))
            return False
        return True

    @property
    def sent(self) -> list[Delivery]:
        """The deliveries that the receiver of messages got."""
        assert isinstance(self.channel, MortalChannel)
        return self.channel.sent

    def tell(self, number: int) -> None:
        """Begin a story about two tasks that are new."""
        self.sent.clear()
        first, second = f"{number}-first", f"{number}-second"
        running, failed = (make_task(first, status=status) for status in ("running", "failed"))
        self.chapters = [[running, make_task(second)], [failed, make_task(second)]]

    def told(self) -> dict[str, list[str]]:
        """Return what the receiver was told of each task, in order, where repeats in a row count once."""
        found: dict[str, list[str]] = {}
        for delivery in self.sent:
            (event,) = delivery.events
            found.setdefault(event.job_id, []).append(event.type)
        return {job_id: [told for told, _ in groupby(types)] for job_id, types in found.items()}


class DrivenWorld(World):
    """Its processes run their delivery workers all the time. What is idle claims in the transaction of the poll."""

    def __init__(self, url: str, channel: MortalChannel | None = None) -> None:
        super().__init__(url, channel)
        self.joined = 0
        """Claims that joined a poll."""

    async def read_all(self, service: Service) -> None:
        store, delivering = cast("MortalStore", service.app.store), service.delivering
        (worker,) = delivering._workers
        loops = [asyncio.create_task(work) for work in delivering.loops().values()]
        reading = asyncio.create_task(self._read_all(service, worker))
        try:
            await asyncio.wait({reading, *loops}, return_when=asyncio.FIRST_COMPLETED)
            for task in (reading, *loops):
                if task.done():
                    task.result()
            await delivering.stop(loops)
            loops[0].result()
        finally:
            for task in (reading, *loops, *worker._in_flight.values()):
                task.cancel()
            await asyncio.gather(reading, *loops, *worker._in_flight.values(), return_exceptions=True)
            self.joined += store.joined

    async def _read_all(self, service: Service, worker: DeliveryWorker) -> None:
        while self.chapters:
            while not worker._waiting:  # it settles what it has sent
                await self.pass_time()
            self.source.tasks = list(self.chapters[0])
            await service.polling.poll(self.source, force=True)
            while await self.left(service):
                await self.pass_time()
            self.chapters.pop(0)

    async def pass_time(self) -> None:
        """Let others go on. Who sends may have died, which nobody waits for."""
        await asyncio.sleep(0)
        self.source.fuse.check()

    async def left(self, service: Service) -> int:
        """Return how many deliveries wait to be sent."""
        store = cast("MortalStore", service.app.store).store
        return len(await store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.PENDING))))


class OnCallWorld(World):
    """A failure that nobody acknowledges, what follows of that, and the success that ends it."""

    def __init__(self, url: str) -> None:
        routes = "routes: [{name: failures, match: [type=task.failed], channels: [dba], remind: 30m, escalate: lead}]"
        steps = "escalations: [{name: lead, steps: [{after: 45m, channels: [dba]}]}]"
        super().__init__(url, configuration=f"{CONFIGURATION.partition('routes:')[0]}{routes}\n{steps}\n")
        self.parts: list[tuple[timedelta, Task | None]] = []
        """When something happens, from the beginning on: a task is seen, or what is due is sent."""
        self.begin = self.clock.now()

    def tell_of_failure(self, number: int) -> None:
        self.sent.clear()
        self.begin = self.clock.now()
        failed, done = (
            make_task(f"{number}-{status}", status=status, instance_id=f"i{number}", ended_at=self.begin + after)
            for status, after in (("failed", timedelta()), ("completed", timedelta(minutes=70)))
        )
        minutes = timedelta(minutes=1)
        self.parts = [(0 * minutes, failed), (40 * minutes, None), (60 * minutes, None), (70 * minutes, done)]

    async def read_all(self, service: Service) -> None:
        await super().read_all(service)  # the baseline
        while self.parts:
            after, task = self.parts[0]
            self.clock.advance(max(self.begin + after - self.clock.now(), timedelta()))
            if task is None:
                await service.reminding.run()
            else:
                self.source.tasks = [task]
                await service.polling.poll(self.source, force=True)
            await service.delivering.drain()
            self.parts.pop(0)


class AlarmWorld(World):
    """A source of alarms: a fault and its recovery, and an alarm of the history that is cleared."""

    def __init__(self, url: str, number: int = 0) -> None:
        name, project_id = f"prod-{number}", f"{number:032}"
        named = CONFIGURATION.replace("name: prod", f"name: {name}").replace(FakeSource.project_id, project_id)
        super().__init__(url, configuration=named.replace("kind: gaussdb,", "kind: gaussdb_events,"))
        self.source.name, self.source.project_id = name, project_id

    def tell_of_alarms(self, number: int) -> None:
        self.sent.clear()

        def alarm(job: str, feed: AlarmFeed, status: str) -> Task:
            now, over = self.clock.now(), status == "cleared"
            return make_task(
                f"{number}-{job}",
                source=self.source.name,
                name="GaussDBV5FaultyDBNode" if feed is AlarmFeed.CLOUD_EYE else "disk usage",
                status=status,
                alarm=AlarmFacts(feed=feed, level=AlarmLevel.MAJOR, node_id="n1"),
                instance_id=f"i{number}",
                created_at=now,
                ended_at=now if over else None,
                progress=None,
            )

        fault, recovery = (alarm(*one) for one in (("fault", _EYE, "raised"), ("recovery", _EYE, "cleared")))
        usage, usual = (alarm("usage", AlarmFeed.ALARM_HISTORY, status) for status in ("raised", "cleared"))
        self.chapters = [[fault, usage], [fault, recovery, usual]]


_EYE = AlarmFeed.CLOUD_EYE


@pytest.fixture
def quick_url(store_url: str) -> Iterator[str]:
    """Return a database that does not wait for the disk: processes die here, machines do not."""
    if store_url.startswith("postgresql"):
        yield f"{store_url}&options=-csynchronous_commit%3Doff"
    elif MEMORY.is_dir():
        with TemporaryDirectory(dir=MEMORY) as folder:
            yield f"sqlite:///{folder}/notifier.db"
    else:
        yield store_url


async def test_a_death_at_any_step_loses_nothing_and_repeats_at_most_one(quick_url: str) -> None:
    world = World(quick_url)
    await world.live(Fuse(-1))
    survived, step = False, -1
    while not survived:
        step += 1
        world.tell(step)
        survived = await world.survives(step)
        sent = world.sent
        assert world.told() == {
            f"{step}-first": ["task.started", "task.failed"],
            f"{step}-second": ["task.failed"],
        }
        assert len({(delivery.id, delivery.body) for delivery in sent}) == 3
        assert len(sent) <= 3 + (not survived), step
    assert step > 40
    store = open_store(quick_url)
    ledger = await store.read(lambda q: q.ledger())
    await store.aclose()
    assert (ledger.unaccounted, ledger.by_state[DeliveryState.DELIVERED], ledger.pairs) == ((), *[3 * step + 3] * 2)


async def test_a_death_around_a_joined_claim_loses_nothing_and_repeats_at_most_one(quick_url: str) -> None:
    """As above, but the workers run all the time: on SQLite they claim in the transaction of the poll."""
    world = DrivenWorld(quick_url)
    await world.live(Fuse(-1))
    stride = 3 if quick_url.startswith("postgresql") else 1
    survived, step = False, -1
    while not survived:
        step += stride
        world.tell(step)
        world.joined = 0
        survived = await world.survives(step)
        sent = world.sent
        assert world.told() == {
            f"{step}-first": ["task.started", "task.failed"],
            f"{step}-second": ["task.failed"],
        }
        assert len({(delivery.id, delivery.body) for delivery in sent}) == 3
        assert {delivery.attempt - delivery.earlier_attempts for delivery in sent} <= {1, 2}
        assert len(sent) <= 3 + (not survived), step
    assert step > 40
    assert world.joined == (0 if quick_url.startswith("postgresql") else 2)


async def test_a_death_between_posts_and_edits_leaves_no_message_and_no_copy_stale(quick_url: str) -> None:
    chat = MortalChat()
    world = World(quick_url, chat)
    await world.live(Fuse(-1))
    # Every step on SQLite; PostgreSQL takes twice as long for each, and gets every third.
    stride = 3 if quick_url.startswith("postgresql") else 1
    survived, step = False, -1
    while not survived:
        step += stride
        chat.sent.clear()
        chat.shows.clear()
        world.chapters = [[make_task(f"{step}", status=status)] for status in ("running", "failed", "completed")]
        survived = await world.survives(step)
        assert world.told() == {f"{step}": ["task.started", "task.failed", "task.completed"]}
        assert list(chat.shows.values()) == ["task.completed"] * 2, step
    assert step > 60


async def test_a_death_at_any_step_leaves_one_ticket_with_each_comment_once(quick_url: str) -> None:
    """A resize fails three times and succeeds, while its processes die one after the other."""
    clock = FakeClock()
    words = Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
    context = ChannelContext(http=HttpClient(), clock=clock, localizer=words)
    channel = MortalTickets(MemorySettings(name="dba", kind="memory"), context)
    channel.tracker = Tracker()
    only_failures = CONFIGURATION.replace("{name: everything, ", "{name: failures, match: [type=task.failed], ")
    world = World(quick_url, channel, only_failures)
    world.clock = world.source.clock = clock
    await world.live(Fuse(-1))
    # Each kind of database gets other steps: every seventh and every second one.
    stride = 7 if quick_url.startswith("postgresql") else 2
    survived, step = False, -1
    while not survived:
        step += stride
        channel.tracker = Tracker()
        tasks = [
            make_task(f"{step}-{n}", name="ResizeFlavor", instance_id=f"i{step}", status=status, ended_at=clock.now())
            for n, status in enumerate(("failed", "failed", "failed", "completed"))
        ]
        world.chapters = [[task] for task in tasks]
        survived = await world.survives(step)
        (record,) = channel.tracker.records.values()
        assert record.ticket.closed, step
        assert len(record.comments) == len({mark for _, mark in record.comments}) == 3, step
        assert channel.tracker.changes == ["create", "comment", "comment", "comment", "close"], step
    assert step > 60
    store = open_store(quick_url)
    ledger = await store.read(lambda q: q.ledger())
    assert (ledger.unaccounted, ledger.by_state[DeliveryState.DELIVERED]) == ((), ledger.pairs)
    tickets = await store.transact(lambda tx: tx.tickets.unsolved({str(operation_of(make_event(tasks[0])))}))
    await store.aclose()
    assert tickets == {}


async def test_a_death_at_any_step_loses_no_reminder_and_no_escalation(quick_url: str) -> None:
    """Each is told once, but for the one message that was on its way when the process died."""
    world = OnCallWorld(quick_url)

    def told(step: int) -> dict[str, list[str]]:
        return {
            f"{step}-failed": ["task.failed", "task.reminded", "task.escalated"],
            f"{step}-completed": ["task.completed"],
        }

    await check_deaths(world, world.tell_of_failure, told)


async def test_a_death_at_any_step_loses_no_alarm_and_leaves_none_open(quick_url: str) -> None:
    world = AlarmWorld(quick_url)

    def told(step: int) -> dict[str, list[str]]:
        return {
            f"{step}-fault": ["alarm.raised"],
            f"{step}-recovery": ["alarm.cleared"],
            f"{step}-usage": ["alarm.raised", "alarm.cleared"],
        }

    await check_deaths(world, world.tell_of_alarms, told)


async def check_deaths(
    world: OnCallWorld | AlarmWorld, tell: Callable[[int], None], told: Callable[[int], dict[str, list[str]]]
) -> None:
    """Let processes die at every step of a story of four messages, and check what was told and what stays open.

    `tell` begins the story that is numbered so, and `told` returns what it comes to.
    """
    await world.live(Fuse(-1))
    stride = 5 if world.url.startswith("postgresql") else 2
    survived, step = False, -1
    while not survived:
        step += stride
        tell(step)
        survived = await world.survives(step)
        assert world.told() == told(step), step
        assert len({(delivery.id, delivery.body) for delivery in world.sent}) == 4
        assert len(world.sent) <= 4 + (not survived), step
    assert step > 50
    store = open_store(world.url)
    ledger = await store.read(lambda q: q.ledger())
    found = await store.read(lambda q: q.open_failures())
    await store.aclose()
    assert (ledger.unaccounted, found) == ((), [])


async def test_a_death_in_a_baseline_of_alarms_leaves_them_quiet_and_open(quick_url: str) -> None:
    stride = 4 if quick_url.startswith("postgresql") else 1
    survived, step = False, -1
    while not survived:
        step += stride
        world = AlarmWorld(quick_url, step)
        world.tell_of_alarms(step)
        world.chapters = world.chapters[:1]
        survived = await world.survives(step)
        store = open_store(quick_url)
        found = await store.read(lambda q: q.open_failures())
        recorded = await store.read(partial(Queries.events, wanted=EventFilter(source=world.source.name)))
        await store.aclose()
        assert not any(f"{step}-{job}" in world.told() for job in ("fault", "usage")), step
        assert {one.latest.job_id for one in found} >= {f"{step}-fault", f"{step}-usage"}, step
        assert [one.event.quiet for one in recorded if one.event.job_id] == [True, True], step
    assert step > 5
