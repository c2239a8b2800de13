"""Mentions in Teams: which entries of `routes[].mention` it understands. Pure and light."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from notifier.core.routing import MAX_MENTIONS

TEAMS_MENTION_FORMS = "teams:alice@example.com, perhaps with a name: teams:alice@example.com|Alice (or an object id)"
"""How an entry is written."""

_ENTRY = re.compile(
    r"teams:(?P<id>[A-Za-z0-9][A-Za-z0-9._%+'#-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,253}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}"
    r"-[0-9a-fA-F]{12})(?:\|(?P<name>[^\W_](?:[^\W_]|[ .'-]){0,62}[^\W_.]|[^\W_]))?"
)
_NOT_NAME = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class TeamsMention:
    """A user whom a message calls."""

    id: str
    """Sign-in name (UPN), or object id."""
    name: str
    """What the message shows. No other mention of the message has the same."""


def teams_mentions(entries: Iterable[str]) -> tuple[TeamsMention, ...]:
    """Return whom the entries call that Teams understands, at most MAX_MENTIONS."""
    named: dict[str, str] = {}
    for found in islice(filter(None, map(_ENTRY.fullmatch, entries)), MAX_MENTIONS):
        name = found["name"] or _NOT_NAME.sub(" ", found["id"].partition("@")[0]).strip()
        named[name if name not in named else f"{name} {len(named) + 1}"] = found["id"]
    return tuple(TeamsMention(id=who, name=name) for name, who in named.items())


def is_mention(text: str) -> bool:
    """Return whether Teams understands an entry."""
    return bool(_ENTRY.fullmatch(text))
