"""Numbers of rows that are counted up to a limit."""

from __future__ import annotations

from typing import NamedTuple

COUNTED = 1_000
"""Rows are counted up to this number; one more stands for all further ones."""


class RowCount(NamedTuple):
    """A number of rows, which may be only some of them."""

    number: int = 0
    more: bool = False
    """True where there may be more than were counted."""

    @classmethod
    def of(cls, number: int, limit: int = COUNTED, *, more: bool = False) -> RowCount:
        """Return a count that went up to one more than a limit."""
        return cls(min(number, limit), more or number > limit)

    def __add__(self, other: object) -> RowCount:
        """Return the number of both together, up to `COUNTED`."""
        if not isinstance(other, RowCount):
            return NotImplemented
        return RowCount.of(self.number + other.number, more=self.more or other.more)
