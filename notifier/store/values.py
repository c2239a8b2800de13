"""Between the values of the program and those of the drivers. Light: without a database library."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec

Conversion: TypeAlias = Callable[[Any], Any]
"""Turns a value into what the driver takes for it, or back."""
Columns: TypeAlias = "Mapping[str, Sequence[Any]]"
"""Parameters of a statement that runs several times: by name the values of all runs. A mapping for each run costs more.
"""


def utc_of(value: datetime | None) -> datetime | None:
    """Return a time in UTC. Raises ValueError for one without a zone, which names no moment."""
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError("a time without a zone cannot be stored")
    return value.astimezone(UTC)


@lru_cache(maxsize=2_048)  # a transaction writes few times into many rows, and many times into two columns of one
def text_of(value: datetime | None) -> str | None:
    """Return a time as SQLite stores it."""
    utc = utc_of(value)
    return None if utc is None else utc.isoformat(" ", "microseconds").removesuffix("+00:00")


@lru_cache(maxsize=2_048)  # as above: what was written together is read together
def time_of(text: str | None) -> datetime | None:
    """Return a time that SQLite stores."""
    return None if text is None else datetime.fromisoformat(f"{text}+00:00")


def _boolean_of(stored: int | None) -> bool | None:
    return None if stored is None else bool(stored)


def _json_of(values: object) -> str:
    return msgspec.json.encode(values).decode()


TO_DRIVER: Final[Mapping[tuple[str, str], Conversion]] = {
    ("sqlite", "time"): text_of,
    ("postgresql", "time"): utc_of,
    ("sqlite", "boolean"): {False: 0, True: 1, None: None}.__getitem__,
    ("sqlite", "list"): lambda values: _json_of(list(values)),
    ("postgresql", "list"): list,
}
"""Conversions of parameters, by the kind of database and of value. Other values are passed as they are."""

FROM_DRIVER: Final[Mapping[tuple[str, str], Conversion]] = {
    ("sqlite", "time"): time_of,
    ("postgresql", "time"): utc_of,
    ("sqlite", "boolean"): _boolean_of,
}
"""Conversions of columns, likewise."""
