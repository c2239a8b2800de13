"""Text, times, durations and names in one language and time zone."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from notifier.wording.phrases import Language, phrases, text
from notifier.wording.sanitize import one_line, plain

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Localizer:
    """Formats for readers of one language in one time zone."""

    language: Language
    timezone: ZoneInfo

    def text(self, key: str, **values: object) -> str:
        """Return a phrase with its placeholders filled. Raises KeyError for an unknown key or a missing value."""
        return text(self.language, key, **values)

    def counted(self, key: str, n: int, **values: object) -> str:
        """Return the phrase `key.one` or `key.other`, whichever goes with the number."""
        return self.text(f"{key}.{'one' if n == 1 else 'other'}", n=n, **values)

    def task_label(self, name: str) -> str:
        """Return the name of an operation; an undocumented one as the API writes it."""
        known = phrases(self.language).get(f"operation.{name}")
        return known or one_line(name) or self.text("unnamed_task")

    def status_label(self, status: str) -> str:
        """Return the name of a status; an unknown one as the API writes it."""
        return phrases(self.language).get(f"status.{status.lower()}") or one_line(status)

    def when(self, moment: datetime) -> str:
        """Return a time of day with its date and zone: `14 Nov 09:22:05 CST`."""
        from babel.dates import format_datetime  # noqa: PLC0415 - its data takes longer to load than all the rest

        try:
            local = moment.astimezone(self.timezone)
        except OverflowError:  # the first or the last day of the calendar, which the zone would leave
            return moment.isoformat()
        written = format_datetime(local, self.text("pattern.when"), tzinfo=self.timezone, locale=self.language)
        return f"{written} {local.tzname()}"

    def interval(self, text: str) -> str:
        """Return an ISO 8601 interval as two times and its length; any other text as it is, made safe."""
        try:
            start, end = map(datetime.fromisoformat, text.split("/"))
            return f"{self.when(start)} – {self.when(end)} ({self.duration(end - start)})"
        except (ValueError, TypeError):  # not two times, or only one of them with a zone
            return plain(text)

    def duration(self, length: timedelta) -> str:
        """Return a duration in its two largest units: `12 min 4 s`. A negative one counts as none."""
        left = int(length.total_seconds())
        if left < 1:
            return self.text("duration.moment")
        parts: list[tuple[str, int]] = []
        for unit, seconds in _UNITS:
            count, left = divmod(left, seconds)
            parts.append((unit, count))
        first = next(index for index, (_, count) in enumerate(parts) if count)
        return " ".join(self.text(f"duration.{unit}", n=count) for unit, count in parts[first : first + 2] if count)

    def age(self, moment: datetime | None, now: datetime) -> str:
        """Return how long ago, or how far ahead, a time is: `12 s ago`, `in 5 min`, `never`."""
        if moment is None:
            return self.text("age.never")
        length = self.duration(abs(now - moment))
        return self.text("age.past" if moment <= now else "age.future", length=length)

    def progress(self, percent: float) -> str:
        """Return a percentage: `60%`."""
        return f"{percent:.1f}".removesuffix(".0") + "%"
