"""Readers of calendars from their settings."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from notifier.calendars import CalendarReader
from notifier.config.config import Config
from notifier.core.calendars import CalendarUnreadable
from notifier.http import HttpClient
from notifier.integrations.ical import FileCalendar, WebCalendar
from notifier.ports import CheckResult, Clock


def build_calendars(config: Config, http: HttpClient) -> Sequence[CalendarReader]:
    """Return a reader for each calendar that is no list of days."""
    zone = ZoneInfo(config.timezone)
    found: list[CalendarReader] = []
    for one in config.calendars:
        if one.file:
            found.append(FileCalendar(one.name, one.origin, one.refresh, one.file, zone))
        elif one.url:
            url = one.url.get_secret_value()
            found.append(WebCalendar(one.name, one.origin, one.refresh, url, zone, http=http))
    return found


async def check_calendar(reader: CalendarReader, clock: Clock) -> Sequence[CheckResult]:
    """Prove that a calendar can be read."""
    what = f"calendar {reader.name}"
    try:
        entries = await reader.read(clock.now())
    except CalendarUnreadable as error:
        return [CheckResult(ok=False, what=what, detail=str(error))]
    detail = "" if entries else "it has no entries from a month ago until a year from now"
    return [CheckResult(ok=True, proven=bool(entries), what=f"{what}: {len(entries)} entries", detail=detail)]
