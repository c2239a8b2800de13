"""Lengths of time as people write them."""

import re
from datetime import timedelta

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = r"(\d+(?:\.\d+)?)(ms|[smhdw])"
_DURATION = re.compile(rf"(?:{_PART})+", re.ASCII)

DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|[smhdw]))+$"
"""What `parse_duration` reads, for a JSON Schema."""


def parse_duration(text: str) -> timedelta:
    """Read `30s`, `5m`, `2h`, `1h30m`, `7d`, `2w`, `250ms`. Raises ValueError with an example."""
    if not _DURATION.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is not a duration; write a number and a unit, for example 30s, 5m, 2h or 7d")
    try:
        return timedelta(seconds=sum(float(n) * _UNITS[unit] for n, unit in re.findall(_PART, text, re.ASCII)))
    except OverflowError:
        raise ValueError(f"{text!r} is too long a time; write a number and a unit, for example 30s or 2w") from None


def format_duration(length: timedelta) -> str:
    """Write a duration as `parse_duration` reads it, to the millisecond: `1h30m`."""
    rest = round(length / timedelta(milliseconds=1))
    parts: list[str] = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, round(_UNITS[unit] * 1000))
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"
