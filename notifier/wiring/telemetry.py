"""Builds what a process reports itself to."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from notifier.config.config import Config
from notifier.core.health_facts import Role
from notifier.telemetry.ports import Meters, NoMeters, NoTracer, Telemetry


@contextmanager
def open_telemetry(config: Config, roles: Collection[Role]) -> Iterator[Telemetry]:
    """Open the counters and the tracer of a service; what is left to send is sent at the end.

    Only who serves `/metrics` counts: other processes show nothing, and import nothing for it.
    """
    yield Telemetry(meters=_meters(config, roles), tracer=NoTracer())


def _meters(config: Config, roles: Collection[Role]) -> Meters:
    if config.web is None or Role.WEB not in roles:
        return NoMeters()
    from notifier.telemetry.prometheus import PrometheusMeters  # noqa: PLC0415 - only who serves it pays for it

    sources = [source.name for source in config.sources]
    return PrometheusMeters(sources=sources, channels=[channel.name for channel in config.channels])
