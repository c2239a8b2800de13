"""Schedules as crontabs have them, in the time of a place.

The library reads the fields and matches them. Which instants they mean where clocks change is decided here, as
Debian's cron does:

- A schedule of fixed times (neither its minute nor its hour begins with `*`) fires once a day for each of them. A time
  that the clock skips fires when the clock has moved on: 02:30 becomes 03:00. A time that the clock shows twice fires
  the first time only.
- Any other schedule (`*/10 * * * *`) fires whenever the clock shows one of its times: never at a time that is skipped,
  twice at a time that is shown twice. So its distance stays the same.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from notifier.core.wall_time import LONGEST_SHIFT, changes, instant_of, offset_at, wall_time, zone_of

MAX_CRON_LENGTH = 200
"""Maximum length of a schedule, in characters."""

_EXAMPLE = 'write minute, hour, day of month, month and day of week, for example "0 9 * * 1" for Mondays at 09:00'
_FIELDS = {"minute": 0, "hour": 1, "day-of-month": 2, "month": 3, "day-of-week": 4}
_BEGINNING = datetime(2000, 1, 1)  # noqa: DTZ001 - the library matches times of a clock on the wall
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule of five fields in a time zone. Compares equal by its text and zone."""

    text: str
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str, timezone: ZoneInfo | str) -> "Cron":
        """Read `0 9 * * 1`, `30 22 1,15 * *`, `*/10 8-18 * * mon-fri`, `0 6 L * *` (the month's last day).

        Names are `jan` to `dec` and `sun` to `sat`, in any case; 0 and 7 are Sunday. As in a crontab, a day matches
        either of day of month and day of week where neither begins with `*`, else both.

        Raises:
            ValueError: with one sentence and an example, where the text is no schedule or never fires, or where there
                is no such time zone.
        """
        fields = text.split()
        if len(fields) != len(_FIELDS) or len(text) > MAX_CRON_LENGTH:
            shown = text if len(text) <= MAX_CRON_LENGTH else f"{text[:MAX_CRON_LENGTH]}…"
            raise ValueError(f"{shown!r} is not a schedule: it needs five fields; {_EXAMPLE}")
        try:
            first = next(CronSim(text, _BEGINNING), None)
        except (CronSimError, AssertionError) as error:
            name = re.sub(r"^Bad ", "", str(error))
            field = f"its {name.replace('-', ' ')} {fields[_FIELDS[name]]!r} is not valid" if name in _FIELDS else error
            raise ValueError(f"{text!r} is not a schedule: {field}; {_EXAMPLE}") from None
        if first is None:
            raise ValueError(f"{text!r} never fires: no date fits its day of month, month and day of week; {_EXAMPLE}")
        return cls(" ".join(fields), timezone if isinstance(timezone, ZoneInfo) else zone_of(timezone))

    def after(self, at: datetime) -> datetime:
        """Return the first time that the schedule fires after an aware time, in UTC."""
        return self._fixed_after(at) if self._is_fixed else self._shown_after(at)

    def previous(self, at: datetime) -> datetime:
        """Return the last time that the schedule fired at or before an aware time, in UTC."""
        return self._fixed_previous(at) if self._is_fixed else self._shown_previous(at)

    @property
    def _is_fixed(self) -> bool:
        minute, hour, *_ = self.text.split()
        return not minute.startswith("*") and not hour.startswith("*")

    # ---- fixed times: each time of the wall clock is one instant, in the same order ----

    def _fixed_after(self, at: datetime) -> datetime:
        instants = map(self._instant, CronSim(self.text, wall_time(at, self.zone)))
        return next(instant for instant in instants if instant > at)

    def _fixed_previous(self, at: datetime) -> datetime:
        # In the second of two equal hours, what the wall clock is yet to show again has fired.
        repeated = offset_at(at - LONGEST_SHIFT, self.zone) != offset_at(at, self.zone)
        latest = wall_time(at, self.zone) + (LONGEST_SHIFT if repeated else timedelta())
        instants = map(self._instant, self._until(latest))
        return next(instant for instant in instants if instant <= at)

    # ---- other times: what the wall clock shows, one stretch of equal offsets after another ----

    def _shown_after(self, at: datetime) -> datetime:
        since = at + _TICK
        while True:
            wall = next(CronSim(self.text, wall_time(since, self.zone) - _TICK))
            instant = (wall - offset_at(since, self.zone)).replace(tzinfo=UTC)
            change = next(changes(since, instant, self.zone), None)
            if change is None:
                return instant
            since = change

    def _shown_previous(self, at: datetime) -> datetime:
        while True:
            wall = next(self._until(wall_time(at, self.zone)))
            instant = (wall - offset_at(at, self.zone)).replace(tzinfo=UTC)
            found = list(changes(instant, at, self.zone))
            if not found:
                return instant
            at = found[-1] - _TICK

    # ---- the wall clock ----

    def _instant(self, wall: datetime) -> datetime:
        return instant_of(wall, self.zone)

    def _until(self, wall: datetime) -> Iterator[datetime]:
        """Yield the times of the wall clock that fit and are not after one, the latest first."""
        # The library begins before a whole second, and at the second of any other time.
        return CronSim(self.text, wall if wall.microsecond else wall + timedelta(seconds=1), reverse=True)
