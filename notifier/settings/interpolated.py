"""Texts of a configuration that know how they were written. Light: the standard library alone."""

import json
import re
from collections.abc import Mapping
from typing import ClassVar, Self


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


class PlainScalar(str):
    """A number or a switch that the file has without quotes, as text. A setting of any type can tell it from text."""

    __slots__ = ()
    _FORM: ClassVar[re.Pattern[str]] = re.compile(r"true|false|-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?")

    @classmethod
    def of(cls, text: str) -> str:
        """Return a text that stands without quotes, marked where it is a number or a switch."""
        return cls(text) if cls._FORM.fullmatch(text) else text

    @property
    def value(self) -> bool | int | float:
        """What JSON has for it."""
        found: bool | int | float = json.loads(self)
        return found


def with_values(data: object) -> object:
    """Return data in which numbers and switches without quotes are no texts."""
    match data:
        case PlainScalar():
            return data.value
        case dict():
            return {key: with_values(value) for key, value in data.items()}
        case list():
            return [with_values(value) for value in data]
    return data
