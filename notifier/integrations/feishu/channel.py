"""A channel to a custom bot of a Feishu or Lark group."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from notifier.channels.base import ChannelContext, encode_json, json_body, stored_body
from notifier.channels.http_chat import ChatRequest, HttpChat, code_of, due_to_clock
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Body, Delivered, Delivery, Outcome
from notifier.integrations.feishu.app import FeishuAppChannel
from notifier.integrations.feishu.messages import FEISHU, FeishuLayout
from notifier.integrations.feishu.settings import FeishuSettings
from notifier.integrations.feishu.signature import signed_fields

if TYPE_CHECKING:
    from notifier.ports import RenderRequest

_SIGNATURE = 19021
_ADDRESS_NOT_ALLOWED = 19022


class FeishuChannel(HttpChat[FeishuSettings]):
    """Posts to one group. Its replies do not name the message, so nothing can be found or changed later."""

    kind = "feishu"
    markup = FEISHU
    replies_as = "custom bot"
    not_valid = "the bot is not valid: copy the URL of its webhook again or make a new one"
    storm_size = 200
    storm_room = 2_800

    @classmethod
    def open(cls, settings: FeishuSettings, context: ChannelContext) -> Self | FeishuAppChannel:
        """Return a channel for these settings: to a custom bot, or to the bot of an app."""
        return cls(settings, context) if settings.webhook_url else FeishuAppChannel(settings, context)

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the card as JSON."""
        card = FeishuLayout(self.context.formatter, self.settings.keyword or "").message(request, filled)
        return json_body(card)

    @property
    def address(self) -> str:
        """URL of the bot."""
        return self.settings.webhook_url.get_secret_value() if self.settings.webhook_url else ""

    def request(self, delivery: Delivery) -> ChatRequest:
        """Return the request with the stored card, signed for now where the bot wants that."""
        return self._signed({"msg_type": "interactive", "card": json.loads(stored_body(delivery).content)})

    def _signed(self, message: dict[str, Any]) -> ChatRequest:
        if self.settings.secret is not None:
            message |= signed_fields(self.settings.secret.get_secret_value(), self.context.clock.now())
        return ChatRequest(url=self.address, content=encode_json(message))

    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return that the message was posted: the code is 0, or where there is none, the one of older bots is."""
        is_object = isinstance(reply.data, dict)
        place = "code" if is_object and "code" in reply.data else "StatusCode"
        return Delivered() if reply.succeeded and code_of(reply, place) == 0 else None

    def outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        """Return what a reply means; one that refuses a signature may be due to our clock."""
        outcome = super().outcome(reply, now)
        return due_to_clock(outcome, reply, now) if code_of(reply, "code") == _SIGNATURE else outcome

    def probe(self) -> ChatRequest:
        """Return a message without content: it is refused, and a signature that does not fit by a code of its own."""
        return self._signed({"msg_type": "interactive"})

    def probe_problem(self, reply: ParsedReply) -> tuple[str, str] | None:
        """Return that the signature or our address is not valid, where the reply says so."""
        return self.parked_problem(reply, proven=code_of(reply, "code") in (_SIGNATURE, _ADDRESS_NOT_ALLOWED))
