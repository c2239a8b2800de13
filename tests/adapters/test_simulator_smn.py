"""The simulated SMN: what it pushes to subscribers over a socket, proven with a verification of its own."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from fakes import FakeClock
from servers.http import Answer, HttpServer, Request, reply

from notifier.core.errors import ConfigurationError
from notifier.simulator import Options, Simulator

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CERTIFICATE = re.compile(r"/smn/SMN_cn-north-4_[0-9a-f]{32}\.pem")


class Subscriber(HttpServer):
    """Records what it gets, and answers as chosen: 200 when nothing is left to answer."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        self._arrived = asyncio.Event()

    def next_answer(self, request: Request) -> Answer:
        self.got.append(json.loads(request.body))
        self.headers.append(dict(request.headers))
        self._arrived.set()
        return reply(self.statuses.pop(0) if self.statuses else 200, b"")

    async def has(self, messages: int) -> None:
        """Wait until it has got so many messages."""
        async with asyncio.timeout(10):
            while len(self.got) < messages:
                self._arrived.clear()
                await self._arrived.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A simulator, a subscriber, and a plain client of the simulator."""

    simulator: Simulator
    subscriber: Subscriber
    client: httpx.AsyncClient

    @property
    def address(self) -> str:
        return self.subscriber.url("/doorbell/prod")

    async def steer(self, **command: Any) -> httpx.Response:
        """Do something, and wait until its messages have been sent."""
        found = await self.client.post("/_sim/smn", json=command)
        if not command.get("ring"):
            await self.simulator.cloud.publisher.sent()
        return found

    async def subscribe(self) -> None:
        await self.steer(subscribe=[self.address])
        reply = await self.client.get(self.subscriber.got[-1]["subscribe_url"])
        assert reply.status_code == 200


@pytest.fixture
async def push() -> AsyncIterator[Push]:
    async with AsyncExitStack() as stack:
        subscriber = await stack.enter_async_context(Subscriber())
        simulator = await stack.enter_async_context(Simulator(Options(static=2), FakeClock()))
        client = httpx.AsyncClient(base_url=simulator.url, trust_env=False, timeout=10, verify=NO_TLS)
        yield Push(simulator=simulator, subscriber=subscriber, client=await stack.enter_async_context(client))


async def verify(client: httpx.AsyncClient, message: dict[str, Any], *names: str) -> None:
    """Raise InvalidSignature unless the message is signed over these fields, in this order."""
    reply = await client.get(message["signing_cert_url"])
    key = x509.load_pem_x509_certificate(reply.content).public_key()
    assert isinstance(key, RSAPublicKey)
    covered = "".join(f"{name}\n{message[name]}\n" for name in names)
    key.verify(b64decode(message["signature"]), covered.encode(), PKCS1v15(), hashes.SHA256())


async def test_a_subscriber_is_asked_to_confirm_with_a_signed_message(push: Push) -> None:
    await push.steer(subscribe=[push.address])
    (asked,), (headers,) = push.subscriber.got, push.subscriber.headers
    assert asked["type"] == headers["x-smn-message-type"] == "SubscriptionConfirmation"
    assert headers["x-smn-message-id"] == asked["message_id"]
    topic = f"urn:smn:cn-north-4:{push.simulator.options.project_id}:gaussdb"
    assert headers["x-smn-topic-urn"] == asked["topic_urn"] == topic
    assert CERTIFICATE.fullmatch(httpx.URL(asked["signing_cert_url"]).path)
    await verify(push.client, asked, "message", "message_id", "subscribe_url", "timestamp", "topic_urn", "type")


async def test_messages_reach_a_subscriber_only_once_it_has_confirmed(push: Push) -> None:
    await push.steer(subscribe=[push.address], publish=[{"message": "too early"}])
    assert [message["type"] for message in push.subscriber.got] == ["SubscriptionConfirmation"]
    await push.client.get(push.subscriber.got[0]["subscribe_url"])
    state = (await push.steer(publish=[{"subject": "GaussDB", "message": "now ü"}])).json()["smn"]
    assert state["subscribers"] == {push.address: True}
    message = push.subscriber.got[-1]
    assert (message["type"], message["subject"], message["message"]) == ("Notification", "GaussDB", "now ü")
    await verify(push.client, message, "message", "message_id", "subject", "timestamp", "topic_urn", "type")
    with pytest.raises(InvalidSignature):
        await verify(push.client, {**message, "message": "x"}, "message", "message_id", "timestamp", "topic_urn")


async def test_an_empty_subject_is_not_signed(push: Push) -> None:
    await push.subscribe()
    await push.steer(publish=[{"message": "plain"}])
    message = push.subscriber.got[-1]
    assert message["subject"] == ""
    await verify(push.client, message, "message", "message_id", "timestamp", "topic_urn", "type")


@pytest.mark.parametrize(
    ("answers", "tries"), [([500, 503, 200], 3), ([500] * 9, 7), ([404], 1), ([302], 1), ([429], 1), ([202], 1)]
)
async def test_a_message_is_sent_again_only_after_a_5xx(push: Push, answers: list[int], tries: int) -> None:
    await push.subscribe()
    push.subscriber.statuses = list(answers)
    before = len(push.subscriber.got)
    await push.steer(publish=[{"message": "again"}])
    ids = [message["message_id"] for message in push.subscriber.got[before:]]
    assert (len(ids), len(set(ids))) == (tries, 1)


async def test_a_message_can_be_sent_twice(push: Push) -> None:
    await push.subscribe()
    await push.steer(publish=[{"message": "twice", "times": 2}])
    assert push.subscriber.got[-1] == push.subscriber.got[-2]


async def test_a_changed_task_rings(push: Push) -> None:
    await push.subscribe()
    await push.steer(ring=True)
    cloud = push.simulator.cloud
    row = {"job_id": "j-1", "name": "CreateGaussDBV5Instance", "status": "Running"}
    instance = {"instance_info": {"instance_id": "i-1", "instance_name": "orders-prod"}}
    for status in ("Running", "Running", "Failed"):
        cloud.world.put(row | instance | {"status": status})
    await push.subscriber.has(messages=3)
    bells = [json.loads(message["message"]) for message in push.subscriber.got[1:]]
    assert sorted(bell["status"] for bell in bells) == ["Failed", "Running"]
    assert {bell["instance_name"] for bell in bells} == {"orders-prod"}


async def test_an_address_is_asked_until_it_confirms(push: Push) -> None:
    clock = push.simulator.cloud.clock
    assert isinstance(clock, FakeClock)
    push.subscriber.statuses = [404]
    push.simulator.ring(push.address)
    await push.subscriber.has(messages=1)
    clock.advance(timedelta(seconds=6))
    await push.subscriber.has(messages=2)
    first, second = push.subscriber.got
    assert first["subscribe_url"] != second["subscribe_url"]
    assert (await push.client.get(first["subscribe_url"])).status_code == 400
    assert (await push.client.get(second["subscribe_url"])).status_code == 200
    with pytest.raises(ConfigurationError, match="cannot ring 'prod'; write http:// or https:// before it"):
        push.simulator.ring("prod")


async def test_a_confirmation_needs_its_token_within_two_days(push: Push) -> None:
    clock = push.simulator.cloud.clock
    assert isinstance(clock, FakeClock)
    await push.steer(subscribe=[push.address])
    url = push.subscriber.got[0]["subscribe_url"]
    wrong = await push.client.get("/smn/subscription/confirm", params={"token": "guessed"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "SMN.0007")
    clock.advance(timedelta(hours=49))
    assert (await push.client.get(url)).status_code == 400
    assert push.simulator.cloud.publisher.topic.confirmed() == []


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"subscribe": ["ftp://example.com/"]}, "SMN.0007"),
        ({"publish": [{"subject": "nothing"}]}, "SMN.0007"),
        ({"publish": ["text"]}, "SMN.0007"),
    ],
)
async def test_a_wrong_command_is_refused(push: Push, command: dict[str, Any], code: str) -> None:
    reply = await push.steer(**command)
    assert (reply.status_code, reply.json()["code"]) == (400, code)


async def test_without_the_library_it_says_what_to_install(push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "notifier.simulator.signing", None)
    refused = await push.steer(subscribe=[push.address])
    assert (refused.status_code, refused.json()["error_code"]) == (400, "SIM.0001")
    assert "install the extras: make extras" in refused.json()["error_msg"]
    with pytest.raises(ConfigurationError, match="library cryptography"):
        push.simulator.ring(push.address)


async def test_there_is_one_certificate(push: Push) -> None:
    name = push.simulator.cloud.publisher.topic.certificate
    both = [await push.client.get(f"{path}/{name}") for path in ("/smn", "/v2/notifications/certifications/download")]
    assert both[0].content == both[1].content
    assert both[0].content.startswith(b"-----BEGIN CERTIFICATE-----")
    assert (await push.client.get("/smn/SMN_cn-north-4_0.pem")).json()["code"] == "SMN.0006"
