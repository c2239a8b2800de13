"""Settings that have one value, or one for each severity. Light: reading a configuration imports this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import Discriminator, Field, Tag

from notifier.core.severity import Severity

T = TypeVar("T")

_ONE, _EACH = "one value", "one for each severity"


def _shape(value: object) -> str:
    """Return the form in which a value was written. An empty mapping is neither, and is told what one value is like."""
    return _EACH if isinstance(value, Mapping) and value else _ONE


BySeverity = Annotated[
    Annotated[T, Tag(_ONE)] | Annotated[Mapping[Severity, T], Field(min_length=1), Tag(_EACH)], Discriminator(_shape)
]
"""One value, or one for each severity: `{critical: Highest, error: High}`. A wrong value is told what is wrong with the
form in which it was written, and not what the other form would have wanted."""
