"""Requests to the doorbell over a real socket: who may ring, and what everybody else is answered."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fakes import START, FakeClock, FakeSource
from servers.http import Answer, HttpServer, Request, flood, reply, silence
from servers.smn_push import CERTIFICATE_PATH, CONFIRM_PATH, TOPIC, Push, certificate_of, rsa_key
from standardwebhooks import Webhook
from starlette.applications import Starlette

from notifier.chat.endpoints import BODY_LIMIT
from notifier.core.errors import StoreUnreachable
from notifier.core.health_facts import ConfiguredSource
from notifier.core.polling import PollRules
from notifier.core.routing import RoutingConfig
from notifier.http import HttpClient
from notifier.integrations.smn import certificates
from notifier.integrations.smn import doorbell as smn
from notifier.integrations.smn.certificates import FETCHES, MAX_CERTIFICATES, Certificates
from notifier.integrations.smn.doorbell import SmnCaller, SmnRules
from notifier.integrations.webhook.incoming import WebhookCaller
from notifier.logs import RejectionLog
from notifier.poll import poll_once
from notifier.store.engine import SqlStore, open_store
from notifier.telemetry.ports import NoMeters
from notifier.web.access.addresses import TrustedProxies
from notifier.web.access.throttle import PER_ADDRESS
from notifier.web.doorbell import CALLS, DoorbellRoutes, DoorbellRules, TokenCaller
from notifier.web.server import Server

TOKEN, OLD_TOKEN = "t" * 32, "u" * 32
SECRET, OLD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDAAAA"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PROJECT = FakeSource.project_id
SOURCES = [
    ConfiguredSource(name=name, region=region, project_id=project, poll_every=timedelta(minutes=10))
    for name, region, project in (
        ("prod", "cn-north-4", PROJECT),
        ("prod-alarms", "cn-north-4", PROJECT),
        ("lab", "cn-north-4", "lab"),
        ("far", "ap-southeast-3", PROJECT),
    )
]


class SmnServer(HttpServer):
    """Where certificates are and subscriptions are confirmed: answers by path."""

    def __init__(self, **answers: Answer) -> None:
        super().__init__()
        self.by_path = answers

    def next_answer(self, request: Request) -> Answer:
        path = request.target.partition("?")[0]
        return self.by_path["certificate" if path.endswith(".pem") else "confirm"]

    @property
    def origin(self) -> str:
        return self.url("")

    def asked(self, what: str) -> int:
        return sum(request.target.startswith(what) for request in self.requests)


@dataclass
class CountingMeters(NoMeters):
    """Remembers what was counted of the doorbell."""

    rings: list[tuple[str, str]] = field(default_factory=list)

    def rang(self, caller: str, outcome: str) -> None:
        self.rings.append((caller, outcome))


@dataclass(frozen=True, kw_only=True)
class Door:
    """A doorbell that listens, and what is behind it."""

    client: httpx.AsyncClient
    store: SqlStore
    clock: FakeClock
    smn: SmnServer
    push: Push
    meters: CountingMeters

    async def ring(self, path: str = "/doorbell/prod", **request: Any) -> httpx.Response:
        return await self.client.post(path, **request)

    async def due(self) -> Sequence[str]:
        return await self.store.read(lambda q: q.due_sources())

    def again(self, **changes: Any) -> Push:
        return replace(self.push, **{"now": self.clock.now()} | changes)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa_key()


@asynccontextmanager
async def listening(store: SqlStore, clock: FakeClock, key: rsa.RSAPrivateKey, **changes: Any) -> AsyncIterator[Door]:
    """Open a doorbell for sources that have been polled and are not due."""
    for configured in SOURCES:
        source = FakeSource(clock, name=configured.name)
        source.region, source.project_id = configured.region, configured.project_id
        rules = PollRules(
            poll_every=configured.poll_every,
            lease=timedelta(seconds=15),
            configured=frozenset(one.name for one in SOURCES),
        )
        await poll_once(source, store, owner="me", rules=rules, routing=RoutingConfig())
    clock.advance(timedelta(minutes=1))
    meters = CountingMeters()
    rejections = RejectionLog("doorbell.requests_refused", logger="notifier.web", seconds=clock.monotonic)
    async with (
        aclosing(HttpClient(deny=changes.pop("deny", ()))) as http,
        SmnServer(certificate=reply(200, certificate_of(key)), confirm=reply(200, b"<html>")) as cloud,
    ):
        callers = changes.pop(
            "callers",
            (
                SmnCaller(SmnRules(topics={TOPIC}, origins={cloud.origin}), http, clock),
                WebhookCaller([SECRET, OLD_SECRET]),
                TokenCaller([TOKEN, OLD_TOKEN]),
            ),
        )
        behind = changes.pop("behind", store)
        rules_of_door = DoorbellRules(sources=SOURCES, **changes)
        routes = DoorbellRoutes(rules_of_door, callers, behind, clock, rejections=rejections, meters=meters).routes()
        server_log = RejectionLog("x", logger="notifier.web", seconds=clock.monotonic)
        async with (
            Server(Starlette(routes=routes), "127.0.0.1", 0, rejections=server_log) as server,
            httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
        ):
            push = Push(key=key, origin=cloud.origin, now=clock.now())
            yield Door(client=client, store=store, clock=clock, smn=cloud, push=push, meters=meters)


@pytest.fixture
async def door(store: SqlStore, clock: FakeClock, key: rsa.RSAPrivateKey) -> AsyncIterator[Door]:
    async with listening(store, clock, key) as found:
        yield found


@pytest.fixture
async def light_store(sqlite_url: str, clock: FakeClock) -> AsyncIterator[SqlStore]:
    async with aclosing(open_store(sqlite_url, now=clock.now)) as found:
        yield found


@pytest.fixture
async def light_door(light_store: SqlStore, clock: FakeClock, key: rsa.RSAPrivateKey) -> AsyncIterator[Door]:
    """Return a doorbell on SQLite, for what does not depend on the database."""
    async with listening(light_store, clock, key) as found:
        yield found


def signed(
    body: bytes = b"{}", at: datetime = START + timedelta(minutes=1), message_id: str = "msg_1", secret: str = SECRET
) -> dict[str, Any]:
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body.decode()),
    }
    return {"headers": headers, "content": body}


def problem(response: httpx.Response) -> tuple[int, str]:
    """Return the status and the sentence of a refusal, which is a problem document."""
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["detail"]


# ---- a token ----


async def test_a_token_rings_for_a_source(door: Door, records: io.StringIO) -> None:
    answer = await door.ring(headers=BEARER)
    assert answer.status_code == 202
    at = door.clock.now().isoformat()
    rung = {"source": "prod", "effect": "due", "next_poll_at": at}
    assert answer.json() == {"repeated": False, "sources": 1, "rings": [rung]}
    assert await door.due() == ["prod"]
    assert (await door.ring(headers=BEARER)).json()["rings"] == [rung | {"effect": "joined"}]
    assert door.meters.rings == [("token", "rung")] * 2
    assert '"event": "doorbell.rung"' in records.getvalue()
    assert TOKEN not in records.getvalue()


@pytest.mark.parametrize("token", [TOKEN, OLD_TOKEN])
async def test_each_of_the_tokens_rings(light_door: Door, token: str) -> None:
    assert (await light_door.ring(headers={"authorization": f"bearer {token}"})).status_code == 202


@pytest.mark.parametrize(
    ("path", "rung"),
    [
        ("/doorbell", ["far", "lab", "prod", "prod-alarms"]),
        ("/doorbell?region=cn-north-4", ["lab", "prod", "prod-alarms"]),
        (f"/doorbell?region=cn-north-4&project_id={PROJECT}", ["prod", "prod-alarms"]),
        ("/doorbell?project_id=lab", ["lab"]),
        ("/doorbell/far", ["far"]),
    ],
)
async def test_the_address_chooses_the_sources(light_door: Door, path: str, rung: list[str]) -> None:
    answer = await light_door.ring(path, headers=BEARER)
    assert [one["source"] for one in answer.json()["rings"]] == rung
    assert sorted(await light_door.due()) == rung


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/doorbell/unknown", 404),
        ("/doorbell/prod%0A", 404),
        ("/doorbell/%00", 404),
        ("/doorbell?region=mars", 404),
        ("/doorbell?instance=a", 400),
        ("/doorbell?region=a&region=b", 400),
        ("/doorbell/prod?region=cn-north-4", 400),
    ],
)
async def test_a_wrong_address_is_explained_to_those_alone_who_may_ring(
    light_door: Door, path: str, status: int
) -> None:
    answer = await light_door.ring(path, headers=BEARER)
    assert problem(answer)[0] == status
    assert (await light_door.ring(path)).status_code == 401
    assert await light_door.due() == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer \xe9\xff"},
        {"Cookie": f"token={TOKEN}"},
        {"Authorization": f"Bearer {SECRET}"},
    ],
)
async def test_who_has_no_token_learns_how_to_prove_it(light_door: Door, headers: Mapping[str, str]) -> None:
    sent = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = await light_door.ring(headers=sent)
    assert answer.status_code == 401
    assert "doorbell" in problem(answer)[1]
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert await light_door.due() == []


async def test_other_methods_ring_nothing(light_door: Door) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert (await light_door.client.request(method, "/doorbell/prod", headers=BEARER)).status_code == 405
    assert await light_door.due() == []


async def test_the_body_means_nothing(light_door: Door) -> None:
    body = json.dumps({"source": "far", "sources": ["lab"], "region": "ap-southeast-3"}).encode()
    assert (await light_door.ring(headers=BEARER, content=body)).status_code == 202
    assert (await light_door.ring(headers=BEARER, data={"source": "far"})).status_code == 202
    assert await light_door.due() == ["prod"]


async def test_a_huge_body_is_refused(light_door: Door) -> None:
    for headers in (BEARER, {}):
        answer = await light_door.ring(content=bytes(BODY_LIMIT + 1), headers=headers)
        assert problem(answer) == (413, "the body is too large")
    assert (await light_door.ring(content=bytes(BODY_LIMIT), headers=BEARER)).status_code == 202


async def test_one_caller_that_rings_too_often_is_slowed_down(light_door: Door) -> None:
    for _ in range(CALLS.burst):
        assert (await light_door.ring(headers=BEARER)).status_code == 202
    refused = await light_door.ring(headers=BEARER)
    assert problem(refused) == (429, "this caller rings too often")
    assert refused.headers["Retry-After"] == "1"
    other = {"Authorization": f"Bearer {OLD_TOKEN}"}
    assert (await light_door.ring(headers=other)).status_code == 202
    light_door.clock.advance(timedelta(seconds=1))
    assert (await light_door.ring(headers=BEARER)).status_code == 202


async def test_strangers_are_slowed_down_and_lock_nobody_out(light_door: Door, records: io.StringIO) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    found = [(await light_door.ring(headers=wrong)).status_code for _ in range(PER_ADDRESS.burst + 2)]
    assert found == [401] * PER_ADDRESS.burst + [429] * 2
    assert (await light_door.ring(headers=BEARER)).status_code == 202
    assert light_door.meters.rings.count(("token", "unproven")) == len(found)
    (line,) = [line for line in records.getvalue().splitlines() if "doorbell.requests_refused" in line]
    assert json.loads(line)["reasons"] == "unproven (1)"


async def test_strangers_behind_a_trusted_proxy_are_told_apart(
    light_store: SqlStore, clock: FakeClock, key: rsa.RSAPrivateKey
) -> None:
    trusted = TrustedProxies((ip_network("127.0.0.1"),))
    async with listening(light_store, clock, key, trusted=trusted) as door:
        for _ in range(PER_ADDRESS.burst):
            assert (await door.ring(headers={"X-Forwarded-For": "192.0.2.1"})).status_code == 401
        assert (await door.ring(headers={"X-Forwarded-For": "192.0.2.1"})).status_code == 429
        assert (await door.ring(headers={"X-Forwarded-For": "192.0.2.2"})).status_code == 401


async def test_a_database_that_does_not_answer_asks_to_call_again(
    light_store: SqlStore, clock: FakeClock, key: rsa.RSAPrivateKey
) -> None:
    class Unreachable:
        async def transact(self, fn: object, *, short: bool = False) -> Any:  # noqa: ARG002 - as a store has it
            raise StoreUnreachable("no route")

        read = transact

    async with listening(light_store, clock, key, behind=Unreachable()) as door:
        refused = await door.ring(headers=BEARER)
        assert problem(refused)[0] == 503
        assert refused.headers["Retry-After"] == "5"
        assert "route" not in refused.text


# ---- Standard Webhooks ----


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
async def test_a_signed_request_rings_once(door: Door, secret: str) -> None:
    """Whoever gets no answer sends it again, signed once more: that is the same request."""
    request = signed('{"ünicode": 1}'.encode(), secret=secret)
    assert (await door.ring(**request)).status_code == 202
    assert await door.due() == ["prod"]
    again = await door.ring(**signed(b"other", at=door.clock.now() + timedelta(seconds=5)))
    assert (again.status_code, again.json()) == (202, {"repeated": True, "sources": 0, "rings": []})
    assert (await door.ring(**signed(message_id="msg_2"))).json()["repeated"] is False
    assert door.meters.rings == [("webhook", "rung"), ("webhook", "repeated"), ("webhook", "rung")]


async def test_one_of_several_signatures_is_enough(light_door: Door) -> None:
    request = signed()
    right = request["headers"]["webhook-signature"]
    request["headers"]["webhook-signature"] = f"v1a,abc v1,AAAA {right}"
    assert (await light_door.ring(**request)).status_code == 202


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "1e9"},
        {"webhook-timestamp": "99999999999"},
        {"webhook-timestamp": str(int(START.timestamp()))},
    ],
)
async def test_a_wrong_signature_rings_nothing(light_door: Door, changed: Mapping[str, str]) -> None:
    request = signed()
    request["headers"] |= changed
    assert problem(await light_door.ring(**request))[0] == 401
    assert await light_door.due() == []


@pytest.mark.parametrize("body", [b"{} ", b"\xff", b""])
async def test_a_signature_covers_the_body(light_door: Door, body: bytes) -> None:
    assert (await light_door.ring(**signed() | {"content": body})).status_code == 401


@pytest.mark.parametrize(
    ("late", "why"), [(timedelta(minutes=10), "too old"), (-timedelta(minutes=2), "from the future")]
)
async def test_an_expired_signature_rings_nothing(light_door: Door, late: timedelta, why: str) -> None:
    status, said = problem(await light_door.ring(**signed(at=light_door.clock.now() - late)))
    assert (status, why in said) == (401, True)
    assert await light_door.due() == []


# ---- SMN ----


async def test_a_message_of_a_topic_rings_once(door: Door) -> None:
    request = door.push.request()
    assert (await door.ring(**request)).status_code == 202
    assert await door.due() == ["prod"]
    assert (await door.ring(**request)).json()["repeated"] is True
    assert (await door.ring(**door.push.request())).json()["repeated"] is False
    assert door.smn.asked("/smn/SMN_") == 1, "the certificate is fetched once"
    assert door.meters.rings == [("smn", "rung"), ("smn", "repeated"), ("smn", "rung")]


async def test_a_topic_rings_the_sources_of_its_project(light_door: Door) -> None:
    answer = await light_door.ring("/doorbell", **light_door.push.request())
    assert [one["source"] for one in answer.json()["rings"]] == ["prod", "prod-alarms"]


async def test_a_message_without_a_subject_is_signed_without_it(light_door: Door) -> None:
    for subject in (None, ""):
        push = light_door.again(fields={"subject": subject})
        assert (await light_door.ring(**push.request())).status_code == 202


@pytest.mark.parametrize(
    ("changes", "status", "why"),
    [
        ({"unsigned": {"message": "{}"}}, 401, "not that of SMN"),
        ({"unsigned": {"subject": "other"}}, 401, "not that of SMN"),
        ({"unsigned": {"timestamp": "2026-01-15T08:31:01Z"}}, 401, "not that of SMN"),
        ({"unsigned": {"message_id": "other"}}, 401, "not that of SMN"),
        ({"unsigned": {"signature": "AAAA"}}, 401, "not that of SMN"),
        ({"unsigned": {"type": "UnsubscribeConfirmation", "subscribe_url": "https://x"}}, 401, "not that of SMN"),
        ({"fields": {"topic_urn": f"{TOPIC}-other"}}, 403, "the topic is none of"),
        ({"now": START - timedelta(minutes=10)}, 401, "too old"),
        ({"now": START + timedelta(minutes=3)}, 401, "from the future"),
        ({"unsigned": {"signing_cert_url": "https://evil.example/smn/SMN_x.pem"}}, 403, "signing_cert_url"),
        ({"fields": {"message_id": None}}, 400, "message_id is missing"),
        ({"unsigned": {"signature_version": "v2"}}, 400, "signature_version"),
    ],
)
async def test_a_message_that_is_not_proven_rings_nothing(
    light_door: Door, changes: dict[str, Any], status: int, why: str
) -> None:
    found, said = problem(await light_door.ring(**light_door.again(**changes).request()))
    assert (found, why in said) == (status, True), said
    assert await light_door.due() == []


async def test_a_message_signed_with_another_key_rings_nothing(light_door: Door) -> None:
    assert (await light_door.ring(**light_door.again(key=rsa_key()).request())).status_code == 401


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "multipart/form-data", "image/png"])
async def test_a_message_of_another_media_type_is_refused(light_door: Door, media_type: str) -> None:
    request = light_door.push.request()
    request["headers"]["Content-Type"] = media_type
    assert problem(await light_door.ring(**request))[0] == 415
    assert light_door.smn.requests == []


async def test_a_body_that_is_no_message_causes_no_request_of_ours(light_door: Door) -> None:
    headers = light_door.push.request()["headers"]
    for body in (b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"type": "Notification"}'):
        assert (await light_door.ring(headers=headers, content=body)).status_code == 400
    assert light_door.smn.requests == []


@pytest.mark.parametrize(
    ("answer", "status", "why"),
    [
        (reply(302, b"", {"Location": "https://evil.example/smn/SMN_x.pem"}), 401, "HTTP 302"),
        (reply(404), 401, "HTTP 404"),
        (reply(503), 503, "HTTP 503"),
        (reply(200, b"no certificate"), 401, "no certificate"),
        (flood(), 503, "cannot be fetched"),
    ],
    ids=["redirect", "none", "unavailable", "no certificate", "flood"],
)
async def test_a_certificate_that_cannot_be_read_proves_nothing(
    light_door: Door, answer: Answer, status: int, why: str
) -> None:
    light_door.smn.by_path["certificate"] = answer
    found, said = problem(await light_door.ring(**light_door.push.request()))
    assert (found, why in said) == (status, True), said
    light_door.smn.by_path["certificate"] = reply(200, certificate_of(light_door.push.key))
    assert (await light_door.ring(**light_door.push.request())).status_code == 202, "it is fetched again"


async def test_a_certificate_that_does_not_come_is_awaited_for_seconds_only(
    light_door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SMN gives up after five seconds."""
    assert certificates.FETCH_DEADLINE + smn.CONFIRM_DEADLINE < 5
    monkeypatch.setattr(certificates, "FETCH_DEADLINE", 0.05)
    light_door.smn.by_path["certificate"] = silence()
    assert problem(await light_door.ring(**light_door.push.request()))[0] == 503


