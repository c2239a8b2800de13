"""The running program: what starts, what runs and what stops.

The database decides who polls and who sends, so any number of these processes can share one.
"""

import asyncio
import os
import socket
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from functools import partial
from typing import Protocol

import structlog

from notifier.clock import wait_until_set
from notifier.core.errors import StoreError
from notifier.core.health import FINDING_COMMANDS, REMOVED_SOURCES_NOTE, FindingKind, removed_sources
from notifier.core.health_facts import Replica, known_channels, serves
from notifier.planning import end_unconfigured_holds
from notifier.ports import ChatTransport
from notifier.retention import PruneReport, prune
from notifier.service.delivering import Delivering
from notifier.service.discovering import DISCOVERY_INTERVAL, Discovering
from notifier.service.maintaining import READ_INTERVAL, Maintaining
from notifier.service.monitoring import Heartbeat, Monitoring
from notifier.service.muting import Muting
from notifier.service.polling import Polling
from notifier.service.reminding import Reminding
from notifier.service.reporting import ErrorThrottle, some_names
from notifier.service.roles import ALL_ROLES, Role, writes_data
from notifier.service.scheduler import Jobs, Scheduler
from notifier.service.scheduling import CALENDAR_INTERVAL, FORESIGHT_INTERVAL, Scheduling
from notifier.service.searching import SEARCH_INTERVAL, Searching
from notifier.service.stats import RunStats, Summary
from notifier.telemetry.lag import measure_lag
from notifier.telemetry.process import ProcessStage, ProcessStatus
from notifier.wiring.app import App, open_endpoints
from notifier.wiring.stores import Queries, Transaction, prune_rules, source_places

log = structlog.get_logger("notifier")

HOUSEKEEPING_INTERVAL = 5
"""Time between two runs of the monitor and of the other housekeeping jobs, in seconds."""

PRUNE_INTERVAL = 3600
"""Time between two prunes, in seconds."""


class Supervisor(Protocol):
    """Monitors this process from outside, such as systemd."""

    interval: float
    """Time between two signs of life, in seconds."""

    def ready(self) -> None:
        """Learn that the service runs."""

    def alive(self) -> None:
        """Learn that it is alive."""


def _removed_sources(configured: Mapping[str, tuple[str, str]], queries: Queries) -> Sequence[str]:
    """Return the names of recorded sources that are no longer configured; see `health.removed_sources`."""
    names = queries.source_names()
    states = queries.source_states(names - configured.keys())
    return [state.name for state in removed_sources(states, configured, names)]


def _retire(sources: Collection[str], tx: Transaction) -> None:
    now = tx.now()
    tx.polls.retire_sources(sources, now)
    tx.storms.end(sources, now)


