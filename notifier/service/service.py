"""The running program: ticks, tasks and signals. It logs and counts what the use cases report.

APScheduler only ticks. The database decides who polls and who sends, so any number of these can run on one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar, cast

import structlog
from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from notifier.core.durations import format_duration
from notifier.core.errors import NotifierError, StoreError, StoreReplaced
from notifier.core.health import (
    FINDING_COMMANDS,
    REMOVED_SOURCES_NOTE,
    FindingKind,
    HealthReport,
    Replica,
    judge,
    removed_sources,
    serves,
)
from notifier.core.health import Role as Role  # noqa: PLC0414 - what a service is given, named where it is given
from notifier.core.model import Delivered, DeliveryState, Scope
from notifier.deliver import DeliveryReport, DeliveryWorker, RenderCache, wait_until_set
from notifier.live_messages import EditReport, MessageEditor
from notifier.monitor import MonitorReport, run_monitor, save_lost_file
from notifier.poll import PollReport, poll_once
from notifier.ports import Channel, ChatTransport, LiveChannel, TaskSource, Transaction
from notifier.retention import PruneReport, prune
from notifier.settings.explain import did_you_mean
from notifier.wiring.app import App, open_chat, source_places

log = structlog.get_logger("notifier")

R = TypeVar("R")

RESTART_DELAY = 1.0
"""Seconds to wait after the database failed."""

ERROR_INTERVAL = 60.0
"""Seconds between two records of one trouble that lasts."""

SETTLE_TIMEOUT = 2.0
"""Seconds that a stop takes at most to settle what was in flight, after the time that it had to be answered."""

HOUSEKEEPING_INTERVAL = 5
"""Seconds between two runs of the monitor, and of what looks for parked channels whose probe is due."""

OVERDUE_INTERVALS = 3
"""Intervals after which a job that has not run, or will not run, is run at once."""

MONITOR_TIMEOUT = 120.0
"""Seconds without an end of the monitor's run after which the program counts as hung."""

MAX_LISTED_ROWS = 20
"""Ids of rows that one record names at most."""

MAX_POLLS_STARTED = 250
"""Polls that one look at the due sources begins at most; the others follow at the next look."""

SPREAD = 60.0
"""Seconds over which the first polls of a process are spread at most."""

HEARTBEAT_SHARE = 0.8
"""Share of the shortest polling interval that lies between two signs of life at least."""

UNHEALTHY_FOR = 30.0
"""Seconds that health has to be red before that is signalled: what waited through a restart goes out meanwhile."""

PRUNE_INTERVAL = 3600
"""Seconds between two times that what is over is forgotten."""


ALL_ROLES = frozenset(Role)


def parse_roles(text: str) -> frozenset[Role]:
    """Read `poll,deliver`. Raises ValueError with a sentence for the operator."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in list(Role):
            raise ValueError(f"there is no role {name!r}. {did_you_mean(name, list(Role), otherwise='Roles')}")
    if not names:
        raise ValueError(f"name at least one role. Roles: {', '.join(Role)}.")
    return frozenset(Role(name) for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run did."""

    polls: int = 0
    events: int = 0
    deliveries: int = 0
    """Delivered."""
    failures: int = 0
    """Polls that failed, and deliveries that died or parked."""
    errors: tuple[NotifierError, ...] = ()
    """The latest error of every source whose last poll failed."""


@dataclass(slots=True)
class RunStats:
    """Counts while a service runs."""

    summary: Summary = field(default_factory=Summary)
    failing: dict[str, NotifierError] = field(default_factory=dict)

    def polled(self, report: PollReport) -> None:
        """Count a poll."""
        self.failing.pop(report.source, None)
        if report.error is not None:
            self.failing[report.source] = report.error
        self._add(
            polls=int(report.polled and not report.fenced),
            events=len(report.events),
            failures=int(report.error is not None),
        )

    def broke(self, source: str, error: NotifierError) -> None:
        """Count a poll that could not be recorded."""
        self.failing[source] = error
        self._add(failures=1)

    def delivered(self, report: DeliveryReport) -> None:
        """Count a round of deliveries."""
        states = [settlement.state for _, settlement in report.settled]
        lost = (DeliveryState.DEAD, DeliveryState.PARKED)
        self._add(deliveries=states.count(DeliveryState.DELIVERED), failures=sum(state in lost for state in states))

    def _add(self, **more: int) -> None:
        totals = {name: getattr(self.summary, name) + n for name, n in more.items()}
        self.summary = replace(self.summary, errors=tuple(self.failing.values()), **totals)


