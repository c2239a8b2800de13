"""The parts of Slack messages: text that is safe whatever it contains, and blocks.

Escaping, markup and limits: docs.slack.dev. Sizes count characters after escaping, and stay 10 % below a limit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from notifier.channels.base import Json
from notifier.chat.requests import Button

Style = Callable[[str, int], str]
"""Formats a text as markup of a maximum length, in characters."""

TEXT_LIMIT = 180
"""Maximum length of the text for notifications and screen readers. Slack splits a message beyond 4,000 characters."""
BLOCK_LIMIT = 2_700
"""Maximum length of a text object; Slack's is 3,000."""
FIELD_LIMIT = 400
"""Maximum length of a field; Slack's is 2,000. Ten of them with a reason and headings fit into MESSAGE_LIMIT."""
MESSAGE_LIMIT = 9_000
"""Maximum length of all blocks together. Slack documents none, but has refused 11,341 characters."""
BUTTON_VALUE_LIMIT = 1_800
"""Maximum length of the value of a button; Slack's is 2,000."""

_CELLS = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


_ENTITIES: Mapping[int, str] = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_BACKTICK = "\u02cb"
"""Replaces a backtick, which has no escape."""


def escape(text: str, limit: int) -> str:
    """Escape mentions, links and entities. The result has at most `limit` characters."""
    escaped = text.translate(_ENTITIES)
    if len(escaped) <= limit:
        return escaped
    return text[: _fitting(text, limit - 1)].translate(_ENTITIES) + "…"


def _fitting(text: str, limit: int) -> int:
    """Return the number of characters that fit once escaped, so that no entity is cut."""
    used = 0
    for index, char in enumerate(text):
        used += len(char.translate(_ENTITIES))
        if used > limit:
            return index
    return len(text)


def inline_code(text: str, limit: int) -> str:
    """Return inline code of at most `limit` characters on one line: a line break would end it."""
    return f"`{escape(' '.join(text.split()).replace('`', _BACKTICK), limit - 2)}`"


def code_block(text: str, limit: int) -> str:
    """Return a code block of at most `limit` characters that nothing in the text can close."""
    return f"```{escape(text.replace('`', _BACKTICK), limit - 6)}```"


def date_markup(moment: datetime, words: str, limit: int) -> str:
    """Return a time that Slack shows in each reader's time zone, and as `words` where it cannot."""
    if moment <= _EPOCH:
        return escape(words, limit)
    return f"<!date^{int(moment.timestamp())}^{{date_short_pretty}} {{time_secs}}|{escape(words, limit)}>"


def progress_bar(percent: float) -> str:
    """Return a percentage as a bar."""
    full = int(percent / 100 * _CELLS)
    return "█" * full + "░" * (_CELLS - full)


def joined(lines: Iterable[str], limit: int) -> Iterator[str]:
    """Yield the lines, joined to texts of at most `limit` characters."""
    text = ""
    for line in lines:
        if text and len(text) + 1 + len(line) > limit:
            yield text
            text = ""
        text = f"{text}\n{line}" if text else line
    yield text


def section(text: str) -> Json:
    """Return a section of one text in markup."""
    return {"type": "section", "text": mrkdwn(text)}


def mrkdwn(text: str) -> Json:
    """Return a text object in markup."""
    # Verbatim: an address or a #name in an instance's name stays text.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def plain_text(text: str) -> Json:
    """Return a text object without markup."""
    return {"type": "plain_text", "text": text, "emoji": True}


def button_element(button: Button, label: str) -> Json:
    """Return the element of a button."""
    value = {"value": button.value} if button.value else {}
    return {"type": "button", "action_id": button.action.value, "text": plain_text(label)} | value