def new_owner() -> str:
    """Return a name for this process that no other has. It marks claims."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"


class Service:
    """Polls and delivers until it is stopped."""

    def __init__(self, app: App, roles: Collection[Role] = ALL_ROLES, *, polling_since: datetime | None = None) -> None:
        """Take an open app, which the caller closes. `polling_since` is when this process began to poll, if it has."""
        self.app = app
        self.roles = roles
        self.owner = new_owner()
        self.stats = RunStats(app.telemetry)
        self.process = ProcessStatus(roles)
        self.jobs = Jobs(app.clock)
        self.heartbeat = Heartbeat(app)
        channels = app.channels if Role.DELIVER in roles else {}
        self.delivering = Delivering(app, channels, owner=self.owner, stats=self.stats, jobs=self.jobs)
        self.polling = Polling(
            app,
            owner=self.owner,
            stats=self.stats,
            jobs=self.jobs,
            heartbeat=self.heartbeat,
            planning=self.delivering.plan,
            wake=self.delivering.wake,
        )
        self.monitoring = Monitoring(
            app, jobs=self.jobs, heartbeat=self.heartbeat, wake=self.delivering.wake, polling_since=polling_since
        )
        self.scheduling = Scheduling(app, wake=self.delivering.wake)
        self.searching = Searching(app)
        self.reminding = Reminding(app, wake=self.delivering.wake)
        self.muting = Muting(app, wake=self.delivering.wake)
        self.discovering = Discovering(app, asks=Role.POLL in roles)
        self.maintaining = Maintaining(app, wake=self.delivering.wake)
        self.process.alive = lambda: self.monitoring.alive or not writes_data(roles)
        self._transports: Sequence[ChatTransport] = ()
        self._replica: Replica | None = None
        self._reports = ErrorThrottle("replica.report_failed", "replica.report_recovered")

    async def start(self) -> None:
        """Report this process, release what a killed one had claimed, and record the channels' settings."""
        await self.report()
        if writes_data(self.roles) and self.app.config.store.url.startswith("sqlite"):
            # The file is locked to this process, so the processes that held these claims are gone.
            await self.app.store.transact(lambda tx: tx.replicas.release_claims(None, tx.now()))
            if await self.app.store.transact(lambda tx: tx.replicas.reset_future_deadlines(tx.now())):
                log.warning("clock.set_back", msg="deadlines of the old time were cleared")
        if writes_data(self.roles):
            await self.scheduling.start()
            await self.muting.start()
            await self.maintaining.start()
        if Role.POLL in self.roles:
            await self.searching.start()
            await self._retire_sources()
            await self.discovering.start()
        if Role.DELIVER in self.roles:
            digests = self.app.channel_digests
            unparked = await self.app.store.transact(lambda tx: tx.channels.sync(digests, tx.now()))
            if unparked:
                log.info("channel.unparked", msg="the settings changed", channels=list(unparked))
            if count := await self.app.store.transact(lambda tx: end_unconfigured_holds(tx, self.app.routing)):
                log.info("delivery.hold_ended", msg="the rule is no longer configured", deliveries=count)

    async def _retire_sources(self) -> None:
        """Log the recorded sources that are no longer configured; their tasks no longer count as running."""
        names = await self.app.store.read(partial(_removed_sources, source_places(self.app.config)))
        if not names:
            return
        await self.app.store.transact(partial(_retire, names))
        log.warning("source.not_configured", sources=names, remedy=REMOVED_SOURCES_NOTE)

    async def report(self) -> None:
        """Record that this process serves its roles: `notifier health` shows silence."""
        try:
            await self.app.store.transact(self._report)
        except StoreError as error:
            self._reports.failed(error, self.app.clock.monotonic())
        else:
            self._reports.recovered()

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
        tx.replicas.report(self._replica)

    async def prune(self) -> None:
        """Delete what is past its retention."""
        try:
            report = await prune(self.app.store, self.app.clock, prune_rules(self.app.config))
        except StoreError as error:
            log.error("prune.failed", error=str(error))  # noqa: TRY400 - the sentence is enough
            return
        news = report != PruneReport()
        (log.info if news else log.debug)(
            "prune.finished", events=report.events, deliveries=report.deliveries, tasks=report.tasks
        )

    async def run(self, stop: asyncio.Event, supervisor: Supervisor | None = None) -> None:
        """Poll and deliver until `stop` is set; then settle what is in flight and release all claims.

        `supervisor` learns that the service runs, and then that it is alive. Raises ConfigurationError when the
        configured address to listen on cannot be taken.
        """
        async with AsyncExitStack() as stack:
            transports: Sequence[ChatTransport] = ()
            if Role.WEB in self.roles:
                transports = await stack.enter_async_context(
                    open_endpoints(self.app, self.delivering.wake, self.process)
                )
            await self._run(stop, transports, supervisor)

    async def _run(
        self, stop: asyncio.Event, transports: Sequence[ChatTransport], supervisor: Supervisor | None
    ) -> None:
        await self.start()
        if writes_data(self.roles) and self.monitoring.polling_since is None:
            self.polling.spread()
            self.monitoring.polling_since = await self.app.store.transact(lambda tx: tx.now())
        scheduler = self._scheduler()
        scheduler.start()
        loops = [asyncio.create_task(work, name=name) for name, work in self.delivering.loops().items()]
        try:
            await self._announce()
            self._start_lasting_jobs(transports)
            self.process.stage = ProcessStage.SERVING
            if supervisor:
                supervisor.ready()
            self.monitoring.start()
            interval = min(HOUSEKEEPING_INTERVAL, supervisor.interval) if supervisor else HOUSEKEEPING_INTERVAL
            while not await wait_until_set(stop, interval):
                scheduler.correct()
                if supervisor and self.process.alive():
                    supervisor.alive()
        finally:
            self.process.stage = ProcessStage.STOPPING
            scheduler.stop()
            jobs = self.jobs.stop()
            await self.delivering.stop(loops)
            await asyncio.gather(*jobs, return_exceptions=True)
            await self.release()

    def _scheduler(self) -> Scheduler:
        scheduler = Scheduler(self.jobs, self.app.clock)
        if Role.POLL in self.roles:
            scheduler.every(self.polling.interval, "due", self.polling.poll_due, at_once=True)
        if Role.DELIVER in self.roles:
            scheduler.every(HOUSEKEEPING_INTERVAL, "unpark", self.delivering.unpark_due)
            scheduler.every(HOUSEKEEPING_INTERVAL, "direct", self.delivering.deliver_direct)
        scheduler.every(HOUSEKEEPING_INTERVAL, "report", self.report)
        if self.discovering.needed:
            scheduler.every(DISCOVERY_INTERVAL, "discovery", self.discovering.run, at_once=True)
        if writes_data(self.roles):
            scheduler.every(HOUSEKEEPING_INTERVAL, "monitor", self.monitoring.run)
            scheduler.every(HOUSEKEEPING_INTERVAL, "mutes", self.muting.run)
            scheduler.every(PRUNE_INTERVAL, "prune", self.prune)
            if self.reminding.needed:
                scheduler.every(HOUSEKEEPING_INTERVAL, "remind", self.reminding.run)
            if self.scheduling.has_schedules:
                scheduler.every(HOUSEKEEPING_INTERVAL, "schedules", self.scheduling.announce_due)
            if self.scheduling.reads_calendars:
                scheduler.every(CALENDAR_INTERVAL, "calendars", self.scheduling.read_calendars, at_once=True)
            if self.scheduling.expects_runs:
                scheduler.every(FORESIGHT_INTERVAL, "foresight", self.scheduling.judge_runs)
        self._schedule_companions(scheduler)
        return scheduler

    def _schedule_companions(self, scheduler: Scheduler) -> None:
        """Schedule what is read besides the lists of tasks."""
        if self.searching.needed and Role.POLL in self.roles:
            scheduler.every(SEARCH_INTERVAL, "origins", self.searching.run)
        if self.maintaining.needed and Role.POLL in self.roles:
            scheduler.every(READ_INTERVAL, "maintenance", self.maintaining.read, at_once=True)
        if self.maintaining.needed and writes_data(self.roles):
            scheduler.every(HOUSEKEEPING_INTERVAL, "maintenance reminders", self.maintaining.remind)

    async def _announce(self) -> None:
        with suppress(StoreError):
            await self._log_removed_channels()
        log.info(
            "service.started",
            roles=sorted(self.roles),
            sources=some_names(self.app.sources),
            channels=some_names(self.app.channels),
        )

    async def _log_removed_channels(self) -> None:
        """Log the channels with waiting messages that are no longer configured; they may be renamed by mistake."""
        expected = self.app.config.expected
        for channel, backlog in known_channels(expected, await self.app.store.read(lambda q: q.channel_facts())):
            if backlog.waiting and not serves(expected, channel.name):
                commands = FINDING_COMMANDS[FindingKind.CHANNEL_REMOVED]
                log.warning(
                    "channel.not_configured",
                    channel=channel.name,
                    waiting=backlog.waiting,
                    remedy=" or ".join(command.format(about=channel.name) for command in commands),
                )

    def _start_lasting_jobs(self, transports: Sequence[ChatTransport]) -> None:
        if Role.DELIVER in self.roles:
            self.jobs.keep_running("listen", partial(self.app.store.listen, self.delivering.wake))
        self._transports = transports
        for number, transport in enumerate(transports):
            self.jobs.keep_running(f"chat {number}", transport.run)
        if self.app.telemetry.counts:
            self.jobs.keep_running("lag", partial(measure_lag, self.app.telemetry.meters, self.app.clock))

    async def release(self) -> None:
        """Release all claims, so that another process can go on at once."""
        with suppress(StoreError):
            await self.app.store.transact(self._leave)
            await self.monitoring.rescue()

    def _leave(self, tx: Transaction) -> None:
        tx.replicas.release_claims(self.owner, tx.now())
        self._report(tx, stopped=True)


