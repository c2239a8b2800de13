"""One process of the program, with ports to the simulated world. It can stop or die at any await."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import ClassVar, Literal, TypeVar

from fakes import snapshot_of

from notifier.config.config import Config
from notifier.core import dispatch
from notifier.core.credentials import Credential
from notifier.core.delivery import Body, Delivered, Delivery, Outcome, ResendPolicy, Thread
from notifier.core.errors import SourceUnreachable, StoreUnreachable
from notifier.core.model import Scope, Snapshot, Task, TaskStatus
from notifier.core.pacing import Pace
from notifier.ports import CheckResult, RenderRequest
from notifier.service.service import Service
from notifier.store.engine import SqlStore
from notifier.store.queries import Queries
from notifier.store.transaction import Transaction
from notifier.wiring.app import App
from simulation.world import COMMITTED_UNANSWERED, REFUSED, START, Posted, Receiver, World, shown_of, state_of

T = TypeVar("T")

HOUSEKEEPING = 2.0
BUDGET = Credential(key="key", calls_per_minute=600, promised_per_minute=30, version=lambda: "one")
"""What a long list is polled with: enough for a poll each second, too little for the shortest interval."""


class Killed(BaseException):
    """The process was killed. Nothing in the program catches this."""


@dataclass(slots=True, kw_only=True)
class ProcessState:
    """Whether a process is alive and running, and how slow it is."""

    number: int
    rng: Random
    dead: bool = False
    running: asyncio.Event = field(default_factory=asyncio.Event)

    async def step(self) -> None:
        """Take a moment. Raises Killed if the process was killed."""
        await asyncio.sleep(self.rng.choice([0.0, 0.0, 0.001, 0.02]))
        await self.running.wait()
        if self.dead:
            raise Killed


@dataclass(slots=True, kw_only=True)
class SimulatedClock:
    """The clock of one machine, which is set now and then."""

    process: ProcessState
    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic()) + self.ahead

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.process.step()


@dataclass(slots=True, kw_only=True)
class SimulatedStore:
    """The real statements on a real database. On the way there things get lost, and on the way back."""

    store: SqlStore
    world: World
    process: ProcessState

    @property
    def serial(self) -> bool:
        return self.store.serial

    async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:  # noqa: ARG002 - there are no threads
        await self._arrive()
        (result,) = self.store._transact([fn])
        if self.world.happens(COMMITTED_UNANSWERED):
            raise StoreUnreachable("the connection was lost during the commit")
        await self.process.step()
        return result

    async def read(self, fn: Callable[[Queries], T]) -> T:
        await self._arrive()
        return self.store._read(fn)

    async def _arrive(self) -> None:
        await self.process.step()
        if self.world.database_down or self.world.happens(REFUSED):
            raise StoreUnreachable("no answer")

    async def listen(self, wake: Callable[[], None]) -> None:  # noqa: ARG002 - here nobody is called: looking must do
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        pass


@dataclass(slots=True, kw_only=True)
class SimulatedSource:
    """The cloud's list as this process sees it."""

    world: World
    process: ProcessState
    clock: SimulatedClock
    name: str = "prod"
    region: str = "cn-north-4"
    project_id: str = "0611f1bd8b00d5d32f17c017f15b599f"
    shown: list[tuple[float, Snapshot]] = field(default_factory=list)
    """Time and rows of what this poll has read so far."""

    async def fetch(self, scope: Scope) -> Snapshot:
        tasks = self.world.cloud.tasks.values()
        active = [task for task in tasks if task.status in (TaskStatus.RUNNING, TaskStatus.FAILED)]
        return await self._read(lambda: tasks if scope is Scope.FULL else active, scope=scope)

    async def _read(self, rows: Callable[[], Iterable[Task]], *, scope: Scope = Scope.ACTIVE) -> Snapshot:
        await self.process.step()
        if self.world.cloud_down or self.world.happens(0.1):
            raise SourceUnreachable("HTTP 503")
        complete = scope is Scope.FULL and not self.world.happens(0.1)
        seen = snapshot_of(rows(), self.clock.now(), complete=complete, scope=scope)
        self.shown.append((asyncio.get_running_loop().time(), seen))
        if self.world.happens(0.05):
            await asyncio.sleep(self.world.rng.uniform(0, 15))  # longer than a lease
        await self.process.step()
        return seen

    async def check(self) -> Sequence[CheckResult]:
        return ()

    async def aclose(self) -> None:
        pass


