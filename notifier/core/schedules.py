"""What is due when: reports at times of a schedule, and hand-overs of rotas. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


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
