"""Mentions in Discord: which entries of `routes[].mention` it understands. Pure and light."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from notifier.core.routing import MAX_MENTIONS

DISCORD_MENTION_FORMS = "discord:USER_ID, discord:&ROLE_ID, @here or @everyone"
"""How an entry is written."""

_ENTRY = re.compile(r"discord:(&?)([0-9]{15,20})|@(?:here|everyone)")


@dataclass(frozen=True, slots=True)
class DiscordMentions:
    """Whom a message calls: what stands in its text, and what Discord may take for a mention."""

    text: str = ""
    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    everybody: bool = False

    @property
    def allowed(self) -> Mapping[str, list[str]]:
        """The value of `allowed_mentions`. Without it, Discord would take whatever looks like a mention."""
        lists = {"users": list(self.users), "roles": list(self.roles)}
        return {"parse": ["everyone"] if self.everybody else []} | {name: ids for name, ids in lists.items() if ids}


def discord_mentions(entries: Iterable[str]) -> DiscordMentions:
    """Return whom the entries call that Discord understands, at most MAX_MENTIONS."""
    known = dict.fromkeys(islice(filter(is_mention, entries), MAX_MENTIONS))
    found = [one for one in map(_ENTRY.fullmatch, known) if one]
    return DiscordMentions(
        text=" ".join(f"<@{one[1]}{one[2]}>" if one[2] else one[0] for one in found),
        users=tuple(one[2] for one in found if one[2] and not one[1]),
        roles=tuple(one[2] for one in found if one[1]),
        everybody=any(not one[2] for one in found),
    )


def is_mention(text: str) -> bool:
    """Return whether Discord understands an entry."""
    return bool(_ENTRY.fullmatch(text))