@dataclass(slots=True, kw_only=True)
class SimulatedLongSource(SimulatedSource):
    """The same list, of which each slice of a full scan shows two tasks."""

    listed: set[str] | None = None
    """Ids that the full scan has shown; None where none goes on."""

    @property
    def scanning(self) -> bool:
        return self.listed is not None

    async def fetch_slice(self, calls: int) -> Snapshot:
        assert calls > 0
        before = self.listed or set()
        try:
            shown = await self._read(lambda: self._unlisted(before)[:2])
        except BaseException:
            self.drop_scan()
            raise
        self.listed = before | shown.fingerprints.keys()
        if self._unlisted(self.listed):
            return shown
        self.drop_scan()
        complete = not self.world.happens(0.1)
        return replace(shown, scope=Scope.FULL, complete=complete, listed_before=before, scan_calls=20)

    def _unlisted(self, listed: Collection[str]) -> Sequence[Task]:
        return [task for task in self.world.cloud.tasks.values() if task.job_id not in listed]

    async def fetch_ended(self) -> Snapshot:
        ended = [task for task in self.world.cloud.tasks.values() if task.status is TaskStatus.COMPLETED]
        return await self._read(lambda: ended[-2:])

    def drop_scan(self) -> None:
        self.listed = None


@dataclass(slots=True, kw_only=True)
class SimulatedChannel:
    """A channel of this process to one of the receivers."""

    name: str
    resend_policy: ResendPolicy
    receiver: Receiver
    world: World
    process: ProcessState
    concurrency: int
    pace: Pace
    kind: ClassVar[str] = "simulated"
    deadline: float = 2.0
    keeps_deadline: bool = False
    on_unknown: Literal["resend", "hold"] = "resend"
    body_key: Hashable | None = None
    digest_above: int | None = 20
    digest_size: int = 100
    storm_size: int = 100
    storm_room: int = 1_000_000
    edit_pace: Pace = field(default_factory=lambda: Pace(per_second=10, burst=5))
    threads: bool = False
    coalesces: bool = False
    tickets: bool = False
    multi_recipient: bool = False
    edit_budget: str | None = None

    def render(self, request: RenderRequest) -> Body:
        # Each process renders in its own way, as after an upgrade: only a stored body repeats byte for byte.
        text = f"{self.process.number} {[event.id for event in request.events]}"
        return Body(content=text.encode(), content_type="text/plain")

    async def send(self, delivery: Delivery) -> Outcome:
        await self.process.step()
        now = asyncio.get_running_loop().time()
        self.receiver.offered.extend((now, event.id, event.subject, delivery.id) for event in delivery.events)
        outcome = self.receiver.take(delivery, self.process.number, now)
        if self.threads:
            outcome = self._in_thread(delivery, outcome)
        self.world.add_to_trace(now, f"process {self.process.number}", f"{self.name} {delivery.id[:8]} {outcome}")
        if outcome is None:
            await asyncio.Event().wait()  # until the deadline
            raise AssertionError("unreachable")
        await self.process.step()
        return outcome

    def _in_thread(self, delivery: Delivery, outcome: Outcome | None) -> Outcome | None:
        """Start a thread with an accepted message, unless it was posted in one."""
        taken = any(arrival.delivery.id == delivery.id for arrival in self.receiver.arrivals)
        if not taken or not dispatch.thread_subject(delivery):
            return outcome
        if delivery.thread and self.receiver.exists(delivery.thread):
            if dispatch.is_loud_trouble(delivery) and not delivery.storm:
                ref = self.receiver.post(delivery, copy=True)
                return Delivered(ref, copy=ref) if isinstance(outcome, Delivered) else outcome
            return outcome
        ref = self.receiver.post(delivery)
        return Delivered(ref, thread=ref) if isinstance(outcome, Delivered) else outcome

    async def find_sent(self, delivery: Delivery) -> Outcome | None:
        await self.process.step()
        found = self.receiver.find_sent(delivery)
        if self.threads and isinstance(found, Delivered) and found.ref in self.receiver.posted:
            found = Delivered(found.ref, thread=found.ref)
        copy = f"copy of {delivery.id}"
        if self.threads and isinstance(found, Delivered) and copy in self.receiver.posted:
            found = Delivered(copy, copy=copy)
        await self.process.step()
        return found

    async def show(self, thread: Thread) -> Outcome:
        await self.process.step()
        if not self.receiver.exists(thread.ref):
            ref = f"{thread.ref}+"
            self.receiver.posted.setdefault(ref, Posted(subject=thread.subject, shows=""))
            self.receiver.posted[ref].shows = _shown(thread)
            await self.process.step()
            return Delivered(ref, thread=ref)
        outcome = self.receiver.change(thread.ref, _shown(thread))
        if outcome is None:
            await asyncio.Event().wait()  # until the deadline
            raise AssertionError("unreachable")
        await self.process.step()
        return outcome

    async def show_copy(self, thread: Thread, ref: str) -> Outcome | None:
        await self.process.step()
        if not self.receiver.exists(ref):
            return None
        outcome = self.receiver.change(ref, thread.event.id)
        if outcome is None:
            await asyncio.Event().wait()  # until the deadline
            raise AssertionError("unreachable")
        await self.process.step()
        return outcome

    async def check(self) -> Sequence[CheckResult]:
        return ()

    async def aclose(self) -> None:
        pass


