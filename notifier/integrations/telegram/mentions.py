"""Mentions in Telegram: which entries of `routes[].mention` it understands. Pure and light."""

import re
from collections.abc import Iterable
from itertools import islice

from notifier.core.routing import MAX_MENTIONS

TELEGRAM_MENTION_FORMS = "telegram:USERNAME, or an id with a name: telegram:123456789|Alice"
"""How an entry is written."""

_ENTRY = re.compile(
    r"telegram:(?:(?P<user>[A-Za-z][A-Za-z0-9_]{3,31})"
    r"|(?P<id>[1-9][0-9]{2,15})\|(?P<name>[^\W_](?:[^\W_]|[ .'-]){0,62}))"
)


def mention_markup(entries: Iterable[str]) -> str:
    """Return the entries that Telegram understands in HTML, with spaces between, at most MAX_MENTIONS."""
    return " ".join(map(_markup, islice(filter(None, map(_ENTRY.fullmatch, entries)), MAX_MENTIONS)))


def is_mention(text: str) -> bool:
    """Return whether Telegram understands an entry."""
    return bool(_ENTRY.fullmatch(text))


def _markup(found: re.Match[str]) -> str:
    if found["user"]:
        return f"@{found['user']}"
    return f'<a href="tg://user?id={found["id"]}">{found["name"]}</a>'
