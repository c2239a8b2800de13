"""A channel to the webhook of a space of Google Chat.

The steps of a task are posted in the thread of its first message, which a key of ours names. A loud one that needs
care, and the end of what it reported, is a message of its own: a reply in a thread reaches few.
"""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from notifier.channels.base import ChannelContext, Json, encode_json, json_body, stored_body
from notifier.channels.http_chat import ChatRequest, HttpChat
from notifier.channels.live_chat import LiveChat
from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.templates import FilledTemplate
from notifier.core import dispatch
from notifier.core.delivery import Body, Delivered, Delivery, Outcome
from notifier.integrations.googlechat.messages import GOOGLE_TEXT, GoogleChatLayout, short
from notifier.integrations.googlechat.settings import GoogleChatSettings

if TYPE_CHECKING:
    from notifier.ports import RenderRequest

_NAME_LIMIT = 300
_IN_THREAD = {"messageReplyOption": "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"}


class GoogleChatChannel(LiveChat[GoogleChatSettings], HttpChat[GoogleChatSettings]):
    """Posts to one space. A webhook cannot change a message."""

    kind = "googlechat"
    markup = GOOGLE_TEXT
    storm_size = 200
    storm_room = 8_000

    def __init__(self, settings: GoogleChatSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self.threads = self.coalesces = settings.threads

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the message as JSON. Its thread is added when it is sent."""
        message = GoogleChatLayout(self.context.formatter).message(request, filled)
        return json_body(message)

    @property
    def address(self) -> str:
        """URL of the webhook."""
        return self.settings.webhook_url.get_secret_value()

    def request(self, delivery: Delivery) -> ChatRequest:
        """Return the request: in the thread of the task, or as a message of its own where that is too quiet.

        A repeat has the same `requestId`, for which Google Chat returns the first message.
        """
        message: Json = json.loads(stored_body(delivery).content)
        begun = delivery.thread is not None
        aloud = begun and self.settings.broadcast and dispatch.is_broadcast(delivery)
        if begun and not aloud and not (delivery.events[0].type.traits.acknowledgeable or delivery.storm):
            message = short(message)
        in_thread = self.threads and not aloud and (begun or self.begins_thread(delivery))
        thread = {"thread": {"threadKey": _thread_key(self.name, delivery.subject)}} if in_thread else {}
        query = urlencode({**(_IN_THREAD if in_thread else {}), "requestId": delivery.id})
        return ChatRequest(url=f"{self.address}&{query}", content=encode_json(message | thread))

    async def attempt(self, delivery: Delivery) -> Outcome:
        """Post once."""
        outcome = await super().attempt(delivery)
        if isinstance(outcome, Delivered) and delivery.thread is None and self.begins_thread(delivery):
            return replace(outcome, thread=outcome.ref)
        return outcome

    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return the name of the posted message."""
        name = value_at(reply.data, "name")
        usable = isinstance(name, str) and name.startswith("spaces/") and len(name) <= _NAME_LIMIT and name.isascii()
        return Delivered(name) if reply.succeeded and usable and name.isprintable() else None


def _thread_key(channel: str, subject: str) -> str:
    """Return the name that the messages about a task have for their thread."""
    return f"gtb-{sha256(f'{channel} {subject}'.encode()).hexdigest()[:32]}"
