"""A channel to a topic of Huawei Cloud SMN, which passes messages on to its subscribers.

SMN says that it has stored a message. Whether a subscriber gets it, nobody says.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import quote, urlsplit

from notifier.channels.base import json_body, stored_body
from notifier.channels.http_chat import ChatRequest, HttpChat, due_to_clock
from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Body, Delivered, Delivery, Outcome
from notifier.http import HttpError
from notifier.http.huawei_signature import Credentials, RequestSigner
from notifier.integrations.smn.messages import SMN, SmnLayout
from notifier.integrations.smn.settings import SmnSettings
from notifier.ports import CheckResult, RenderRequest

_ID_LIMIT = 200
_FORBIDDEN = 403
_REFUSED_SIGNATURE = "APIGW.0301"
_CLOCK_TOLERANCE = timedelta(minutes=14)
"""Difference between two clocks above which a signature is refused, with a minute to spare: SMN's is 15 minutes."""
_WHAT = "SMN topic"


class SmnChannel(HttpChat[SmnSettings]):
    """Publishes to one topic. Nothing can be found or changed later."""

    kind = "smn"
    markup = SMN
    replies_as = "topic"
    not_valid = "check topic_urn, access_key, secret_key and endpoint"
    elsewhere = "endpoint is the address of something else, or a login protects the network: check it from this host"
    storm_size = 200
    storm_room = 6_000

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the message as JSON."""
        layout = SmnLayout(self.context.formatter, self.settings.time_to_live)
        return json_body(layout.message(request, filled))

    @property
    def address(self) -> str:
        """URL of the topic."""
        urn = quote(self.settings.topic_urn, safe="")
        return f"{self.settings.url}/v2/{self.settings.project}/notifications/topics/{urn}"

    def request(self, delivery: Delivery) -> ChatRequest:
        """Return the request with the stored message, signed for now."""
        return self._signed("POST", f"{self.address}/publish", stored_body(delivery).content)

    def probe(self) -> ChatRequest:
        """Return a request for the topic."""
        return self._signed("GET", self.address)

    def _signed(self, method: str, url: str, content: bytes = b"") -> ChatRequest:
        settings, parts = self.settings, urlsplit(url)
        token = settings.security_token.get_secret_value() if settings.security_token else None
        key = Credentials(
            access_key=settings.access_key, secret_key=settings.secret_key.get_secret_value(), security_token=token
        )
        signed = {"Host": parts.netloc, "X-Project-Id": settings.project}
        signed |= ({"Content-Type": "application/json"} if content else {}) | (
            {"X-Security-Token": token} if token else {}
        )
        signer = RequestSigner(key, method=method, path=parts.path, headers=signed, body=content)
        date = self.context.clock.now().strftime("%Y%m%dT%H%M%SZ")
        headers = {**signed, "X-Sdk-Date": date, "Authorization": signer.authorization("", date)}
        return ChatRequest(method=method, url=url, content=content, headers=headers)

    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return the id of the stored message."""
        message = value_at(reply.data, "message_id")
        if not reply.succeeded or not isinstance(message, str) or not 0 < len(message) <= _ID_LIMIT:
            return None
        return Delivered(message) if message.isascii() and message.isprintable() else None

    def outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        """Return what a reply means; one that refuses a signature may be due to our clock."""
        outcome = super().outcome(reply, now)
        return due_to_clock(outcome, reply, now, _CLOCK_TOLERANCE) if _REFUSED_SIGNATURE in reply.text else outcome

    async def check(self) -> Sequence[CheckResult]:
        """Ask for the topic. An access key that may publish alone may not, so only a message proves that right."""
        try:
            reply = await self._ask(self.probe())
        except HttpError as error:
            remedy = "check endpoint, the network and the proxy"
            return (CheckResult(ok=False, what=_WHAT, detail=str(error), remedy=remedy),)
        only = f"only a message proves that the key may publish: notifier test-send {self.name}"
        if reply.succeeded and value_at(reply.data, "topic_urn") == self.settings.topic_urn:
            return (CheckResult(ok=True, what=_WHAT, detail=f"the topic exists; {only}", proven=False),)
        if reply.status == _FORBIDDEN and value_at(reply.data, "code") == "SMN.0001":
            return (CheckResult(ok=True, what=_WHAT, detail=f"the key may not read the topic; {only}", proven=False),)
        return (self.failed_check(_WHAT, reply),)
