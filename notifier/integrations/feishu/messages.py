"""Messages of Feishu and Lark: cards. Pure.

Text from outside stands in elements of plain text, in which nothing is markup, wherever the layout allows it. What
needs a bold word is markup, in which it is escaped.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from notifier.channels.base import Json
from notifier.channels.card import Card, CardLayout, CardLimits
from notifier.channels.markup import ADDRESS, Markdown, PlainMarkup, cut_to, fitting_lines, json_bytes
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Thread
from notifier.integrations.feishu.mentions import mention_tags
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter
from notifier.wording.message import Fact
from notifier.wording.sanitize import cut

# A request has 20 KB for a custom bot, and 30 KB for an app's. All parts of a card together stay below 19,000 bytes.
_LISTS_ROOM = 11_000
_DETAILS_ROOM = 3_000
_TEXT_ROOM = 8_000
_TITLE_LIMIT = 900
_ADDRESS_LIMIT = 1_000
"""Maximum length of an address of a button, in characters; a button with a longer one is left out."""
_LIMITS = CardLimits(quote=2_400, line=2_400, part=400, short_reason=300)
_LABEL_LIMIT = 60
_MAX_BUTTONS = 4
MAX_FIELDS = 6
_NO_FIELDS = frozenset({"created_at", "observed_at", "failing_since", "job", "instance_id", "project"})
"""Facts that are not fields: they stand elsewhere in a card, or matter to few."""

FEISHU = Markdown(
    active=re.compile(rf"\](?=\()|!(?=\[)|{ADDRESS}"),
    replaced={"<": "&lt;", ">": "&gt;", "*": "∗", "~": "∼"},
    strong=("**", "**"),
    bullet="• ",
    has_code=False,
    size=json_bytes,
)
FEISHU_PLAIN = PlainMarkup(active=re.compile(ADDRESS), size=json_bytes)

_TEMPLATES = {"🔴": "red", "🟠": "orange", "❔": "orange", "🟢": "green", "🔵": "blue", "👁": "blue"}
"""Colours of the head of a card by the emoji of a state; others are grey, and so is a card that is settled."""


@dataclass(frozen=True, slots=True)
class FeishuLayout:
    """Lays out cards for readers of one language."""

    formatter: EventFormatter
    keyword: str = ""
    """Ends each title."""

    def message(self, request: RenderRequest, filled: FilledTemplate) -> Json:
        """Return the card of a message."""
        return self._drawn(self._marked.card(request, filled), self._plain.card(request, filled), filled)

    def live(self, thread: Thread, filled: FilledTemplate) -> Json:
        """Return the card that the message of a thread shows now."""
        return self._drawn(self._marked.live(thread, filled), self._plain.live(thread, filled), filled)

    @property
    def _marked(self) -> CardLayout:
        return CardLayout(FEISHU, self.formatter, _LIMITS)

    @property
    def _plain(self) -> CardLayout:
        return CardLayout(FEISHU_PLAIN, self.formatter, _LIMITS)

    def _drawn(self, marked: Card, plain: Card, filled: FilledTemplate) -> Json:
        """Return a card from its parts with markup and those without."""
        title = f"{plain.emoji} {FEISHU.unescaped(filled.title)}" if filled.title else plain.headline
        end = f" · {self.keyword}" if self.keyword else ""
        content = f"{cut_to(title, _TITLE_LIMIT, json_bytes)}{end}"
        template = "grey" if marked.settled else _TEMPLATES.get(marked.state.tone.emoji, "grey")
        return {
            "config": {"wide_screen_mode": True, "update_multi": True},
            "header": {"template": template, "title": _plain_text(content)},
            "elements": list(self._elements(marked, plain)),
        }

    def _elements(self, marked: Card, plain: Card) -> Iterator[Json]:
        if mention := mention_tags(marked.mention):
            yield _markup(mention)
        if marked.text:
            yield _markup(cut_to(marked.text, _TEXT_ROOM, json_bytes))
        elif plain.quote:
            yield {"tag": "div", "text": _plain_text("\n".join(filter(None, (plain.quote, plain.more))))}
        if fields := [self._field(fact) for fact in marked.facts if fact.name not in _NO_FIELDS][:MAX_FIELDS]:
            yield {"tag": "div", "fields": fields}
        if lines := "\n".join(fitting_lines((*marked.notes, *marked.details), _DETAILS_ROOM, json_bytes, gap=2)):
            yield _markup(lines)
        for section, text in self._plain.lists(plain.sections, _LISTS_ROOM) if plain.sections else ():
            yield _markup(f"**{section.heading}**")
            yield {"tag": "div", "text": _plain_text(text)}
        if buttons := list(_buttons(marked)):
            yield {"tag": "action", "actions": buttons}
        if plain.about:
            yield {"tag": "note", "elements": [_plain_text(plain.about)]}

    def _field(self, fact: Fact) -> Json:
        value = self._marked.plain(fact.value)
        return {"is_short": True, "text": {"tag": "lark_md", "content": f"**{fact.label}**\n{value}"}}


def short_card(card: Json) -> Json:
    """Return a card with what happened alone, in one line without a head."""
    return {"config": card["config"], "elements": [{"tag": "div", "text": card["header"]["title"]}]}


def _plain_text(content: str) -> Json:
    return {"tag": "plain_text", "content": content}


def _markup(content: str) -> Json:
    return {"tag": "div", "text": {"tag": "lark_md", "content": content}}


def _buttons(card: Card) -> Iterator[Json]:
    links = [link for link in card.links if len(link.url) <= _ADDRESS_LIMIT][:_MAX_BUTTONS]
    for n, link in enumerate(links):
        kind = "default" if n else "primary"
        yield {"tag": "button", "text": _plain_text(cut(link.label, _LABEL_LIMIT)), "type": kind, "url": link.url}
