"""Builds what a process reports itself to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from notifier import __version__
from notifier.config.config import Config
from notifier.config.telemetry import TraceSettings
from notifier.core.errors import ConfigurationError
from notifier.core.health_facts import Role
from notifier.ports import CheckResult
from notifier.telemetry.ports import Meters, NoMeters, NoTracer, Telemetry, Tracer

if TYPE_CHECKING:  # an extra
    from opentelemetry.sdk.trace.export import SpanExporter


@asynccontextmanager
async def open_telemetry(config: Config, roles: Collection[Role]) -> AsyncIterator[Telemetry]:
    """Open the counters and the tracer of a service; what is left to send is sent at the end.

    Only who serves `/metrics` counts, and only who is asked to makes spans: others import nothing for it. Raises
    ConfigurationError where a library is missing.
    """
    async with _open_tracer(config.telemetry.traces) as tracer:
        yield Telemetry(meters=_meters(config, roles), tracer=tracer)


def _meters(config: Config, roles: Collection[Role]) -> Meters:
    if config.web is None or Role.WEB not in roles:
        return NoMeters()
    from notifier.telemetry.prometheus import PrometheusMeters  # noqa: PLC0415 - only who serves it pays for it

    sources = [source.name for source in config.sources]
    return PrometheusMeters(sources=sources, channels=[channel.name for channel in config.channels])


@asynccontextmanager
async def _open_tracer(traces: TraceSettings | None) -> AsyncIterator[Tracer]:
    if traces is None:
        yield NoTracer()
        return
    require_traces(traces)
    from notifier.telemetry.otel import OtelTracer  # noqa: PLC0415 - an extra

    tracer = OtelTracer(_exporter(traces), sample=traces.sample, version=__version__)
    try:
        yield tracer
    finally:
        await asyncio.to_thread(tracer.close)  # it may wait for the collector


def _exporter(traces: TraceSettings) -> SpanExporter:
    from notifier.telemetry.otel import open_exporter  # noqa: PLC0415 - an extra

    return open_exporter(
        traces.url.get_secret_value(),
        headers={name: value.get_secret_value() for name, value in traces.headers.items()},
        ca_file=str(traces.ca_file) if traces.ca_file else None,
    )


async def check_traces(config: Config) -> Sequence[CheckResult]:
    """Check that the collector of traces takes an empty request, where one is configured."""
    traces = config.telemetry.traces
    if traces is None:
        return ()
    what = "telemetry.traces"
    try:
        require_traces(traces)
    except ConfigurationError as error:
        return [CheckResult(ok=False, what=what, detail=str(error))]
    from notifier.telemetry.otel import takes_spans  # noqa: PLC0415 - an extra

    if await asyncio.to_thread(takes_spans, _exporter(traces)):
        return [CheckResult(ok=True, what=what, detail="the collector answers")]
    remedy = "Check url, headers and ca_file; the URL is the one for traces, such as http://127.0.0.1:4318/v1/traces."
    return [CheckResult(ok=False, what=what, detail="the collector does not take traces", remedy=remedy)]


def require_traces(traces: TraceSettings | None) -> None:
    """Raise ConfigurationError where traces are configured and their library is missing."""
    if traces and not find_spec("opentelemetry"):
        raise ConfigurationError(
            "telemetry.traces cannot be used: install the extra otel: make extras, or pip install"
            " 'gaussdb-notifier[otel]'"
        )
