"""Opaque cursors of the API and the pages: the position of the last row of a page, in the order of its list.

A cursor names a row's place and not its number, so that rows that are added or deleted meanwhile shift nothing. It
fits one list with one set of filters; used with another one, it would skip rows without a word.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

import msgspec

from notifier.core.outbox import UNSTORABLE
from notifier.ports import TaskCursor

MAX_CURSOR = 1_000
"""Maximum length of a cursor, in characters."""

R = TypeVar("R")
K = TypeVar("K")


class WrongCursor(ValueError):
    """A cursor that this list did not give."""

    def __init__(self) -> None:
        super().__init__("is no cursor of this list with these filters; leave it out to begin with the first page")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSlice:
    """Which page of a list is asked for."""

    name: str
    """Short name of the list and its filters; see `of_list`."""
    cursor: str | None
    """Cursor of the page, as the page before it gave it; None for the first one."""
    limit: int
    """Maximum number of rows."""

    @classmethod
    def of_list(cls, kind: str, *filters: object, cursor: str | None, limit: int) -> Self:
        """Return a page of a list with these filters."""
        digest = hashlib.sha256(repr(filters).encode("utf-8", "surrogatepass")).hexdigest()
        return cls(name=f"{kind}.{digest[:8]}", cursor=cursor, limit=limit)

    @property
    def number(self) -> int | None:
        """The number that the cursor names; None without a cursor. Raises WrongCursor."""
        if self.cursor is None:
            return None
        number = self._place(int)
        if not 0 < number < _NUMBERS:
            raise WrongCursor
        return number

    @property
    def task(self) -> TaskCursor | None:
        """The task that the cursor names; None without a cursor. Raises WrongCursor."""
        if self.cursor is None:
            return None
        return self._place(TaskCursor)

    def among(self, rows: Sequence[R], place: Callable[[R], K], kind: type[K]) -> tuple[Sequence[R], str | None]:
        """Return the page of rows that are all at hand, in the order of their places, and the next cursor.

        `kind` is the type of a place. Raises WrongCursor.
        """
        after: Any = None if self.cursor is None else self._place(kind)
        left = [row for row in rows if after is None or place(row) > after]
        return left[: self.limit], self.following(left, place)

    def following(self, rows: Sequence[R], place: Callable[[R], object]) -> str | None:
        """Return the cursor of the next page, where one row more than the limit was read; None on the last page."""
        return encode_cursor(self.name, place(rows[self.limit - 1])) if len(rows) > self.limit else None

    def _place(self, kind: type[K]) -> K:
        return decode_cursor(self.name, self.cursor or "", kind)


_NUMBERS = 2**63
"""Bound of the numbers that the database gives."""


def encode_cursor(name: str, place: object) -> str:
    """Return the cursor of a place in a list."""
    return urlsafe_b64encode(msgspec.json.encode([name, place])).decode().rstrip("=")


def decode_cursor(name: str, cursor: str, kind: type[K]) -> K:
    """Return the place of a cursor of this list. Raises WrongCursor."""
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        found, place = msgspec.json.decode(text, type=tuple[str, kind])  # type: ignore[valid-type] # known when it runs
    except ValueError:  # msgspec's and binascii's errors are such, too
        raise WrongCursor from None
    if found != name or encode_cursor(name, place) != cursor or not _can_be_stored(place):
        raise WrongCursor
    return place


def _can_be_stored(place: object) -> bool:
    """Return whether a database takes the parts of a place: times are in UTC, as it gives them."""
    parts = place if isinstance(place, tuple) else (place,)
    return all(
        part.utcoffset() == timedelta(0) if isinstance(part, datetime) else not UNSTORABLE.search(str(part))
        for part in parts
    )
