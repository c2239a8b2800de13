"""Now: what needs somebody, what runs, and whether the notifier itself is well."""

from dataclasses import dataclass
from datetime import datetime

from notifier.core.failures import OpenFailure
from notifier.web.ports import WebReads
from notifier.web.requests import Page, PageRequest, PageRoute


@dataclass(frozen=True, slots=True, kw_only=True)
class NowView:
    """What the page shows."""

    at: datetime
    failures: tuple[OpenFailure, ...]
    """The open failures, the worst first."""


def read_now(request: PageRequest, q: WebReads) -> Page:  # noqa: ARG001 - of the route's type
    """Return the page."""
    view = NowView(at=q.now().replace(second=0, microsecond=0), failures=tuple(q.open_failures()))
    return Page(template="now.html", view=view, poll=5)


routes = (PageRoute(path="/", read=read_now, tab="now"),)
