"""Settings of a RabbitMQ channel."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from notifier.channels.stream_settings import Destination, StreamSettings
from notifier.settings.types import PlainText


class RabbitMqSettings(StreamSettings):
    """An exchange of RabbitMQ."""

    channel_class = "notifier.integrations.rabbitmq.channel:RabbitMqChannel"
    mention_forms = "any text, as `mention` of the data"
    extra, library, default_port = "rabbitmq", "aio_pika", 5671

    kind: Literal["rabbitmq"]
    exchange: Annotated[str, Field(max_length=127)] = ""
    """Exchange of each message. Default: the default exchange, which leads to the queue that the routing key names."""
    routing_key: Destination
    """Routing key of each message. `{type}`, `{source}` and `{severity}` are filled in."""
    virtual_host: PlainText = "/"
