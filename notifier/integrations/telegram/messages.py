"""Messages of Telegram: one text in its HTML. Pure."""

import re
from dataclasses import dataclass
from html import unescape

from notifier.channels.base import Json
from notifier.channels.card import CardLayout, CardLimits
from notifier.channels.markup import ADDRESS, Html, utf16_units
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Thread
from notifier.integrations.telegram.mentions import mention_markup
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter

TELEGRAM_LIMIT = 4_000
"""Maximum length of a text with its markup; Telegram's is 4,096 without."""
_PARTS = CardLimits(quote=1_400, line=1_200, part=300, short_reason=150)
_TAG = re.compile(r"</?(?:a|b|blockquote|code|del|em|i|ins|pre|s|span|strong|tg-spoiler|u)\b[^>]*>")

TELEGRAM = Html(
    # Mentions, tags, cashtags, commands and addresses.
    active=re.compile(rf"[@#]|\$(?=[A-Za-z])|(?<!\w)/(?=\w)|{ADDRESS}"),
    active_in_code=re.compile(r"[@#](?=\w)|(?<!\w)/(?=\w)"),
    size=utf16_units,
)


@dataclass(frozen=True, slots=True)
class TelegramLayout:
    """Lays out messages for readers of one language."""

    formatter: EventFormatter

    def message(self, request: RenderRequest, filled: FilledTemplate, *, silent: bool) -> Json:
        """Return a message without its chat. A silent one arrives without a sound."""
        layout = CardLayout(TELEGRAM, self.formatter, _PARTS)
        card = layout.card(request, filled)
        return _html(layout.text(card, TELEGRAM_LIMIT, mention_markup(card.mention))) | {"disable_notification": silent}

    def live(self, thread: Thread, filled: FilledTemplate, *, replaces: bool) -> Json:
        """Return what the message of a thread is now, without its chat."""
        layout = CardLayout(TELEGRAM, self.formatter, _PARTS)
        card = layout.live(thread, filled)
        message = _html(layout.text(card, TELEGRAM_LIMIT, "" if replaces else mention_markup(card.mention)))
        return message | ({"disable_notification": True} if replaces else {})


def short(message: Json) -> Json:
    """Return a message with its first line alone."""
    return message | {"text": str(message["text"]).partition("\n")[0]}


def without_markup(message: Json) -> Json:
    """Return a message whose text has no markup."""
    plain = unescape(_TAG.sub("", str(message["text"])))
    return {name: value for name, value in message.items() if name != "parse_mode"} | {"text": plain}


def _html(text: str) -> Json:
    return {"text": text, "parse_mode": "HTML", "link_preview_options": {"is_disabled": True}}
