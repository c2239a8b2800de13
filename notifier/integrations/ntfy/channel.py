"""A channel to a topic of ntfy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from notifier.channels.authorization import basic_authorization
from notifier.channels.base import encode_json, json_body, stored_body
from notifier.channels.http_chat import JSON_TYPE, ChatRequest, HttpChat, code_of
from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Body, Delivered, Delivery
from notifier.http import HttpError
from notifier.integrations.ntfy.messages import NTFY, NtfyLayout
from notifier.integrations.ntfy.settings import NtfySettings
from notifier.ports import CheckResult, RenderRequest

_ID_LIMIT = 100
_FORBIDDEN = 40301
_WHAT = "ntfy topic"


class NtfyChannel(HttpChat[NtfySettings]):
    """Posts to one topic. Nothing can be found or changed later."""

    kind = "ntfy"
    markup = NTFY
    replies_as = "server"
    not_valid = "check url, topic and token"
    elsewhere = "url is the address of something else, or a login protects the server: check it from this host"
    storm_size = 60
    storm_room = 1_100

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the message as JSON. The topic is added when it is sent: it may be a secret."""
        layout = NtfyLayout(self.context.formatter, self.settings.priority)
        return json_body(layout.message(request, filled))

    @property
    def address(self) -> str:
        """URL of the server, where it takes JSON. At the URL of a topic, JSON would be the text."""
        return f"{self.settings.url}/"

    def request(self, delivery: Delivery) -> ChatRequest:
        """Return the request with the stored message."""
        message = {"topic": self.settings.topic.get_secret_value()} | json.loads(stored_body(delivery).content)
        return ChatRequest(url=self.address, content=encode_json(message), headers={**JSON_TYPE, **self._login})

    @property
    def _login(self) -> Mapping[str, str]:
        settings = self.settings
        if settings.token:
            return {"authorization": f"Bearer {settings.token.get_secret_value()}"}
        if settings.username and settings.password:
            return {"authorization": basic_authorization(settings.username, settings.password.get_secret_value())}
        return {}

    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return the id of the published message."""
        message = value_at(reply.data, "id")
        if not reply.succeeded or value_at(reply.data, "event") != "message":
            return None
        usable = isinstance(message, str) and message.isalnum() and message.isascii() and len(message) <= _ID_LIMIT
        return Delivered(message) if usable else None

    def probe(self) -> ChatRequest:
        """Return a request that asks for the right to read the topic."""
        url = f"{self.address}{self.settings.topic.get_secret_value()}/auth"
        return ChatRequest(method="GET", url=url, content=b"", headers=self._login)

    async def check(self) -> Sequence[CheckResult]:
        """Ask whether the login is valid. A user who may only write may not read, so a message proves the rest."""
        try:
            reply = await self._ask(self.probe())
        except HttpError as error:
            remedy = "check url, the network and the proxy"
            return (CheckResult(ok=False, what=_WHAT, detail=str(error), remedy=remedy),)
        only = f"only a message proves that it may be written to: notifier test-send {self.name}"
        if reply.succeeded and value_at(reply.data, "success") is True:
            return (CheckResult(ok=True, what=_WHAT, detail=f"the server lets us in; {only}", proven=False),)
        if code_of(reply, "code") == _FORBIDDEN:
            return (CheckResult(ok=True, what=_WHAT, detail=f"it may not be read; {only}", proven=False),)
        return (self.failed_check(_WHAT, reply),)
