"""Periodic jobs that announce what is due: mutes, reminders, schedules and missing runs."""

from collections.abc import Awaitable, Callable

from notifier.core.errors import StoreError
from notifier.core.model import Event
from notifier.planning import Announced
from notifier.ports import Clock
from notifier.service.reporting import ErrorThrottle
from notifier.telemetry.ports import Meters


class AnnouncingJob:
    """Runs a use case that announces what is due."""

    def __init__(self, clock: Clock, errors: ErrorThrottle, wake: Callable[[], None], meters: Meters) -> None:
        """Log to `errors` while the database fails, and call `wake` when deliveries are planned."""
        self._meters = meters
        self._clock = clock
        self._errors = errors
        self._wake = wake

    async def run(self, due: Awaitable[Announced]) -> tuple[Event, ...]:
        """Return the events that it announced; none where the database failed."""
        try:
            announced = await due
        except StoreError as error:
            self._errors.failed(error, self._clock.monotonic())
            return ()
        self._errors.recovered()
        self._meters.detected(announced.events)
        if announced.deliveries:
            self._wake()
        return announced.events
