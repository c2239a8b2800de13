"""What a page says where it cannot be shown: one fact, its cause, and what to do."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from notifier.web.requests import Page

Trouble = Literal["missing", "forbidden", "refused", "failed", "unreachable"]

_STATUS: dict[Trouble, int] = {"missing": 404, "forbidden": 403, "refused": 400, "failed": 500, "unreachable": 503}
RETRY_SECONDS = 5
"""Seconds after which an open page asks again whether the database can be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorView:
    """What is wrong."""

    trouble: Trouble
    detail: str = ""
    """What exactly, in English: a sentence of ours, which names no secret."""
    since: datetime | None = None
    """Since when the database cannot be reached."""


def error_page(trouble: Trouble, *, detail: str = "", since: datetime | None = None) -> Page:
    """Return the page about a trouble. One about an unreachable database asks again by itself."""
    view = ErrorView(trouble=trouble, detail=detail, since=since)
    poll = RETRY_SECONDS if trouble == "unreachable" else 0
    return Page(template="error.html", view=view, status=_STATUS[trouble], poll=poll)


class Outage:
    """Since when the database cannot be reached, as far as this process has seen."""

    def __init__(self) -> None:
        self._since: datetime | None = None

    def begin(self, now: datetime) -> datetime:
        """Record a failed read. Return the time of the first one since the last that worked."""
        self._since = self._since or now
        return self._since

    def end(self) -> None:
        """Record a read that worked."""
        self._since = None
