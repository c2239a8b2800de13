"""Messages of WeCom robots. Pure.

A robot has several types of messages, each with its own markup: `markdown` has colours and mentions of user ids,
`markdown_v2` has code and quotes, and `text` has neither but lists of people to call, with mobile numbers and
everybody. The type follows from the settings and from whom a message mentions.
"""

import re
from dataclasses import dataclass, replace

from notifier.channels.base import Json
from notifier.channels.card import CardLayout, CardLimits
from notifier.channels.markup import ADDRESS, Markdown, PlainMarkup, utf8_bytes
from notifier.channels.templates import FilledTemplate
from notifier.integrations.wecom.mentions import WeComMentions, wecom_mentions
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter

WECOM_MARKDOWN_LIMIT = 4_000
"""Maximum size of the content of Markdown, in bytes; WeCom's is 4,096."""
WECOM_TEXT_LIMIT = 2_000
"""Maximum size of the content of a text, in bytes; WeCom's is 2,048."""
_MARKDOWN_PARTS = CardLimits(quote=1_200, line=1_200, part=400, short_reason=160)
_TEXT_PARTS = CardLimits(quote=600, line=600, part=240, short_reason=120)

_LINK = r"\](?=\()"
"""What ends the title of a link and begins its address."""
WECOM_MARKDOWN = Markdown(
    active=re.compile(rf"{_LINK}|{ADDRESS}"),
    replaced={"*": "∗", "<": "＜"},
    # A mention may work within code.
    active_in_code=re.compile("<"),
    strong=("**", "**"),
    size=utf8_bytes,
)
WECOM_MARKDOWN_V2 = replace(
    WECOM_MARKDOWN,
    # Images, tables and underlined emphasis; there are no mentions.
    active=re.compile(rf"{_LINK}|!(?=\[)|{ADDRESS}"),
    replaced={"*": "∗", "<": "＜", "_": "ˍ", "~": "∼", "|": "❘"},
)
WECOM_TEXT = PlainMarkup(active=re.compile(rf"<(?=@)|{ADDRESS}"), size=utf8_bytes)

_COLOURS = {"🔴": "warning", "🟠": "warning", "❔": "warning", "🟢": "info"}
"""The colours of Markdown by the emoji of a state. The words of others are bold."""


@dataclass(frozen=True, slots=True)
class WeComLayout:
    """Lays out messages for readers of one language."""

    formatter: EventFormatter
    plain_markdown: bool
    """Whether the settings choose `markdown_v2`."""

    def message(self, request: RenderRequest, filled: FilledTemplate) -> Json:
        """Return the body of a message."""
        mentions = wecom_mentions(request.mention)
        if mentions.needs_text:
            return self._text(request, filled, mentions)
        if self.plain_markdown and not mentions.users:
            layout = self._markdown(WECOM_MARKDOWN_V2)
            return _typed("markdown_v2", layout.text(layout.card(request, filled), WECOM_MARKDOWN_LIMIT))
        return _typed("markdown", self._coloured(request, filled, " ".join(f"<@{user}>" for user in mentions.users)))

    def _coloured(self, request: RenderRequest, filled: FilledTemplate, mention: str) -> str:
        layout = self._markdown(WECOM_MARKDOWN)
        card = layout.card(request, filled)
        colour = _COLOURS.get(card.state.tone.emoji)
        if colour and not filled.title:
            coloured = replace(WECOM_MARKDOWN, strong=(f'<font color="{colour}">', "</font>"))
            card = replace(card, headline=self._markdown(coloured).card(request).headline)
        if card.about:
            about = self._markdown(replace(WECOM_MARKDOWN, has_code=False)).card(request).about
            card = replace(card, about=f'<font color="comment">{about}</font>')
        return layout.text(card, WECOM_MARKDOWN_LIMIT, mention)

    def _markdown(self, markup: Markdown) -> CardLayout:
        return CardLayout(markup, self.formatter, _MARKDOWN_PARTS)

    def _text(self, request: RenderRequest, filled: FilledTemplate, mentions: WeComMentions) -> Json:
        layout = CardLayout(WECOM_TEXT, self.formatter, _TEXT_PARTS)
        content = layout.text(layout.card(request, filled), WECOM_TEXT_LIMIT)
        called = {"mentioned_list": mentions.users, "mentioned_mobile_list": mentions.mobiles}
        return {
            "msgtype": "text",
            "text": {"content": content, **{key: list(who) for key, who in called.items() if who}},
        }


def _typed(kind: str, content: str) -> Json:
    return {"msgtype": kind, kind: {"content": content}}
