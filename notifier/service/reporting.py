"""Log records of what the use cases report."""

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from itertools import islice

import structlog

from notifier.core.delivery import Delivered, DeliveryState
from notifier.core.durations import format_duration
from notifier.core.model import Scope
from notifier.deliver import DeliveryReport
from notifier.live_messages import EditReport
from notifier.monitor import MonitorReport
from notifier.poll import PollReport

log = structlog.get_logger("notifier")

ERROR_INTERVAL = 60.0
"""Time between two records of a failure that lasts, in seconds."""

MAX_LISTED_ROWS = 20
"""Maximum number of row ids in one record."""


MAX_LOGGED_NAMES = 50
"""Maximum number of sources, or of channels, that the record of the start names."""


def some_names(names: Collection[str]) -> Sequence[str]:
    """Return names for a record of the log, and how many more there are where these are many."""
    more = len(names) - MAX_LOGGED_NAMES
    return [*islice(names, MAX_LOGGED_NAMES), *([f"and {more} more"] if more > 0 else [])]


class ErrorThrottle:
    """Logs a lasting failure when it begins, then at most once a minute, and logs when it is over."""

    def __init__(self, failed: str, recovered: str) -> None:
        self._failed_event = failed
        self._recovered_event = recovered
        self._next: float | None = None

    def failed(self, error: Exception, now: float, **fields: str) -> None:
        """Record one more failure. `now` is a monotonic time, in seconds."""
        if self._next is None or now >= self._next:
            log.error(self._failed_event, error=str(error), **fields)
            self._next = now + ERROR_INTERVAL

    def recovered(self, **fields: str) -> None:
        """Record a success."""
        if self._next is not None:
            log.info(self._recovered_event, **fields)
        self._next = None


class PollLog:
    """Logs polls. Rows that cannot be read or stored come again at every poll: they are logged when they change."""

    def __init__(self) -> None:
        self._unreadable: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._refused: dict[str, tuple[str, ...]] = {}

    def polled(self, report: PollReport) -> None:
        """Log a poll."""
        _log_poll(report)
        self._log_unreadable(report)
        self._log_refused(report)

    def _log_unreadable(self, report: PollReport) -> None:
        unreadable = (report.unreadable, report.without_status)
        whole = report.succeeded and report.scope is Scope.FULL
        if whole and self._unreadable.get(report.source, (0, ())) != unreadable:
            self._unreadable[report.source] = unreadable
            without_id = report.unreadable - len(report.without_status)
            listed = list(report.without_status[:MAX_LISTED_ROWS])
            log.warning("poll.rows_unreadable", source=report.source, without_id=without_id, without_status=listed)

    def _log_refused(self, report: PollReport) -> None:
        refused = tuple(sorted(report.refused))
        if refused != self._refused.get(report.source, ()) and (refused or report.scope is Scope.FULL):
            self._refused[report.source] = refused
            if refused:
                listed = list(refused[:MAX_LISTED_ROWS])
                log.error("poll.rows_refused", source=report.source, rows=len(refused), jobs=listed)


def _log_poll(report: PollReport) -> None:
    if report.renamed_from:
        log.warning("source.renamed", source=report.source, formerly=report.renamed_from)
    if report.error is not None:
        log.error("poll.failed", source=report.source, error=str(report.error))
    elif report.fenced:
        log.warning("poll.fenced", msg="another replica took over", source=report.source)
    elif report.polled and report.scope is Scope.FULL and not report.complete:
        log.warning("poll.incomplete", source=report.source, **_figures(report))
    elif report.polled:
        news = report.events or report.refused or report.baseline
        (log.info if news else log.debug)("poll.finished", source=report.source, **_figures(report))


def _figures(report: PollReport) -> Mapping[str, object]:
    figures: dict[str, object] = {
        "scope": str(report.scope),
        "listed": report.listed,
        "changed": report.changed,
        "events": len(report.events),
        "deliveries": report.deliveries,
        "calls": report.calls,
    }
    if report.scope is Scope.FULL:  # an active scan is never complete, and nothing is amiss
        figures |= {"total": report.total, "complete": report.complete}
    seldom = {"baseline": report.baseline, "unreadable": report.unreadable, "refused": list(report.refused)}
    return figures | {name: value for name, value in seldom.items() if value}


def log_monitor(report: MonitorReport) -> None:
    """Log the events that the monitor recorded, under their own types."""
    nowhere = {event.id for event in report.undeliverable}
    for event in report.events:
        undeliverable = {"msg": "no other channel can notify people"} if event.id in nowhere else {}
        about = {"source": event.source, "channel": event.channel, "count": event.count, "reason": event.detail}
        about |= dict(event.counts)
        known = {name: value for name, value in about.items() if value} | undeliverable
        bad = event.type.traits.bad_news
        (log.error if bad else log.info)(str(event.type), since=event.since and event.since.isoformat(), **known)


def log_edits(report: EditReport) -> None:
    """Log the messages that were edited or could not be."""
    for thread, outcome in report.changed:
        job = thread.event.job_id
        if isinstance(outcome, Delivered):
            log.debug("edit.finished", channel=report.channel, job=job, ref=outcome.thread or thread.ref)
        else:
            reply = {"reply": outcome.reply} if outcome.reply else {}
            log.warning("edit.failed", channel=report.channel, job=job, reason=outcome.reason, **reply)


SETTLED_EVENTS: Mapping[DeliveryState, str] = {
    DeliveryState.DELIVERED: "delivery.delivered",
    DeliveryState.PENDING: "delivery.retry_scheduled",
    DeliveryState.PARKED: "delivery.parked",
    DeliveryState.DEAD: "delivery.dead",
}


def log_deliveries(report: DeliveryReport) -> None:
    """Log what became of attempts; those that arrived at debug level only."""
    debug = log.is_enabled_for(logging.DEBUG)
    for delivery, settlement in report.settled:
        delivered = settlement.state is DeliveryState.DELIVERED
        if delivered and not debug:
            continue
        wait = settlement.wait and format_duration(timedelta(seconds=round(settlement.wait.total_seconds())))
        reply = settlement.attempt.reply
        known = {"reason": settlement.reason, "reply": reply, "ref": settlement.ref, "next_try_in": wait}
        (log.debug if delivered else log.warning)(
            SETTLED_EVENTS[settlement.state],
            channel=report.channel,
            delivery=delivery.id,
            attempt=delivery.attempt,
            events=[f"{event.type} {event.job_id}" for event in delivery.events[:3]],
            **{name: value for name, value in known.items() if value},
        )
