"""Heartbeats to a monitoring service outside."""

from __future__ import annotations

import structlog

from notifier.core.health import HealthReport, judge
from notifier.wiring.app import App

log = structlog.get_logger("notifier")

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

    async def beat(self) -> None:
        """Send a heartbeat, no more often than the most frequent source is polled."""
        now = self._app.clock.monotonic()
        if now >= self._next:
            self._next = now + self._interval
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
