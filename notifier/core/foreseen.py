"""What foresight freezes into events: the limit that a task has exceeded, and the run that did not appear."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueLimit:
    """How long a task was allowed to run."""

    seconds: float
    matcher: str = ""
    """The configured matcher whose limit it is: `operation=backup`. Empty where it follows from what is usual."""

    @property
    def length(self) -> timedelta:
        """The limit."""
        return timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """A run of an operation on an instance that should have begun."""

    name: str
    """Name of the operation, as the API has it."""
    every: float
    """Time within which it recurs, in seconds."""
    overdue_at: datetime
    """When it counted as missing."""
    instance_id: str | None = None
    instance_name: str | None = None
    last: datetime | None = None
    """When the last run began, or succeeded where `succeeded` is set; None where none is known."""
    last_job: str = ""
    """Id of the task of that run."""
    expected_at: datetime | None = None
    """When it should have begun by its rhythm; None for a configured expectation."""
    intervals: int = 0
    """Number of intervals that the rhythm was learned from; 0 for a configured expectation."""
    rule: str = ""
    """The configured expectation, as it is written: `manual backup of prod-* every 26h`. Empty for a learned one."""
    succeeded: bool = False
    """Whether only a run that succeeds is enough."""

    @property
    def period(self) -> timedelta:
        """Time within which it recurs."""
        return timedelta(seconds=self.every)
