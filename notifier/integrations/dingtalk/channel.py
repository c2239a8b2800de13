"""A channel to a custom robot of a DingTalk group."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Self

from notifier.channels.base import ChannelContext, encode_json, json_body, stored_body
from notifier.channels.http_chat import ChatRequest, HttpChat, code_of, due_to_clock
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Body, Delivered, Delivery, Outcome
from notifier.integrations.dingtalk.app import DingTalkAppChannel
from notifier.integrations.dingtalk.messages import DINGTALK, DingTalkLayout
from notifier.integrations.dingtalk.settings import DingTalkSettings
from notifier.integrations.dingtalk.signature import signed_url

if TYPE_CHECKING:
    from notifier.ports import RenderRequest

_NO_TOKEN = 300005
_SECURITY = 310000
"""One code for three rules of a robot: its signature, its keywords and its addresses."""
_KEYWORDS = "keyword"


class DingTalkChannel(HttpChat[DingTalkSettings]):
    """Posts to one group. Its replies do not name the message, so nothing can be found or changed later."""

    kind = "dingtalk"
    markup = DINGTALK
    replies_as = "robot"
    not_valid = "the robot is not valid: copy the URL of its webhook again or make a new one"
    storm_size = 200
    storm_room = 3_500

    @classmethod
    def open(cls, settings: DingTalkSettings, context: ChannelContext) -> Self | DingTalkAppChannel:
        """Return a channel for these settings: to a custom robot, or to the robot of an app."""
        return cls(settings, context) if settings.webhook_url else DingTalkAppChannel(settings, context)

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the message as JSON."""
        message = DingTalkLayout(self.context.formatter).robot_message(request, filled, self.settings.keyword or "")
        return json_body(message)

    @property
    def address(self) -> str:
        """URL of the robot, signed for now where it wants that."""
        url = self.settings.webhook_url.get_secret_value() if self.settings.webhook_url else ""
        if self.settings.secret is None:
            return url
        return signed_url(url, self.settings.secret.get_secret_value(), self.context.clock.now())

    def request(self, delivery: Delivery) -> ChatRequest:
        """Return the request with the stored message."""
        return ChatRequest(url=self.address, content=stored_body(delivery).content)

    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return that the message was posted: the code is 0."""
        return Delivered() if reply.succeeded and code_of(reply, "errcode") == 0 else None

    def outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        """Return what a reply means; one that refuses a signature may be due to our clock."""
        outcome = super().outcome(reply, now)
        return due_to_clock(outcome, reply, now) if code_of(reply, "errcode") == _SECURITY else outcome

    def probe(self) -> ChatRequest:
        """Return a message without content: it is refused, and a token that is not valid by a code of its own."""
        return ChatRequest(url=self.address, content=encode_json({"msgtype": "markdown"}))

    def probe_problem(self, reply: ParsedReply) -> tuple[str, str] | None:
        """Return that the token or the signature is not valid, where the reply says so.

        A message without content lacks the keyword that the robot may want.
        """
        code = code_of(reply, "errcode")
        proven = code == _NO_TOKEN or (code == _SECURITY and _KEYWORDS not in reply.text)
        return self.parked_problem(reply, proven=proven)