@pytest.mark.parametrize("kind", ["expired", "not yet valid", "elliptic", "short"])
async def test_a_certificate_that_may_not_sign_proves_nothing(light_door: Door, kind: str) -> None:
    key = light_door.push.key
    made = {
        "expired": lambda: certificate_of(key, until=START - timedelta(days=1)),
        "not yet valid": lambda: certificate_of(key, begin=datetime(2090, 1, 1, tzinfo=UTC)),
        "elliptic": lambda: certificate_of(ec.generate_private_key(ec.SECP256R1())),
        "short": lambda: certificate_of(rsa_key(1024)),
    }[kind]()
    light_door.smn.by_path["certificate"] = reply(200, made)
    assert problem(await light_door.ring(**light_door.push.request()))[0] == 401


async def test_strangers_cause_few_requests_of_ours(light_door: Door) -> None:
    """Anybody may know a topic and name any file at the address of SMN."""
    light_door.smn.by_path["certificate"] = reply(404)
    for number in range(20):
        url = f"{light_door.smn.origin}/smn/SMN_{number}.pem"
        answer = await light_door.ring(**light_door.again(unsigned={"signing_cert_url": url}).request())
        assert answer.status_code in {401, 429, 503}
    assert len(light_door.smn.requests) == FETCHES.burst
    light_door.clock.advance(timedelta(seconds=10))
    light_door.smn.by_path["certificate"] = reply(200, certificate_of(light_door.push.key))
    assert (await light_door.ring(**light_door.push.request())).status_code == 202


