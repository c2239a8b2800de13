"""What the seams of the program report while they work, and a recipient that takes nothing.

The use cases know nothing of this: they return reports, and the shell around them counts these.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, Self, TypeAlias

from notifier.core.model import Event
from notifier.deliver import DeliveryReport
from notifier.poll import PollReport

Value: TypeAlias = "str | int | float | bool"
"""What an attribute of a span may hold."""

TransactionKind: TypeAlias = Literal["read", "write"]


class Meters(Protocol):
    """Counts what this process does. No call waits, and none raises anything."""

    def polled(self, report: PollReport, seconds: float) -> None:
        """Count a poll and how long it took. One of a source that was not due is not counted."""

    def poll_not_recorded(self, source: str) -> None:
        """Count a poll that the database failed to record."""

    def api_called(self, source: str, outcome: str, seconds: float) -> None:
        """Count an attempt at a call of the cloud's API; see `outcomes.call_outcome`."""

    def detected(self, events: Iterable[Event]) -> None:
        """Count events that are new."""

    def delivered(self, report: DeliveryReport) -> None:
        """Count the attempts that a step has settled."""

    def transacted(self, kind: TransactionKind, seconds: float, *, failed: bool) -> None:
        """Count a transaction and how long it took."""

    def answered(self, command: str, outcome: str, seconds: float) -> None:
        """Count a command or a click of the chat."""

    def served(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request of the web server, by the template of its route."""

    def rang(self, caller: str, outcome: str) -> None:
        """Count a request to the doorbell by how it proved who sends it, and by what came of it."""

    def lagged(self, seconds: float) -> None:
        """Take in how late the event loop called something."""


class WorkSpan(Protocol):
    """Work in progress."""

    def set(self, **attributes: Value) -> None:
        """Add attributes."""

    def fail(self) -> None:
        """Mark the work as failed, without the text of an error: it may name what must stay here."""


class Tracer(Protocol):
    """Makes spans. Attributes never hold addresses, names of instances, ids of tasks, or texts from outside."""

    def span(self, name: str, **attributes: Value) -> AbstractContextManager[WorkSpan]:
        """Measure the work inside the context, as a part of the work around it. An exception marks it as failed."""

    def record(
        self, name: str, started_at: datetime, finished_at: datetime, *, failed: bool = False, **attributes: Value
    ) -> None:
        """Record work that is over."""


class NoMeters:
    """Counts nothing."""

    def polled(self, report: PollReport, seconds: float) -> None:
        """Do nothing."""

    def poll_not_recorded(self, source: str) -> None:
        """Do nothing."""

    def api_called(self, source: str, outcome: str, seconds: float) -> None:
        """Do nothing."""

    def detected(self, events: Iterable[Event]) -> None:
        """Do nothing."""

    def delivered(self, report: DeliveryReport) -> None:
        """Do nothing."""

    def transacted(self, kind: TransactionKind, seconds: float, *, failed: bool) -> None:
        """Do nothing."""

    def answered(self, command: str, outcome: str, seconds: float) -> None:
        """Do nothing."""

    def served(self, method: str, route: str, status: int, seconds: float) -> None:
        """Do nothing."""

    def rang(self, caller: str, outcome: str) -> None:
        """Do nothing."""

    def lagged(self, seconds: float) -> None:
        """Do nothing."""


class _NoSpan:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set(self, **attributes: Value) -> None:
        pass

    def fail(self) -> None:
        pass


class NoTracer:
    """Makes no spans."""

    def span(self, name: str, **attributes: Value) -> AbstractContextManager[WorkSpan]:  # noqa: ARG002 - as the protocol
        """Do nothing around the work."""
        return _NO_SPAN

    def record(
        self, name: str, started_at: datetime, finished_at: datetime, *, failed: bool = False, **attributes: Value
    ) -> None:
        """Do nothing."""


_NO_SPAN = _NoSpan()


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Where the seams report."""

    meters: Meters = field(default_factory=NoMeters)
    tracer: Tracer = field(default_factory=NoTracer)

    @property
    def counts(self) -> bool:
        """Whether anything is counted: what costs something by itself is left out otherwise."""
        return not isinstance(self.meters, NoMeters)


SILENT = Telemetry()
"""Takes nothing."""
