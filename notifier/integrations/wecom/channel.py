"""A channel to the robot of a WeCom group."""

import re
from dataclasses import replace

from notifier.channels.base import encode_json, json_body, stored_body
from notifier.channels.http_channel import OutcomeT
from notifier.channels.http_chat import ChatRequest, HttpChat, code_of
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Body, Delivered, Delivery
from notifier.http import HttpError, Reply
from notifier.integrations.wecom.messages import WECOM_MARKDOWN, WeComLayout
from notifier.integrations.wecom.settings import WeComSettings
from notifier.logs import MASK
from notifier.ports import RenderRequest

_OUR_ADDRESS = re.compile(r"(from ip: )[0-9a-fA-F.:]+")
_REMOVED = 93000


class WeComChannel(HttpChat[WeComSettings]):
    """Posts to one group. Its replies do not name the message, so nothing can be found or changed later."""

    kind = "wecom"
    markup = WECOM_MARKDOWN
    replies_as = "robot"
    not_valid = "the robot is not valid: copy the URL of its webhook again or make a new one"
    storm_size = 60
    storm_room = 1_100

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the message as JSON."""
        layout = WeComLayout(self.context.formatter, self.settings.format == "markdown_v2")
        return json_body(layout.message(request, filled))

    @property
    def address(self) -> str:
        """URL of the robot."""
        return self.settings.webhook_url.get_secret_value()

    def request(self, delivery: Delivery) -> ChatRequest:
        """Return the request with the stored message."""
        return ChatRequest(url=self.address, content=stored_body(delivery).content)

    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return that the message was posted: the code is 0, whatever the text beside it says."""
        return Delivered() if reply.succeeded and code_of(reply, "errcode") == 0 else None

    def with_reply(self, outcome: OutcomeT, answer: Reply | HttpError) -> OutcomeT:
        """Return the outcome with the reply, without our own address, which a refusal repeats."""
        found = super().with_reply(outcome, answer)
        return replace(found, reply=_OUR_ADDRESS.sub(rf"\g<1>{MASK}", found.reply)) if found.reply else found

    def probe(self) -> ChatRequest:
        """Return a message without content: it is refused, and a key that is not valid by a code of its own."""
        return ChatRequest(url=self.address, content=encode_json({"msgtype": "markdown"}))

    def probe_problem(self, reply: ParsedReply) -> tuple[str, str] | None:
        """Return that the key is not valid, where the reply says so."""
        return self.parked_problem(reply, proven=code_of(reply, "errcode") == _REMOVED)
