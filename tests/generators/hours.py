"""Times around which clocks change, in zones with different habits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the clocks of a zone, or a usual night where they never change."""

    zone: str
    at: datetime


def _utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]  # year to minute


CHANGES = (
    Change("Europe/Berlin", _utc(2026, 3, 29, 1)),
    Change("Europe/Berlin", _utc(2026, 10, 25, 1)),
    Change("America/New_York", _utc(2026, 3, 8, 7)),
    Change("America/New_York", _utc(2026, 11, 1, 6)),
    # By half an hour.
    Change("Australia/Lord_Howe", _utc(2026, 4, 4, 15)),
    Change("Australia/Lord_Howe", _utc(2026, 10, 3, 15, 30)),
    # At midnight, so that a day begins at 01:00 or an hour twice.
    Change("America/Santiago", _utc(2026, 4, 5, 3)),
    Change("America/Santiago", _utc(2026, 9, 6, 4)),
    Change("Asia/Shanghai", _utc(2026, 3, 29, 18)),
)
"""Both changes of a year in each zone, and none in the last one."""

ZONES = tuple(dict.fromkeys(change.zone for change in CHANGES))


def changes() -> st.SearchStrategy[Change]:
    """A change of clocks."""
    return st.sampled_from(CHANGES)


def starts_before(change: Change) -> st.SearchStrategy[datetime]:
    """A time up to a day and a half before a change, to the minute."""
    return st.integers(0, 36 * 60).map(lambda minutes: change.at - timedelta(minutes=minutes))


def clock_times() -> st.SearchStrategy[str]:
    """A time of day, often one that a change of clocks skips or repeats."""
    usual = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from((0, 15, 30, 59)))
    return st.one_of(usual, st.sampled_from(("00:00", "00:30", "01:00", "01:30", "02:00", "02:15", "02:30", "03:00")))


def windows(zone: str) -> st.SearchStrategy[str]:
    """A window of the week in a zone, as it is written: on some days, over midnight, or of several parts."""
    days = st.sampled_from(("daily", "weekdays", "weekend", "mon-thu", "sat,sun", "sun"))
    hours = st.tuples(clock_times(), clock_times()).filter(lambda pair: pair[0] != pair[1]).map("-".join)
    part = st.builds("{} {} {}".format, days, hours, st.just(zone))
    return st.lists(part, min_size=1, max_size=2).map("; ".join)
