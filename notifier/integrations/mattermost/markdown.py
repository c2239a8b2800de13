"""Mattermost's Markdown, safe against text from outside: it cannot become markup, a mention or a link. Pure.

Mentions, channels, emoji and addresses in plain text cannot be escaped: a zero-width character breaks them. Rocket.Chat
reads much of the same Markdown.
"""

import re
from urllib.parse import quote

from notifier.wording.sanitize import cut

ZERO_WIDTH_SPACE = "\u200b"
_BACKTICK = "\u02cb"
"""Replaces a backtick, which could end the code."""
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|>-])")
_UNSAFE_IN_ADDRESS = re.compile(r"[\s@()<>\[\]\"'`\\]")
_ACTIVE = re.compile(r"[@~<&$]|:(?=[\w+-]+:)|(?<=[^\W_])[.:](?=[^\W_/]|//)")
"""Characters that begin a mention, a channel, an entity, an emoji or an address."""


def code(text: str, limit: int) -> str:
    """Return inline code of at most `limit` characters, in which nothing is markup."""
    line = " ".join(text.split()).replace("`", _BACKTICK)
    return f"`{cut(line, max(limit - 2, 1)) or ' '}`"


def fence(text: str, limit: int) -> str:
    """Return a code block of at most `limit` characters that nothing in the text can close."""
    return f"```\n{cut(text.replace('`', _BACKTICK), max(limit - 8, 1))}\n```"


def plain(text: str, limit: int) -> str:
    """Return a line of at most `limit` characters in which nothing is markup, a mention or a link."""
    line = _ACTIVE.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", " ".join(text.split()).replace("`", _BACKTICK))
    shown: list[str] = []
    left = limit - 1
    for char in line:
        safe = _MARKUP.sub(r"\\\1", char)
        if len(safe) > left:
            return "".join(shown) + "…"
        shown.append(safe)
        left -= len(safe)
    return "".join(shown)


def link(label: str, url: str) -> str:
    """Return a link. What could end its address or mention somebody is escaped; `label` is a phrase of ours."""
    address = _UNSAFE_IN_ADDRESS.sub(lambda found: quote(found[0], safe=""), url)
    return f"[{plain(label, len(label) * 2 + 1)}]({address})"
