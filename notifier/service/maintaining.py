"""The planned maintenance of a service: its lists are read, and reminders sent, when they are due."""

from collections.abc import Callable, Sequence
from functools import partial

import structlog

from notifier.core.errors import PermissionDenied, StoreError
from notifier.core.model import Event
from notifier.core.rights import SourcePart
from notifier.maintenance import MaintenanceReport
from notifier.service.announcing import AnnouncingJob
from notifier.service.reporting import ErrorThrottle
from notifier.wiring.app import App
from notifier.wiring.stores import Transaction

log = structlog.get_logger("notifier")

READ_INTERVAL = 15
"""Time between two searches for lists of maintenance that are due, in seconds."""


class Maintaining:
    """Reads the lists of maintenance and reminds of what lies ahead."""

    def __init__(self, app: App, *, wake: Callable[[], None]) -> None:
        """Call `wake` when deliveries are planned."""
        self._app = app
        self._wake = wake
        self._maintenance = app.maintenance
        self._errors = ErrorThrottle("maintenance.unavailable", "maintenance.available")
        self._failing: set[str] = set()
        errors = ErrorThrottle("maintenance.reminders_failed", "maintenance.reminders_recovered")
        self._job = AnnouncingJob(app.clock, errors, wake, app.telemetry.meters)

    @property
    def needed(self) -> bool:
        """Whether the maintenance of any source is read."""
        return bool(self._maintenance.sources)

    async def start(self) -> None:
        """Delete what is recorded of sources whose maintenance is no longer read. Raises StoreError."""
        await self._app.store.transact(partial(_keep, sources=list(self._maintenance.sources)))

    async def read(self) -> None:
        """Read the lists that are due, and log what came of it."""
        try:
            reports = await self._maintenance.read_due(self._app.store)
        except StoreError as error:
            self._errors.failed(error, self._app.clock.monotonic())
            return
        self._errors.recovered()
        for report in reports:
            self._log(report)
        self._app.telemetry.meters.detected([event for one in reports for event in one.announced.events])
        if any(report.announced.deliveries for report in reports):
            self._wake()

    def _log(self, report: MaintenanceReport) -> None:
        if report.error:
            again = report.source in self._failing
            self._failing.add(report.source)
            missing = isinstance(report.error, PermissionDenied)
            (log.debug if again else log.warning)(
                "maintenance.read_failed", source=report.source, error=str(report.error), right_missing=missing
            )
            return
        (log.info if report.source in self._failing else log.debug)(
            "maintenance.read", source=report.source, listed=report.listed, complete=report.complete
        )
        self._failing.discard(report.source)
        for event in report.announced.events:
            _log_event(event)

    async def remind(self) -> None:
        """Send the reminders that are due."""
        for event in await self._job.run(self._maintenance.remind_due(self._app.store)):
            _log_event(event)


def _keep(tx: Transaction, sources: Sequence[str]) -> None:
    tx.maintenance.keep(sources)
    tx.rights.keep(SourcePart.MAINTENANCE, sources)


def _log_event(event: Event) -> None:
    if planned := event.maintenance:
        log.info(
            str(event.type),
            source=event.source,
            maintenance=planned.id,
            instance=planned.instance_name or planned.instance_id,
            status=str(planned.status),
        )
