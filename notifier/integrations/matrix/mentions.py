"""Mentions in Matrix: which entries of `routes[].mention` it understands. Pure and light."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from notifier.core.routing import MAX_MENTIONS

MATRIX_MENTION_FORMS = "a user id such as @alice:example.org, or @room"
"""How an entry is written."""

_EVERYBODY = "@room"
_USER = re.compile(r"(?=.{4,255}\Z)@[A-Za-z0-9._=/+-]+:[A-Za-z0-9.-]+(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class MatrixMentions:
    """Whom a message calls."""

    users: tuple[str, ...] = ()
    everybody: bool = False

    @property
    def markup(self) -> str:
        """What stands in the text. It calls nobody: `called` does."""
        shown = [f'<a href="https://matrix.to/#/{user}">{user}</a>' for user in self.users]
        return " ".join([*shown, _EVERYBODY] if self.everybody else shown)

    @property
    def called(self) -> dict[str, Any]:
        """The value of `m.mentions`. Where it is left out, a server looks for names in the text."""
        return ({"user_ids": list(self.users)} if self.users else {}) | ({"room": True} if self.everybody else {})


def matrix_mentions(entries: Iterable[str]) -> MatrixMentions:
    """Return whom the entries call that Matrix understands, at most MAX_MENTIONS."""
    known = tuple(islice(filter(is_mention, entries), MAX_MENTIONS))
    return MatrixMentions(tuple(one for one in known if one != _EVERYBODY), _EVERYBODY in known)


def is_mention(text: str) -> bool:
    """Return whether Matrix understands an entry."""
    return text == _EVERYBODY or bool(_USER.fullmatch(text))
