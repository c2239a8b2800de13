"""Keyboard: which keys do what, and a switch for the single ones."""

from dataclasses import dataclass

from notifier.web.ports import WebReads
from notifier.web.requests import Page, PageRequest, PageRoute


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyboardView:
    """What the page shows."""

    enabled: bool
    """Whether single keys do something for this reader."""


def read_keyboard(request: PageRequest, q: WebReads) -> Page:  # noqa: ARG001 - of the route's type
    """Return the page."""
    return Page(template="keyboard.html", view=KeyboardView(enabled=request.keys), poll=0)


routes = (PageRoute(path="/keyboard", read=read_keyboard),)