class ErrorThrottle:
    """Says that something fails when that begins, at most once a minute while it lasts, and when it is over."""

    def __init__(self, event: str, seconds: Callable[[], float], **about: str) -> None:
        """`seconds` is a time that never goes back."""
        self._event = event
        self._seconds = seconds
        self._about = about
        self._next: float | None = None

    def failed(self, error: Exception) -> None:
        """Note that it failed once more."""
        now = self._seconds()
        if self._next is None or now >= self._next:
            log.error(self._event, error=str(error), **self._about)
            self._next = now + ERROR_INTERVAL

    def recovered(self) -> None:
        """Note that it worked."""
        if self._next is not None:
            log.info("works again", after=self._event, **self._about)
        self._next = None


class Worker(Protocol[R]):
    """Does its work in turns, each of which returns a report."""

    async def step(self) -> R:
        """Do what there is to do now. Raises StoreError."""

    async def wait(self, report: R) -> None:
        """Wait until there may be something to do."""


class Supervisor(Protocol):
    """Whoever watches over this process from outside, such as systemd."""

    interval: float
    """Seconds between two signs of life."""

    def ready(self) -> None:
        """Hear that the service runs."""

    def alive(self) -> None:
        """Hear that it is alive."""


class Unsupervised:
    """Nobody watches."""

    interval = float("inf")

    def ready(self) -> None:
        """Do nothing."""

    def alive(self) -> None:
        """Do nothing."""


class DueSources:
    """Which sources to poll next: those that the database says are due, and each now and then whatever it says.

    The second is for sources that it does not know yet, and for times in it that a wrong clock left there; the claim
    of a poll decides. All times are in seconds that never go back.
    """

    def __init__(self, poll_every: Mapping[str, timedelta]) -> None:
        """Take the sources and their polling intervals."""
        self._every = {name: every.total_seconds() for name, every in poll_every.items()}
        self._not_before = dict.fromkeys(self._every, float("-inf"))
        self._ask_at = dict(self._not_before)

    def spread(self, now: float) -> None:
        """Let them be polled one after the other, within the first interval from now or its first minute."""
        count = len(self._every)
        first = {name: now + min(every, SPREAD) * n / count for n, (name, every) in enumerate(self._every.items())}
        self._not_before, self._ask_at = first, dict(first)

    def next(self, due: Sequence[str], now: float) -> Sequence[str]:
        """Return those to poll now, at most POLLS_AT_ONCE; `due` is what the database says, in that order."""
        unasked = (name for name, at in self._ask_at.items() if at <= now)
        known = (name for name in due if self._not_before.get(name, now + 1) <= now)
        chosen = list(islice(dict.fromkeys((*known, *unasked)), MAX_POLLS_STARTED))
        for name in chosen:
            self._ask_at[name] = now + 2 * self._every[name]
        return chosen


