"""The NATS channel against a real server with JetStream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import nats
import pytest
from factories import make_events, open_channel
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StreamConfig
from servers.brokers import Broker, nats_server
from servers.http import HttpServer
from servers.relay import relay
from servers.tls import Certificate
from streams import delivery_for, send, single_event, stream_context

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.core.delivery import Delivered, GaveUp, Parked, Retry, Unknown
from notifier.http import HttpClient
from notifier.integrations.nats.channel import NatsChannel

PASSWORD = "obviously-fake-password"


@pytest.fixture
def context(http: HttpClient) -> ChannelContext:
    return stream_context(http)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with nats_server(tmp_path_factory.mktemp("nats")) as broker:
        yield broker


@pytest.fixture
async def stream(server: Broker) -> AsyncIterator[JetStreamContext]:
    """An empty stream `events` on the subjects `gaussdb.>`, with a short window for duplicates."""
    client = await nats.connect(f"nats://127.0.0.1:{server.port}")
    context = client.jetstream()
    config = StreamConfig(name="events", subjects=["gaussdb.>"], duplicate_window=60, retention=RetentionPolicy.LIMITS)
    await context.add_stream(config, max_msg_size=100_000)
    yield context
    await context.delete_stream("events")
    await client.close()


@asynccontextmanager
async def channel_to(context: ChannelContext, port: int, **changes: Any) -> AsyncIterator[BaseChannel[Any]]:
    values = {"name": "bus", "kind": "nats", "servers": f"127.0.0.1:{port}", "tls": False, "subject": "gaussdb.{type}"}
    async with aclosing(open_channel("nats", values | changes, context)) as channel:
        yield channel


@pytest.mark.both_loops
class TestPublishing:
    async def test_a_stream_has_the_event_with_its_attributes(
        self, context: ChannelContext, server: Broker, stream: JetStreamContext
    ) -> None:
        async with channel_to(context, server.port) as channel:
            outcome = await send(channel)
        assert outcome == Delivered(ref="events:1")
        message = await stream.get_msg("events", 1)
        assert message.subject == "gaussdb.task.failed"
        assert message.headers is not None
        assert message.headers["Nats-Msg-Id"] == message.headers["ce-id"] == single_event().id
        assert message.headers["ce-type"] == "gaussdb.notifier.task.failed"
        assert message.headers["content-type"] == "application/json"
        assert json.loads(message.data or b"")["event_id"] == single_event().id

    async def test_structured_has_all_of_it_in_the_message(
        self, context: ChannelContext, server: Broker, stream: JetStreamContext
    ) -> None:
        async with channel_to(context, server.port, format="structured") as channel:
            await send(channel)
            stored = delivery_for(channel).body
        message = await stream.get_msg("events", 1)
        assert stored is not None
        assert message.data == stored.content
        assert message.headers == {"Nats-Msg-Id": single_event().id, "content-type": "application/cloudevents+json"}

    async def test_a_repeat_is_stored_once_and_counts_as_delivered(
        self, context: ChannelContext, server: Broker, stream: JetStreamContext
    ) -> None:
        async with channel_to(context, server.port) as channel, channel_to(context, server.port) as other:
            assert await send(channel) == Delivered(ref="events:1")
            assert await send(other) == Delivered(ref="events:1", reason="the stream had it already")
        assert (await stream.stream_info("events")).state.messages == 1

    async def test_one_connection_carries_many_messages_at_once(
        self, context: ChannelContext, server: Broker, stream: JetStreamContext
    ) -> None:
        async with channel_to(context, server.port) as channel:
            outcomes = await asyncio.gather(*(send(channel, event) for event in make_events(50)))
        assert {outcome.ref for outcome in outcomes if isinstance(outcome, Delivered)} == {
            f"events:{number}" for number in range(1, 51)
        }
        assert (await stream.stream_info("events")).state.messages == 50


class TestRefusals:
    async def test_a_subject_that_no_stream_takes_parks_the_channel(
        self, context: ChannelContext, server: Broker
    ) -> None:
        async with channel_to(context, server.port, subject="nobody.takes.this") as channel:
            outcome = await send(channel)
        assert isinstance(outcome, Parked)
        assert outcome.probe_after == timedelta(minutes=15)
        assert outcome.reason.startswith("no stream takes nobody.takes.this: add it to the subjects of a stream")

    async def test_another_stream_than_the_wanted_one_parks_the_channel(
        self, context: ChannelContext, server: Broker, stream: JetStreamContext
    ) -> None:
        async with channel_to(context, server.port, stream="audit") as channel:
            outcome = await send(channel)
        assert isinstance(outcome, Parked)
        assert "check stream and subject" in outcome.reason
        assert (await stream.stream_info("events")).state.messages == 0

    @pytest.mark.usefixtures("stream")
    async def test_what_is_larger_than_the_stream_takes_is_given_up(
        self, context: ChannelContext, server: Broker
    ) -> None:
        async with channel_to(context, server.port) as channel:
            outcome = await send(channel, single_event(reason="x" * 120_000))
            assert isinstance(outcome, GaveUp)
            assert "10054" in outcome.reason
            assert isinstance(await send(channel), Delivered), "the next message is not affected"

    @pytest.mark.usefixtures("stream")
    async def test_what_is_larger_than_the_server_takes_is_given_up(
        self, context: ChannelContext, server: Broker
    ) -> None:
        async with channel_to(context, server.port) as channel:
            outcome = await send(channel, single_event(reason="x" * 1_100_000))
        assert isinstance(outcome, GaveUp)
        assert "max_payload" in outcome.reason

    async def test_a_full_stream_is_tried_again(
        self, context: ChannelContext, server: Broker, stream: JetStreamContext
    ) -> None:
        await stream.update_stream(name="events", subjects=["gaussdb.>"], max_msgs=1, discard="new")
        async with channel_to(context, server.port) as channel:
            first, second = [await send(channel, event) for event in make_events(2)]
        assert isinstance(first, Delivered)
        assert isinstance(second, Retry)
        assert "maximum messages exceeded" in second.reason


@pytest.mark.both_loops
class TestConnection:
    async def test_a_server_that_restarts_is_found_again(self, context: ChannelContext, tmp_path: Path) -> None:
        with nats_server(tmp_path) as broker:
            async with channel_to(context, broker.port) as channel:
                admin = await nats.connect(f"nats://127.0.0.1:{broker.port}")
                await admin.jetstream().add_stream(name="events", subjects=["gaussdb.>"])
                await admin.close()
                assert isinstance(await send(channel), Delivered)
                broker.stop()
                assert isinstance(await send(channel), Unknown), "nothing has said yet that it is gone"
                outcome = await send(channel)
                assert isinstance(outcome, Retry)
                assert outcome.reason == "connection refused by 127.0.0.1"
                broker.restart()
                assert await send(channel) == Delivered(ref="events:1", reason="the stream had it already")

    @pytest.mark.usefixtures("stream")
    async def test_a_connection_lost_before_the_acknowledgement_leaves_it_open(
        self, context: ChannelContext, server: Broker
    ) -> None:
        async with relay(server.port) as network, channel_to(context, network.port) as channel:
            assert isinstance(await send(channel), Delivered)
            network.freeze()
            sending = asyncio.create_task(send(channel, make_events(1)[0]))
            await network.swallowed.wait()
            network.cut()
            outcome = await sending
        assert isinstance(outcome, Unknown)
        assert "ended before the message was acknowledged" in outcome.reason

    @pytest.mark.usefixtures("stream")
    async def test_an_acknowledgement_that_does_not_come_leaves_it_open(
        self, context: ChannelContext, server: Broker
    ) -> None:
        async with relay(server.port) as network, channel_to(context, network.port, timeout="1500ms") as channel:
            assert isinstance(await send(channel), Delivered)
            network.freeze()
            outcome = await send(channel, make_events(1)[0])
        assert isinstance(outcome, Unknown)
        assert outcome.reason.startswith("no confirmation from nats at 127.0.0.1:")

    @pytest.mark.usefixtures("stream")
    async def test_the_next_server_is_tried_where_one_is_down(self, context: ChannelContext, server: Broker) -> None:
        servers = ["127.0.0.1:9", f"127.0.0.1:{server.port}"]
        async with channel_to(context, 9, servers=servers) as channel:
            assert isinstance(await send(channel), Delivered)

    @pytest.mark.usefixtures("stream")
    async def test_the_next_server_is_tried_where_one_is_silent(self, context: ChannelContext, server: Broker) -> None:
        async with HttpServer() as silent:
            servers = [f"127.0.0.1:{silent.port}", f"127.0.0.1:{server.port}"]
            async with channel_to(context, 9, servers=servers, timeout="3s") as channel:
                assert isinstance(await send(channel), Delivered)

    async def test_a_server_that_is_silent_is_named(self, context: ChannelContext) -> None:
        async with HttpServer() as silent, channel_to(context, silent.port, timeout="300ms") as channel:
            outcome = await send(channel)
        assert outcome == Retry(f"no answer from nats at 127.0.0.1:{silent.port} within 0.3 s")

    @pytest.mark.usefixtures("stream")
    async def test_a_late_failure_leaves_a_later_connection_alone(
        self, context: ChannelContext, server: Broker
    ) -> None:
        async with channel_to(context, server.port) as channel:
            assert isinstance(channel, NatsChannel)
            first = await channel._connected()
            await first.client.close()
            second = await channel._connected()
            assert second is not first
            channel._outcome(RuntimeError("late"), first, sent=True)
            assert await channel._connected() is second
            channel._outcome(RuntimeError("now"), second, sent=True)
            assert await channel._connected() is not second

    async def test_the_address_rule_holds(self, context: ChannelContext) -> None:
        async with channel_to(context, 0, servers="169.254.169.254:4222") as channel:
            outcome = await send(channel)
        assert isinstance(outcome, Parked)
        assert "169.254.169.254 refused" in outcome.reason

    @pytest.mark.parametrize(
        ("options", "login"),
        [
            (("--user", "notifier", "--pass", PASSWORD), {"username": "notifier", "password": PASSWORD}),
            (("--auth", PASSWORD), {"token": PASSWORD}),
        ],
    )
    async def test_it_logs_in(
        self, context: ChannelContext, tmp_path: Path, options: tuple[str, ...], login: dict[str, str]
    ) -> None:
        with nats_server(tmp_path, *options) as broker:
            async with channel_to(context, broker.port, **login) as channel:
                assert isinstance(await send(channel), Parked), "there is no stream, which only a user can find out"
                assert (await channel.check())[0].ok
            wrong = {key: "another" if value == PASSWORD else value for key, value in login.items()}
            for refused in (wrong, {}):
                async with channel_to(context, broker.port, **refused) as channel:
                    outcome = await send(channel)
                assert isinstance(outcome, Parked)
                assert outcome.reason.startswith("the server refuses the login")
                assert "another" not in outcome.reason

    async def test_tls_verifies_the_server_and_shows_a_certificate(
        self, context: ChannelContext, certificate: Certificate, tmp_path: Path
    ) -> None:
        certificate.chain.chmod(0o600)
        files = ("--tls", "--tlscert", str(certificate.chain), "--tlskey", str(certificate.chain))
        asks = ("--tlsverify", "--tlscacert", str(certificate.authority))
        with nats_server(tmp_path, *files, *asks) as broker:
            trust = {"tls": True, "ca_file": certificate.authority}
            async with channel_to(context, broker.port, **trust, cert_file=certificate.chain) as channel:
                assert (await channel.check())[0].ok
            async with channel_to(context, broker.port, tls=True) as stranger:
                outcome = await send(stranger)
            assert isinstance(outcome, Retry)
            assert outcome.reason.startswith("certificate of 127.0.0.1 not accepted")
            other_name = {"servers": f"localhost:{broker.port}", **trust, "cert_file": certificate.chain}
            async with channel_to(context, broker.port, **other_name) as misnamed:
                outcome = await send(misnamed)
            assert isinstance(outcome, Retry)
            assert "write the host as the certificate names it" in outcome.reason
            async with channel_to(context, broker.port) as plain:
                outcome = await send(plain)
            assert not isinstance(outcome, Delivered | Unknown)


RIGHTS = """
authorization: {
  users: [
    {user: admin, password: admin}
    {user: notifier, password: obviously-fake-password,
     permissions: {publish: ["gaussdb.>", "$JS.API.STREAM.NAMES"], subscribe: "_INBOX.>"}}
  ]
}
"""
"""As docs/channels/nats.md has them."""


class TestRights:
    async def test_the_documented_ones_are_enough_and_no_more_is_possible(
        self, context: ChannelContext, tmp_path: Path
    ) -> None:
        config = tmp_path / "nats.conf"
        config.write_text(RIGHTS)
        login = {"username": "notifier", "password": PASSWORD}
        with nats_server(tmp_path, "-c", str(config)) as broker:
            admin = await nats.connect(f"nats://admin:admin@127.0.0.1:{broker.port}")
            await admin.jetstream().add_stream(name="events", subjects=["gaussdb.>", "other.>"])
            async with channel_to(context, broker.port, **login) as channel:
                assert isinstance(await send(channel), Delivered)
                assert all(result.ok for result in await channel.check())
            async with channel_to(context, broker.port, **login, subject="other.Events") as channel:
                assert await send(channel) == Parked(
                    "the user may not publish to other.Events: allow it", timedelta(minutes=15)
                )
            info = await admin.jetstream().stream_info("events")
            await admin.close()
        assert info.state.messages == 1

    async def test_without_the_right_to_ask_the_check_knows_less(self, context: ChannelContext, tmp_path: Path) -> None:
        config = tmp_path / "nats.conf"
        config.write_text(RIGHTS.replace(', "$JS.API.STREAM.NAMES"', ""))
        login = {"username": "notifier", "password": PASSWORD}
        with nats_server(tmp_path, "-c", str(config)) as broker:
            async with channel_to(context, broker.port, **login, timeout="3s") as channel:
                found = await channel.check()
        assert [(one.ok, one.proven) for one in found] == [(True, True), (True, False)]
        assert found[1].detail.startswith("not known whether a stream takes gaussdb.task.failed")
        assert found[1].remedy == "notifier test-send bus"


class TestCheck:
    async def test_it_names_the_stream_and_publishes_nothing(
        self, context: ChannelContext, server: Broker, stream: JetStreamContext
    ) -> None:
        async with channel_to(context, server.port) as channel:
            found = await channel.check()
        assert [(one.ok, one.proven) for one in found] == [(True, True), (True, False)]
        what = "the stream events takes gaussdb.task.failed, and recognises repeats for 60 s only"
        assert (found[1].detail, found[1].remedy) == (what, "nats stream edit events --dupe-window 24h")
        assert (await stream.stream_info("events")).state.messages == 0

    async def test_a_long_window_is_fine(
        self, context: ChannelContext, server: Broker, stream: JetStreamContext
    ) -> None:
        await stream.update_stream(name="events", subjects=["gaussdb.>"], duplicate_window=24 * 3600)
        async with channel_to(context, server.port) as channel:
            found = await channel.check()
        assert [(one.ok, one.proven) for one in found] == [(True, True), (True, True)]
        assert found[1].detail == "the stream events takes gaussdb.task.failed"

    async def test_it_names_a_subject_that_no_stream_takes(self, context: ChannelContext, server: Broker) -> None:
        async with channel_to(context, server.port, subject="nobody.takes.this") as channel:
            found = await channel.check()
        assert (found[1].ok, found[1].detail) == (False, "no stream takes nobody.takes.this")
        assert found[1].remedy
