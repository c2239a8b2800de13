"""Texts with environment variables filled in. Light: the standard library alone."""

from collections.abc import Mapping
from typing import Self


class InterpolatedStr(str):
    """A text with environment variables filled in. A setting that must not store their values can tell them apart."""

    __slots__ = ("borrowed", "written")
    written: str
    """The text in the file."""
    borrowed: Mapping[str, str]
    """The filled-in values by the names of their variables."""

    def __new__(cls, text: str, written: str, borrowed: Mapping[str, str]) -> Self:
        """Return the text with its origin."""
        filled = super().__new__(cls, text)
        filled.written, filled.borrowed = written, borrowed
        return filled
