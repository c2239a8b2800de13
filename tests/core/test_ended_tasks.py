"""Days, slots and figures of ended tasks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import T0

from notifier.core.ended_tasks import (
    SLOT,
    Days,
    EndedTask,
    FailureFacts,
    KnownCauses,
    PeriodResults,
    acknowledged_figures,
    day_results,
    period_results,
    slot_begins,
    slot_of,
    slot_results,
)
from notifier.wording.causes import builtin_catalogue

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def results(*tasks: EndedTask, facts: dict[str, FailureFacts] | None = None, number: int = 7) -> PeriodResults:
    days = Days.until(T0, ZoneInfo("Asia/Shanghai"), number)
    slot = slot_results("prod", tasks, facts or {}, days, KnownCauses(builtin_catalogue()))
    return period_results([day_results([slot], day) for day in range(days.first, days.last + 1)], days)


def failed(job_id: str, at: datetime = T0, **changes: Any) -> EndedTask:
    return EndedTask("CreateBackup", True, at, 60.0, job_id, "in-1", "orders", "Ecs.0319", at)._replace(**changes)  # noqa: FBT003 - a row


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Asia/Shanghai", date(2026, 3, 29), 24),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Asia/Beirut", date(2026, 3, 29), 23),  # the clock skips midnight
        ("America/Santiago", date(2026, 4, 4), 25),  # the clock shows the last hour of the day twice
    ],
)
def test_a_day_is_as_long_as_the_clock_makes_it(zone: str, day: date, hours: float) -> None:
    noon = datetime.combine(day, datetime.min.time(), ZoneInfo(zone)).astimezone(UTC) + 12 * HOUR
    days = Days.until(noon, ZoneInfo(zone), 3)
    assert days.last == day.toordinal()
    assert days.ends - days.begins(days.last) == timedelta(hours=hours)
    at = days.begins(days.last)
    assert days.day_of(at) == day.toordinal()
    assert days.day_of(at - timedelta(microseconds=1)) == day.toordinal() - 1
    assert days.day_of(days.ends) is None


def test_every_time_of_days_is_in_one_of_them() -> None:
    days = Days.until(datetime(2026, 10, 26, 12, tzinfo=UTC), ZoneInfo("Europe/Berlin"), 4)
    at, seen = days.begins(days.first), set()
    while at < days.ends:
        seen.add(days.day_of(at))
        at += timedelta(minutes=30)
    assert seen == set(range(days.first, days.last + 1))
    assert days.day_of(days.begins(days.first) - SLOT) is None


@pytest.mark.parametrize("at", [T0, datetime(1969, 12, 31, 23, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC)])
def test_a_slot_holds_its_times(at: datetime) -> None:
    slot = slot_of(at)
    assert slot_begins(slot) <= at < slot_begins(slot + 1)


def test_tasks_are_counted_on_their_days() -> None:
    done = EndedTask("CreateBackup", False, T0, 90.0)  # noqa: FBT003 - a row
    found = results(done, done._replace(seconds=None), failed("a"), failed("b", T0 - DAY), failed("c", T0 - 30 * DAY))
    (backups,) = found.types
    assert (backups.completed, backups.failed, list(backups.seconds)) == (2, 2, [90.0])
    assert [(one.completed, one.failed) for one in found.days][-2:] == [(0, 1), (2, 1)]
    assert (found.totals.ended, found.totals.failed) == (4, 2)


def test_a_day_names_the_storm_of_most_of_its_failures() -> None:
    facts = {"a": FailureFacts(storm="s1"), "b": FailureFacts(storm="s2"), "c": FailureFacts(storm="s2")}
    found = results(*(failed(one) for one in "abcd"), facts=facts)
    assert (found.days[-1].storm, found.days[-1].in_storms, found.in_storms) == ("s2", 3, 3)


def test_causes_are_by_code_and_those_with_most_failures_come_first() -> None:
    other = [failed(f"o{n}", reason="Error code: DBS.280277", instance_name=f"i{n}") for n in range(3)]
    found = results(failed("a"), *other, failed("x", reason=None))
    assert [(one.cause.key.code, one.failures) for one in found.causes] == [("DBS.280277", 3), ("", 1), ("Ecs.0319", 1)]
    assert found.causes[0].instances == {"i0", "i1", "i2"}


def test_people_are_told_after_the_clouds_own_end() -> None:
    facts = {one: FailureFacts(told_at=T0 + timedelta(seconds=n)) for n, one in ((4, "a"), (10, "b"), (90, "c"))}
    found = results(failed("a"), failed("b"), failed("c"), failed("d"), failed("e", ended_at=None), facts=facts)
    assert (found.told.number, found.told.median) == (3, 10.0)


def test_a_clock_that_is_behind_told_nobody_before_the_end() -> None:
    found = results(failed("a"), facts={"a": FailureFacts(told_at=T0 - HOUR)})
    assert found.told.median == 0.0


def test_failures_are_acknowledged_open_or_over() -> None:
    found = results(failed("a"), failed("b"), failed("c", T0 - DAY))
    opened = {found.failed[0].operation: T0}
    figures = acknowledged_figures(found, {("prod", "a"): T0 + 6 * HOUR, ("prod", "x"): T0}, opened)
    assert (figures.acknowledged, figures.median, figures.open, figures.over) == (1, 6 * 3600.0, 1, 1)
    assert acknowledged_figures(results(), {}, opened).median is None
