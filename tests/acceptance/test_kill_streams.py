"""The real program, killed after a real broker took a message and before the program learned of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import nats
from servers.brokers import nats_server, rabbitmq_server
from servers.relay import Relay, relay
from servers.tls import Certificate
from test_kill import House, open_house


@asynccontextmanager
async def killed_before_the_answer(
    folder: Path, store_url: str, port: int, channel: dict[str, Any]
) -> AsyncIterator[House]:
    """Deliver one event, and another whose confirmation is lost with the process; then let a new process finish."""
    network: Relay
    async with relay(port) as network, open_house(folder, store_url) as house:
        servers = {"servers": f"127.0.0.1:{network.port}", "tls": False}
        house.configure(channels=[{"name": "hook"} | channel | servers])
        await house.start()
        await house.cloud.recorded()
        house.cloud.show({"a": "Failed"})
        await house.settled(1)
        network.mute()
        house.cloud.show({"b": "Failed"})
        await network.swallowed.wait()
        await house.kill_and_restart()
        await house.settled(2)
        yield house


async def test_a_stream_of_nats_has_each_event_once(tmp_path: Path, store_url: str) -> None:
    (tmp_path / "nats").mkdir()
    with nats_server(tmp_path / "nats") as broker:
        client = await nats.connect(f"nats://127.0.0.1:{broker.port}")
        stream = client.jetstream()
        await stream.add_stream(name="events", subjects=["gaussdb.>"])
        async with killed_before_the_answer(
            tmp_path, store_url, broker.port, {"kind": "nats", "subject": "gaussdb.{type}"}
        ) as house:
            state = (await stream.stream_info("events")).state
            assert (state.messages, state.last_seq) == (2, 2)
            repeated = [delivery for delivery in await house.deliveries() if delivery.ref == "events:2"]
            assert [delivery.attempt for delivery in repeated] == [2]
            assert "the stream had it already" in house.notifier("explain", "b").stdout
        await client.close()


async def test_a_queue_of_rabbitmq_has_a_repeat_with_the_same_id_and_bytes(
    tmp_path: Path, sqlite_url: str, certificate: Certificate
) -> None:
    (tmp_path / "rabbitmq").mkdir()
    with rabbitmq_server(tmp_path / "rabbitmq", certificate) as broker:
        admin = await aio_pika.connect(host="127.0.0.1", port=broker.port)
        async with admin:
            queue = await (await admin.channel()).declare_queue("events", durable=True)
            async with killed_before_the_answer(
                tmp_path, sqlite_url, broker.port, {"kind": "rabbitmq", "routing_key": "events"}
            ):
                found = [await queue.get(no_ack=True) for _ in range(3)]
                assert (await queue.purge()).message_count == 0
        assert found[0].message_id != found[1].message_id
        assert found[1].message_id == found[2].message_id
        assert (found[1].body, found[1].headers) == (found[2].body, found[2].headers)
