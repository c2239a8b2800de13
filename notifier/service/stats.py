"""The figures of a run."""

from collections import Counter
from dataclasses import dataclass

from notifier.core.delivery import DeliveryState
from notifier.core.errors import NotifierError
from notifier.deliver import DeliveryReport
from notifier.poll import PollReport
from notifier.telemetry.attempts import record_attempts
from notifier.telemetry.ports import SILENT, Telemetry


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


class RunStats:
    """Counts while a service runs, and reports the same to its telemetry."""

    def __init__(self, telemetry: Telemetry = SILENT) -> None:
        self._telemetry = telemetry
        self._counts = Counter[str]()
        self._errors: dict[str, NotifierError] = {}

    @property
    def summary(self) -> Summary:
        """The figures until now."""
        return Summary(**self._counts, errors=tuple(self._errors.values()))

    def polled(self, report: PollReport, seconds: float = 0.0) -> None:
        """Count a poll, and how long it took."""
        self._telemetry.meters.polled(report, seconds)
        self._errors.pop(report.source, None)
        if report.error is not None:
            self._failed(report.source, report.error)
        self._counts["polls"] += report.polled and not report.fenced
        self._counts["events"] += len(report.events)

    def poll_not_recorded(self, source: str, error: NotifierError) -> None:
        """Count a poll that the database failed to record."""
        self._telemetry.meters.poll_not_recorded(source)
        self._failed(source, error)

    def _failed(self, source: str, error: NotifierError) -> None:
        self._errors[source] = error
        self._counts["failures"] += 1

    def delivered(self, report: DeliveryReport) -> None:
        """Count the settlements of a step."""
        self._telemetry.meters.delivered(report)
        record_attempts(self._telemetry.tracer, report)
        states = Counter(settlement.state for _, settlement in report.settled)
        self._counts["deliveries"] += states[DeliveryState.DELIVERED]
        self._counts["failures"] += states[DeliveryState.DEAD] + states[DeliveryState.PARKED]
