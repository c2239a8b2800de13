"""Messages of SMN: a subject for mails, a text for all protocols, and a short one for SMS. Pure."""

import json
import re
from dataclasses import dataclass
from datetime import timedelta

from notifier.channels.base import Json
from notifier.channels.card import CardLayout, CardLimits
from notifier.channels.markup import ADDRESS, PlainMarkup, cut_to, utf8_bytes
from notifier.channels.templates import FilledTemplate
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter

_SUBJECT_LIMIT = 512
"""Maximum size of a subject, in bytes."""
SMN_TEXT_LIMIT = 20_000
"""Maximum size of the text, in bytes. SMN takes 262,144 for all protocols together, and people read no more."""
SMS_LIMIT = 200
"""Maximum length of an SMS, in characters. SMN takes 490, and bills each 67."""
_PARTS = CardLimits(quote=3_000, line=3_000, part=500, short_reason=300)

SMN = PlainMarkup(active=re.compile(rf"[@#<]|{ADDRESS}"), size=utf8_bytes)
"""Some receivers make links of addresses, and robots may look for mentions."""

_NO_BRACKETS = str.maketrans({"[": "(", "]": ")", "【": "（", "】": "）"})
"""SMN refuses an SMS with brackets: they mark the signature of a sender."""


@dataclass(frozen=True, slots=True)
class SmnLayout:
    """Lays out messages for readers of one language."""

    formatter: EventFormatter
    time_to_live: timedelta

    def message(self, request: RenderRequest, filled: FilledTemplate) -> Json:
        """Return the body of the request that publishes a message."""
        layout = CardLayout(SMN, self.formatter, _PARTS)
        card = layout.card(request, filled)
        texts = {
            "default": layout.text(card, SMN_TEXT_LIMIT),
            "sms": cut_to(card.push.translate(_NO_BRACKETS), SMS_LIMIT),
        }
        return {
            "subject": cut_to(card.title, _SUBJECT_LIMIT, utf8_bytes),
            "message_structure": json.dumps(texts, ensure_ascii=False, separators=(",", ":")),
            "time_to_live": f"{self.time_to_live.total_seconds():.0f}",
        }
