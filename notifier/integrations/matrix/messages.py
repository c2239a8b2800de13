"""Messages of Matrix: HTML, and the same as plain text for notifications and clients without HTML. Pure."""

import re
from dataclasses import dataclass
from html import unescape
from typing import Any

from notifier.channels.base import Json
from notifier.channels.card import Card, CardLayout, CardLimits
from notifier.channels.markup import ADDRESS, Html, json_bytes
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Thread
from notifier.integrations.matrix.mentions import matrix_mentions
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter

MATRIX_TEXT_LIMIT = 24_000
"""Maximum size of the HTML within JSON, in bytes. An event has 65,536, and has the text twice: as HTML and plain."""
_PARTS = CardLimits(quote=3_000, line=3_000, part=500, short_reason=300)

# Clients make links of addresses, rooms and users, in code too.
_ACTIVE = re.compile(rf"[@#]|{ADDRESS}")
MATRIX = Html(
    active=_ACTIVE, active_in_code=_ACTIVE, strong=("<strong>", "</strong>"), line_break="<br>", size=json_bytes
)

_AROUND_QUOTE = re.compile(r"(?:<br>)*(</?blockquote>)(?:<br>)*")
_QUOTE = re.compile(r"<blockquote>(.*?)</blockquote>", re.DOTALL)
_USER_LINK = re.compile(r'<a href="https://matrix\.to/[^"]*">([^<]*)</a>')
_LINK = re.compile(r'<a href="([^"]*)">([^<]*)</a>')
_BREAK = re.compile(r"<br\s*/?>|</(?:p|div|li|h[1-6]|tr|pre|ul|ol)>")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


@dataclass(frozen=True, slots=True)
class MatrixLayout:
    """Lays out messages for readers of one language."""

    formatter: EventFormatter

    def message(self, request: RenderRequest, filled: FilledTemplate) -> Json:
        """Return the content of a new message."""
        return self._content(self._layout.card(request, filled))

    def edit(self, thread: Thread, event_id: str, filled: FilledTemplate) -> Json:
        """Return the content of an event that replaces a message. It calls nobody."""
        card = self._layout.live(thread, filled)
        content = self._content(card)
        return {
            "msgtype": content["msgtype"],
            "body": f"* {card.emoji} {card.push}",
            "m.mentions": {},
            "m.new_content": content,
            "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
        }

    @property
    def _layout(self) -> CardLayout:
        return CardLayout(MATRIX, self.formatter, _PARTS)

    def _content(self, card: Card) -> Json:
        mentions = matrix_mentions(card.mention)
        text = _AROUND_QUOTE.sub(r"\1", self._layout.text(card, MATRIX_TEXT_LIMIT, mentions.markup))
        return {
            # Servers notify nobody of notices, unless a person asked for that.
            "msgtype": "m.text" if card.severity.loud else "m.notice",
            "body": plain_body(text),
            "format": "org.matrix.custom.html",
            "formatted_body": text,
            "m.mentions": mentions.called,
        }


def in_thread(event_id: str) -> dict[str, Any]:
    """Return the relation of a message in the thread of another."""
    fallback = {"m.in_reply_to": {"event_id": event_id}, "is_falling_back": True}
    return {"rel_type": "m.thread", "event_id": event_id, **fallback}


def in_reply_to(event_id: str) -> dict[str, Any]:
    """Return the relation of a message in the room that replies to another."""
    return {"m.in_reply_to": {"event_id": event_id}}


def plain_body(html: str) -> str:
    """Return HTML as plain text: a link with its address, a quote with a mark before each line."""
    text = _QUOTE.sub(lambda found: f"\n\n> {_BREAK.sub(chr(10) + '> ', found[1])}\n\n", html)
    text = _LINK.sub(r"\2: \1", _USER_LINK.sub(r"\1", text))
    text = _TAG.sub("", _BREAK.sub("\n", text))
    return re.sub(r"\n{3,}", "\n\n", unescape(text)).strip()
