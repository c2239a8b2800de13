"""Checked parameters of a request, as each service documents them. Pure."""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime

from notifier.simulator.replies import SimulatedError

MAX_OFFSET = 2_147_483_647
"""The largest offset."""
Refuse = Callable[[str], SimulatedError]
"""Returns the error of a service for a parameter that it refuses, by the parameter's name."""


class QueryParameters:
    """The query of a request. Every method raises the error of the service for a value that it does not take."""

    def __init__(self, query: Mapping[str, str], refuse: Refuse, refuse_choice: Refuse | None = None) -> None:
        """`refuse_choice` is for a value outside an enumeration, where the service has another error for it."""
        self._query = query
        self._refuse = refuse
        self._refuse_choice = refuse_choice or refuse

    def value(self, name: str) -> str | None:
        """Return a parameter as it was sent; None where it is missing."""
        return self._query.get(name)

    def choice(self, name: str, allowed: Collection[str]) -> str | None:
        """Return one of the allowed values, or None where the parameter is missing."""
        value = self._query.get(name)
        if value is not None and value not in allowed:
            raise self._refuse_choice(name)
        return value

    def integer(self, name: str, lowest: int, highest: int, default: int) -> int:
        """Return a number in decimal ASCII digits between two limits."""
        text = self._query.get(name)
        if text is None:
            return default
        digits = text.isascii() and text.isdigit() and len(text) <= len(str(highest))
        if not digits or not lowest <= int(text) <= highest:
            raise self._refuse(name)
        return int(text)

    def milliseconds(self, name: str) -> datetime | None:
        """Return a time that was sent as milliseconds since 1970, or None where it is missing."""
        text = self._query.get(name)
        if text is None:
            return None
        if text.isascii() and text.isdigit():
            with suppress(ValueError, OverflowError, OSError):
                return datetime.fromtimestamp(int(text) / 1000, UTC)
        raise self._refuse(name)

    def local_time(self, name: str) -> datetime | None:
        """Return a time that was sent as `2022-08-05T08:15:07+0800`, or None where it is missing."""
        text = self._query.get(name)
        if text is None:
            return None
        with suppress(ValueError):
            return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")
        raise self._refuse(name)

    def period(self, start: str, end: str) -> tuple[datetime | None, datetime | None]:
        """Return both ends of a period of milliseconds; the start must come before the end."""
        since, until = self.milliseconds(start), self.milliseconds(end)
        if since is not None and until is not None and since >= until:
            raise self._refuse(start)
        return since, until

    def refused(self, name: str) -> SimulatedError:
        """Return the error for a parameter that a rule of its own refuses."""
        return self._refuse(name)
