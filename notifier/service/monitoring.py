"""The monitor of a service: its health, its heartbeats, and the file of its database."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import structlog

from notifier.core.errors import StoreError, StoreReplaced
from notifier.core.health import HealthReport, judge
from notifier.monitor import MonitorReport, run_monitor, save_lost_file
from notifier.service.reporting import ErrorThrottle, log_monitor
from notifier.service.scheduler import Jobs
from notifier.wiring.app import App

log = structlog.get_logger("notifier")

MONITOR_TIMEOUT = 120.0
"""Time without a finished run of the monitor after which the process counts as hung, in seconds."""

HEARTBEAT_SHARE = 0.8
"""Minimum time between two heartbeats, as a share of the shortest polling interval."""

UNHEALTHY_FOR = 30.0
"""Time that health must be red before this is signalled, in seconds: what waited through a restart goes out by then."""


class Heartbeat:
    """Signals success after good polls, and failure while health is red, where addresses for that are configured."""

    def __init__(self, app: App) -> None:
        self._app = app
        intervals = [settings.poll_every.total_seconds() for settings in app.config.sources]
        self._interval = HEARTBEAT_SHARE * min(intervals, default=0.0)
        self._next = float("-inf")
        self._red_since: float | None = None
        self._unhealthy = False

    @property
    def due(self) -> bool:
        """Whether it is time for another heartbeat: none is sent more often than the most frequent source is polled."""
        return self._app.clock.monotonic() >= self._next

    async def beat(self) -> None:
        """Send a heartbeat where one is due."""
        if self.due:
            self._next = self._app.clock.monotonic() + self._interval
            await self._send(well=not self._unhealthy)

    async def fail(self) -> None:
        """Signal failure now."""
        await self._send(well=False)

    def observe(self, health: HealthReport) -> bool:
        """Take a verdict. Return True when failure is to be signalled now: health has stayed red for long enough."""
        now = self._app.clock.monotonic()
        self._red_since = None if health.ok else now if self._red_since is None else self._red_since
        before = self._unhealthy
        self._unhealthy = self._red_since is not None and now - self._red_since >= UNHEALTHY_FOR
        return self._unhealthy and not before and self._app.config.heartbeat_fail_url is not None

    async def finish(self, *, polled: bool) -> None:
        """Send the one heartbeat of a run that ends: failure where health is red, else success after a good poll."""
        facts = await self._app.store.read(lambda q: q.health_facts())
        well = judge(self._app.config.expected, facts).ok
        if polled or (not well and self._app.config.heartbeat_fail_url):
            await self._send(well=well)

    async def _send(self, *, well: bool) -> None:
        if why := await self._app.send_heartbeat(well=well):
            log.warning("heartbeat.failed", reason=why)


class Monitoring:
    """Notifies people of sources that cannot be polled, of channels that do not deliver and of a lost database file."""

    def __init__(
        self, app: App, *, jobs: Jobs, heartbeat: Heartbeat, wake: Callable[[], None], polling_since: datetime | None
    ) -> None:
        """`polling_since` is when this process began to poll, if it has. Call `wake` when deliveries are planned."""
        self.polling_since = polling_since
        self._app = app
        self._jobs = jobs
        self._heartbeat = heartbeat
        self._wake = wake
        self._rules = app.monitor_rules
        self._routing = app.routing
        self._finished_at = float("inf")
        self._replaced = ErrorThrottle("store.replaced", "store.recovered")
        self._copy: Path | None = None

    def start(self) -> None:
        """Expect runs from now on."""
        self._finished_at = self._app.clock.monotonic()

    @property
    def alive(self) -> bool:
        """Whether runs come to an end. Only a restart helps against one that hangs."""
        return self._app.clock.monotonic() - self._finished_at < MONITOR_TIMEOUT

    async def run(self) -> None:
        """Check the database's file and the health of sources and channels once."""
        try:
            await self._verify_file()
            report = await run_monitor(
                self._app.store, rules=self._rules, routing=self._routing, polling_since=self.polling_since
            )
        except StoreError as error:
            log.error("monitor.failed", error=str(error))  # noqa: TRY400 - the sentence is enough
            return
        finally:
            self._finished_at = self._app.clock.monotonic()
        self._handle(report)

    def _handle(self, report: MonitorReport) -> None:
        log_monitor(report)
        self._app.telemetry.meters.detected(report.events)
        if self._heartbeat.observe(report.health):
            self._jobs.start("failure heartbeat", self._heartbeat.fail)
        if report.deliveries:
            self._wake()

    async def _verify_file(self) -> None:
        """Report a database file that was deleted or replaced, and save its content. Raises StoreError."""
        file = self._app.file
        if file is None:
            return
        try:
            await file.verify()
        except StoreReplaced as error:
            self._replaced.failed(error, self._app.clock.monotonic())
            if self._copy is None:
                self._copy, report = await save_lost_file(
                    file, self._app.store, error, rules=self._rules, routing=self._routing
                )
                log.error("store.rescued", copy=str(self._copy))  # noqa: TRY400 - the sentence is enough
                self._handle(report)
        else:
            self._replaced.recovered()
            self._copy = None

    async def rescue(self) -> None:
        """Save the content of a lost database file once more, at the end. Raises StoreError."""
        if self._app.file and self._copy:
            log.error("store.rescued", copy=str(await self._app.file.rescue()), replaces=str(self._copy))
