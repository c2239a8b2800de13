"""Mentions in Google Chat: which entries of `routes[].mention` it understands. Pure and light."""

import re
from collections.abc import Iterable
from itertools import islice

from notifier.core.routing import MAX_MENTIONS

GOOGLE_MENTION_FORMS = "google:USER_ID (a number), or google:all"
"""How an entry is written."""

_ENTRY = re.compile(r"google:([1-9][0-9]{5,29}|all)")


def mention_markup(entries: Iterable[str]) -> str:
    """Return the entries that Google Chat understands, with spaces between, at most MAX_MENTIONS."""
    return " ".join(
        f"<users/{found[1]}>" for found in islice(filter(None, map(_ENTRY.fullmatch, entries)), MAX_MENTIONS)
    )


def is_mention(text: str) -> bool:
    """Return whether Google Chat understands an entry."""
    return bool(_ENTRY.fullmatch(text))