async def test_few_certificates_are_remembered(http: HttpClient, clock: FakeClock, key: rsa.RSAPrivateKey) -> None:
    known = Certificates(http, clock)
    async with HttpServer(reply(200, certificate_of(key))) as cloud:
        urls = [cloud.url(f"/smn/SMN_{number}.pem") for number in range(MAX_CERTIFICATES + 1)]
        for url in (*urls, urls[-1], urls[0]):
            clock.advance(timedelta(seconds=10))
            await known.get(url)
        assert len(cloud.requests) == MAX_CERTIFICATES + 2


async def test_a_subscription_to_a_known_topic_is_confirmed(door: Door, records: io.StringIO) -> None:
    answer = await door.ring(**door.push.request("SubscriptionConfirmation"))
    assert (answer.status_code, answer.json()) == (200, {"confirmed": TOPIC})
    assert [request.target for request in door.smn.requests] == [CERTIFICATE_PATH, CONFIRM_PATH]
    assert await door.due() == [], "it rings nothing"
    (known,) = await door.store.read(lambda q: q.health_facts().topics)
    assert (known.urn, known.confirmed_at) == (TOPIC, door.clock.now())
    assert "token=0a419ac9" not in records.getvalue()


async def test_a_confirmation_that_fails_is_recorded_and_asked_for_again(light_door: Door) -> None:
    request = light_door.push.request("SubscriptionConfirmation")
    light_door.smn.by_path["confirm"] = reply(302, b"", {"Location": "https://evil.example/"})
    assert problem(await light_door.ring(**request)) == (503, "the subscription is not confirmed: HTTP 302")
    (known,) = await light_door.store.read(lambda q: q.health_facts().topics)
    assert (known.confirmed_at, known.error) == (None, "the subscription is not confirmed: HTTP 302")
    light_door.smn.by_path["confirm"] = flood()
    assert (await light_door.ring(**request)).status_code == 200, "of a long page the status is enough"
    (known,) = await light_door.store.read(lambda q: q.health_facts().topics)
    assert (known.confirmed_at, known.error) == (light_door.clock.now(), None)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"fields": {"topic_urn": f"{TOPIC}-other"}}, 403),
        ({"fields": {"subscribe_url": "https://evil.example/smn/subscription/confirm"}}, 403),
        ({"fields": {"subscribe_url": "http://169.254.169.254/smn/subscription/confirm"}}, 403),
        ({"unsigned": {"subscribe_url": "https://evil.example/smn/subscription/confirm"}}, 401),
        ({"now": START - timedelta(minutes=10)}, 401),
    ],
    ids=["other topic", "other host", "metadata", "changed", "old"],
)
async def test_no_other_subscription_is_confirmed(light_door: Door, changes: dict[str, Any], status: int) -> None:
    answer = await light_door.ring(**light_door.again(**changes).request("SubscriptionConfirmation"))
    assert problem(answer)[0] == status
    assert light_door.smn.asked("/smn/subscription") == 0