async def serve(
    app: App,
    *,
    stop: asyncio.Event,
    roles: Collection[Role] = ALL_ROLES,
    polling_since: datetime | None = None,
    supervisor: Supervisor | None = None,
) -> Summary:
    """Run the service until `stop` is set and return its figures."""
    service = Service(app, roles, polling_since=polling_since)
    await service.run(stop, supervisor)
    return service.stats.summary


async def poll_and_deliver(app: App, *, deliver: bool = True) -> Summary:
    """Poll every source once, deliver all that is due, and return the figures. Raises StoreError."""
    service = Service(app, roles=(Role.POLL, Role.DELIVER))
    await service.start()
    try:
        if service.scheduling.reads_calendars:
            await service.scheduling.read_calendars()
        await service.delivering.unpark_due()
        await service.muting.run()
        if service.searching.needed:  # before the polls, so that their events know who started their tasks
            await service.searching.run()
        polls = (service.polling.poll(source, force=True, send_heartbeat=False) for source in app.sources.values())
        reports = await asyncio.gather(*polls)
        if service.maintaining.needed:
            await service.maintaining.read()
            await service.maintaining.remind()
        await service.monitoring.run()
        if service.reminding.needed:
            await service.reminding.run()
        await service.scheduling.judge_runs()
        if service.scheduling.has_schedules:
            await service.scheduling.announce_due()
        if deliver:
            await service.delivering.drain()
        await service.prune()
        await service.jobs.join()
        await service.heartbeat.finish(polled=any(report is not None and report.succeeded for report in reports))
    finally:
        await service.release()
    return service.stats.summary
