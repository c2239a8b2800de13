"""A report at any time, on the database alone."""

from contextlib import AsyncExitStack
from datetime import timedelta

from notifier.clock import SystemClock
from notifier.config.config import Config
from notifier.core.report_values import Report
from notifier.core.schedules import ScheduledReport
from notifier.planning import Announced
from notifier.schedules import report_now, send_report
from notifier.wiring.app import routing_config
from notifier.wiring.channels import build_channels, http_client
from notifier.wiring.schedules import schedule_rules
from notifier.wiring.stores import open_existing_store


async def make_report(
    config: Config, one: ScheduledReport, since: timedelta | None, *, send: bool
) -> tuple[Report, Announced | None]:
    """Return a report of the time up to now, and what was planned where it is to be sent. Raises StoreError."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_existing_store(config))
        report = await report_now(store, one, since, schedule_rules(config).origins)
        if not send:
            return report, None
        http = http_client(config)
        stack.push_async_callback(http.aclose)
        channels = build_channels(config, http, SystemClock())
        for channel in channels.values():
            stack.push_async_callback(channel.aclose)
        return report, await send_report(store, one, report, routing_config(config, channels))
