"""What recurs in a service besides polls: calendars, reports, hand-overs, and runs that are expected."""

from collections.abc import Callable, Sequence
from functools import partial

import structlog

from notifier.calendars import refresh_calendars
from notifier.core.errors import StoreError
from notifier.schedules import run_schedules
from notifier.service.announcing import AnnouncingJob
from notifier.service.reporting import ErrorThrottle
from notifier.wiring.app import App
from notifier.wiring.stores import Transaction

log = structlog.get_logger("notifier")

CALENDAR_INTERVAL = 30
"""Time between two searches for calendars that are due, in seconds."""


FORESIGHT_INTERVAL = 30
"""Time between two searches for sources whose expected runs are to be judged, in seconds."""


def _keep(tx: Transaction, calendars: Sequence[str], schedules: Sequence[str]) -> None:
    tx.calendars.keep(calendars)
    tx.schedules.keep(schedules)


class Scheduling:
    """Reads calendars, sends reports, announces hand-overs, and reports runs that did not begin, when they are due."""

    def __init__(self, app: App, *, wake: Callable[[], None]) -> None:
        """Call `wake` when deliveries are planned."""
        self._app = app
        self._rules = app.schedule_rules
        self._routing = app.routing
        self._failing: set[str] = set()
        self._errors = ErrorThrottle("schedule.failed", "schedule.recovered")
        self._schedule_job = AnnouncingJob(app.clock, self._errors, wake, app.telemetry.meters)
        self._foresight = app.foresight
        errors = ErrorThrottle("foresight.failed", "foresight.recovered")
        self._foresight_job = AnnouncingJob(app.clock, errors, wake, app.telemetry.meters)

    async def start(self) -> None:
        """Delete what is recorded of calendars and schedules that are no longer configured. Raises StoreError."""
        names = [reader.name for reader in self._app.calendars]
        await self._app.store.transact(partial(_keep, calendars=names, schedules=self._rules.names))

    @property
    def has_schedules(self) -> bool:
        """Whether any report or hand-over is to be announced."""
        return bool(self._rules.names)

    async def announce_due(self) -> None:
        """Send the reports and announce the hand-overs that are due."""
        for event in await self._schedule_job.run(run_schedules(self._app.store, self._rules, self._routing)):
            log.info(str(event.type), name=event.about)

    @property
    def reads_calendars(self) -> bool:
        """Whether any calendar is read from a file or an address."""
        return bool(self._app.calendars)

    @property
    def expects_runs(self) -> bool:
        """Whether any run is expected, by its rhythm or by configuration."""
        return self._foresight.rules.any

    async def judge_runs(self) -> None:
        """Report the expected runs that did not begin."""
        for event in await self._foresight_job.run(self._foresight.run(self._app.store)):
            if missing := event.expectation:
                log.warning(
                    "task.missing",
                    source=event.source,
                    operation=missing.name,
                    instance=missing.instance_name or missing.instance_id,
                    overdue_at=missing.overdue_at.isoformat(),
                )

    async def read_calendars(self) -> None:
        """Read the calendars that are due, and log what came of it."""
        try:
            reports = await refresh_calendars(self._app.store, self._app.calendars)
        except StoreError as error:
            self._errors.failed(error, self._app.clock.monotonic())
            return
        self._errors.recovered()
        for report in reports:
            if report.error:
                self._failing.add(report.name)
                log.warning("calendar.failed", calendar=report.name, error=report.error)
            else:
                (log.info if report.name in self._failing else log.debug)(
                    "calendar.read", calendar=report.name, entries=report.entries
                )
                self._failing.discard(report.name)
