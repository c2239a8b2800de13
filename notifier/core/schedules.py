"""What is due when: reports at times of a schedule, and hand-overs of rotas. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier.core.cron import Cron
from notifier.core.reports import ReportRules

MAX_PERIOD_OF_REPORT = timedelta(days=35)
"""Longest period of a report: events are kept for at least as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleState:
    """What is recorded of something that recurs."""

    name: str
    """`report:weekly`, `rota:dba`."""
    expression: str | None = None
    """How it recurs, as configured when `next_at` was computed. None before that."""
    next_at: datetime | None = None
    """When it is due next. None where that is computed from what a calendar says."""
    last_at: datetime | None = None
    """For which time it was last done; None before the first one."""
    detail: str | None = None
    """What was said last: of a rota, who is on duty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledReport:
    """A report with its times."""

    rules: ReportRules
    cron: Cron

    @property
    def name(self) -> str:
        """Its name among the schedules."""
        return f"report:{self.rules.name}"

    @property
    def expression(self) -> str:
        """Its times as they are recorded."""
        return f"{self.cron.text} {self.cron.zone}"