def new_owner() -> str:
    """Return a name for this process that no other has: it marks claims."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"


class Service:
    """Polls and delivers until told to stop."""

    def __init__(self, app: App, roles: Collection[Role] = ALL_ROLES, *, polling_since: datetime | None = None) -> None:
        """Take an open app; whoever opened it closes it. `began` is when this process began to poll, if it has."""
        self.app = app
        self.roles = roles
        self.owner = new_owner()
        self.stats = RunStats()
        self._refused: dict[str, tuple[str, ...]] = {}
        self._unreadable: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._bodies = RenderCache()
        delivered = app.channels if Role.DELIVER in roles else {}
        self._workers = {name: self._delivery_worker(channel) for name, channel in delivered.items()}
        self._editors = [
            MessageEditor(cast("LiveChannel", channel), app.store, app.clock, lease=app.delivery_rules.lease)
            for channel in delivered.values()
            if channel.edits
        ]
        self._sources = DueSources(
            {settings.name: settings.poll_every for settings in app.config.sources} if Role.POLL in roles else {}
        )
        self._poll_rules = app.poll_rules
        self._outlook = app.routing
        self._monitoring = app.monitor_rules
        self._asking = ErrorThrottle("cannot ask which sources are due", app.clock.monotonic)
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self._polling_since = polling_since
        self._next_beat = float("-inf")
        self._transports: Sequence[ChatTransport] = ()
        self._red_since: float | None = None
        self._in_trouble = False
        self._monitored_at = float("inf")
        self._file_lost = ErrorThrottle("store.replaced", app.clock.monotonic)
        self._saved: Path | None = None
        self._replica: Replica | None = None
        self._unreported = ErrorThrottle("cannot report to the database", app.clock.monotonic)

    def _delivery_worker(self, channel: Channel) -> DeliveryWorker:
        app = self.app
        return DeliveryWorker(
            channel, app.store, app.clock, app.rng, owner=self.owner, rules=app.delivery_rules, bodies=self._bodies
        )

    async def start(self) -> None:
        """Report this process, take up what a killed one left behind, and note the channels' settings."""
        await self.report()
        if writes_data(self.roles) and self.app.config.store.url.startswith("sqlite"):
            # The file is locked to this process: whoever held these claims is gone.
            await self.app.store.transact(lambda tx: tx.release(None, tx.now()))
            if await self.app.store.transact(lambda tx: tx.end_waits_of_the_future(tx.now())):
                log.warning("the system's clock was set back since the last run: nothing waits for the old one")
        if Role.POLL in self.roles:
            await self._retire_sources()
        if Role.DELIVER not in self.roles:
            return
        digests = self.app.channel_digests
        mended = await self.app.store.transact(lambda tx: tx.sync_channels(digests, tx.now()))
        if mended:
            log.info("channels unparked: their settings changed", channels=list(mended))

    def _note_unreadable(self, report: PollReport) -> None:
        """Name the rows that cannot be read, when that changes: the list shows them again at every poll."""
        unreadable = (report.unreadable, report.without_status)
        whole = report.good and report.scope is Scope.FULL
        if whole and self._unreadable.get(report.source, (0, ())) != unreadable:
            self._unreadable[report.source] = unreadable
            without_id = report.unreadable - len(report.without_status)
            named = list(report.without_status[:MAX_LISTED_ROWS])
            log.warning("rows cannot be read", source=report.source, without_id=without_id, without_status=named)

    def _note_refused(self, report: PollReport) -> None:
        """Name the rows that the database does not store, when that changes: they come again at every poll."""
        refused = tuple(sorted(report.refused))
        if refused != self._refused.get(report.source, ()) and (refused or report.scope is Scope.FULL):
            self._refused[report.source] = refused
            if refused:
                named = list(refused[:MAX_LISTED_ROWS])
                log.error("the database refuses rows", source=report.source, rows=len(refused), jobs=named)

    async def _retire_sources(self) -> None:
        """Say what is recorded under names that are not configured, and let it count as running no more."""
        recorded = await self.app.store.read(lambda q: q.source_states())
        left = removed_sources(recorded, source_places(self.app.config))
        if not left:
            return
        names = [state.name for state in left]
        await self.app.store.transact(lambda tx: tx.retire_sources(names, tx.now()))
        log.warning("sources are recorded that are not configured", sources=names, remedy=REMOVED_SOURCES_NOTE)

    async def poll(self, source: TaskSource, *, force: bool = False, send_heartbeat: bool = True) -> PollReport | None:
        """Poll a source once, log and count it; None when the database failed.

        `beat`: give a sign of life when it was a good poll.
        """
        try:
            report = await poll_once(
                source,
                self.app.store,
                owner=self.owner,
                rules=self._poll_rules[source.name],
                routing=self._outlook,
                force=force,
            )
        except StoreError as error:
            log.error("poll not recorded", source=source.name, error=str(error))  # noqa: TRY400 - the sentence is enough
            self.stats.broke(source.name, error)
            return None
        self.stats.polled(report)
        _log_poll(report)
        self._note_unreadable(report)
        self._note_refused(report)
        if report.deliveries:
            self.wake()
        if report.good and send_heartbeat:
            self._begin("heartbeat", self.send_heartbeat)
        return report

    async def send_heartbeat(self) -> None:
        """Give a sign of life, where one is wanted: no more often than the most frequent source is polled."""
        now = self.app.clock.monotonic()
        if now < self._next_beat:
            return
        shortest = min(rules.poll_every for rules in self._poll_rules.values())
        self._next_beat = now + HEARTBEAT_SHARE * shortest.total_seconds()
        await self._beat(well=not self._in_trouble)

    async def _beat(self, *, well: bool) -> None:
        if why := await self.app.send_heartbeat(well=well):
            log.warning("the heartbeat was not taken", reason=why)

    async def signal(self, *, polled: bool) -> None:
        """Give one sign at the end of a run: of trouble where health is red, else of life where a poll was good."""
        facts = await self.app.store.read(lambda q: q.health_facts())
        well = judge(self.app.config.expected, facts).ok
        if polled or (not well and self.app.config.heartbeat_fail_url):
            await self._beat(well=well)

    def _note_health(self, verdict: HealthReport) -> None:
        """Call for help when health has turned red and stayed so, where an address for that is configured."""
        now = self.app.clock.monotonic()
        self._red_since = None if verdict.ok else now if self._red_since is None else self._red_since
        trouble = self._red_since is not None and now - self._red_since >= UNHEALTHY_FOR
        if trouble and not self._in_trouble and self.app.config.heartbeat_fail_url:
            self._begin("call for help", partial(self._beat, well=False))
        self._in_trouble = trouble

    def _report(self, tx: Transaction, *, stopped: bool = False) -> None:
        now, was = tx.now(), self._replica
        down = next((trouble for transport in self._transports if (trouble := transport.trouble)), None)
        self._replica = Replica(
            owner=self.owner,
            roles=tuple(sorted(self.roles)),
            started_at=was.started_at if was else now,
            seen_at=now,
            stopped_at=now if stopped else None,
            chat_down_since=((was and was.chat_down_since) or now) if down else None,
            chat_error=down,
        )
        tx.report_replica(self._replica)

    async def report(self) -> None:
        """Report that this process serves its roles: silence shows in `notifier health`."""
        try:
            await self.app.store.transact(self._report)
        except StoreError as error:
            self._unreported.failed(error)
        else:
            self._unreported.recovered()

    async def run_monitor(self) -> None:
        """See to it that somebody is told of sources that cannot be polled and of channels that do not deliver.

        And of a database whose file was taken from under this service.
        """
        try:
            await self._verify_store()
            report = await run_monitor(
                self.app.store, rules=self._monitoring, routing=self._outlook, polling_since=self._polling_since
            )
        except StoreError as error:
            log.error("cannot watch over sources and channels", error=str(error))  # noqa: TRY400 - as above
            return
        finally:
            self._monitored_at = self.app.clock.monotonic()
        self._handle_monitor_report(report)

    def _handle_monitor_report(self, report: MonitorReport) -> None:
        _log_watch(report)
        self._note_health(report.health)
        if report.deliveries:
            self.wake()

    async def _verify_store(self) -> None:
        """Report a database whose file was deleted or replaced, and save what it holds. Raises StoreError."""
        file = self.app.file
        if file is None:
            return
        try:
            await file.verify()
        except StoreReplaced as error:
            self._file_lost.failed(error)
            if self._saved is None:
                self._saved, report = await save_lost_file(
                    file, self.app.store, error, rules=self._monitoring, routing=self._outlook
                )
                log.error("store.rescued", copy=str(self._saved))  # noqa: TRY400 - as above
                self._handle_monitor_report(report)
        else:
            self._file_lost.recovered()
            self._saved = None

    async def prune(self) -> None:
        """Forget what has been over for long enough."""
        try:
            report = await prune(self.app.store, self.app.clock, self.app.prune_rules)
        except StoreError as error:
            log.error("cannot forget what is over", error=str(error))  # noqa: TRY400 - as above
            return
        level = log.info if report != PruneReport() else log.debug
        level("forgot what is over", events=report.events, deliveries=report.deliveries, tasks=report.tasks)

    def wake(self) -> None:
        """Make every channel look for due deliveries now."""
        for worker in self._workers.values():
            worker.wake()
        for editor in self._editors:
            editor.wake()

    async def drain(self) -> None:
        """Deliver all that is due on every channel. Raises StoreError."""
        await asyncio.gather(*(self._drain(worker) for worker in self._workers.values()))
        await asyncio.gather(*(self._drain(worker) for worker in await self._direct_workers()))
        for editor in self._editors:
            while (report := await editor.step()).changed:
                _log_edits(report)

    async def _drain(self, worker: DeliveryWorker) -> None:
        self._delivered(await worker.drain())

    async def _direct_workers(self) -> Sequence[DeliveryWorker]:
        """Return couriers for the people who have a message coming."""
        names = await self.app.store.read(lambda q: q.direct_channels())
        channels = [self.app.direct(name) for name in names]
        return [self._delivery_worker(channel) for channel in channels if channel]

    async def deliver_direct(self) -> None:
        """Send people what they asked for in person; one who cannot be reached delays nobody else."""
        try:
            workers = await self._direct_workers()
        except StoreError as error:
            log.error("direct messages wait", error=str(error))  # noqa: TRY400 - as above
            return
        for worker in workers:
            self._begin(f"deliver {worker.channel.name}", partial(self._drain_quietly, worker))

    async def _drain_quietly(self, worker: DeliveryWorker) -> None:
        try:
            await self._drain(worker)
        except StoreError as error:
            log.error("deliveries wait", channel=worker.channel.name, error=str(error))  # noqa: TRY400 - as above

    async def keep_delivering(self, worker: DeliveryWorker) -> None:
        """Deliver on one channel until the service stops; then settle what is on its way."""
        await self._take_turns(worker, self._delivered, "deliveries wait", worker.channel.name)
        with suppress(StoreError):
            self._delivered(await worker.stop(self._stop_within, SETTLE_TIMEOUT))

    async def keep_editing(self, editor: MessageEditor) -> None:
        """Keep the messages of one channel as they should look until the service stops."""
        await self._take_turns(editor, _log_edits, "changes of messages wait", editor.channel.name)

    async def _take_turns(self, worker: Worker[R], note: Callable[[R], None], waits: str, channel: str) -> None:
        """Take turns until the service stops; nothing that happens to one worker ends the others."""
        trouble = ErrorThrottle(waits, self.app.clock.monotonic, channel=channel)
        while not self._stopping:
            try:
                report = await worker.step()
                trouble.recovered()
                note(report)
                await worker.wait(report)
            except StoreError as error:
                trouble.failed(error)
                await self.app.clock.sleep(RESTART_DELAY)
            except Exception:
                log.exception("turn crashed", channel=channel)
                await self.app.clock.sleep(RESTART_DELAY)

    def _delivered(self, report: DeliveryReport) -> None:
        self.stats.delivered(report)
        _log_deliveries(report)
        if report.settled:
            for editor in self._editors:
                editor.wake()

    async def unpark_due(self) -> None:
        """Let parked channels try again whose probe time has come."""
        names: Sequence[str] = ()
        with suppress(StoreError):
            names = await self.app.store.transact(lambda tx: tx.unpark_due(tx.now()))
        for name in names:
            log.info("parked channel tries again", channel=name)

    async def poll_due(self) -> None:
        """Begin to poll the sources that are due: one question to the database, however many sources there are.

        The database decides whether a source is due, so that any number of replicas polls as often as one would.
        """
        due: Sequence[str] = ()
        try:
            due = await self.app.store.read(lambda q: q.due_sources())
            self._asking.recovered()
        except StoreError as error:
            self._asking.failed(error)
        for name in self._sources.next(due, self.app.clock.monotonic()):
            self._begin(f"poll {name}", partial(self.poll, self.app.sources[name]))

    def schedule(self) -> AsyncIOScheduler:
        """Return the ticks, started."""
        # The executor that calls at once: what it starts is ours to end, where others log a cancelled poll as an error.
        ticks = AsyncIOScheduler(
            timezone=UTC,
            executors={"default": DebugExecutor()},
            job_defaults={"misfire_grace_time": None, "coalesce": True},
        )
        if Role.POLL in self.roles:
            often = min(rules.due_check_interval for rules in self._poll_rules.values())
            self._tick(ticks, "due", self.poll_due, often.total_seconds())
        if Role.DELIVER in self.roles:
            self._tick(ticks, "unpark", self.unpark_due, HOUSEKEEPING_INTERVAL)
            self._tick(ticks, "direct", self.deliver_direct, HOUSEKEEPING_INTERVAL)
        self._tick(ticks, "report", self.report, HOUSEKEEPING_INTERVAL)
        if writes_data(self.roles):
            self._tick(ticks, "watch", self.run_monitor, HOUSEKEEPING_INTERVAL)
            self._tick(ticks, "prune", self.prune, PRUNE_INTERVAL)
        ticks.start()
        return ticks

    def _tick(self, ticks: AsyncIOScheduler, name: str, work: Callable[[], Awaitable[object]], seconds: float) -> None:
        ticks.add_job(self._begin, "interval", [name, work], id=name, seconds=seconds)

    def correct_jobs(self, ticks: AsyncIOScheduler) -> None:
        """Run at once what the scheduler would leave alone for long, and wake it where it sleeps too long.

        It follows the system's clock, which can be set forward and back between two runs: what counts is how far off
        the next run of a job is, seen from now. Called by a time that never goes back.
        """
        now = self.app.clock.now()
        for job in ticks.get_jobs():
            off, interval = job.next_run_time - now, job.trigger.interval
            if off > 1.5 * interval:
                log.warning(
                    "the system's clock was set: a job runs at once", job=job.id, off=round(off.total_seconds())
                )
                job.modify(next_run_time=now)
            elif off < -OVERDUE_INTERVALS * interval - timedelta(seconds=1):
                log.warning("a job is overdue: the scheduler is woken", job=job.id, off=round(off.total_seconds()))
                ticks.wakeup()

    @property
    def alive(self) -> bool:
        """Whether the monitor's runs come to an end; one that hangs is mended by nothing but a restart."""
        return not writes_data(self.roles) or self.app.clock.monotonic() - self._monitored_at < MONITOR_TIMEOUT

    def _begin(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """Start a job, unless it is still at it: a look at a long list may take longer than the time between two."""
        if name not in self._jobs and not self._stopping:
            self._jobs[name] = asyncio.create_task(_guarded(name, work), name=name)
            self._jobs[name].add_done_callback(lambda _: self._jobs.pop(name))

    def _keep(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """Start a job that lasts as long as the service, and start it again should it end."""

        async def again_and_again() -> None:
            while True:
                await _guarded(name, work)
                await self.app.clock.sleep(RESTART_DELAY)

        self._begin(name, again_and_again)

    async def run(self, stop: asyncio.Event, supervisor: Supervisor | None = None) -> None:
        """Poll and deliver until `stop` is set; then settle what is in flight and give back all claims.

        `supervisor` is told that it runs, and then again and again that it is alive. Raises ConfigurationError when the
        address to listen on cannot be taken.
        """
        async with AsyncExitStack() as stack:
            transports: Sequence[ChatTransport] = ()
            if Role.WEB in self.roles:
                transports = await stack.enter_async_context(open_chat(self.app, self.wake))
            await self._run(stop, transports, supervisor or Unsupervised())

    async def _run(self, stop: asyncio.Event, transports: Sequence[ChatTransport], supervisor: Supervisor) -> None:
        await self.start()
        if writes_data(self.roles) and self._polling_since is None:
            self._sources.spread(self.app.clock.monotonic())
            self._polling_since = await self.app.store.transact(lambda tx: tx.now())
        ticks = self.schedule()
        loops = [
            asyncio.create_task(self.keep_delivering(worker), name=f"deliver {name}")
            for name, worker in self._workers.items()
        ] + [
            asyncio.create_task(self.keep_editing(editor), name=f"edit {editor.channel.name}")
            for editor in self._editors
        ]
        for section in self.app.config.unused_sections:
            log.warning("this version does nothing with this section yet", section=section)
        with suppress(StoreError):
            await self._say_what_is_removed()
        if Role.DELIVER in self.roles:
            self._keep("listen", partial(self.app.store.listen, self.wake))
        self._transports = transports
        for number, transport in enumerate(transports):
            self._keep(f"chat {number}", transport.run)
        log.info("running", roles=sorted(self.roles), sources=list(self.app.sources), channels=list(self.app.channels))
        supervisor.ready()
        self._monitored_at = self.app.clock.monotonic()
        try:
            while not await wait_until_set(stop, min(HOUSEKEEPING_INTERVAL, supervisor.interval)):
                self.correct_jobs(ticks)
                if self.alive:
                    supervisor.alive()
        finally:
            await self._finish(ticks, loops)

    async def _say_what_is_removed(self) -> None:
        """Log channels that messages wait for but that are no longer configured: renamed, perhaps by mistake."""
        found = judge(self.app.config.expected, await self.app.store.read(lambda q: q.health_facts()))
        for channel in found.channels:
            if channel.backlog.waiting and not serves(self.app.config.expected, channel.name):
                commands = FINDING_COMMANDS[FindingKind.CHANNEL_REMOVED]
                log.warning(
                    "messages wait for a channel that is no longer configured",
                    channel=channel.name,
                    waiting=channel.backlog.waiting,
                    remedy=" or ".join(command.format(about=channel.name) for command in commands),
                )

    async def _finish(self, ticks: AsyncIOScheduler, loops: Sequence[asyncio.Task[None]]) -> None:
        self._stopping = True
        ticks.shutdown(wait=False)
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        self.wake()
        if loops:
            await asyncio.wait(loops, timeout=self._stop_within + 2 * SETTLE_TIMEOUT)
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, *jobs, return_exceptions=True)
        await self.release()

    @property
    def _stop_within(self) -> float:
        return self.app.config.delivery.stop_within.total_seconds()

    async def finish_jobs(self) -> None:
        """Wait for what was begun beside the polls."""
        await asyncio.gather(*self._jobs.values())

    async def release(self) -> None:
        """Give back all claims, so that another process can go on at once."""
        with suppress(StoreError):
            await self.app.store.transact(self._leave)
            if self.app.file and self._saved:
                log.error("store.rescued", copy=str(await self.app.file.rescue()), replaces=str(self._saved))

    def _leave(self, tx: Transaction) -> None:
        tx.release(self.owner, tx.now())
        self._report(tx, stopped=True)


def writes_data(roles: Collection[Role]) -> bool:
    """Tell whether these roles change the database, so that with SQLite only one process may have them."""
    return not {Role.POLL, Role.DELIVER}.isdisjoint(roles)


async def serve(
    app: App,
    *,
    stop: asyncio.Event,
    roles: Collection[Role] = ALL_ROLES,
    polling_since: datetime | None = None,
    supervisor: Supervisor | None = None,
) -> Summary:
    """Run the service until `stop` is set and return what it did."""
    service = Service(app, roles, polling_since=polling_since)
    await service.run(stop, supervisor)
    return service.stats.summary


async def poll_and_deliver(app: App, *, deliver: bool = True) -> Summary:
    """Poll every source once, deliver all that is due, and return what was done. Raises StoreError."""
    service = Service(app, roles=(Role.POLL, Role.DELIVER))
    await service.start()
    try:
        await service.unpark_due()
        polls = (service.poll(source, force=True, send_heartbeat=False) for source in app.sources.values())
        reports = await asyncio.gather(*polls)
        await service.run_monitor()
        if deliver:
            await service.drain()
        await service.prune()
        await service.finish_jobs()
        await service.signal(polled=any(report is not None and report.good for report in reports))
    finally:
        await service.release()
    return service.stats.summary


async def _guarded(name: str, work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    except Exception:
        log.exception("job crashed", job=name)


def _log_poll(report: PollReport) -> None:
    if report.formerly:
        log.warning("source renamed: its history moved", source=report.source, formerly=report.formerly)
    if report.error is not None:
        log.error("poll failed", source=report.source, error=str(report.error))
    elif report.fenced:
        log.warning("poll dropped: another replica took over meanwhile", source=report.source)
    elif report.polled and report.scope is Scope.FULL and not report.complete:
        log.warning("polled, but the list could not be proven whole", source=report.source, **_figures(report))
    elif report.polled:
        news = report.events or report.refused or report.baseline
        (log.info if news else log.debug)("polled", source=report.source, **_figures(report))


def _figures(report: PollReport) -> Mapping[str, object]:
    figures: dict[str, object] = {
        "scope": str(report.scope),
        "listed": report.listed,
        "changed": report.changed,
        "events": len(report.events),
        "deliveries": report.deliveries,
        "calls": report.calls,
    }
    if report.scope is Scope.FULL:  # an active scan is never complete, and nothing is amiss
        figures |= {"total": report.total, "complete": report.complete}
    seldom = {
        "baseline": report.baseline,
        "unreadable": report.unreadable,
        "refused": list(report.refused),
    }
    return figures | {name: value for name, value in seldom.items() if value}


def _log_watch(report: MonitorReport) -> None:
    for event in report.events:
        bad = event.type.traits.bad_news
        told = {"told": "nobody: there is no other channel"} if event in report.undeliverable else {}
        about = {"source": event.source, "channel": event.channel, "count": event.count, "reason": event.detail}
        known = {name: value for name, value in about.items() if value} | told
        (log.error if bad else log.info)(str(event.type), since=event.since and event.since.isoformat(), **known)


def _log_edits(report: EditReport) -> None:
    for thread, outcome in report.changed:
        if isinstance(outcome, Delivered):
            log.debug(
                "message changed", channel=report.channel, job=thread.event.job_id, ref=outcome.thread or thread.ref
            )
        else:
            said = {"reply": outcome.reply} if outcome.reply else {}
            job = thread.event.job_id
            log.warning("message not changed", channel=report.channel, job=job, reason=outcome.reason, **said)


def _log_deliveries(report: DeliveryReport) -> None:
    every = log.is_enabled_for(logging.DEBUG)
    for delivery, settlement in report.settled:
        good = settlement.state is DeliveryState.DELIVERED
        if good and not every:
            continue
        wait = settlement.wait and format_duration(timedelta(seconds=round(settlement.wait.total_seconds())))
        reply = settlement.attempt.reply
        known = {"reason": settlement.reason, "reply": reply, "ref": settlement.ref, "next_try_in": wait}
        (log.debug if good else log.warning)(
            f"delivery {settlement.state}",
            channel=report.channel,
            delivery=delivery.id,
            attempt=delivery.attempt,
            events=[f"{event.type} {event.job_id}" for event in delivery.events[:3]],
            **{name: value for name, value in known.items() if value},
        )
