"""Messages of Google Chat: a text that notifications show, and a card with the rest. Pure.

The text has a small markup without escapes, so what comes from outside gets look-alike characters there. The card has
HTML. The text and the card are of the same message in two markups.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from notifier.channels.base import Json
from notifier.channels.card import Card, CardLayout, CardLimits
from notifier.channels.markup import ADDRESS, ZERO_WIDTH_SPACE, Html, Markdown, cut_to, fitting_lines, json_bytes
from notifier.channels.templates import FilledTemplate
from notifier.integrations.googlechat.mentions import mention_markup
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter

_TEXT_LIMIT = 4_000
"""Maximum size of the text within JSON, in bytes."""
_CARD_LIMIT = 22_000
"""Maximum size of the texts of a card within JSON, in bytes. Google's limit is 32,000 for a whole message."""
_PARTS = CardLimits(quote=1_500, line=2_000, part=500, short_reason=200)

GOOGLE_TEXT = Markdown(
    active=re.compile(rf"@|{ADDRESS}"),
    replaced={"*": "∗", "_": "ˍ", "~": "∼", "<": "‹"},
    active_in_code=re.compile("[<@]"),
    strong=("*", "*"),
    link_form="<{address}|{title}>",
    quote_mark=f"│ {ZERO_WIDTH_SPACE}",
    size=json_bytes,
)
"""The markup of a text. There is no block quote: a bar stands for it."""


@dataclass(frozen=True, kw_only=True)
class CardHtml(Html):
    """The HTML of a card, which has no code."""

    def code(self, text: str, limit: int) -> str:
        """Return the text in one line."""
        return self.plain(text, limit)


GOOGLE_CARD = CardHtml(active=re.compile(ADDRESS), line_break="<br>", size=json_bytes)


@dataclass(frozen=True, slots=True)
class GoogleChatLayout:
    """Lays out messages for readers of one language."""

    formatter: EventFormatter

    def message(self, request: RenderRequest, filled: FilledTemplate) -> Json:
        """Return the body of a message without its thread. The templates fill the text, in its markup."""
        card = CardLayout(GOOGLE_TEXT, self.formatter, _PARTS).card(request, filled)
        boxed = CardLayout(GOOGLE_CARD, self.formatter, _PARTS).card(request)
        first = f"{card.headline} {mention_markup(card.mention)}".rstrip()
        below = cut_to(card.text, _TEXT_LIMIT - json_bytes(first) - 2, json_bytes) if card.text else card.quote
        text = "\n".join(fitting_lines(filter(None, (first, below)), _TEXT_LIMIT, json_bytes, gap=2))
        sections = [{"widgets": list(widgets)} for widgets in self._sections(card, boxed) if widgets]
        if not sections:
            return {"text": text}
        return {"text": text, "cardsV2": [{"cardId": "message", "card": {"sections": sections}}]}

    def _sections(self, card: Card, boxed: Card) -> Iterator[list[Json]]:
        if card.text:
            yield [*_paragraphs(boxed.about), *_buttons(boxed)]
        elif boxed.sections:
            yield from self._several(boxed)
        else:
            yield [*_paragraphs(boxed.more, *boxed.lines, boxed.about), *_buttons(boxed)]

    def _several(self, card: Card) -> Iterator[list[Json]]:
        """Yield an overview where there is room for it, and the lists."""
        listed = CardLayout(GOOGLE_CARD, self.formatter, _PARTS).lists(card.sections, _CARD_LIMIT)
        room = _CARD_LIMIT - sum(json_bytes(text) for _, text in listed)
        yield [*_paragraphs(*fitting_lines(filter(None, card.lines), room, json_bytes)), *_buttons(card)]
        for section, text in listed:
            yield list(_paragraphs(f"{section.heading}<br>{text}"))


def short(message: Json) -> Json:
    """Return what happened alone, in one line."""
    return {"text": str(message["text"]).partition("\n")[0]}


def _paragraphs(*lines: str) -> Iterator[Json]:
    for line in filter(None, lines):
        yield {"textParagraph": {"text": line}}


def _buttons(card: Card) -> Iterator[Json]:
    buttons = [{"text": link.label, "onClick": {"openLink": {"url": link.url}}} for link in card.links]
    if buttons:
        yield {"buttonList": {"buttons": buttons}}
