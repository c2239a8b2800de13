"""Readers of calendars from their settings."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from notifier.calendars import CalendarReader
from notifier.config.config import Config
from notifier.core.calendars import CalendarEntry, CalendarUnreadable
from notifier.core.rota import Rota
from notifier.http import HttpClient
from notifier.integrations.ical import FileCalendar, WebCalendar
from notifier.ports import CheckResult, Clock

GAPS_WITHIN = timedelta(weeks=4)
"""How far ahead a check searches for times with nobody on duty."""
MAX_NAMED_GAPS = 5
"""Maximum number of such times, and of unknown people, that a check names."""


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


async def check_calendars(config: Config, http: HttpClient, clock: Clock) -> Sequence[CheckResult]:
    """Prove that the calendars can be read, and that somebody is on duty by each rota in the coming weeks."""
    now, results = clock.now(), list[CheckResult]()
    entries: dict[str, Sequence[CalendarEntry]] = {}
    for reader in build_calendars(config, http):
        what = f"calendar {reader.name}"
        try:
            entries[reader.name] = await reader.read(now)
        except CalendarUnreadable as error:
            results.append(CheckResult(ok=False, what=what, detail=str(error)))
        else:
            results.append(_readable(what, len(entries[reader.name])))
    for rota in config.rotas_by_name.values():
        if rota.calendar is None or rota.calendar in entries:
            results += _check_rota(rota, entries.get(rota.calendar or "", ()), now, ZoneInfo(config.timezone))
    return results


def _readable(what: str, entries: int) -> CheckResult:
    detail = "" if entries else "it has no entries from a month ago until a year from now"
    return CheckResult(ok=True, proven=bool(entries), what=f"{what}: {entries} entries", detail=detail)


def _check_rota(rota: Rota, entries: Sequence[CalendarEntry], now: datetime, zone: ZoneInfo) -> Iterator[CheckResult]:
    what = f"rota {rota.name}"
    duty = rota.duty(now, entries)
    yield CheckResult(ok=True, what=f"{what}: {duty.person.name if duty.person else 'nobody'} is on duty now")
    for start, end in list(rota.gaps(now, now + GAPS_WITHIN, entries))[:MAX_NAMED_GAPS]:
        times = [f"{moment.astimezone(zone):%Y-%m-%d %H:%M}" for moment in (start, end)]
        yield CheckResult(ok=True, proven=False, what=what, detail=f"nobody is on duty from {times[0]} to {times[1]}")
    if strangers := sorted(rota.strangers(now, entries)):
        known = ", ".join(strangers[:MAX_NAMED_GAPS])
        detail = f"its calendar names people whom the rota does not have, so nobody can mention them: {known}"
        yield CheckResult(ok=True, proven=False, what=what, detail=detail)
