"""The webhook channel in the formats of CloudEvents 1.0 (HTTP binding, and the profile for webhooks)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from notifier.channels.base import ChannelContext
from notifier.channels.cloudevents import CloudEvent, cloud_event, headers, stored_event
from notifier.core.delivery import Body, Delivery
from notifier.http import HttpError
from notifier.integrations.webhook.channel import WebhookChannel, check_result
from notifier.integrations.webhook.settings import WebhookSettings
from notifier.ports import CheckResult, RenderRequest

_ORIGIN = "gaussdb-notifier"
_HANDSHAKE = {"WebHook-Request-Origin": _ORIGIN}


class StructuredEventChannel(WebhookChannel):
    """Posts each event as one JSON object."""

    media_remedy = "the receiver does not take this mode of CloudEvents: try format: cloudevents-binary"

    def __init__(self, settings: WebhookSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self.body_key = (CloudEvent, context.formatter)

    async def check(self) -> Sequence[CheckResult]:
        """Ask the receiver for its headers, and whether it permits events, as the profile for webhooks has it."""
        found = await super().check()
        return [*found, *await self._permission()] if all(result.ok for result in found) else found

    async def _permission(self) -> Sequence[CheckResult]:
        """Return what the receiver answers to the handshake; nothing where it knows none, for most need none."""
        headers, _ = await self.authorized_headers()
        try:
            reply = await self.exchange("OPTIONS", self.url, headers={**headers, **_HANDSHAKE})
        except HttpError:
            return ()
        origin, rate = reply.headers.get("webhook-allowed-origin"), reply.headers.get("webhook-allowed-rate", "*")
        if origin is None or not 200 <= reply.status < 300:  # noqa: PLR2004 - the class of success
            return ()
        if origin not in ("*", _ORIGIN):
            remedy = f"let it permit the origin {_ORIGIN}"
            return [check_result("permits events of another origin only", ok=False, remedy=remedy)]
        if not rate.isdecimal() or self._keeps_to(int(rate)):
            return [check_result("permits events")]
        return [check_result(f"permits {rate} events a minute", remedy=f"set rate: {rate}/m", proven=False)]

    def _keeps_to(self, per_minute: int) -> bool:
        return self.pace.per_second is not None and self.pace.per_second * 60 <= per_minute

    def render(self, request: RenderRequest) -> Body:
        """Return the event."""
        return cloud_event(request, self.context)


class BinaryEventChannel(StructuredEventChannel):
    """Posts the data of each event, with its attributes as headers."""

    media_remedy = "the receiver does not take this mode of CloudEvents: try format: cloudevents-structured"

    def request_of(self, delivery: Delivery, now: datetime) -> tuple[Mapping[str, str], bytes]:
        """Return the headers and the content of the request for a delivery."""
        event = stored_event(delivery, self.context)
        body = Body(content=event.data, content_type=event.content_type)
        return self._headers(delivery.id, body, now) | headers(event), body.content


def open_channel(settings: WebhookSettings, context: ChannelContext) -> WebhookChannel:
    """Return the channel for one of the two formats."""
    kind = BinaryEventChannel if settings.format == "cloudevents-binary" else StructuredEventChannel
    return kind(settings, context)
