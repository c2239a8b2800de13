"""What the templates of a Slack channel make: values that are no markup, and the blocks of a body. Pure."""

import re
from collections.abc import Iterator

from notifier.channels.base import Json
from notifier.channels.templates import FilledTemplate
from notifier.integrations.slack.blockkit import BLOCK_LIMIT, MESSAGE_LIMIT, TEXT_LIMIT, escape, section
from notifier.wording.sanitize import cut, joined

OWN_TITLE_LIMIT = 300
"""Maximum length of a headline, in characters."""
OWN_BODY_LIMIT = MESSAGE_LIMIT // 2
"""Maximum length of a body, in characters: what stays built in needs the rest."""

_ZERO_WIDTH_SPACE = "\u200b"
_LOOK_ALIKES = {"*": "\u2217", "_": "\u02cd", "~": "\u223c"}
"""Stand for the characters that begin or end bold, italic and struck text, which have no escape."""
_STYLE = re.compile(r"(?<![A-Za-z0-9])[*_~]|[*_~](?![A-Za-z0-9])")
"""Such a character, unless it is within a word: there Slack takes it for itself."""
_EMOJI = re.compile(r":(?=(?![0-9]{1,2}:)[\w+'-]+:)")
"""The beginning of an emoji's name. Two digits are a time of day."""


def inert(text: str) -> str:
    """Return one line of text as markup in which nothing is styled, a mention, a link, an emoji or a quote."""
    plain = _STYLE.sub(lambda found: _LOOK_ALIKES[found[0]], text).replace("`", "\u02cb")
    safe = _EMOJI.sub(f":{_ZERO_WIDTH_SPACE}", plain)
    return escape(f"{_ZERO_WIDTH_SPACE}{safe}" if safe.startswith(">") else safe, MESSAGE_LIMIT)


def own_title(filled: FilledTemplate) -> str:
    """Return the headline of a template in markup; the empty string where the built-in one stays."""
    return cut(filled.title or "", OWN_TITLE_LIMIT)


def push_text(emoji: str, words: str, filled: FilledTemplate) -> str:
    """Return the text for notifications: the headline of a template, else `words`, which are plain."""
    title = own_title(filled)
    if title:
        return cut(f"{emoji} {title}", TEXT_LIMIT)
    return escape(f"{emoji}{words}" if words.startswith("【") else f"{emoji} {words}", TEXT_LIMIT)


def body_sections(text: str) -> Iterator[Json]:
    """Yield the text of a template as sections that fit into a message."""
    lines = (cut(line, BLOCK_LIMIT) for line in cut(text, OWN_BODY_LIMIT).split("\n"))
    yield from (section(part) for part in joined(lines, BLOCK_LIMIT) if part.strip())
