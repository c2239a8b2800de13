"""Channels to incoming webhooks of Mattermost and Rocket.Chat. `notifier.integrations.mattermost.messages` lays out."""

import json
from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, TypeVar

from notifier.channels.base import PROBE_AFTER, encode_json, stored_body
from notifier.channels.http_channel import (
    MISCONFIGURED,
    HttpChannel,
    address_problem,
    outcome_of_error,
    outcome_of_status,
)
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.reply_rules import known_outcome
from notifier.channels.templated import TemplatedChannel
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Body, Delivered, Delivery, Outcome, Parked, Unknown
from notifier.http import HttpError, ReplyTooLarge
from notifier.integrations.mattermost.markdown import Markdown
from notifier.integrations.mattermost.messages import MessageLayout, MessageLimits
from notifier.integrations.mattermost.settings import ChatWebhookSettings
from notifier.ports import CheckResult, RenderRequest

S = TypeVar("S", bound=ChatWebhookSettings)


class WebhookChat(TemplatedChannel[S], HttpChannel[S]):
    """Posts to an incoming webhook. A kind has its Markdown, its limits, and the reply that accepts a message."""

    markdown: ClassVar[Markdown]
    limits: ClassVar[MessageLimits]

    @abstractmethod
    def accepted(self, reply: ParsedReply) -> bool:
        """Return whether a reply is the one that the server gives to a posted message, and to no other."""

    def escape(self, text: str) -> str:
        """Return the text in Markdown in which nothing is markup, a mention or a link."""
        return self.markdown.plain(text, self.limits.attachment)

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the message as JSON. The fields of the settings are added when it is sent."""
        message = MessageLayout(self.markdown, self.limits, self.context.formatter).payload(request, filled)
        return Body(content=encode_json(message), content_type="application/json")

    async def attempt(self, delivery: Delivery) -> Outcome:
        """Post once."""
        now = self.context.clock.now
        message = json.loads(stored_body(delivery).content) | self.settings.extra_fields
        try:
            json_type = {"content-type": "application/json"}
            reply = await self.exchange("POST", self._url, headers=json_type, content=encode_json(message))
        except HttpError as error:
            return self.with_reply(self._outcome_of_error(error, now()), error)
        return self.with_reply(self._outcome(ParsedReply(reply.status, reply.headers, reply.body), now()), reply)

    @property
    def _url(self) -> str:
        return self.settings.webhook_url.get_secret_value()

    def _outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        if self.accepted(reply):
            return Delivered()
        if outcome := known_outcome(self.kind, reply, now) or known_outcome("webhook", reply, now):
            return outcome
        if reply.status in MISCONFIGURED:
            return Parked(f"HTTP {reply.status}; {_NOT_VALID}", PROBE_AFTER)
        if reply.succeeded and reply.is_page:
            return Parked(f"HTTP {reply.status} with a web page; {_ELSEWHERE}", PROBE_AFTER)
        if reply.succeeded:
            return Unknown(f"HTTP {reply.status}, but not the reply of a webhook of {self.kind}")
        return outcome_of_status(reply.status, reply.headers, now)

    def _outcome_of_error(self, error: HttpError, now: datetime) -> Outcome:
        if isinstance(error, ReplyTooLarge):  # the chat never replies so much: something else does
            return self._outcome(ParsedReply(error.status, error.headers, error.body), now)
        return outcome_of_error(error, now)

    async def check(self) -> Sequence[CheckResult]:
        """Ask whether something answers. Only a message proves that it is the webhook."""
        try:
            status = await self.ask_status("GET", self._url)
        except HttpError as error:
            remedy = "check the address, the network and the proxy"
            return (CheckResult(ok=False, what=self.kind, detail=str(error), remedy=remedy),)
        # Both servers answer 404 to a GET at a webhook, as at any other address.
        if refused := address_problem(status, absent=(410,)):
            remedy = "check webhook_url"
            return (CheckResult(ok=False, what=self.kind, detail=f"HTTP {status} to GET: {refused}", remedy=remedy),)
        detail = f"answers; only a message proves that it is the webhook: notifier test-send {self.name}"
        return (CheckResult(ok=True, what=self.kind, detail=detail, proven=False),)


_NOT_VALID = "the webhook is not valid: copy its URL again or make a new one"
_ELSEWHERE = "webhook_url is the address of something else, or a login protects the server: check it from this host"
