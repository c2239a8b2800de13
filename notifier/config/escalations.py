"""The section `escalations`: who else is notified where nobody acknowledges a failure."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from notifier.config.calendars import CalendarSettings
from notifier.config.routes import (
    LONGEST_WAIT,
    WITHOUT_ACTIVE,
    HolidaysSetting,
    ReminderWait,
    WindowTexts,
    read_window,
)
from notifier.core.escalations import MAX_STEPS, Escalation, EscalationStep
from notifier.core.routing import MAX_MENTIONS
from notifier.core.severity import Severity
from notifier.core.windows import Window
from notifier.settings.base import Settings
from notifier.settings.explain import setting_error
from notifier.settings.types import Duration, MentionText, Name


def _refuse_holidays_alone(active: object, holidays: object) -> None:
    if active is None and holidays is not None:
        raise setting_error("holidays", WITHOUT_ACTIVE)


class EscalationStepSettings(Settings):
    """Channels that are notified when nobody has acknowledged a failure for a time."""

    after: Annotated[Duration, Field(ge=timedelta(0), le=LONGEST_WAIT)]
    """Time from the first message about the failure, or since an acknowledgement was taken back. Later steps have
    longer ones."""
    channels: tuple[str, ...] = Field(min_length=1)
    """Names of channels."""
    mention: Annotated[tuple[MentionText, ...], Field(max_length=MAX_MENTIONS)] = ()
    """Whom its messages mention, as in a route: people, groups, `@rota:NAME`."""
    severity: Severity | None = None
    """How bad its messages say the failure is: `critical`, `error`, `warning` or `info`. Default: that of the event."""
    active: WindowTexts | None = None
    """Times in which the wait runs and the step is taken, such as `weekdays 09:00-18:00 Asia/Shanghai`. Default: as the
    escalation has it."""
    holidays: HolidaysSetting | None = None
    """Days on which these times are closed but for their part for `holidays`, as of a route."""

    @model_validator(mode="after")
    def _holidays_need_times(self) -> Self:
        _refuse_holidays_alone(self.active, self.holidays)
        return self

    @property
    def all_channels(self) -> tuple[str, ...]:
        """The channels that it leads to at any time, as of a route."""
        return self.channels


class EscalationSettings(Settings):
    """Steps that follow where nobody acknowledges a failure. Routes name it as `escalate`."""

    name: Name
    steps: tuple[EscalationStepSettings, ...] = Field(min_length=1, max_length=MAX_STEPS)
    """Steps in order. Each is taken once, until somebody acknowledges or the operation succeeds."""
    active: WindowTexts | None = None
    """Times in which waits run and steps are taken. Default: always."""
    holidays: HolidaysSetting | None = None
    """Days on which these times are closed but for their part for `holidays`: name of one of `calendars`, or a list."""
    repeat: ReminderWait | None = None
    """Time after which the last step is taken again, up to 24 times. Default: never."""

    @model_validator(mode="after")
    def _holidays_need_times(self) -> Self:
        _refuse_holidays_alone(self.active, self.holidays)
        return self

    @property
    def named_calendars(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """The calendars that `holidays` names, each with its place in the escalation."""
        if isinstance(self.holidays, str):
            yield ("holidays",), self.holidays
        for number, step in enumerate(self.steps):
            if isinstance(step.holidays, str):
                yield ("steps", number, "holidays"), step.holidays

    @model_validator(mode="after")
    def _steps_are_in_order(self) -> Self:
        for number, (before, step) in enumerate(pairwise(self.steps), start=2):
            if step.after <= before.after:
                raise setting_error("steps", f"step {number} must have a longer after than the step before it.")
        return self

    def escalation(self, timezone: str, calendars: Sequence[CalendarSettings]) -> Escalation:
        """Return it as a value of the core. Windows without a time zone have this one."""
        return Escalation(
            name=self.name,
            steps=tuple(
                EscalationStep(
                    after=step.after,
                    channels=step.channels,
                    mention=step.mention,
                    severity=step.severity,
                    active=_window(step, timezone, calendars),
                )
                for step in self.steps
            ),
            active=_window(self, timezone, calendars),
            repeat=self.repeat,
        )


def _window(
    of: EscalationSettings | EscalationStepSettings, timezone: str, calendars: Sequence[CalendarSettings]
) -> Window | None:
    return read_window(of.active, of.holidays, timezone, calendars) if of.active else None
