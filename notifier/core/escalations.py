"""Escalations: who else is notified, and when, of a failure that nobody acknowledges. Configured; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from notifier.core.severity import Severity
from notifier.core.windows import Window

PREFIX = "escalation:"
"""How the name of an escalation begins where the name of a route is recorded. No route has a colon in its name."""

MAX_STEPS = 20
"""Maximum number of steps of an escalation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationStep:
    """Channels that are notified when nobody has acknowledged a failure for a time."""

    after: timedelta
    """Counted from when people were first notified of the failure, in the time of the window where there is one."""
    channels: tuple[str, ...]
    mention: tuple[str, ...] = ()
    """Whom the messages mention, as the `mention` of a route."""
    severity: Severity | None = None
    """How bad the messages say it is; None leaves what the failure has."""
    active: Window | None = None
    """When the wait runs and the step may be taken; None as the escalation says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """Steps that are taken one after the other until somebody acknowledges the failure."""

    name: str
    steps: tuple[EscalationStep, ...]
    active: Window | None = None
    """As of a step, for those without a window of their own; None always."""
    repeat: timedelta | None = None
    """Wait after which the last step is taken again, and again; None never."""

    @property
    def calendars(self) -> frozenset[str]:
        """Names of the calendars that its windows name."""
        windows = (self.active, *(step.active for step in self.steps))
        return frozenset(window.calendar for window in windows if window and window.calendar)

    def with_holidays(self, days: Mapping[str, Collection[date]]) -> Escalation:
        """Return the same with the days of calendars, by name, as holidays of the windows that name them."""
        steps = tuple(replace(step, active=step.active and step.active.with_holidays(days)) for step in self.steps)
        return replace(self, active=self.active and self.active.with_holidays(days), steps=steps)

    def step(self, position: int) -> EscalationStep:
        """Return the step at a position, from 0; repeats have those after the last."""
        return self.steps[min(position, len(self.steps) - 1)]

    def window(self, position: int) -> Window | None:
        """Return when the wait for a step runs; None always."""
        return self.step(position).active or self.active
