"""Mentions in Slack: which entries of `routes[].mention` it understands, and their markup. Pure and light.

Nothing else becomes a mention: text of events is escaped (`blockkit.escape`), and entries of other forms are dropped.
"""

import re
from collections.abc import Iterable
from itertools import islice

from notifier.core.routing import MAX_MENTIONS

SLACK_MENTION_FORMS = "U0123ABCD (a user), S0123ABCD (a user group), @here, @channel or @everyone"
"""How an entry is written."""

_EVERYBODY = {"@here": "<!here>", "@channel": "<!channel>", "@everyone": "<!everyone>"}
_USER = re.compile(r"[UW][A-Z0-9]{2,30}")
_GROUP = re.compile(r"S[A-Z0-9]{2,30}")


def mention_markup(mention: Iterable[str]) -> str:
    """Return the markup of the entries that Slack understands, with spaces between; the empty string for none.

    There are at most MAX_MENTIONS in it.
    """
    return " ".join(islice(filter(None, map(_markup, mention)), MAX_MENTIONS))


def is_mention(text: str) -> bool:
    """Return whether Slack understands an entry."""
    return bool(_markup(text))


def _markup(text: str) -> str:
    if _USER.fullmatch(text):
        return f"<@{text}>"
    if _GROUP.fullmatch(text):
        return f"<!subteam^{text}>"
    return _EVERYBODY.get(text, "")
