"""The figures of a run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from notifier.core.delivery import DeliveryState
from notifier.core.errors import NotifierError
from notifier.deliver import DeliveryReport
from notifier.poll import PollReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of a finished run."""

    polls: int = 0
    events: int = 0
    deliveries: int = 0
    """Delivered."""
    failures: int = 0
    """Polls that failed, and deliveries that died or parked."""
    errors: tuple[NotifierError, ...] = ()
    """The latest error of every source whose last poll failed."""


@dataclass(slots=True)
class RunStats:
    """Collects the figures while a service runs."""

    summary: Summary = field(default_factory=Summary)
    failing: dict[str, NotifierError] = field(default_factory=dict)

    def polled(self, report: PollReport) -> None:
        """Count a poll."""
        self.failing.pop(report.source, None)
        if report.error is not None:
            self.failing[report.source] = report.error
        self._add(
            polls=int(report.polled and not report.fenced),
            events=len(report.events),
            failures=int(report.error is not None),
        )

    def poll_not_recorded(self, source: str, error: NotifierError) -> None:
        """Count a poll that the database failed to record."""
        self.failing[source] = error
        self._add(failures=1)

    def delivered(self, report: DeliveryReport) -> None:
        """Count the settlements of a step."""
        states = [settlement.state for _, settlement in report.settled]
        self._add(
            deliveries=states.count(DeliveryState.DELIVERED),
            failures=states.count(DeliveryState.DEAD) + states.count(DeliveryState.PARKED),
        )

    def _add(self, **more: int) -> None:
        totals = {name: getattr(self.summary, name) + n for name, n in more.items()}
        self.summary = replace(self.summary, errors=tuple(self.failing.values()), **totals)
