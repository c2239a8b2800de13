"""Mentions in Mattermost and Rocket.Chat: which entries of `routes[].mention` they understand. Pure and light.

Nothing else becomes a mention: a zero-width character breaks an `@` in the text of events (`markdown.plain`), and an
entry that is not of this form is dropped.
"""

import re
from collections.abc import Iterable
from itertools import islice

from notifier.core.routing import MAX_MENTIONS

CHAT_MENTION_FORMS = "@name (a user or a group), @here, @channel or @all"
"""How an entry is written."""

_NAME = re.compile(r"@[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def mention_text(mention: Iterable[str]) -> str:
    """Return the entries that the chats understand, with spaces between; the empty string for none.

    There are at most MAX_MENTIONS in it.
    """
    return " ".join(islice(filter(is_mention, mention), MAX_MENTIONS))


def is_mention(text: str) -> bool:
    """Return whether the chats understand an entry."""
    return bool(_NAME.fullmatch(text))
