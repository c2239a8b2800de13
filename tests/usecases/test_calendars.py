"""Calendars from files and addresses, into the database and out of it again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fakes import FakeClock
from servers.http import Answer, HttpServer, reply, reset

from notifier.calendars import CALENDAR_RETRY, CalendarReader, CalendarReport, refresh_calendars
from notifier.core.calendars import CalendarEntry, CalendarUnreadable, StoredCalendar
from notifier.http import HttpClient
from notifier.ical import MAX_CALENDAR_BYTES
from notifier.integrations.ical import FileCalendar, WebCalendar
from notifier.store.engine import SqlStore, open_store

UTC = ZoneInfo("UTC")
HOUR = timedelta(hours=1)
DAY = CalendarEntry(summary="Li", first_day=date(2026, 1, 20), last_day=date(2026, 1, 20))
CONTENT = (
    b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:Li\r\n"
    b"DTSTART;VALUE=DATE:20260120\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)


@pytest.fixture
async def store(store_url: str, clock: FakeClock) -> AsyncIterator[SqlStore]:
    store = open_store(store_url, now=clock.now)
    yield store
    await store.aclose()


def duty(path: Path, origin: str = "1") -> CalendarReader:
    return FileCalendar("duty", origin, HOUR, path, UTC)


async def recorded(store: SqlStore) -> StoredCalendar:
    return (await store.transact(lambda tx: tx.calendars.read(["duty"])))["duty"]


async def test_a_calendar_is_read_once_an_hour_and_its_last_good_copy_stays(
    store: SqlStore, clock: FakeClock, tmp_path: Path
) -> None:
    file = tmp_path / "duty.ics"
    file.write_bytes(CONTENT)
    reader = duty(file)
    assert await refresh_calendars(store, [reader]) == [CalendarReport(name="duty", entries=1)]
    assert await refresh_calendars(store, [reader]) == []
    file.write_bytes(b"<html>Sign in</html>")
    first = clock.now()
    clock.advance(HOUR)
    (report,) = await refresh_calendars(store, [reader])
    assert "does not begin with BEGIN:VCALENDAR" in (report.error or "")
    found = await recorded(store)
    assert (found.entries, found.fetched_at, found.error) == ((DAY,), first, report.error)
    clock.advance(CALENDAR_RETRY)
    file.write_bytes(CONTENT)
    assert await refresh_calendars(store, [reader]) == [CalendarReport(name="duty", entries=1)]
    assert (await recorded(store)).error is None


async def test_another_replica_does_not_read_what_one_is_reading(store: SqlStore, tmp_path: Path) -> None:
    class Slow:
        name, origin, refresh = "duty", "1", HOUR

        async def read(self, now: object) -> list[CalendarEntry]:  # noqa: ARG002 - of a reader
            assert await refresh_calendars(store, [duty(tmp_path / "none")]) == []
            return [DAY]

    assert await refresh_calendars(store, [Slow()]) == [CalendarReport(name="duty", entries=1)]


async def test_a_file_that_is_not_there_is_named(store: SqlStore, tmp_path: Path) -> None:
    (report,) = await refresh_calendars(store, [duty(tmp_path / "none.ics")])
    assert "none.ics" in (report.error or "")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (reply(404), "HTTP 404"),
        (reply(302, headers={"Location": "https://example.com/"}), "give the address that it redirects to"),
        (reply(200, b"no calendar"), "does not begin with BEGIN:VCALENDAR"),
        (reply(200, b"x" * (MAX_CALENDAR_BYTES + 1)), "longer than"),
        (reset(), "127.0.0.1"),
    ],
)
async def test_what_a_server_answers_does_no_harm(answer: Answer, why: str, http: HttpClient, clock: FakeClock) -> None:
    async with HttpServer(answer) as server:
        reader = WebCalendar("duty", "1", HOUR, server.url("/secret-token.ics"), UTC, http=http)
        with pytest.raises(CalendarUnreadable, match=why) as failed:
            await reader.read(clock.now())
    assert "secret" not in str(failed.value)


async def test_a_calendar_is_read_from_an_address(http: HttpClient, clock: FakeClock) -> None:
    async with HttpServer(reply(200, CONTENT)) as server:
        reader = WebCalendar("duty", "1", HOUR, server.url("/a.ics"), UTC, http=http)
        assert await reader.read(clock.now()) == (DAY,)
