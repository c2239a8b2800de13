"""Mentions in DingTalk: which entries of `routes[].mention` it understands. Pure and light."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from notifier.core.routing import MAX_MENTIONS

DINGTALK_MENTION_FORMS = "dingtalk:USERID, a mobile number such as 13800000000, or @all"
"""How an entry is written."""

_EVERYBODY = "@all"
_USER = re.compile(r"dingtalk:([A-Za-z0-9][A-Za-z0-9_.$-]{0,63})")
_MOBILE = re.compile(r"1[0-9]{10}")


@dataclass(frozen=True, slots=True)
class DingTalkMentions:
    """Whom a message calls."""

    users: tuple[str, ...] = ()
    mobiles: tuple[str, ...] = ()
    everybody: bool = False

    @property
    def markup(self) -> str:
        """What stands in the text: DingTalk highlights a name only there, and calls by lists beside the text."""
        return " ".join(self._shown())

    def _shown(self) -> Iterator[str]:
        yield from (f"@{who}" for who in (*self.users, *self.mobiles))
        if self.everybody:
            yield _EVERYBODY


def dingtalk_mentions(entries: Iterable[str]) -> DingTalkMentions:
    """Return whom the entries call that DingTalk understands, at most MAX_MENTIONS."""
    known = tuple(islice(filter(is_mention, entries), MAX_MENTIONS))
    users = tuple(found[1] for found in map(_USER.fullmatch, known) if found)
    return DingTalkMentions(users, tuple(filter(_MOBILE.fullmatch, known)), everybody=_EVERYBODY in known)


def is_mention(text: str) -> bool:
    """Return whether DingTalk understands an entry."""
    return text == _EVERYBODY or bool(_USER.fullmatch(text) or _MOBILE.fullmatch(text))
