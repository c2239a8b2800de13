"""Escalations: who else is notified, and when, of a failure that nobody acknowledges. Configured; pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

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

    def step(self, position: int) -> EscalationStep:
        """Return the step at a position, from 0; repeats have those after the last."""
        return self.steps[min(position, len(self.steps) - 1)]

    def window(self, position: int) -> Window | None:
        """Return when the wait for a step runs; None always."""
        return self.step(position).active or self.active
