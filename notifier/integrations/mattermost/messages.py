"""Messages of Mattermost and Rocket.Chat: a text with what happened, and attachments with the rest. Pure.

Both take incoming webhooks in Slack's older format and draw no Block Kit; a post of a Mattermost bot has the same parts
at other places. The text is what notifications show, and its
length is limited; an attachment has a limit of its own, so that long lists are divided among several.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from notifier.channels.base import Json
from notifier.channels.card import Card, CardLayout, CardLimits
from notifier.channels.markup import Markdown, fitting_lines
from notifier.channels.templates import BUILT_IN, FilledTemplate
from notifier.core.delivery import Thread
from notifier.integrations.mattermost.mentions import mention_text
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter
from notifier.wording.message import Fact
from notifier.wording.sanitize import cut, joined

_TIMES = ("created_at", "ended_at")
"""Facts that are fields: a time with its zone helps readers in another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageLimits:
    """Maximum lengths of the parts of a message, in characters."""

    text: int
    attachment: int
    """Length of the text of one attachment."""


MATTERMOST_LIMITS = MessageLimits(text=14_000, attachment=6_000)
"""A post has 16,383 characters at most, and the attachments of old servers 8,000 together: they divide a message
between attachments."""


@dataclass(frozen=True, slots=True)
class MessageLayout:
    """Lays out messages in the Markdown of one server, for readers of one language."""

    markdown: Markdown
    limits: MessageLimits
    formatter: EventFormatter

    def payload(self, request: RenderRequest, filled: FilledTemplate = BUILT_IN) -> Json:
        """Return the message without the fields that the settings add."""
        card = self._layout.card(request, filled)
        return self._drawn(card, mention_text(card.mention), several=bool(request.digest or request.storm))

    def live(self, thread: Thread, filled: FilledTemplate, *, replaces: bool) -> Json:
        """Return the message of a thread as it is now; one that replaces a deleted message mentions nobody."""
        card = self._layout.live(thread, filled)
        return self._drawn(card, "" if replaces else mention_text(card.mention), several=thread.storm is not None)

    def _drawn(self, card: Card, mention: str, *, several: bool) -> Json:
        headline = f"{card.headline} {mention}".rstrip()
        if several:
            return self._summary(card, headline)
        return {"text": headline, "attachments": [self._attachment(card)]}

    @property
    def _layout(self) -> CardLayout:
        limits = CardLimits(quote=self.limits.attachment // 2, line=self.limits.attachment)
        return CardLayout(self.markdown, self.formatter, limits)

    # -- one event --

    def _attachment(self, card: Card) -> Json:
        """Return why, how bad it is, and what to do now, in this order; or what a template has instead."""
        room = self.limits.attachment - len(card.about) - 2
        above = cut(card.text, room) if card.text else self._body(card, room)
        return {
            "fallback": card.push,
            "color": card.state.tone.colour,
            "text": "\n\n".join(filter(None, (above, card.about))),
            "fields": [self._field(fact) for fact in card.facts if fact.name in _TIMES],
        }

    def _body(self, card: Card, room: int) -> str:
        """Return the paragraphs above the last: why, and the rest of which lines may be left out."""
        why = "\n\n".join(filter(None, (card.quote, card.more)))
        return "\n\n".join(filter(None, (why, "\n".join(fitting_lines(self._lines(card), room - len(why) - 2)))))

    def _lines(self, card: Card) -> Iterator[str]:
        yield from card.notes
        yield from card.lines
        yield from filter(None, [self._layout.link_line(card)])

    def _field(self, fact: Fact) -> Json:
        return {"title": fact.label, "value": self._layout.plain(fact.value), "short": True}

    # -- several --

    def _summary(self, card: Card, headline: str) -> Json:
        """Return a digest, or a part of a storm: how much of what, why and where; and all of it in attachments."""
        if card.text:
            return {"text": f"{headline}\n{cut(card.text, self.limits.text - len(headline) - 1)}"}
        lines = fitting_lines((headline, *self._lines(card)), self.limits.text)
        return {"text": "\n".join(lines), "attachments": list(self._lists(card))}

    def _lists(self, card: Card) -> Iterator[Json]:
        for section in card.sections:
            for text in joined((section.heading, *(line.text for line in section.lines)), self.limits.attachment):
                yield {"fallback": card.push, "color": section.state.tone.colour, "text": text}


# ---- posts of a bot ----

_MENTIONS = re.compile(r"(?: @[A-Za-z0-9][A-Za-z0-9._-]*)+$")
"""The mentions that end a first line. An `@` from elsewhere is followed by a character without width."""


def post_of(message: Json) -> Json:
    """Return a message as a post of the API. A change without attachments removes those that were there."""
    return {"message": message["text"], "props": {"attachments": message.get("attachments", [])}}


def short(message: Json) -> Json:
    """Return what happened alone, in one line that mentions nobody."""
    return {"text": _MENTIONS.sub("", str(message["text"]).partition("\n")[0])}
