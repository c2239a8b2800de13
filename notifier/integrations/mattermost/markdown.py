"""Texts in Mattermost's Markdown that nothing from outside can turn into markup, a mention or a link. Pure.

There is no escape for what a chat makes of plain text (mentions, channels, emoji, addresses): a character without
width keeps it apart. Rocket.Chat reads much of the same Markdown.
"""

from __future__ import annotations

import re

from notifier.wording.sanitize import cut

APART = "\u200b"
_BACKTICK = "\u02cb"
"""Stands for a backtick, which could end a code."""
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|>-])")
_ALIVE = re.compile(r"[@~<&$]|:(?=[\w+-]+:)|(?<=[^\W_])[.:](?=[^\W_/]|//)")
"""What a chat makes something of: mentions, channels, entities, emoji, and addresses."""


def code(text: str, limit: int) -> str:
    """Return inline code of at most `limit` characters: nothing in it is markup."""
    line = " ".join(text.split()).replace("`", _BACKTICK)
    return f"`{cut(line, max(limit - 2, 1)) or ' '}`"


def fence(text: str, limit: int) -> str:
    """Return a code block of at most `limit` characters that nothing in the text can close."""
    return f"```\n{cut(text.replace('`', _BACKTICK), max(limit - 8, 1))}\n```"


def plain(text: str, limit: int) -> str:
    """Return a line of at most `limit` characters in which nothing is markup, a mention or a link."""
    line = _ALIVE.sub(rf"\g<0>{APART}", " ".join(text.split()).replace("`", _BACKTICK))
    shown: list[str] = []
    left = limit - 1
    for char in line:
        safe = _MARKUP.sub(r"\\\1", char)
        if len(safe) > left:
            return "".join(shown) + "…"
        shown.append(safe)
        left -= len(safe)
    return "".join(shown)
