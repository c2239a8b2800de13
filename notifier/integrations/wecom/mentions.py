"""Mentions in WeCom: which entries of `routes[].mention` it understands. Pure and light."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from notifier.core.routing import MAX_MENTIONS

WECOM_MENTION_FORMS = "wecom:USERID, a mobile number such as 13800000000, or @all"
"""How an entry is written."""

EVERYBODY = "@all"
_USER = re.compile(r"wecom:([A-Za-z0-9][A-Za-z0-9_.@-]{0,63})")
_MOBILE = re.compile(r"1[0-9]{10}")


@dataclass(frozen=True, slots=True)
class WeComMentions:
    """Whom a message calls."""

    users: tuple[str, ...] = ()
    """User ids; `@all` for everybody."""
    mobiles: tuple[str, ...] = ()

    @property
    def needs_text(self) -> bool:
        """Whether only a message of the type `text` can call them: its lists take mobile numbers and everybody."""
        return bool(self.mobiles) or EVERYBODY in self.users


def wecom_mentions(entries: Iterable[str]) -> WeComMentions:
    """Return whom the entries call that WeCom understands, at most MAX_MENTIONS."""
    known = tuple(islice(filter(is_mention, entries), MAX_MENTIONS))
    users = tuple(entry.removeprefix("wecom:") for entry in known if not _MOBILE.fullmatch(entry))
    return WeComMentions(users, tuple(filter(_MOBILE.fullmatch, known)))


def is_mention(text: str) -> bool:
    """Return whether WeCom understands an entry."""
    return text == EVERYBODY or bool(_USER.fullmatch(text) or _MOBILE.fullmatch(text))
