"""Messages of ntfy: a title, a plain text, and links as buttons. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from notifier.channels.base import Json
from notifier.channels.card import Card, CardLayout, CardLimits
from notifier.channels.markup import ADDRESS, PlainMarkup, cut_to, utf8_bytes
from notifier.channels.templates import FilledTemplate
from notifier.core.severity import Severity
from notifier.integrations.ntfy.settings import USUAL_NTFY_PRIORITIES
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter

NTFY_TEXT_LIMIT = 4_000
"""Maximum size of the text, in bytes. A server makes an attachment of one with more than 4,096, or refuses it."""
_TITLE_LIMIT = 600
_MAX_ACTIONS = 3
_PARTS = CardLimits(quote=1_200, line=1_200, part=400, short_reason=160)
_TITLE_PARTS = replace(_PARTS, part=_TITLE_LIMIT)

NTFY = PlainMarkup(active=re.compile(ADDRESS), size=utf8_bytes)
"""Clients make links of addresses."""


@dataclass(frozen=True, slots=True)
class NtfyLayout:
    """Lays out messages for readers of one language."""

    formatter: EventFormatter
    priority: int | Mapping[Severity, int] | None

    def message(self, request: RenderRequest, filled: FilledTemplate) -> Json:
        """Return a message without its topic."""
        layout = CardLayout(NTFY, self.formatter, _PARTS)
        card = layout.card(request, filled)
        title = replace(layout, limits=_TITLE_PARTS).card(request, filled).title
        # An empty message would be shown as "triggered".
        text = layout.text(_below_title(card, filled), NTFY_TEXT_LIMIT) or card.title
        message = {
            "title": cut_to(f"{card.emoji} {title}", _TITLE_LIMIT, utf8_bytes),
            "message": text,
            "priority": self._priority(card.severity),
        }
        return message | _links(card)

    def _priority(self, severity: Severity) -> int:
        configured = self.priority.get(severity) if isinstance(self.priority, Mapping) else self.priority
        return configured or USUAL_NTFY_PRIORITIES[severity]


def _below_title(card: Card, filled: FilledTemplate) -> Card:
    """Return what stands below a title that says what happened: first why, and last where and when."""
    headline = "" if filled.title else card.headline.removeprefix(card.emoji).strip()
    if card.sections:
        return replace(card, headline=headline, links=())
    return replace(card, headline="", links=(), about="\n".join(filter(None, (headline, card.about))))


def _links(card: Card) -> Json:
    """Return what a tap and the buttons open."""
    if not card.links:
        return {}
    actions = [{"action": "view", "label": link.label, "url": link.url} for link in card.links[:_MAX_ACTIONS]]
    return {"click": card.links[0].url, "actions": actions}
