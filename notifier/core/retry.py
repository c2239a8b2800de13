"""When to try again."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER = timedelta(hours=1)
"""Maximum wait that a receiver can ask for; a longer one is taken for its error."""

CLOCK_TOLERANCE = timedelta(minutes=10)
"""How far a clock may disagree with the cloud's: signatures fail at 15 minutes, and it is named before they do."""

JITTER = 0.2
"""Waits vary by this share either way, so that what failed together does not come back together."""


def delay(schedule: Sequence[timedelta], attempt: int, after: timedelta | None, chance: float) -> timedelta | None:
    """Return how long to wait after the given attempt (1 is the first), or None when the schedule is used up.

    Args:
        schedule: the waits after the first, second … attempt.
        attempt: the attempt that has just failed.
        after: what the receiver asked for; honoured in full up to `MAX_RETRY_AFTER`, never shortened by the schedule.
        chance: a random number from 0 to 1 that places the wait within its jitter.
    """
    if attempt > len(schedule):
        return None
    wait = schedule[attempt - 1] * (1 - JITTER + 2 * JITTER * chance)
    asked = min(max(after or timedelta(), timedelta()), MAX_RETRY_AFTER)
    return max(wait, asked)


def backoff(failures: int, shortest: timedelta, longest: timedelta) -> timedelta:
    """Return the wait after this number of failures in a row: doubling from `shortest` up to `longest`."""
    doubled: timedelta = shortest * 2 ** min(max(failures - 1, 0), 16)
    return min(doubled, longest)


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Read Retry-After, in seconds or as an HTTP date: from nothing to an hour, None where it is absent or unusable."""
    text = headers.get("retry-after", "").strip()
    try:
        wait = timedelta(seconds=float(text))
    except OverflowError:
        return MAX_RETRY_AFTER
    except ValueError:
        date = http_date(text)
        if date is None:
            return None
        wait = date - now
    return min(max(wait, timedelta()), MAX_RETRY_AFTER)


def reset_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Read X-RateLimit-Reset, in Unix time or as a date of ISO 8601, as `retry_after` does."""
    text = headers.get("x-ratelimit-reset", "").strip()
    try:
        at = datetime.fromtimestamp(int(text), UTC) if text.isdecimal() else datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(at - now, timedelta()), MAX_RETRY_AFTER)


def http_date(text: str) -> datetime | None:
    """Read the date of an HTTP header, or None for what is none."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
