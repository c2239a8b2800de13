"""Spans as OpenTelemetry has them, sent by OTLP over HTTP in a thread of their own.

Imported only where `telemetry.traces` is configured. The provider is not the global one: nothing that a library makes
is sent. The SDK reads its standard variables of the environment, such as OTEL_RESOURCE_ATTRIBUTES.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import requests
import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, Status, StatusCode

from notifier.telemetry.ports import Value, WorkSpan

log = structlog.get_logger("notifier")

SERVICE_NAME = "gaussdb-notifier"

EXPORT_TIMEOUT = 5.0
"""Time that one request to the collector may take, in seconds, repeats included. A stop waits as long at most."""

FAILURE_INTERVAL = 60.0
"""Time between two records that the collector does not take spans, in seconds."""


class OtelTracer:
    """Implements `ports.Tracer`."""

    def __init__(self, exporter: SpanExporter, *, sample: float, version: str) -> None:
        """Send the share `sample` of all traces to an exporter."""
        resource = Resource.create({"service.name": SERVICE_NAME, "service.version": version})
        sampler = ParentBased(TraceIdRatioBased(sample))
        self._provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("notifier", version)

    @contextmanager
    def span(self, name: str, **attributes: Value) -> Iterator[WorkSpan]:
        """Measure the work inside the context, as a part of the work around it. An exception marks it as failed."""
        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as made:
            span = _OtelSpan(made)
            try:
                yield span
            except Exception as error:
                # Its class alone: a message may hold an address, or what came from outside.
                span.set(**{"error.type": type(error).__name__})
                span.fail()
                raise

    def record(
        self, name: str, started_at: datetime, finished_at: datetime, *, failed: bool = False, **attributes: Value
    ) -> None:
        """Record work that is over, as a trace of its own."""
        made = self._tracer.start_span(name, context=Context(), attributes=attributes, start_time=_ns(started_at))
        if failed:
            made.set_status(Status(StatusCode.ERROR))
        made.end(_ns(finished_at))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


class _OtelSpan:
    def __init__(self, span: Span) -> None:
        self._span = span

    def set(self, **attributes: Value) -> None:
        self._span.set_attributes(attributes)

    def fail(self) -> None:
        self._span.set_status(Status(StatusCode.ERROR))


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1_000


class ThrottledExporter(SpanExporter):
    """Sends spans by another exporter, and logs failures once a minute, without the address."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._next = 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans. Those that the collector does not take are lost."""
        result = self._exporter.export(spans)
        now = time.monotonic()
        if result is not SpanExportResult.SUCCESS and now >= self._next:
            self._next = now + FAILURE_INTERVAL
            log.warning("traces.not_sent", msg="the collector does not take them", spans=len(spans))
        return result

    def shutdown(self) -> None:
        """Release the connection."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send nothing: nothing is kept here."""
        return self._exporter.force_flush(timeout_millis)


def open_exporter(url: str, *, headers: Mapping[str, str], ca_file: str | None) -> SpanExporter:
    """Return what sends spans to a collector."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # its records hold addresses: see ThrottledExporter
    session = requests.Session()
    session.trust_env = False
    exporter = OTLPSpanExporter(
        endpoint=url, headers=dict(headers), certificate_file=ca_file, timeout=EXPORT_TIMEOUT, session=session
    )
    return ThrottledExporter(exporter)


def takes_spans(exporter: SpanExporter) -> bool:
    """Send an empty request, and return whether the collector took it. The exporter ends with it."""
    try:
        return exporter.export([]) is SpanExportResult.SUCCESS
    finally:
        exporter.shutdown()