def _shown(thread: Thread) -> str:
    return shown_of(thread.storm) if thread.storm else thread.event.id


class Replica:
    """A process, from its start until it is killed."""

    def __init__(
        self,
        number: int,
        config: Config,
        world: World,
        store: SqlStore,
        paces: Mapping[str, tuple[int, Pace]],
        *,
        long: bool = False,
    ) -> None:
        """`long` has the list scanned in slices, within a budget of calls."""
        rng = Random(world.rng.random())
        self.process = ProcessState(number=number, rng=rng)
        self.process.running.set()
        self.clock = SimulatedClock(process=self.process)
        self.world = world
        kind = SimulatedLongSource if long else SimulatedSource
        self.source = kind(world=world, process=self.process, clock=self.clock)
        self.app = App(
            config=config,
            store=SimulatedStore(store=store, world=world, process=self.process),
            sources={self.source.name: self.source},
            channels={
                receiver.name: SimulatedChannel(
                    name=receiver.name,
                    resend_policy=receiver.resend_policy,
                    receiver=receiver,
                    world=world,
                    process=self.process,
                    concurrency=paces[receiver.name][0],
                    pace=paces[receiver.name][1],
                    digest_above=receiver.digest_above,
                    storm_size=2,
                    threads=receiver.live,
                    coalesces=receiver.live,
                    edit_budget=receiver.name if receiver.live else None,
                )
                for receiver in world.receivers
            },
            clock=self.clock,
            rng=rng,
            credentials={self.source.name: BUDGET} if long else {},
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def alive(self) -> bool:
        return not self.process.dead

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run())]

    async def _run(self) -> None:
        service = Service(self.app)
        with suppress(Killed):
            while True:
                with suppress(StoreUnreachable):
                    await service.start()
                    break
                await self.clock.sleep(1)
        loops = service.delivering.loops().values()
        for work in (*loops, self._poll(service), self._run_housekeeping(service)):
            self._tasks.append(asyncio.create_task(_until_killed(work)))

    async def _poll(self, service: Service) -> None:
        while True:
            self.source.shown.clear()
            report = await service.polling.poll(self.source, force=self.world.healed)
            if report and report.succeeded:
                for at, seen in self.source.shown:
                    states = [state_of(seen.parse(job_id)) for job_id in seen.fingerprints]
                    self.world.recorded.append((at, states))
            await self.clock.sleep(self.process.rng.uniform(0.2, 1.5))

    async def _run_housekeeping(self, service: Service) -> None:
        while True:
            await self.clock.sleep(HOUSEKEEPING)
            await service.delivering.unpark_due()
            await service.monitoring.run()

    def kill(self) -> None:
        self.process.dead = True
        self.process.running.set()
        for task in self._tasks:
            task.cancel()

    async def wait_until_gone(self) -> None:
        """Wait until all tasks of a killed process have ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _until_killed(work: object) -> None:
    with suppress(Killed):
        await work  # type: ignore[misc]  # one of the coroutines above
