"""Times of requests, as strict as their description."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


def parse_moment(value: object) -> datetime:
    """Read a time of RFC 3339 with its zone. One that no record can have becomes the nearest that one could."""
    if isinstance(value, datetime):  # a default
        return value
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise ValueError("is no time of RFC 3339, such as 2026-01-15T08:30:00Z")
    try:
        found = datetime.fromisoformat(value.upper())
    except ValueError:
        raise ValueError("is no time that a calendar has") from None
    return min(max(found, _FIRST), _LAST)
