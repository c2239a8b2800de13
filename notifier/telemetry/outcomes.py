"""How work ended, in words of which there are few: labels of counters and attributes of spans."""

from collections.abc import Mapping

from notifier.core.errors import (
    CredentialsRejected,
    MalformedReply,
    PermissionDenied,
    RequestRejected,
    SourceConflict,
    SourceError,
    SourceThrottled,
    SourceUnreachable,
)
from notifier.core.model import Scope
from notifier.poll import PollReport
from notifier.telemetry.ports import WorkSpan

_ERRORS: Mapping[type[SourceError], str] = {
    SourceThrottled: "throttled",
    SourceUnreachable: "unreachable",
    CredentialsRejected: "credentials_rejected",
    PermissionDenied: "permission_denied",
    RequestRejected: "rejected",
    SourceConflict: "conflict",
    MalformedReply: "malformed",
}

NOT_RECORDED = "not_recorded"
"""Outcome of a poll that the database failed to record."""

GOOD_POLLS = frozenset({"complete", "active"})
"""Outcomes of polls after which nothing is amiss."""

POLL_OUTCOMES = (*sorted(GOOD_POLLS), "incomplete", "fenced", *_ERRORS.values(), "failed", NOT_RECORDED)


def poll_outcome(report: PollReport) -> str:
    """Return how a poll ended that went ahead: one of `POLL_OUTCOMES`."""
    if report.error is not None:
        return call_outcome(report.error)
    if report.fenced:
        return "fenced"
    if report.scope is Scope.ACTIVE:
        return "active"
    return "complete" if report.complete else "incomplete"


def call_outcome(error: SourceError | None) -> str:
    """Return how a call ended: `accepted`, a word for the error of a source, or `failed`."""
    if error is None:
        return "accepted"
    return next((word for kind, word in _ERRORS.items() if isinstance(error, kind)), "failed")


def describe_poll(span: WorkSpan, report: PollReport) -> None:
    """Write into the span of a poll how it ended."""
    if not report.polled:
        span.set(outcome="not_due")
        return
    outcome = poll_outcome(report)
    span.set(outcome=outcome, scope=str(report.scope), listed=report.listed, events=len(report.events))
    if outcome not in GOOD_POLLS:
        span.fail()
