"""What a kind of channel brings along to be put through the contract suite.

The suite finds each installed kind by its entry point, and its `SAMPLE` in a module `channels_<kind>` on the path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from notifier.core.delivery import Body


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Settings to build a channel with, and how to read what it writes."""

    settings: Callable[[str, int], dict[str, Any]]
    """(URL base, port) of a server on loopback to the settings, `name` and `kind` left out."""
    more_modes: Sequence[Callable[[str, int], dict[str, Any]]] = ()
    """Settings of the other ways in which the kind works."""
    text: Callable[[Body], str]
    """All that a reader of the message gets to see."""
    secrets: tuple[str, ...] = ()
    """Texts in those settings that must never be shown."""
    remote: bool = True
    """Whether it talks to a server at all."""
    http: Mapping[str, Any] | None = field(default=None)
    """For a kind that posts over HTTP: settings that make it impatient."""
    push: Callable[[Body], str] | None = None
    """What a notification shows; None: the first line of `text`."""
    mentions: Sequence[str] = ()
    """Entries of `routes[].mention` that it understands: one of each form."""
    calls: Sequence[str] | None = None
    """What `called` returns for them; None: the same."""
    called: Callable[[Body], list[str]] | None = None
    """Whom a body calls, in the form of the service. None for a kind that calls nobody."""
    many: str | None = None
    """An entry of `mentions` with {n} for a number; None for a kind whose entries are not limited in number."""

    def pushed(self, body: Body) -> str:
        """Return what a notification shows of a body."""
        return self.push(body) if self.push else self.text(body).split("\n")[0]
