"""The RabbitMQ channel against a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from factories import make_events, open_channel
from pamqp.common import FieldTable
from servers.brokers import Broker, rabbitmq_server
from servers.http import HttpServer
from servers.relay import relay
from servers.tls import Certificate
from streams import delivery_for, send, single_event, stream_context

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.core.delivery import Delivered, Parked, Retry, Unknown
from notifier.http import HttpClient


@pytest.fixture
def context(http: HttpClient) -> ChannelContext:
    return stream_context(http)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Broker]:
    certificate.chain.chmod(0o600)
    with rabbitmq_server(tmp_path_factory.mktemp("rabbitmq"), certificate) as broker:
        yield broker


@pytest.fixture
async def admin(server: Broker) -> AsyncIterator[AbstractChannel]:
    """A channel of a client that makes queues and reads them."""
    connection = await aio_pika.connect(host="127.0.0.1", port=server.port)
    async with connection:
        yield await connection.channel()


@asynccontextmanager
async def channel_to(context: ChannelContext, port: int, **changes: Any) -> AsyncIterator[BaseChannel[Any]]:
    values = {"name": "bus", "kind": "rabbitmq", "servers": f"127.0.0.1:{port}", "tls": False, "routing_key": "events"}
    async with aclosing(open_channel("rabbitmq", values | changes, context)) as channel:
        yield channel


@pytest.mark.both_loops
class TestPublishing:
    async def test_the_queue_has_the_event_with_its_attributes(
        self, context: ChannelContext, server: Broker, admin: AbstractChannel
    ) -> None:
        queue = await admin.declare_queue("events", durable=True)
        async with channel_to(context, server.port) as channel:
            assert await send(channel) == Delivered(ref=single_event().id)
        message = await queue.get(no_ack=True)
        assert message.message_id == message.headers["cloudEvents:id"] == single_event().id
        assert message.headers["cloudEvents:type"] == message.type == "gaussdb.notifier.task.failed"
        assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
        assert message.content_type == "application/json"
        assert json.loads(message.body)["event_id"] == single_event().id
        await queue.delete(if_unused=False, if_empty=False)

    async def test_structured_has_all_of_it_in_the_message(
        self, context: ChannelContext, server: Broker, admin: AbstractChannel
    ) -> None:
        queue = await admin.declare_queue("events", durable=True)
        async with channel_to(context, server.port, format="structured") as channel:
            await send(channel)
            stored = delivery_for(channel).body
        message = await queue.get(no_ack=True)
        assert stored is not None
        assert (message.body, message.content_type) == (stored.content, "application/cloudevents+json")
        assert message.headers == {}
        await queue.delete(if_unused=False, if_empty=False)

    async def test_an_exchange_routes_by_type_and_severity(
        self, context: ChannelContext, server: Broker, admin: AbstractChannel
    ) -> None:
        exchange = await admin.declare_exchange("gaussdb", aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await admin.declare_queue("failures", durable=True, arguments={"x-queue-type": "quorum"})
        await queue.bind(exchange, "prod.error.task.failed")
        key = "{source}.{severity}.{type}"
        async with channel_to(context, server.port, exchange="gaussdb", routing_key=key) as channel:
            assert isinstance(await send(channel), Delivered)
        message = await queue.get(no_ack=True)
        assert message.routing_key == "prod.error.task.failed"
        await queue.delete(if_unused=False, if_empty=False)
        await exchange.delete(if_unused=False)

    async def test_one_connection_carries_many_messages_at_once(
        self, context: ChannelContext, server: Broker, admin: AbstractChannel
    ) -> None:
        queue = await admin.declare_queue("events", durable=True)
        async with channel_to(context, server.port) as channel:
            outcomes = await asyncio.gather(*(send(channel, event) for event in make_events(50)))
        assert all(isinstance(outcome, Delivered) for outcome in outcomes)
        assert (await queue.purge()).message_count == 50
        await queue.delete(if_unused=False, if_empty=False)


class TestRefusals:
    async def test_what_reaches_no_queue_parks_the_channel(self, context: ChannelContext, server: Broker) -> None:
        async with channel_to(context, server.port, routing_key="nowhere") as channel:
            outcome = await send(channel)
        assert isinstance(outcome, Parked)
        assert outcome.probe_after == timedelta(minutes=15)
        assert outcome.reason.startswith("the default exchange leads to no queue for the routing key")

    async def test_a_queue_that_is_made_later_gets_the_next_one(
        self, context: ChannelContext, server: Broker, admin: AbstractChannel
    ) -> None:
        async with channel_to(context, server.port, routing_key="later") as channel:
            assert isinstance(await send(channel), Parked)
            queue = await admin.declare_queue("later", durable=True)
            assert isinstance(await send(channel), Delivered)
        await queue.delete(if_unused=False, if_empty=False)

    async def test_a_full_queue_that_refuses_is_tried_again(
        self, context: ChannelContext, server: Broker, admin: AbstractChannel
    ) -> None:
        refusing: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
        queue = await admin.declare_queue("full", durable=True, arguments=refusing)
        async with channel_to(context, server.port, routing_key="full") as channel:
            outcomes = [await send(channel, event) for event in make_events(3)]
        assert isinstance(outcomes[0], Delivered)
        assert isinstance(outcomes[-1], Retry)
        assert outcomes[-1].reason.startswith("the broker did not take the message (basic.nack)")
        await queue.delete(if_unused=False, if_empty=False)

    async def test_an_exchange_that_is_not_there_parks_the_channel(
        self, context: ChannelContext, server: Broker
    ) -> None:
        async with channel_to(context, server.port, exchange="nowhere") as channel:
            outcome = await send(channel)
        assert isinstance(outcome, Parked)
        assert outcome.reason.startswith("there is no such exchange or queue")

    async def test_an_exchange_that_is_deleted_parks_the_channel(
        self, context: ChannelContext, server: Broker, admin: AbstractChannel
    ) -> None:
        exchange = await admin.declare_exchange("brief", durable=True)
        queue = await admin.declare_queue("brief", durable=True)
        await queue.bind(exchange, "events")
        async with channel_to(context, server.port, exchange="brief") as channel:
            assert isinstance(await send(channel), Delivered)
            await exchange.delete(if_unused=False)
            assert isinstance(await send(channel), Parked)
            exchange = await admin.declare_exchange("brief", durable=True)
            await queue.bind(exchange, "events")
            assert isinstance(await send(channel), Delivered), (
                "the channel of the connection was closed, and is made again"
            )
        await queue.delete(if_unused=False, if_empty=False)
        await exchange.delete(if_unused=False)

    async def test_a_wrong_password_parks_the_channel(self, context: ChannelContext, server: Broker) -> None:
        login = {"username": "guest", "password": "obviously-fake-password"}
        async with channel_to(context, server.port, **login) as channel:
            outcome = await send(channel)
        assert isinstance(outcome, Parked)
        assert outcome.reason.startswith("the broker refuses the login")
        assert "obviously-fake" not in repr(outcome)

    async def test_the_documented_rights_are_enough_and_no_more_is_possible(
        self, context: ChannelContext, server: Broker, admin: AbstractChannel
    ) -> None:
        exchange = await admin.declare_exchange("gaussdb", aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await admin.declare_queue("failures", durable=True)
        await queue.bind(exchange, "#")
        login = {"username": "notifier", "password": "obviously-fake-password"}
        server.control("add_user", *login.values())
        server.control("set_permissions", "-p", "/", "notifier", "^$", "^gaussdb$", "^$")
        async with channel_to(context, server.port, **login, exchange="gaussdb") as channel:
            assert isinstance(await send(channel), Delivered)
            assert all(result.ok for result in await channel.check())
        async with channel_to(context, server.port, **login, exchange="amq.topic") as channel:
            outcome = await send(channel)
        assert isinstance(outcome, Parked)
        assert outcome.reason.startswith("the user may not write there")
        await queue.delete(if_unused=False, if_empty=False)
        await exchange.delete(if_unused=False)

    async def test_an_unknown_virtual_host_parks_the_channel(self, context: ChannelContext, server: Broker) -> None:
        async with channel_to(context, server.port, virtual_host="nowhere") as channel:
            outcome = await send(channel)
        assert isinstance(outcome, Parked)
        assert outcome.reason.startswith("the user may not use the virtual host")


@pytest.mark.both_loops
class TestConnection:
    async def test_a_connection_lost_before_the_confirmation_leaves_it_open(
        self, context: ChannelContext, server: Broker, admin: AbstractChannel
    ) -> None:
        queue = await admin.declare_queue("events", durable=True)
        async with relay(server.port) as network, channel_to(context, network.port) as channel:
            assert isinstance(await send(channel), Delivered)
            network.freeze()
            sending = asyncio.create_task(send(channel, make_events(1)[0]))
            await network.swallowed.wait()
            network.cut()
            outcome = await sending
            assert isinstance(outcome, Unknown)
            assert isinstance(await send(channel), Delivered), "the next message makes a new connection"
        await queue.delete(if_unused=False, if_empty=False)

    async def test_a_confirmation_that_does_not_come_leaves_it_open(
        self, context: ChannelContext, server: Broker, admin: AbstractChannel
    ) -> None:
        queue = await admin.declare_queue("events", durable=True)
        async with relay(server.port) as network, channel_to(context, network.port, timeout="2s") as channel:
            assert isinstance(await send(channel), Delivered)
            network.freeze()
            outcome = await send(channel, make_events(1)[0])
            assert isinstance(outcome, Unknown)
            assert outcome.reason.startswith("no confirmation from rabbitmq at 127.0.0.1:")
            network.cut()
        await queue.delete(if_unused=False, if_empty=False)

    async def test_tls_verifies_the_broker(
        self, context: ChannelContext, server: Broker, admin: AbstractChannel, certificate: Certificate
    ) -> None:
        queue = await admin.declare_queue("events", durable=True)
        async with channel_to(context, server.tls_port, tls=True, ca_file=certificate.authority) as channel:
            assert isinstance(await send(channel), Delivered)
        async with channel_to(context, server.tls_port, tls=True) as stranger:
            outcome = await send(stranger)
        assert isinstance(outcome, Retry)
        assert outcome.reason.startswith("certificate of 127.0.0.1 not accepted")
        other_name = {"servers": f"localhost:{server.tls_port}", "tls": True, "ca_file": certificate.authority}
        async with channel_to(context, server.tls_port, **other_name) as misnamed:
            outcome = await send(misnamed)
        assert isinstance(outcome, Retry)
        assert "write the host as the certificate names it" in outcome.reason
        await queue.delete(if_unused=False, if_empty=False)

    async def test_a_broker_that_does_not_answer_is_tried_again(self, context: ChannelContext) -> None:
        async with HttpServer() as silent, channel_to(context, silent.port, timeout="200ms") as channel:
            outcome = await send(channel)
        assert isinstance(outcome, Retry)
        assert outcome.reason.startswith("no answer from rabbitmq at 127.0.0.1:")

    @pytest.mark.parametrize("answer", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["silent", "no broker"])
    async def test_a_connection_that_fails_is_closed(
        self, context: ChannelContext, answer: bytes | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[aio_pika.Connection] = []
        connect = aio_pika.Connection.connect

        async def noted(connection: aio_pika.Connection) -> None:
            made.append(connection)
            await connect(connection)

        monkeypatch.setattr(aio_pika.Connection, "connect", noted)

        async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer or b"")
            await reader.read()
            writer.close()

        server = await asyncio.start_server(reply, "127.0.0.1", 0)
        async with server, channel_to(context, server.sockets[0].getsockname()[1], timeout="200ms") as channel:
            assert isinstance(await send(channel), Retry)
        assert [connection.is_closed for connection in made] == [True]


class TestCheck:
    async def test_it_names_the_queue_and_publishes_nothing(
        self, context: ChannelContext, server: Broker, admin: AbstractChannel
    ) -> None:
        queue = await admin.declare_queue("events", durable=True)
        async with channel_to(context, server.port) as channel:
            found = await channel.check()
        assert [(one.ok, one.proven) for one in found] == [(True, True), (True, True)]
        assert found[1].detail == "the queue events is there"
        assert (await queue.purge()).message_count == 0
        await queue.delete(if_unused=False, if_empty=False)

    async def test_it_names_a_queue_that_is_not_there(self, context: ChannelContext, server: Broker) -> None:
        async with channel_to(context, server.port, routing_key="nowhere") as channel:
            found = await channel.check()
        assert not found[-1].ok
        assert found[-1].detail.startswith("there is no such exchange or queue")

    async def test_what_only_a_message_proves_is_marked(
        self, context: ChannelContext, server: Broker, admin: AbstractChannel
    ) -> None:
        exchange = await admin.declare_exchange("gaussdb", durable=True)
        async with channel_to(context, server.port, exchange="gaussdb") as channel:
            found = await channel.check()
        assert (found[1].ok, found[1].proven, found[1].remedy) == (True, False, "notifier test-send bus")
        await exchange.delete(if_unused=False)
