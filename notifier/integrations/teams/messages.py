"""Messages of Teams: an adaptive card, in the envelope that a workflow takes. Pure.

The body of a card is a list of blocks, each of which shows one line. The limit holds for the whole message.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from notifier.channels.base import Json, encode_json
from notifier.channels.card import Card, CardLayout, CardLimits, CardLine, CardSection
from notifier.channels.markup import ADDRESS, ZERO_WIDTH_SPACE, Markdown, cut_to, json_bytes
from notifier.channels.templates import FilledTemplate
from notifier.integrations.teams.mentions import TeamsMention, teams_mentions
from notifier.integrations.teams.runs import RUNS, block, unstyled
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter
from notifier.wording.sanitize import cut

TEAMS_LIMIT = 24_000
"""Maximum size of a message, in bytes. Teams refuses 28 KB, after the workflow has accepted the message."""
CARD_VERSION = "1.4"
"""Version of the schema of adaptive cards: every client of Teams shows it."""
TEMPLATE_LIMIT = 12_000
"""Maximum size of the text of a template within JSON, in bytes."""
MAX_ACTIONS = 6
"""Maximum number of buttons that Teams shows."""
_URL_LIMIT = 1_000
_LABEL_LIMIT = 60
_PARTS = CardLimits(quote=6_000, line=2_000, part=500, short_reason=300)
_STYLES = {"🔴": "attention", "🟠": "warning", "❔": "warning", "🟢": "good", "🔵": "accent"}
"""The style of a headline by the emoji of a state."""

TEAMS_MARKDOWN = Markdown(
    active=re.compile(rf"[<@]|{ADDRESS}"),
    replaced={char: f"\\{char}" for char in r"\`*_[]()#>~|-+!"},
    strong=("**", "**"),
    has_code=False,
    size=json_bytes,
)
"""The Markdown of a `TextBlock`: what templates write, and the values that they print."""


@dataclass(frozen=True, slots=True)
class TeamsLayout:
    """Lays out messages for readers of one language."""

    formatter: EventFormatter

    def message(self, request: RenderRequest, filled: FilledTemplate) -> Json:
        """Return the body of a message."""
        card = self._layout.card(request, filled)
        mentions = teams_mentions(card.mention)
        head = self._head(card, mentions, own_title=bool(filled.title))
        shown = [link for link in card.links if len(link.url) <= _URL_LIMIT][:MAX_ACTIONS]
        actions = [
            {"type": "Action.OpenUrl", "title": cut(link.label, _LABEL_LIMIT), "url": link.url} for link in shown
        ]
        if filled.title:
            card = replace(card, push=card.title)
        used = _size(_envelope(card, mentions, [head], actions))
        blocks = self._several(card, TEAMS_LIMIT - used) if card.sections else self._one(card, TEAMS_LIMIT - used)
        return _envelope(card, mentions, [head, *blocks], actions)

    @property
    def _layout(self) -> CardLayout:
        return CardLayout(RUNS, self.formatter, _PARTS)

    def _head(self, card: Card, mentions: Sequence[TeamsMention], *, own_title: bool) -> Json:
        line = _text_block(card.headline, weight="Bolder") if own_title else block(card.headline)
        called = [_text_block(" ".join(_at(one) for one in mentions))] if mentions else []
        style = _STYLES.get(card.state.tone.emoji, "emphasis")
        return {"type": "Container", "style": style, "bleed": True, "items": [line, *called]}

    def _one(self, card: Card, room: int) -> list[Json]:
        """Return why, how bad it is and what to do, and where it is from. What has no room is left out."""
        about = [block(card.about, style={"isSubtle": True, "size": "Small"})] if card.about else []
        if card.text:
            text = _text_block(cut_to(card.text, TEMPLATE_LIMIT, json_bytes))
            return [text, *about]
        why = [block(line, spacing="Small" if number else "Default") for number, line in enumerate(_lines(card.quote))]
        more = [block(card.more, style={"isSubtle": True})] if card.more else []
        quote = [{"type": "Container", "style": "emphasis", "items": [*why, *more]}] if why else []
        return [*quote, *_fitting(map(block, card.lines), room - _size([*quote, *about])), *about]

    def _several(self, card: Card, room: int) -> list[Json]:
        """Return a digest or a part of a storm: an overview where there is room for it, and the lists."""
        lists = self._lists(card.sections, room)
        above = _fitting((block(line, spacing="Small") for line in card.lines), room - _size(lists))
        return [*above, *lists]

    def _lists(self, sections: Sequence[CardSection], room: int) -> list[Json]:
        """Return lists with whole lines, else with short ones, else with the number of those left out."""
        for short in (False, True):
            blocks = [
                shown
                for section in sections
                for shown in (
                    block(section.heading, separator=True, spacing="Medium"),
                    *(_item(line, short=short) for line in section.lines),
                )
            ]
            if _size(blocks) <= room:
                return blocks
        lines = [line for section in sections for line in section.lines]
        counted = self._counted(len(lines))
        fitting = list(_fitting((_item(line, short=True) for line in lines), room - _size([counted])))
        return [*fitting, self._counted(len(lines) - len(fitting))]

    def _counted(self, left_out: int) -> Json:
        return block(self.formatter.localizer.counted("message.more_lines", left_out))


def _envelope(
    card: Card, mentions: Sequence[TeamsMention], body: Sequence[Json], actions: Sequence[Json]
) -> dict[str, Any]:
    """Return a message. Without `attachments` a workflow would accept it and post nothing."""
    content: Json = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": CARD_VERSION,
        "fallbackText": f"{card.emoji} {card.push}".replace("](", f"]{ZERO_WIDTH_SPACE}("),
        "msteams": {"width": "Full"} | ({"entities": list(map(_entity, mentions))} if mentions else {}),
        "body": list(body),
    }
    if actions:
        content["actions"] = list(actions)
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
    return {"type": "message", "attachments": [attachment]}


def _at(mention: TeamsMention) -> str:
    return f"<at>{mention.name}</at>"


def _entity(mention: TeamsMention) -> Json:
    """Return whom a mark in the text calls. Without it, the mark would be text."""
    return {"type": "mention", "text": _at(mention), "mentioned": {"id": mention.id, "name": mention.name}}


def _text_block(text: str, **layout: str) -> Json:
    return {"type": "TextBlock", "text": text, "wrap": True, **layout}


def _item(line: CardLine, *, short: bool) -> Json:
    """Return a line of a list in one run: each run takes 30 bytes."""
    return block(unstyled(line.short if short else line.text), spacing="None")


def _lines(text: str) -> list[str]:
    return text.split(RUNS.line_break) if text else []


def _fitting(blocks: Iterable[Json], room: int) -> Iterator[Json]:
    """Yield the blocks that fit into the room together."""
    for one in blocks:
        if (needed := _size(one) + 1) <= room:
            room -= needed
            yield one


def _size(value: object) -> int:
    return len(encode_json(value))
