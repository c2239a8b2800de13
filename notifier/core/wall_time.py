"""Instants of what a clock on the wall shows in a time zone, where clocks are changed too."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

LONGEST_SHIFT = timedelta(days=1)
"""No clock is set forward or back by more than this (Samoa left out a day in 2011), nor twice within it."""


def is_zone(name: str) -> bool:
    """Return whether there is a time zone of this name."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return False
    return True


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone. Raises ValueError, with an example, where there is none of that name."""
    if not is_zone(name):
        raise ValueError(f"there is no time zone {name!r}; write a name such as Asia/Shanghai or UTC")
    return ZoneInfo(name)


def wall_time(at: datetime, zone: ZoneInfo) -> datetime:
    """Return what the clock shows at an instant, as a time without a zone."""
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def instant_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return in UTC when the clock shows a time first, or, where it skips that time, when it does so."""
    instant = wall.replace(tzinfo=zone).astimezone(UTC)
    if wall_time(instant, zone) == wall:
        return instant
    # A skipped time is read with the offset from before the change, so the change is not after it.
    return next(changes(instant - LONGEST_SHIFT, instant, zone))


def day_begins(day: date, zone: ZoneInfo) -> datetime:
    """Return in UTC when a day begins."""
    return instant_of(datetime.combine(day, time()), zone)


def offset_at(at: datetime, zone: ZoneInfo) -> timedelta:
    """Return how far the clock is ahead of UTC."""
    return at.astimezone(zone).utcoffset() or timedelta()


def changes(since: datetime, until: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield when the clock was changed, after one time and not after another. Changes fall on whole seconds."""
    low = since
    while low < until:
        high = min(low + LONGEST_SHIFT, until)
        if offset_at(low, zone) != offset_at(high, zone):
            yield _change(int(low.timestamp()), int(high.timestamp()), zone)
        low = high


def _change(before: int, after: int, zone: ZoneInfo) -> datetime:
    """Return the first second with the offset of a later one, by halving."""
    offset = offset_at(datetime.fromtimestamp(after, UTC), zone)
    while after - before > 1:
        middle = (before + after) // 2
        if offset_at(datetime.fromtimestamp(middle, UTC), zone) == offset:
            after = middle
        else:
            before = middle
    return datetime.fromtimestamp(after, UTC)
