"""The mutes of a service: those of the configuration are recorded, and windows begin and end when they are due."""

from collections.abc import Callable
from functools import partial

import structlog

from notifier import mutes
from notifier.service.announcing import AnnouncingJob
from notifier.service.reporting import ErrorThrottle
from notifier.wiring.app import App

log = structlog.get_logger("notifier")


class Muting:
    """Takes the steps of mutes when they are due."""

    def __init__(self, app: App, *, wake: Callable[[], None]) -> None:
        """Call `wake` when deliveries are planned."""
        self._app = app
        self._rules = app.mute_rules
        self._job = AnnouncingJob(app.clock, ErrorThrottle("mute.failed", "mute.recovered"), wake, app.telemetry.meters)

    async def start(self) -> None:
        """Record the mutes of the configuration. Raises StoreError."""
        await self._app.store.transact(partial(mutes.sync, configured=self._app.config.configured_mutes))

    async def run(self) -> None:
        """Take every step that is due, and log what was announced."""
        for event in await self._job.run(mutes.run_mutes(self._app.store, self._rules)):
            window = event.mute
            if window is not None:
                log.info(str(event.type), mute=window.id, covers=window.covers, held=dict(window.held))
