"""Messages of DingTalk robots: Markdown, and the title that notifications show. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from notifier.channels.base import Json
from notifier.channels.card import CardLayout, CardLimits
from notifier.channels.markup import ADDRESS, Markdown, cut_to, json_bytes
from notifier.channels.templates import FilledTemplate
from notifier.integrations.dingtalk.mentions import DingTalkMentions, dingtalk_mentions
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter

DINGTALK_TEXT_LIMIT = 12_000
"""Maximum size of the text within JSON, in bytes. An app's parameters have 15,000 together."""
_TITLE_LIMIT = 300
_PARTS = CardLimits(quote=3_000, line=3_000, part=500, short_reason=300)

DINGTALK = Markdown(
    # What could end the title of a link, an image, a tag, a mention.
    active=re.compile(rf"\](?=\()|!(?=\[)|[<@]|{ADDRESS}"),
    replaced={char: f"\\{char}" for char in r"\*_[]"},
    strong=("**", "**"),
    has_code=False,
    # A single line break is a space there.
    line_break="  \n",
    size=json_bytes,
)


@dataclass(frozen=True, slots=True)
class DingTalkLayout:
    """Lays out messages for readers of one language."""

    formatter: EventFormatter

    def robot_message(self, request: RenderRequest, filled: FilledTemplate, keyword: str) -> Json:
        """Return the body for a custom robot, which can call people."""
        mentions = dingtalk_mentions(request.mention)
        content = self._content(request, filled, mentions.markup, keyword)
        return {"msgtype": "markdown", "markdown": content, "at": _called(mentions)}

    def app_message(self, request: RenderRequest, filled: FilledTemplate) -> Json:
        """Return the template and its parameters for the robot of an app, which calls nobody."""
        param = json.dumps(self._content(request, filled, "", ""), ensure_ascii=False, separators=(",", ":"))
        return {"msgKey": "sampleMarkdown", "msgParam": param}

    def _content(self, request: RenderRequest, filled: FilledTemplate, mention: str, keyword: str) -> Mapping[str, str]:
        layout = CardLayout(DINGTALK, self.formatter, _PARTS)
        card = layout.card(request, filled)
        shown = DINGTALK.unescaped(filled.title) if filled.title else card.push
        end = f"{2 * DINGTALK.line_break}{layout.plain(keyword)}" if keyword else ""
        text = layout.text(card, DINGTALK_TEXT_LIMIT - json_bytes(end), mention)
        return {"title": cut_to(f"{card.emoji} {shown}", _TITLE_LIMIT, json_bytes), "text": f"{text}{end}"}


def _called(mentions: DingTalkMentions) -> dict[str, Any]:
    """Return the lists of people to call. Without them DingTalk might look for mentions in the text."""
    lists = {"atUserIds": list(mentions.users), "atMobiles": list(mentions.mobiles)}
    return {"isAtAll": mentions.everybody} | {name: who for name, who in lists.items() if who}
