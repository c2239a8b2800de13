"""Calendars in files and at addresses."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from notifier.core.calendars import CalendarEntry, CalendarUnreadable
from notifier.http import HttpClient, HttpError
from notifier.ical import MAX_CALENDAR_BYTES, read_calendar
from notifier.settings.unreadable import read_problem

CALENDAR_DEADLINE = 30.0
"""Time limit of fetching one calendar, in seconds."""


class FileCalendar:
    """A calendar in a file of this machine."""

    def __init__(self, name: str, origin: str, refresh: timedelta, path: Path, zone: ZoneInfo) -> None:
        self.name = name
        self.origin = origin
        self.refresh = refresh
        self._path = path
        self._zone = zone

    async def read(self, now: datetime) -> Sequence[CalendarEntry]:
        """Return its entries around a time. Raises CalendarUnreadable."""
        return await asyncio.to_thread(self._read, now)

    def _read(self, now: datetime) -> Sequence[CalendarEntry]:
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_CALENDAR_BYTES + 1)
        except OSError as error:
            raise CalendarUnreadable(read_problem(self._path, error)) from None
        return read_calendar(content, now, self._zone)


class WebCalendar:
    """A calendar at an address, which is a secret: whoever knows it reads the calendar."""

    def __init__(
        self, name: str, origin: str, refresh: timedelta, url: str, zone: ZoneInfo, *, http: HttpClient
    ) -> None:
        self.name = name
        self.origin = origin
        self.refresh = refresh
        self._url = url
        self._zone = zone
        self._http = http

    async def read(self, now: datetime) -> Sequence[CalendarEntry]:
        """Return its entries around a time. Raises CalendarUnreadable, which does not name the address."""
        headers = {"Accept": "text/calendar, */*;q=0.1"}
        try:
            reply = await self._http.exchange(
                "GET", self._url, headers=headers, deadline=CALENDAR_DEADLINE, max_bytes=MAX_CALENDAR_BYTES
            )
        except HttpError as error:
            raise CalendarUnreadable(str(error)) from None
        if 300 <= reply.status < 400:  # noqa: PLR2004 - the class of redirects
            raise CalendarUnreadable(f"HTTP {reply.status}: give the address that it redirects to")
        if not 200 <= reply.status < 300:  # noqa: PLR2004 - the class of successes
            raise CalendarUnreadable(f"HTTP {reply.status}")
        return await asyncio.to_thread(read_calendar, reply.body, now, self._zone)
