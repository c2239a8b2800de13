"""The section `mutes`: maintenance windows that the configuration defines."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from notifier.config.matchers import MatcherText
from notifier.config.timezones import Timezone
from notifier.core.cron import MAX_CRON_LENGTH, Cron
from notifier.core.maintenance_mutes import MaintenanceMute
from notifier.core.mute_words import DATE_PATTERN, WrittenTime, parse_written_time
from notifier.core.mutes import MAX_MUTE_REASON, MUTE_ID_PATTERN, MuteTimes, WrongMute
from notifier.mutes import ConfiguredMute
from notifier.settings.base import Settings
from notifier.settings.explain import setting_error
from notifier.settings.types import Duration, Name
from notifier.settings.words import FixedMessageError

_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
_WRITTEN = "write a date, or a date and a time of day, for example 2026-12-05 22:00"


def _moment(value: object) -> WrittenTime:
    if isinstance(value, WrittenTime):
        return value
    try:
        written = parse_written_time(value if isinstance(value, str) else "")
    except WrongMute:
        raise FixedMessageError(f"is no time; {_WRITTEN}.") from None
    if not re.fullmatch(DATE_PATTERN, written.day):
        raise FixedMessageError(f"has no date; {_WRITTEN}.")
    try:
        date.fromisoformat(written.day)
    except ValueError:
        raise ValueError(f"there is no day {written.day}.") from None
    return written


Moment = Annotated[WrittenTime, PlainValidator(_moment), WithJsonSchema({"type": "string"})]


class MuteSettings(Settings):
    """A maintenance window: events about tasks that match are suppressed while it is open."""

    name: Name
    """Its name in lists, replies and records."""
    match: tuple[MatcherText, ...] = Field(min_length=1)
    """All must match, as in `routes`: `instance=prod-*`, `source=staging`, `operation=backup`, `label.team=pay`."""
    cron: Annotated[str, Field(max_length=MAX_CRON_LENGTH)] | None = None
    """When a window opens, again and again: minute, hour, day of month, month, day of week. `length` says how long it
    stays open."""
    length: Duration | None = None
    """How long a window stays open: from 1m to 30d, elapsed time."""
    start: Moment | None = Field(default=None, alias="from")
    """When the only window opens: `2026-12-05 22:00`."""
    until: Moment | None = None
    """When the only window closes; with `cron`, the time from which on no window opens."""
    timezone: Timezone | None = None
    """Time zone of these times. Default: `timezone` of the configuration."""
    except_failures: bool = False
    """Whether failures and whatever else needs somebody are sent all the same."""
    during: Literal["maintenance"] | None = None
    """`maintenance` instead of times: events about tasks and alarms of an instance are suppressed while a maintenance
    of it is under way, or while the window of a scheduled one is open."""
    reason: Annotated[str, Field(max_length=MAX_MUTE_REASON)] | None = None
    """Why, for people."""
    announce: bool | None = None
    """Whether channels are told when a window opens and closes. Default: of one with `from` both, of one with `cron`
    only the sum of what was held back."""

    @model_validator(mode="after")
    def _has_a_window(self) -> Self:
        if re.fullmatch(MUTE_ID_PATTERN, self.name):
            raise setting_error("name", "looks like the id of a mute of a person. Choose a longer name.")
        if self.during is not None:
            self._refuse_times()
            return self
        if self.cron is not None:
            if self.start is not None:
                raise setting_error("from", "has no effect beside cron. Remove one of the two.")
            if self.length is None:
                raise setting_error("length", "is missing: how long a window stays open, for example 4h.")
        elif self.start is None:
            raise setting_error("cron", "is missing, or from with until or length: a mute needs a window.")
        elif (self.until is None) == (self.length is None):
            raise setting_error("until", "or length says when the window closes. Give one of the two.")
        self._check(self.timezone or "UTC")
        return self

    def _refuse_times(self) -> None:
        """Raise where there are times beside `during`: the maintenance says when the mute is in force."""
        for name in ("cron", "start", "length", "until", "timezone", "announce"):
            if getattr(self, name) is not None:
                key = "from" if name == "start" else name
                raise setting_error(key, "has no effect beside during: the maintenance decides when. Remove it.")

    def _check(self, timezone: str) -> None:
        try:
            times = self.times(timezone)
            times.check(_ANY_TIME)
        except WrongMute as wrong:
            where = "cron" if wrong.key == "cron" else "length" if self.length is not None else "until"
            raise setting_error(where, f"is wrong: {wrong}.") from None

    def times(self, timezone: str) -> MuteTimes:
        """Return when it is in force; `timezone` is that of the configuration. Raises WrongMute."""
        zone = ZoneInfo(self.timezone or timezone)
        if self.cron is not None:
            try:
                cron = Cron.parse(self.cron, zone)
            except ValueError as error:
                raise WrongMute("cron", str(error), self.cron) from None
            last = None if self.until is None else self.until.resolve(_ANY_TIME, zone)
            return MuteTimes(length=self.length or timedelta(), cron=cron, last=last)
        since = (self.start or WrittenTime()).resolve(_ANY_TIME, zone)
        until = None if self.until is None else self.until.resolve(_ANY_TIME, zone)
        return MuteTimes(length=self.length or (until or since) - since, since=since)

    @property
    def maintenance_mute(self) -> MaintenanceMute:
        """One with `during` as a value of the core."""
        return MaintenanceMute(
            name=self.name, match=self.match, except_failures=self.except_failures, reason=self.reason
        )

    def mute(self, timezone: str) -> ConfiguredMute:
        """Return it as a value of the use case."""
        return ConfiguredMute(
            name=self.name,
            match=self.match,
            times=self.times(timezone),
            except_failures=self.except_failures,
            reason=self.reason,
            announce=self.announce,
        )
