"""Calendars and schedules as they are recorded: one suite for both databases."""

from __future__ import annotations

from datetime import date, timedelta

from factories import T0

from notifier.core.calendars import CalendarEntry, StoredCalendar
from notifier.core.schedules import ScheduleState
from notifier.store.engine import SqlStore

HOUR = timedelta(hours=1)
ENTRIES = (
    CalendarEntry(summary="Li Wei", starts_at=T0, ends_at=T0 + HOUR),
    CalendarEntry(summary="元旦", first_day=date(2027, 1, 1), last_day=date(2027, 1, 3)),
)


async def claim(store: SqlStore, origins: dict[str, str], after: timedelta = timedelta()) -> list[str]:
    at = T0 + after
    return list(await store.transact(lambda tx: tx.calendars.claim_due(origins, at, at + timedelta(minutes=1))))


async def read(store: SqlStore, *names: str) -> dict[str, StoredCalendar]:
    return dict(await store.transact(lambda tx: tx.calendars.read(names)))


async def test_a_calendar_is_due_when_its_time_has_come(store: SqlStore) -> None:
    origins = {"duty": "file:1", "holidays": "url:2"}
    assert await claim(store, origins) == ["duty", "holidays"]
    assert await claim(store, origins) == []
    await store.transact(lambda tx: tx.calendars.save_copy("duty", "file:1", ENTRIES, T0, T0 + HOUR))
    assert await claim(store, origins, timedelta(minutes=2)) == ["holidays"]
    assert await claim(store, origins, HOUR) == ["duty", "holidays"]
    found = await read(store, "duty", "unknown")
    assert found == {"duty": StoredCalendar(name="duty", entries=ENTRIES, fetched_at=T0, tried_at=T0, origin="file:1")}
    assert await read(store) == {}


async def test_the_last_good_copy_stays_while_a_server_is_down(store: SqlStore) -> None:
    await claim(store, {"duty": "1"})
    await store.transact(lambda tx: tx.calendars.save_copy("duty", "1", ENTRIES, T0, T0 + HOUR))
    await store.transact(lambda tx: tx.calendars.save_failure("duty", "1", "HTTP 503", T0 + HOUR, T0 + 2 * HOUR))
    kept = (await read(store, "duty"))["duty"]
    assert (kept.entries, kept.fetched_at, kept.tried_at, kept.error) == (ENTRIES, T0, T0 + HOUR, "HTTP 503")
    await store.transact(lambda tx: tx.calendars.save_copy("duty", "1", (), T0 + 2 * HOUR, T0 + 3 * HOUR))
    assert (await read(store, "duty"))["duty"].error is None


async def test_what_another_origin_said_does_not_count(store: SqlStore) -> None:
    await claim(store, {"duty": "1", "gone": "1"})
    await store.transact(lambda tx: tx.calendars.save_copy("duty", "1", ENTRIES, T0, T0 + HOUR))
    assert await claim(store, {"duty": "2"}) == ["duty"]
    await store.transact(lambda tx: tx.calendars.save_copy("duty", "1", ENTRIES, T0, T0 + HOUR))
    await store.transact(lambda tx: tx.calendars.keep(["duty"]))
    found = await read(store, "duty", "gone")
    assert (list(found), found["duty"].entries, found["duty"].origin) == (["duty"], (), "2")


async def test_a_schedule_is_saved_and_forgotten_with_its_configuration(store: SqlStore) -> None:
    state = ScheduleState(name="report:weekly", expression="0 9 * * 1", next_at=T0, last_at=T0, detail="x")
    assert await store.transact(lambda tx: tx.schedules.lock("report:weekly")) == ScheduleState(name="report:weekly")
    await store.transact(lambda tx: tx.schedules.save(state))
    assert await store.transact(lambda tx: tx.schedules.lock("report:weekly")) == state
    assert await store.transact(lambda tx: tx.schedules.read()) == {"report:weekly": state}
    await store.transact(lambda tx: tx.schedules.keep(["report:daily"]))
    assert await store.transact(lambda tx: tx.schedules.read()) == {}
