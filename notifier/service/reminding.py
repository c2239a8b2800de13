"""Reminders and escalations of a service."""

from collections.abc import Callable

import structlog

from notifier.failures import remind
from notifier.service.announcing import AnnouncingJob
from notifier.service.reporting import ErrorThrottle
from notifier.wiring.app import App

log = structlog.get_logger("notifier")


class Reminding:
    """Reminds of open failures that nobody acknowledges, and escalates them."""

    def __init__(self, app: App, *, wake: Callable[[], None]) -> None:
        """Call `wake` when deliveries are planned."""
        self._app = app
        self._job = AnnouncingJob(
            app.clock, ErrorThrottle("remind.failed", "remind.recovered"), wake, app.telemetry.meters
        )

    @property
    def needed(self) -> bool:
        """Whether a route wants reminders or an escalation."""
        return any(route.remind or route.escalate for route in self._app.routing.routes)

    async def run(self) -> None:
        """Send what is due."""
        for event in await self._job.run(remind(self._app.store, routing=self._app.routing)):
            about = event.follow_up
            log.info(
                str(event.type),
                failure=about and about.failure_id,
                source=event.source,
                job_id=event.job_id,
                number=about and about.number,
                together=about and about.together,
            )