async def test_the_end_of_a_subscription_is_recorded(door: Door, records: io.StringIO) -> None:
    await door.ring(**door.push.request("SubscriptionConfirmation"))
    door.clock.advance(timedelta(seconds=1))
    answer = await door.ring(**door.again().request("UnsubscribeConfirmation"))
    assert (answer.status_code, answer.json()) == (200, {"unsubscribed": TOPIC})
    (known,) = await door.store.read(lambda q: q.health_facts().topics)
    assert known.ended_at == door.clock.now()
    assert '"event": "doorbell.unsubscribed"' in records.getvalue()
    assert door.smn.asked("/smn/subscription") == 1, "it is not subscribed again"


async def test_the_rule_about_addresses_holds_for_what_a_message_names(
    light_store: SqlStore, clock: FakeClock, key: rsa.RSAPrivateKey
) -> None:
    async with listening(light_store, clock, key, deny=[ip_network("127.0.0.0/8")]) as door:
        status, said = problem(await door.ring(**door.push.request("SubscriptionConfirmation")))
        assert (status, "an address that network.deny lists" in said) == (503, True), said
        assert door.smn.requests == []


async def test_what_is_not_configured_proves_nothing(
    light_store: SqlStore, clock: FakeClock, key: rsa.RSAPrivateKey
) -> None:
    async with listening(light_store, clock, key, callers=(WebhookCaller([SECRET]),)) as door:
        for request in ({"headers": BEARER}, door.push.request()):
            assert problem(await door.ring(**request))[0] == 401
        assert door.meters.rings == [("none", "unproven")] * 2
