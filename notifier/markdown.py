"""Texts in Mattermost's Markdown that nothing from outside can turn into markup, a mention or a link. Pure.

There is no escape for what a chat makes of plain text (mentions, channels, emoji, addresses): a character without
width keeps it apart. Rocket.Chat reads much of the same Markdown.
"""

from __future__ import annotations

import re

from notifier.render import cut

APART = "\u200b"
_BACKTICK = "\u02cb"
"""Stands for a backtick, which could end a code."""
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|>-])")
_ALIVE = re.compile(r"([@~:<&$]|(?<=[A-Za-z0-9])\.(?=[A-Za-z0-9]))")


def code(text: str, limit: int) -> str:
    """Return inline code of at most `limit` characters: nothing in it is markup."""
    line = " ".join(text.split()).replace("`", _BACKTICK)
    return f"`{cut(line, max(limit - 2, 1)) or ' '}`"


def fence(text: str, limit: int) -> str:
    """Return a code block of at most `limit` characters that nothing in the text can close."""
    return f"```\n{cut(text.replace('`', _BACKTICK), max(limit - 8, 1))}\n```"


def plain(text: str, limit: int) -> str:
    """Return a line of at most `limit` characters in which nothing is markup, a mention or a link."""
    shown: list[str] = []
    left = limit - 1
    for char in " ".join(text.split()).replace("`", _BACKTICK):
        safe = _ALIVE.sub(rf"\1{APART}", _MARKUP.sub(r"\\\1", char))
        if char == ".":
            safe = f"{APART}."
        if len(safe) > left:
            return "".join(shown) + "…"
        shown.append(safe)
        left -= len(safe)
    return "".join(shown)
