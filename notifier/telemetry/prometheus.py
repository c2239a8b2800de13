"""Counters and histograms of this process, for Prometheus.

They are in a registry of their own, so that nothing that a library registers is shown. Each label has few values, which
the code or the configuration knows: a name of a source or a channel, a kind of event, an outcome. None is an instance
or a job of GaussDB: there is no end of these, and Prometheus sets labels of these names itself.
"""

from collections.abc import Collection, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from notifier.core.delivery import DeliveryState
from notifier.core.events import EventType
from notifier.core.identity import DirectChannel
from notifier.core.model import Event
from notifier.deliver import DeliveryReport, Settled
from notifier.poll import PollReport
from notifier.telemetry import outcomes
from notifier.telemetry.ports import TransactionKind

METRIC_PREFIX = "gaussdb_notifier"
"""Beginning of the names of all metrics but those of the process."""

DIRECT = DirectChannel.PREFIX
"""Value of the label `channel` for all channels to one person together: there may be any number."""

OTHER = "other:"
"""Value of the label `channel` for all channels together that are not configured. No name has a colon."""

ATTEMPT_OUTCOMES = ("delivered", "retry", "gave-up", "parked", "unknown", "skipped")

_SENDING = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_POLLING = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_CALLING = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_NOTIFYING = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
_DETECTING = (1, 5, 10, 30, 60, 120, 300, 900, 3600, 21600)
_STORING = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_ANSWERING = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_LAGGING = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

COUNTED_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Values of the label `method`; all others are counted as `other`."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # a time for each series, which nobody asks for


def channel_label(name: str, configured: Collection[str]) -> str:
    """Return the value of the label `channel` for a channel."""
    if name in configured:
        return name
    return DIRECT if DirectChannel.parse(name) else OTHER


class PrometheusMeters:
    """Implements `ports.Meters`."""

    def __init__(self, *, sources: Collection[str], channels: Collection[str]) -> None:
        """Take the names of the configured sources and channels: what is to be counted begins at zero."""
        self.registry = registry = CollectorRegistry()
        self._channels = frozenset(channels)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"{METRIC_PREFIX}_{name}", what, labels, registry=registry)

        def histogram(name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"{METRIC_PREFIX}_{name}", what, labels, buckets=buckets, registry=registry)

        self._polls = counter("polls", "Polls of sources that were due, by how they ended.", "source", "outcome")
        self._poll_seconds = histogram("poll_duration_seconds", "Time of polls, scans included.", _POLLING, "scope")
        self._calls = counter("api_calls", "Attempts at calls of the cloud's API.", "source", "outcome")
        self._call_seconds = histogram("api_call_duration_seconds", "Time of attempts at calls of the API.", _CALLING)
        self._events = counter("events", "Events that were new, by type.", "type")
        self._detection = histogram(
            "detection_latency_seconds",
            "Time from the end of a task, as the cloud states it, to its event.",
            _DETECTING,
        )
        self._attempts = counter("delivery_attempts", "Attempts to deliver, by how they ended.", "channel", "outcome")
        self._attempt_seconds = histogram(
            "delivery_attempt_duration_seconds", "Time of attempts to deliver.", _SENDING, "channel"
        )
        self._deliveries = counter("deliveries", "Deliveries by the state that they were left in.", "channel", "state")
        self._latency = histogram(
            "notification_latency_seconds",
            "Time from an event to the delivery of its message; digests of what a rule held are left out.",
            _NOTIFYING,
            "channel",
        )
        self._transactions = histogram("store_transaction_duration_seconds", "Time of transactions.", _STORING, "kind")
        self._store_errors = counter("store_errors", "Transactions that failed.", "kind")
        self._commands = histogram(
            "chat_command_duration_seconds", "Time of commands and clicks in chats.", _ANSWERING, "command"
        )
        self._chat_errors = counter("chat_errors", "Commands and clicks that the program failed to answer.", "command")
        self._requests = counter("http_requests", "Requests to the web server.", "method", "route", "status")
        self._request_seconds = histogram(
            "http_request_duration_seconds", "Time of requests to the web server.", _ANSWERING, "route"
        )
        self._rings = counter(
            "doorbell_requests", "Requests to the doorbell, by what came of them.", "caller", "outcome"
        )
        self._lag = histogram("event_loop_lag_seconds", "How late the event loop called what was due.", _LAGGING)
        self._begin_at_zero(sources)

    def _begin_at_zero(self, sources: Collection[str]) -> None:
        for source in sources:
            self._polls.labels(source, "complete")
        for channel in self._channels:
            for outcome in ATTEMPT_OUTCOMES:
                self._attempts.labels(channel, outcome)
        for event in EventType:
            self._events.labels(str(event))
        for kind in ("read", "write"):
            self._transactions.labels(kind)
            self._store_errors.labels(kind)

    def polled(self, report: PollReport, seconds: float) -> None:
        """Count a poll and how long it took. One of a source that was not due is not counted."""
        if report.polled:
            self._polls.labels(report.source, outcomes.poll_outcome(report)).inc()
            self._poll_seconds.labels(str(report.scope)).observe(seconds)
        self.detected(report.events)

    def poll_not_recorded(self, source: str) -> None:
        """Count a poll that the database failed to record."""
        self._polls.labels(source, outcomes.NOT_RECORDED).inc()

    def api_called(self, source: str, outcome: str, seconds: float) -> None:
        """Count an attempt at a call of the cloud's API."""
        self._calls.labels(source, outcome).inc()
        self._call_seconds.observe(seconds)

    def detected(self, events: Iterable[Event]) -> None:
        """Count events that are new."""
        for event in events:
            self._events.labels(str(event.type)).inc()
            if event.type.traits.ends_task and event.occurred_at:
                self._detection.observe(max(0.0, (event.observed_at - event.occurred_at).total_seconds()))

    def delivered(self, report: DeliveryReport) -> None:
        """Count the attempts that a step has settled."""
        if report.settled:
            channel = channel_label(report.channel, self._channels)
            for settled in report.settled:
                self._settled(channel, settled)

    def _settled(self, channel: str, settled: Settled) -> None:
        delivery, settlement = settled
        attempt = settlement.attempt
        self._attempts.labels(channel, attempt.outcome).inc()
        seconds = (attempt.finished_at - attempt.started_at).total_seconds()
        self._attempt_seconds.labels(channel).observe(max(0.0, seconds))
        if settlement.state is not DeliveryState.PENDING:
            self._deliveries.labels(channel, str(settlement.state)).inc()
        if settlement.state is DeliveryState.DELIVERED and delivery.routing.held is None:
            for event in delivery.events:
                latency = (attempt.finished_at - event.observed_at).total_seconds()
                self._latency.labels(channel).observe(max(0.0, latency))

    def transacted(self, kind: TransactionKind, seconds: float, *, failed: bool) -> None:
        """Count a transaction and how long it took."""
        self._transactions.labels(kind).observe(seconds)
        if failed:
            self._store_errors.labels(kind).inc()

    def answered(self, command: str, outcome: str, seconds: float) -> None:
        """Count a command or a click of the chat."""
        self._commands.labels(command).observe(seconds)
        if outcome == "failed":
            self._chat_errors.labels(command).inc()

    def served(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request of the web server, by the template of its route."""
        self._requests.labels(method if method in COUNTED_METHODS else "other", route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def rang(self, caller: str, outcome: str) -> None:
        """Count a request to the doorbell by how it proved who sends it, and by what came of it."""
        self._rings.labels(caller, outcome).inc()

    def lagged(self, seconds: float) -> None:
        """Take in how late the event loop called something."""
        self._lag.observe(max(0.0, seconds))
