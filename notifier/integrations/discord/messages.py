"""Messages of Discord: a text that notifications show, and embeds with the rest. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from notifier.channels.base import Json
from notifier.channels.card import Card, CardLayout, CardLimits
from notifier.channels.markup import ADDRESS, Markdown, cut_to, fitting_lines, utf16_units
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Thread
from notifier.integrations.discord.mentions import DiscordMentions, discord_mentions
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter
from notifier.wording.states import EventState

CONTENT_LIMIT = 1_990
"""Maximum length of the text; Discord's is 2,000."""
EMBED_LIMIT = 4_000
"""Maximum length of the description of an embed; Discord's is 4,096."""
EMBEDS_LIMIT = 5_900
"""Maximum length of all embeds of a message; Discord's is 6,000."""
MAX_EMBEDS = 10
_PARTS = CardLimits(quote=750, line=900, part=200, short_reason=150)

DISCORD = Markdown(
    # A zero-width character breaks what a backslash alone might leave whole: mentions, channels, emoji, times.
    active=re.compile(rf"[@<]|{ADDRESS}"),
    replaced={char: f"\\{char}" for char in r"\*_~|[]<"},
    strong=("**", "**"),
    size=utf16_units,
)


@dataclass(frozen=True, slots=True)
class DiscordLayout:
    """Lays out messages for readers of one language."""

    formatter: EventFormatter

    def message(self, request: RenderRequest, filled: FilledTemplate) -> Json:
        """Return the body of a message."""
        card = self._layout.card(request, filled)
        mentions = discord_mentions(card.mention)
        return self._drawn(card, mentions.text) | {"allowed_mentions": mentions.allowed}

    def live(self, thread: Thread, filled: FilledTemplate, *, replaces: bool) -> Json:
        """Return the body that the message of a thread has now. It calls nobody, and names whom it called before."""
        card = self._layout.live(thread, filled)
        return self._drawn(card, "" if replaces else discord_mentions(card.mention).text) | _CALLS_NOBODY

    @property
    def _layout(self) -> CardLayout:
        return CardLayout(DISCORD, self.formatter, _PARTS)

    def _drawn(self, card: Card, mention: str) -> Json:
        first = f"{card.headline} {mention}".rstrip()
        content = "\n".join(
            fitting_lines(filter(None, (first, "" if card.text else card.quote)), CONTENT_LIMIT, utf16_units)
        )
        embeds = self._several(card) if card.sections else [_embed(card.state, self._one(card))]
        return {"content": content, "embeds": [embed for embed in embeds if embed["description"]]}

    def _one(self, card: Card) -> str:
        """Return how bad it is and what to do, the links, and where it is from; or what a template has instead."""
        room = EMBED_LIMIT - utf16_units(card.about) - 2
        links = self._layout.link_line(card)
        if card.text:
            text = cut_to(card.text, room, utf16_units)
            above = "\n\n".join(fitting_lines(filter(None, (text, links)), room, utf16_units, gap=2))
        else:
            lines = (card.more, *card.notes, *card.lines, links)
            above = "\n".join(fitting_lines(filter(None, lines), room, utf16_units))
        return "\n\n".join(filter(None, (above, card.about)))

    def _several(self, card: Card) -> Sequence[Json]:
        """Return an overview where there is room for it, and the lists."""
        listed = self._layout.lists(card.sections, EMBEDS_LIMIT)
        lists = [_embed(section.state, part) for section, text in listed for part in _divided(section.heading, text)]
        if len(lists) >= MAX_EMBEDS:
            whole = "\n".join(f"{section.heading}\n{text}" for section, text in listed)
            lists = [_embed(card.state, part) for part in _divided(whole)]
        room = EMBEDS_LIMIT - sum(utf16_units(embed["description"]) for embed in lists)
        lines = (*card.notes, *card.lines, self._layout.link_line(card))
        overview = "\n".join(fitting_lines(filter(None, lines), min(room, EMBED_LIMIT), utf16_units))
        return [_embed(card.state, overview), *lists]


_CALLS_NOBODY: Json = {"allowed_mentions": DiscordMentions().allowed}
"""Belongs to every change: without it Discord takes whatever looks like a mention, also in a text that was safe."""


def short(message: Json) -> Json:
    """Return what happened alone, in one line that calls nobody."""
    return {"content": str(message["content"]).partition("\n")[0], "embeds": []} | _CALLS_NOBODY


def _embed(state: EventState, text: str) -> Json:
    return {"description": text, "color": int(state.tone.colour.removeprefix("#"), 16)}


def _divided(*texts: str) -> Iterator[str]:
    """Yield texts of at most EMBED_LIMIT that have all lines."""
    kept: list[str] = []
    used = 0
    for line in "\n".join(texts).split("\n"):
        needed = utf16_units(line) + 1
        if kept and used + needed > EMBED_LIMIT:
            yield "\n".join(kept)
            kept, used = [], 0
        kept.append(line)
        used += needed
    yield "\n".join(kept)
