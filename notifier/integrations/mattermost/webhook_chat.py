"""Channels to incoming webhooks of Mattermost and Rocket.Chat. `notifier.integrations.mattermost.messages` lays out."""

import json
from abc import abstractmethod
from typing import ClassVar, TypeVar

from notifier.channels.base import encode_json, stored_body
from notifier.channels.http_chat import ChatRequest, HttpChat
from notifier.channels.markup import Markdown
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Body, Delivered, Delivery
from notifier.integrations.mattermost.messages import MessageLayout, MessageLimits
from notifier.integrations.mattermost.settings import ChatWebhookSettings
from notifier.ports import RenderRequest

S = TypeVar("S", bound=ChatWebhookSettings)


class WebhookChat(HttpChat[S]):
    """Posts to an incoming webhook. A kind has its Markdown, its limits, and the reply that accepts a message."""

    markup: Markdown
    limits: ClassVar[MessageLimits]

    @abstractmethod
    def accepted(self, reply: ParsedReply) -> bool:
        """Return whether a reply is the one that the server gives to a posted message, and to no other."""

    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return that the message was posted; the reply does not name it."""
        return Delivered() if self.accepted(reply) else None

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the message as JSON. The fields of the settings are added when it is sent."""
        message = MessageLayout(self.markup, self.limits, self.context.formatter).payload(request, filled)
        return Body(content=encode_json(message), content_type="application/json")

    @property
    def address(self) -> str:
        """URL of the webhook."""
        return self.settings.webhook_url.get_secret_value() if self.settings.webhook_url else ""

    def request(self, delivery: Delivery) -> ChatRequest:
        """Return the request with the fields of the settings."""
        message = json.loads(stored_body(delivery).content) | self.settings.extra_fields
        return ChatRequest(url=self.address, content=encode_json(message))
