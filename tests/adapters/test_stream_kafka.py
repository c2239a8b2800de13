"""The Kafka channel against the broker that librdkafka brings along, read back with its consumer.

That broker speaks Kafka's protocol and keeps records in memory. It is not Apache Kafka: it has no logins, no TLS and no
lost leaders, and makes every topic. Those are tested by servers that refuse, and by the errors of the client.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from struct import pack, unpack
from typing import Any

import pytest
from aiokafka import errors
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from factories import make_events, open_channel
from servers.http import HttpServer
from servers.tls import Certificate
from streams import delivery_for, send, single_event, stream_context

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.core.delivery import Delivered, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.http import HttpClient
from notifier.integrations.kafka.channel import KafkaChannel


@pytest.fixture
def context(http: HttpClient) -> ChannelContext:
    return stream_context(http)


class MemoryBroker:
    """The broker of librdkafka, which lives as long as the client that started it."""

    def __init__(self) -> None:
        self._client: AdminClient | None = AdminClient({"test.mock.num.brokers": 1, "bootstrap.servers": "unused"})
        (broker,) = self._client.list_topics(timeout=10).brokers.values()
        self.port: int = broker.port

    def stop(self) -> None:
        self._client = None

    def records(self, count: int) -> Sequence[Message]:
        """Read records of the topic `events` from its beginning."""
        assert self._client is not None
        partitions = self._client.list_topics("events", timeout=10).topics["events"].partitions
        consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{self.port}", "group.id": "reader"})
        consumer.assign([TopicPartition("events", number, OFFSET_BEGINNING) for number in partitions])
        try:
            return consumer.consume(count, timeout=20)
        finally:
            consumer.close()


def headers_of(record: Message) -> dict[str, str]:
    found = record.headers()
    assert isinstance(found, list)
    return {name: value.decode() for name, value in found if isinstance(value, bytes)}


@pytest.fixture
def broker() -> Iterator[MemoryBroker]:
    started = MemoryBroker()
    yield started
    started.stop()


@asynccontextmanager
async def channel_to(context: ChannelContext, port: int, **changes: Any) -> AsyncIterator[BaseChannel[Any]]:
    values = {"name": "bus", "kind": "kafka", "servers": f"127.0.0.1:{port}", "tls": False, "topic": "events"}
    async with aclosing(open_channel("kafka", values | changes, context)) as channel:
        yield channel


@pytest.mark.both_loops
class TestPublishing:
    async def test_the_topic_has_the_event_with_its_attributes(
        self, context: ChannelContext, broker: MemoryBroker
    ) -> None:
        async with channel_to(context, broker.port) as channel:
            outcome = await send(channel)
        assert isinstance(outcome, Delivered)
        assert outcome.ref is not None
        assert outcome.ref.startswith("events-")
        assert outcome.ref.endswith("@0")
        (record,) = await asyncio.to_thread(broker.records, 1)
        headers = headers_of(record)
        assert headers["ce_id"] == single_event().id
        assert headers["ce_type"] == "gaussdb.notifier.task.failed"
        assert headers["content-type"] == "application/json"
        assert record.key() == single_event().subject.encode()
        assert json.loads(record.value() or b"")["event_id"] == single_event().id

    async def test_structured_has_all_of_it_in_the_record(self, context: ChannelContext, broker: MemoryBroker) -> None:
        async with channel_to(context, broker.port, format="structured") as channel:
            await send(channel)
            stored = delivery_for(channel).body
        (record,) = await asyncio.to_thread(broker.records, 1)
        assert stored is not None
        assert record.value() == stored.content
        assert headers_of(record) == {"content-type": "application/cloudevents+json"}

    async def test_records_of_a_task_are_in_one_partition_in_order(
        self, context: ChannelContext, broker: MemoryBroker
    ) -> None:
        async with channel_to(context, broker.port) as channel:
            refs = [outcome.ref for _ in range(5) if isinstance(outcome := await send(channel), Delivered)]
        partitions, offsets = zip(*(str(ref).split("@") for ref in refs), strict=True)
        assert len(set(partitions)) == 1
        assert offsets == ("0", "1", "2", "3", "4")

    async def test_many_at_once_are_all_there(self, context: ChannelContext, broker: MemoryBroker) -> None:
        events = make_events(50)
        async with channel_to(context, broker.port) as channel:
            outcomes = await asyncio.gather(*(send(channel, event) for event in events))
        assert all(isinstance(outcome, Delivered) for outcome in outcomes)
        found = await asyncio.to_thread(broker.records, 50)
        assert {headers_of(record)["ce_id"] for record in found} == {event.id for event in events}

    async def test_what_is_larger_than_the_client_takes_is_given_up(
        self, context: ChannelContext, broker: MemoryBroker
    ) -> None:
        async with channel_to(context, broker.port) as channel:
            outcome = await send(channel, single_event(reason="x" * 1_100_000))
            assert isinstance(outcome, GaveUp)
            assert isinstance(await send(channel), Delivered), "the next message is not affected"


@pytest.mark.both_loops
class TestConnection:
    async def test_a_broker_that_does_not_answer_is_tried_again(self, context: ChannelContext) -> None:
        async with HttpServer() as silent, channel_to(context, silent.port, timeout="300ms") as channel:
            outcome = await send(channel)
        assert isinstance(outcome, Retry)
        assert "kafka at 127.0.0.1:" in outcome.reason

    async def test_an_answer_that_does_not_come_leaves_it_open(
        self, context: ChannelContext, broker: MemoryBroker
    ) -> None:
        async with channel_to(context, broker.port, timeout="3s") as channel:
            assert isinstance(await send(channel), Delivered)
            broker.stop()
            outcome = await send(channel, make_events(1)[0])
        assert isinstance(outcome, Unknown)
        assert outcome.reason.startswith("no confirmation from kafka at 127.0.0.1:")

    async def test_the_check_counts_partitions(self, context: ChannelContext, broker: MemoryBroker) -> None:
        async with channel_to(context, broker.port) as channel:
            found = await channel.check()
        assert [(one.ok, one.proven) for one in found] == [(True, True), (True, True)]
        assert found[1].detail.startswith("the topic events has ")


class Doorkeeper:
    """Speaks as much of Kafka's protocol as a login takes, and refuses it.

    The fields of a request are its key, its version and its number, of a reply the number and what the protocol has
    for the key: 18 lists the requests that are known, 17 the mechanisms, 36 is the login itself.
    """

    def __init__(self, *, mechanism_error: int = 0) -> None:
        self.tokens: list[bytes] = []
        self._mechanism_error = mechanism_error

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (size,) = unpack(">i", await reader.readexactly(4))
                request = await reader.readexactly(size)
                key, _, number = unpack(">hhi", request[:8])
                reply = pack(">i", number) + self._reply(key, request)
                writer.write(pack(">i", len(reply)) + reply)
        writer.close()

    def _reply(self, key: int, request: bytes) -> bytes:
        if key == 18:
            return pack(">hi", 0, 3) + b"".join(pack(">hhh", *known) for known in ((18, 0, 0), (17, 0, 1), (36, 0, 0)))
        if key == 17:
            return pack(">hi", self._mechanism_error, 1) + pack(">h", 5) + b"PLAIN"
        self.tokens.append(request)
        return pack(">h", 58) + pack(">h", 6) + b"denied" + pack(">i", 0)


@asynccontextmanager
async def doorkeeper(**how: int) -> AsyncIterator[tuple[Doorkeeper, int]]:
    keeper = Doorkeeper(**how)
    server = await asyncio.start_server(keeper.serve, "127.0.0.1", 0)
    async with server:
        yield keeper, server.sockets[0].getsockname()[1]


LOGIN = {"username": "notifier", "password": "obviously-fake-password"}


class TestRefusals:
    async def test_a_refused_login_parks_the_channel(self, context: ChannelContext) -> None:
        async with (
            doorkeeper() as (keeper, port),
            channel_to(context, port, **LOGIN, sasl_mechanism="plain") as channel,
        ):
            outcome = await send(channel)
        assert isinstance(outcome, Parked)
        assert outcome.reason.startswith("the broker refuses the login: check it and sasl_mechanism")
        assert "denied" in outcome.reason
        assert "obviously-fake" not in repr(outcome)
        assert keeper.tokens[0].endswith(b"\0notifier\0obviously-fake-password")

    async def test_a_mechanism_that_the_broker_lacks_parks_the_channel(self, context: ChannelContext) -> None:
        async with doorkeeper(mechanism_error=33) as (keeper, port), channel_to(context, port, **LOGIN) as channel:
            outcome = await send(channel)
        assert isinstance(outcome, Parked)
        assert outcome.reason.startswith("the broker refuses the login: check it and sasl_mechanism")
        assert keeper.tokens == []

    async def test_a_certificate_that_is_not_trusted_is_named(
        self, context: ChannelContext, certificate: Certificate
    ) -> None:
        async with HttpServer(tls=certificate.server_context()) as server:
            async with channel_to(context, server.port, tls=True) as channel:
                outcome = await send(channel)
            async with channel_to(
                context, server.port, tls=True, ca_file=certificate.authority, timeout="500ms"
            ) as trusting:
                silent = await send(trusting)
        assert isinstance(outcome, Retry)
        assert outcome.reason.startswith("certificate of 127.0.0.1 not accepted")
        assert isinstance(silent, Retry)
        assert "certificate" not in silent.reason


@pytest.mark.parametrize(
    ("error", "unsent", "sent"),
    [
        (errors.MessageSizeTooLargeError(), GaveUp, GaveUp),
        (errors.TopicAuthorizationFailedError("events"), Parked, Parked),
        (errors.SaslAuthenticationFailed(), Parked, Parked),
        (errors.UnknownTopicOrPartitionError(), Parked, Parked),
        (errors.NotEnoughReplicasError(), Retry, Retry),
        (errors.NotEnoughReplicasAfterAppendError(), Retry, Unknown),
        (errors.KafkaTimeoutError(), Retry, Unknown),
        (errors.RequestTimedOutError(), Retry, Unknown),
        (errors.OutOfOrderSequenceNumber(), Retry, Unknown),
        (errors.KafkaConnectionError(), Retry, Unknown),
        (RuntimeError("of a kind that nobody documents"), Retry, Unknown),
    ],
    ids=repr,
)
async def test_an_error_means(
    context: ChannelContext, error: Exception, unsent: type[Outcome], sent: type[Outcome]
) -> None:
    async with channel_to(context, 9) as channel:
        assert isinstance(channel, KafkaChannel)
        assert isinstance(channel._outcome(error, None, sent=False), unsent)
        assert isinstance(channel._outcome(error, None, sent=True), sent)
