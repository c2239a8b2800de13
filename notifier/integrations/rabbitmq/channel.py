"""The RabbitMQ channel: persistent messages that must reach a queue, each confirmed by the broker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import aio_pika
from aio_pika import exceptions
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.connection import make_url
from aiormq.exceptions import ChannelAccessRefused, ConnectionNotAllowed

from notifier.channels.cloudevents import STRUCTURED, CloudEvent
from notifier.channels.stream import Meaning, StreamChannel, text_headers
from notifier.core.delivery import Delivered
from notifier.integrations.rabbitmq.settings import RabbitMqSettings
from notifier.ports import CheckResult


@dataclass(slots=True)
class _Link:
    connection: AbstractConnection
    channel: AbstractChannel
    exchange: AbstractExchange


class RabbitMqChannel(StreamChannel[RabbitMqSettings, _Link]):
    """Publishes to one exchange."""

    kind = "rabbitmq"

    @property
    def destination(self) -> str:
        """The routing key."""
        return self.settings.routing_key

    async def connect(self, place: tuple[str, int]) -> _Link:
        """Connect, log in, and make sure that the exchange exists."""
        settings, (host, port) = self.settings, place
        url = make_url(
            host=host,
            port=port,
            login=settings.username or "guest",
            password=settings.password_text or "guest",
            virtualhost=settings.virtual_host,
            ssl=settings.tls,
        )
        # Not aio_pika.connect(): one that fails leaves its connection to the garbage collector, which cannot close it.
        connection = aio_pika.Connection(
            url, ssl_context=self.tls, client_properties={"connection_name": "gaussdb-notifier"}
        )
        try:
            await connection.connect()
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            name = settings.exchange
            exchange = await channel.get_exchange(name, ensure=True) if name else channel.default_exchange
        except BaseException:
            self.abandon(_closed(connection))
            raise
        return _Link(connection, channel, exchange)

    def is_open(self, connection: _Link) -> bool:
        """Return whether the connection and its channel are open."""
        return not (connection.connection.is_closed or connection.channel.is_closed)

    async def prepare(self, connection: _Link) -> None:
        """Do nothing: the exchange was found when the connection was made."""

    async def publish(self, connection: _Link, event: CloudEvent, destination: str) -> Delivered:
        """Publish, and wait for the confirmation, which comes once the message is in its queues."""
        whole = self.structured(event)
        message = aio_pika.Message(
            whole or event.data,
            headers={} if whole else dict(text_headers(event, "cloudEvents:")),
            content_type=STRUCTURED if whole else event.content_type,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=event.id,
            timestamp=datetime.fromisoformat(event.attributes["time"]),
            type=event.attributes["type"],
            app_id="gaussdb-notifier",
        )
        await connection.exchange.publish(message, routing_key=destination, mandatory=True)
        return Delivered(ref=event.id)

    async def inspect(self, connection: _Link, destination: str) -> CheckResult:
        """Look for the queue that the default exchange leads to. No client can see the bindings of another exchange."""
        if self.settings.exchange:
            what = f"the exchange {self.settings.exchange} is there; only a message proves that it leads to a queue"
            return self._result(what, proven=False, remedy=f"notifier test-send {self.name}")
        channel = await connection.connection.channel()
        async with channel:
            await channel.get_queue(destination, ensure=True)
        return self._result(f"the queue {destination} is there")

    @cached_property
    def meanings(self) -> Sequence[Meaning]:
        """What errors of the client and of the broker mean. A returned message is a case of one that is not taken."""
        settings = self.settings
        where = f"the exchange {settings.exchange}" if settings.exchange else "the default exchange"
        unroutable = f"{where} leads to no queue for the routing key: bind one, or check routing_key"
        # The client expects the virtual host to be opened, and is surprised by a refusal.
        vhost = (ConnectionNotAllowed, exceptions.InvalidFrameError)
        login = (exceptions.ProbableAuthenticationError, exceptions.AuthenticationError)
        return (
            Meaning((exceptions.PublishError,), "misconfigured", unroutable),
            Meaning((exceptions.DeliveryError,), "later", "the broker did not take the message (basic.nack)"),
            Meaning(login, "misconfigured", "the broker refuses the login: check username and password"),
            Meaning(vhost, "misconfigured", f"the user may not use the virtual host {settings.virtual_host}"),
            Meaning((ChannelAccessRefused,), "misconfigured", "the user may not write there"),
            Meaning((exceptions.ChannelNotFoundEntity,), "misconfigured", "there is no such exchange or queue"),
        )

    async def disconnect(self, connection: _Link) -> None:
        """Close the connection with its channels."""
        await _closed(connection.connection)


async def _closed(connection: AbstractConnection) -> None:
    """Close a connection, whether it was made or not. One that is not marked as closed closes itself when collected."""
    try:
        await connection.close()
    finally:
        await connection.close()  # where that was interrupted nothing is left to wait for: this marks it as closed
