"""Mentions in Feishu: which entries of `routes[].mention` it understands. Pure and light."""

import re
from collections.abc import Iterable
from itertools import islice

from notifier.core.routing import MAX_MENTIONS

FEISHU_MENTION_FORMS = "an open id such as ou_0123abcd, or @all"
"""How an entry is written."""

_USER = re.compile(r"ou_[0-9a-zA-Z]{4,60}")
_EVERYBODY = "@all"


def mention_tags(entries: Iterable[str]) -> str:
    """Return the tags that call whom Feishu understands, at most MAX_MENTIONS; the empty string for nobody."""
    known = islice(filter(is_mention, entries), MAX_MENTIONS)
    return " ".join(f"<at id={'all' if entry == _EVERYBODY else entry}></at>" for entry in known)


def is_mention(text: str) -> bool:
    """Return whether Feishu understands an entry."""
    return text == _EVERYBODY or bool(_USER.fullmatch(text))
