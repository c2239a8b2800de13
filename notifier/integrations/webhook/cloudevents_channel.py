"""The webhook channel in the formats of CloudEvents 1.0 (HTTP binding, and the profile for webhooks)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from notifier.channels.base import ChannelContext
from notifier.channels.cloudevents import CloudEvent, cloud_event, headers, stored_event
from notifier.core.delivery import Body, Delivery
from notifier.integrations.webhook.channel import WebhookChannel
from notifier.integrations.webhook.settings import WebhookSettings
from notifier.ports import RenderRequest


class StructuredEventChannel(WebhookChannel):
    """Posts each event as one JSON object."""

    media_remedy = "the receiver does not take this mode of CloudEvents: try format: cloudevents-binary"

    def __init__(self, settings: WebhookSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self.body_key = (CloudEvent, context.formatter)

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
