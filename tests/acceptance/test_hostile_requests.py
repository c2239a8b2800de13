"""Requests of strangers to the endpoints for chats, over real sockets: rejected, at no cost."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from fakes import FakeClock
from servers.requests import Reply, ask, calling, request
from servers.timers import FakeTimers
from starlette.applications import Starlette
from timeouts import HANG_TIMEOUT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from notifier.channels.base import Json
from notifier.chat.endpoints import BODY_LIMIT, MAX_FORM_FIELDS
from notifier.chat.ports import BadRequest, PermissionCheck
from notifier.chat.requests import ChatReply, ClickRequest, CommandRequest
from notifier.core.errors import ConfigurationError
from notifier.integrations.mattermost.http import MattermostRoutes
from notifier.integrations.slack.http import SlackRoutes
from notifier.integrations.slack.signature import sign
from notifier.logs import RejectionLog
from notifier.store.engine import SqlStore, open_store
from notifier.web.server import Server, ServerLimits
from notifier.wording.phrases import Language

pytestmark = pytest.mark.both_loops

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
TOKEN = "mattermost-token-example"
COMMANDS, INTERACTIONS, MATTERMOST = "/slack/commands", "/slack/interactions", "/mattermost/commands"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
FIELDS = {
    "command": "/gaussdb",
    "text": "failed 24h",
    "user_id": "U2CERLKJA",
    "user_name": "roadrunner",
    "channel_name": "dba",
    "response_url": "https://hooks.slack.com/commands/T1/2/3",
}
CLICK = {"type": "block_actions", "user": {"id": "U2CERLKJA"}, "actions": [{"action_id": "ack", "value": "e1"}]}
SECOND = timedelta(seconds=1)


@dataclass(slots=True)
class Recorder:
    """Records requests from Slack."""

    calls: list[tuple[Mapping[str, object], str | None]] = field(default_factory=list)

    async def command(self, form: Mapping[str, str], replay_key: str | None) -> Json:
        if "user_id" not in form:
            raise BadRequest("The field user_id is missing.")
        self.calls.append((form, replay_key))
        return {"response_type": "ephemeral", "text": form["text"]}

    async def interaction(self, payload: Json, replay_key: str | None) -> None:
        if "user" not in payload:
            raise BadRequest("The field user is missing.")
        self.calls.append((payload, replay_key))


@dataclass(slots=True)
class FakeResponder:
    """Returns the text of a command, its language, and whether the requester may make changes."""

    asked: list[CommandRequest | ClickRequest] = field(default_factory=list)

    async def answer(
        self, request: CommandRequest | ClickRequest, language: Language, allowed: PermissionCheck
    ) -> ChatReply | None:
        self.asked.append(request)
        assert isinstance(request, CommandRequest)
        return ChatReply(title=request.text, lines=[language, str(await allowed())]) if request.text else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatEndpoints:
    """The endpoints of both chats on a server, and the requests that passed."""

    server: Server
    clock: FakeClock
    handler: Recorder
    responder: FakeResponder

    async def ask(self, content: bytes) -> Reply:
        return await ask(self.server.url, content)

    def signed(
        self,
        body: bytes | Mapping[str, str],
        path: str = COMMANDS,
        *,
        secret: str = SECRET,
        ago: float = 0,
        timestamp: str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        written: bytes | None = None,
    ) -> bytes:
        """Return a request as Slack would sign it; `written` is another body on the wire than the signed one."""
        body = body if isinstance(body, bytes) else urlencode(body).encode()
        time = timestamp or str(int(self.clock.now().timestamp() - ago))
        signature = sign(secret, timestamp=time.encode("latin-1"), body=body).decode()
        lines = {**FORM, "X-Slack-Request-Timestamp": time, "X-Slack-Signature": signature, **(headers or {})}
        chunked = "Transfer-Encoding" in lines
        return request(method, path, lines, body if written is None else written, length=not chunked)

    def clicked(self, payload: str) -> bytes:
        return self.signed({"payload": payload}, INTERACTIONS)

    @property
    def connections(self) -> list[HttpToolsProtocol]:
        """What the server holds: a look inside."""
        return [one for one in self.server._state.connections if isinstance(one, HttpToolsProtocol)]

    @property
    def untouched(self) -> bool:
        return not self.handler.calls and not self.responder.asked


@asynccontextmanager
async def opened(
    clock: FakeClock, *, limits: ServerLimits | None = None, timers: FakeTimers | None = None
) -> AsyncIterator[ChatEndpoints]:
    rejections = RejectionLog("chat.requests_rejected", logger="notifier.web", seconds=clock.monotonic)
    handler, responder = Recorder(), FakeResponder()
    slack = SlackRoutes(handler=handler, signing_secret=SECRET, clock=clock, rejections=rejections)
    mattermost = MattermostRoutes(
        responder=responder,
        tokens=["other", TOKEN],
        allowed=["admin"],
        language="en",
        rejections=rejections,
    )
    app = Starlette(routes=[*slack.routes(), *mattermost.routes()])
    later = timers.later if timers else None
    async with Server(app, "127.0.0.1", 0, limits, rejections=rejections, later=later) as server:
        yield ChatEndpoints(server=server, clock=clock, handler=handler, responder=responder)


@pytest.fixture
async def endpoints(clock: FakeClock, records: io.StringIO) -> AsyncIterator[ChatEndpoints]:
    """Endpoints with their usual limits. Whatever a test does, the log gets one line about it and no traceback."""
    async with opened(clock) as endpoints:
        yield endpoints
    lines = [json.loads(line) for line in records.getvalue().splitlines()]
    assert [line["event"] for line in lines] in ([], ["chat.requests_rejected"])
    assert "Traceback" not in records.getvalue()
    assert SECRET not in records.getvalue()


# ---- what Slack sends ----


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"channel_name": "payload-team"},
        {"text": "task payload-1"},
        {"text": "payload=%7B%7D&payload"},
        {"text": ""},
        {"text": "实例 “a” &lt;b&gt; \N{ROCKET}\u00a0"},
    ],
)
async def test_a_command_is_handled_whatever_is_written_in_it(
    endpoints: ChatEndpoints, changed: Mapping[str, str]
) -> None:
    fields = {**FIELDS, **changed}
    reply = await endpoints.ask(endpoints.signed(fields))
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert json.loads(reply.body) == {"response_type": "ephemeral", "text": fields["text"]}
    ((form, replay_key),) = endpoints.handler.calls
    assert form == fields
    assert replay_key is not None


async def test_a_click_is_taken_in_and_answered_with_nothing(endpoints: ChatEndpoints) -> None:
    reply = await endpoints.ask(endpoints.clicked(json.dumps(CLICK)))
    assert (reply.status, reply.body) == (200, b"")
    ((payload, replay_key),) = endpoints.handler.calls
    assert payload == CLICK
    assert replay_key is not None


async def test_a_body_in_chunks_is_read_like_any_other(endpoints: ChatEndpoints) -> None:
    body = urlencode(FIELDS).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    reply = await endpoints.ask(endpoints.signed(body, headers={"Transfer-Encoding": "chunked"}, written=chunks))
    assert reply.status == 200
    assert len(endpoints.handler.calls) == 1


async def test_one_connection_serves_request_after_request(endpoints: ChatEndpoints) -> None:
    async with calling(endpoints.server.url) as caller:
        for number in range(3):
            caller.write(endpoints.signed(FIELDS | {"text": str(number)}))
            assert json.loads((await caller.reply()).body)["text"] == str(number)
        caller.write(endpoints.signed(FIELDS) + endpoints.signed(FIELDS, secret="wrong") + endpoints.signed(FIELDS))
        assert [(await caller.reply()).status for _ in range(3)] == [200, 401, 200]


@pytest.mark.parametrize("path", [COMMANDS, INTERACTIONS])
async def test_a_certificate_probe_is_answered_with_nothing(endpoints: ChatEndpoints, path: str) -> None:
    fields = FIELDS | {"ssl_check": "1", "token": "legacy", "payload": json.dumps(CLICK)}
    unsigned = request("POST", path, FORM, urlencode(fields).encode())
    for content in (unsigned, endpoints.signed(fields, path), endpoints.signed(fields, path, secret="wrong")):
        reply = await endpoints.ask(content)
        assert (reply.status, reply.body) == (200, b"")
    assert endpoints.untouched


# ---- what strangers send ----

BODY = urlencode(FIELDS).encode()

UNPROVEN: Mapping[str, dict[str, object]] = {
    "wrong secret": {"secret": "wrong"},
    "too old": {"ago": 301},
    "from the future": {"ago": -301},
    "no number as time": {"timestamp": "yesterday"},
    "a fraction as time": {"timestamp": "1768465800.0"},
    "another script's digits as time": {"timestamp": "\xb2\xb3\xb9"},
    "endless digits as time": {"timestamp": "9" * 5000},
    "a negative time": {"timestamp": "-1768465800"},
    "a signature that is not ASCII": {"headers": {"X-Slack-Signature": "v0=\xe9\xff"}},
    "an empty signature": {"headers": {"X-Slack-Signature": ""}},
    "a signature of another version": {"headers": {"X-Slack-Signature": "v1=" + "0" * 64}},
    "no time": {"headers": {"X-Slack-Request-Timestamp": ""}},
    "another body": {"written": BODY + b"&text=mute"},
    "a body that is not UTF-8, and not signed": {"written": b"text=\xff\xfe"},
    "no body": {"written": b""},
    "60,000 fields": {"written": b"a&" * 60_000},
}


@pytest.mark.parametrize("path", [COMMANDS, INTERACTIONS])
@pytest.mark.parametrize("changed", UNPROVEN.values(), ids=UNPROVEN)
async def test_an_unproven_request_gets_no_information(
    endpoints: ChatEndpoints, path: str, changed: Mapping[str, object]
) -> None:
    reply = await endpoints.ask(endpoints.signed(BODY, path, **changed))  # type: ignore[arg-type] # a table of many kinds
    assert (reply.status, reply.body) == (401, b"")
    assert endpoints.untouched


PROVEN_BUT_BROKEN: Mapping[str, tuple[str, bytes, str]] = {
    "bad UTF-8": (COMMANDS, b"user_id=U1&text=\xff\xfe", "The form is not UTF-8."),
    "bad UTF-8 in escapes": (COMMANDS, b"user_id=U1&text=%ff%fe", "The form is not UTF-8."),
    "a surrogate": (COMMANDS, b"user_id=U1&text=%ed%a0%80", "The form is not UTF-8."),
    "NUL": (COMMANDS, b"user_id=U1&text=%00", "The form holds a NUL character."),
    "too many fields": (
        COMMANDS,
        b"a=&" * MAX_FORM_FIELDS + b"b=",
        f"The form has more than {MAX_FORM_FIELDS} fields.",
    ),
    "a field twice": (COMMANDS, b"user_id=U1&user_id=U2&text=", "A field of the form is given twice."),
    "a missing field": (COMMANDS, b"text=failed", "The field user_id is missing."),
    "no body": (COMMANDS, b"", "The field user_id is missing."),
    "no payload": (INTERACTIONS, b"payloads=1", "The field payload is missing."),
    "an empty payload": (INTERACTIONS, b"payload=", "The field payload is not JSON."),
    "a payload that is not JSON": (INTERACTIONS, b"payload=%7B", "The field payload is not JSON."),
    "a list as payload": (INTERACTIONS, b"payload=[]", "The field payload is not a JSON object."),
    "text as payload": (INTERACTIONS, b"payload=%22x%22", "The field payload is not a JSON object."),
    "an endless nesting": (INTERACTIONS, b"payload=" + b"[" * 200_000, "The field payload is not JSON."),
    "half a surrogate": (INTERACTIONS, rb'payload={"user":"\ud800"}', "The field payload is not JSON."),
    "not a number": (INTERACTIONS, b'payload={"user":NaN}', "The field payload is not JSON."),
    "a payload without the user": (INTERACTIONS, b"payload={}", "The field user is missing."),
}


@pytest.mark.parametrize(("path", "body", "told"), PROVEN_BUT_BROKEN.values(), ids=PROVEN_BUT_BROKEN)
async def test_requests_slack_never_sends_get_one_plain_sentence(
    endpoints: ChatEndpoints, path: str, body: bytes, told: str
) -> None:
    reply = await endpoints.ask(endpoints.signed(body, path))
    assert (reply.status, reply.body.decode()) == (400, told)
    assert endpoints.untouched


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x", "", "text/plain"])
async def test_another_content_type_is_refused(endpoints: ChatEndpoints, content_type: str) -> None:
    assert (await endpoints.ask(endpoints.signed(FIELDS, headers={"Content-Type": content_type}))).status == 415
    assert endpoints.untouched


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"])
async def test_another_method_is_refused(endpoints: ChatEndpoints, method: str) -> None:
    assert (await endpoints.ask(endpoints.signed(FIELDS, method=method))).status == 405
    assert endpoints.untouched


@pytest.mark.parametrize("path", ["/", "/slack", "/slack/commands/x", "/slack/%2e%2e/commands", "*", "http://x/slack"])
async def test_another_path_is_not_found(endpoints: ChatEndpoints, path: str) -> None:
    assert (await endpoints.ask(endpoints.signed(FIELDS, path))).status == 404
    assert endpoints.untouched


# ---- too much ----


@pytest.mark.parametrize("body", [b"x" * (2 << 20), b"a=1&" * 200_000], ids=["2 MB", "200,000 fields"])
async def test_an_oversized_body_is_refused_even_when_it_is_signed(endpoints: ChatEndpoints, body: bytes) -> None:
    assert (await endpoints.ask(endpoints.signed(body))).status == 413
    assert endpoints.untouched


async def test_the_largest_body_is_read(endpoints: ChatEndpoints) -> None:
    fields = {"user_id": "U1", "text": ""}
    responder = BODY_LIMIT - len(urlencode(fields))
    assert (await endpoints.ask(endpoints.signed(fields | {"text": "x" * responder}))).status == 200
    assert (await endpoints.ask(endpoints.signed(fields | {"text": "x" * (responder + 1)}))).status == 413


async def test_chunks_without_end_are_refused_and_then_cut(endpoints: ChatEndpoints) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    async with calling(endpoints.server.url) as caller:
        caller.write(endpoints.signed(b"", headers={"Transfer-Encoding": "chunked"}) + chunk * 5)
        assert (await caller.reply()).status == 413
        caller.write(chunk * (endpoints.server.limits.unread // len(chunk) + 2))
        assert await caller.closed() == b""
    assert endpoints.untouched


async def test_headers_behind_a_body_are_ignored_and_bounded(endpoints: ChatEndpoints) -> None:
    """They would otherwise be collected without end, or pass for headers that a proxy has vouched for."""
    body = urlencode(FIELDS).encode()
    whole = endpoints.signed(body, headers={"Transfer-Encoding": "chunked"}, written=b"")
    head, signature = whole.split(b"X-Slack-Signature: ")
    sent = b"%x\r\n%s\r\n0\r\nX-Slack-Signature: %s\r\n\r\n" % (len(body), body, signature.partition(b"\r\n")[0])
    assert (await endpoints.ask(head.rstrip(b"\r\n") + b"\r\n\r\n" + sent)).status == 401
    assert endpoints.untouched
    for filler in (b"0\r\nX-A: " + b"x" * 100_000, b"0\r\n" + b"A: b\r\n" * 20_000, b"1;x=" + b"x" * 100_000):
        assert (await endpoints.ask(whole + filler)).status in (0, 400)
    assert endpoints.untouched


async def test_pipelined_requests_are_answered_in_order_however_many(endpoints: ChatEndpoints) -> None:
    texts = [str(number) for number in range(200)]
    async with calling(endpoints.server.url) as caller:
        caller.write(b"".join(endpoints.signed(FIELDS | {"text": text}) for text in texts))
        assert [json.loads((await caller.reply()).body)["text"] for _ in texts] == texts


@pytest.mark.parametrize("size", [21_000, 40_000, 400_000, 4_000_000])
async def test_huge_headers_are_refused(endpoints: ChatEndpoints, size: int) -> None:
    for content in (
        endpoints.signed(FIELDS, headers={"X-Filler": "x" * size}),
        endpoints.signed(FIELDS, headers={f"X-{number}": "x" for number in range(size // 8)}),
        endpoints.signed(FIELDS, f"{COMMANDS}?{'x' * size}"),
    ):
        # It is refused while it is still on its way, which can cost the sender the answer.
        assert (await endpoints.ask(content)).status in (0, 400)
    assert endpoints.untouched


# ---- what is no HTTP ----

NOT_HTTP: Mapping[str, bytes] = {
    "a TLS hello": bytes.fromhex("16030100f8010000f40303") + b"\0" * 200 + b"\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "words": b"hello\r\n\r\n",
    "no version": b"POST /slack/commands\r\n\r\n",
    "no host": b"POST /slack/commands HTTP/1.1\r\n\r\n",
    "two lengths": request("POST", COMMANDS, {"content-length": "5"}),
    "a negative length": request("POST", COMMANDS, {"Content-Length": "-5"}),
    "an endless length": request("POST", COMMANDS, {"Content-Length": "9" * 5000}),
    "an unknown coding": request("POST", COMMANDS, {"Transfer-Encoding": "gzip, chunked"}, length=False),
    "a bad chunk": request("POST", COMMANDS, {"Transfer-Encoding": "chunked"}, b"zz\r\n", length=False),
    "length and chunks": request("POST", COMMANDS, {"Transfer-Encoding": "chunked"}, b"0\r\n\r\n"),
    "another coding before": request(
        "POST", COMMANDS, {"Transfer-Encoding": "gzip\r\nTransfer-Encoding: chunked"}, b"0\r\n\r\n", length=False
    ),
    "an unknown method": request("BREW", COMMANDS),
    "another version": b"POST /slack/commands HTTP/2.0\r\nHost: x\r\n\r\n",
    "two hosts": request("POST", COMMANDS, {"host": "other"}),
    "a tunnel": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a bare line feed": b"POST /slack/commands HTTP/1.1\nHost: x\n\n",
    "a folded line": request("POST", COMMANDS, {"X-A": "b\r\n c: d\x00"}),
}


@pytest.mark.parametrize("content", NOT_HTTP.values(), ids=NOT_HTTP)
async def test_what_is_no_request_is_refused(endpoints: ChatEndpoints, content: bytes) -> None:
    assert 400 <= (await endpoints.ask(content)).status < 500
    assert endpoints.untouched


async def test_garbage_behind_a_request_is_refused_after_its_answer(endpoints: ChatEndpoints) -> None:
    async with calling(endpoints.server.url) as caller:
        caller.write(endpoints.signed(FIELDS) + b"\x00garbage\r\n\r\n")
        assert [(await caller.reply()).status for _ in range(2)] == [200, 400]
        await caller.closed()
    assert len(endpoints.handler.calls) == 1


async def test_a_bad_chunk_behind_an_early_answer_ends_the_connection(endpoints: ChatEndpoints) -> None:
    async with calling(endpoints.server.url) as caller:
        caller.write(request("GET", COMMANDS, {"Transfer-Encoding": "chunked"}, length=False))
        assert (await caller.reply()).status == 405
        caller.write(b"zz\r\n")
        assert await caller.closed() == b""


async def test_a_request_that_is_broken_off_costs_nothing(endpoints: ChatEndpoints) -> None:
    whole = endpoints.signed(FIELDS)
    for length in (1, 40, len(whole) - len(BODY), len(whole) - 1):
        async with calling(endpoints.server.url) as caller:
            caller.write(whole[:length])
    assert (await endpoints.ask(whole)).status == 200
    assert len(endpoints.handler.calls) == 1


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "TLS/1.0"])
async def test_an_upgrade_is_not_taken_up(endpoints: ChatEndpoints, upgrade: str) -> None:
    content = request("POST", COMMANDS, {**FORM, "Connection": "Upgrade", "Upgrade": upgrade}, BODY)
    assert (await endpoints.ask(content)).status == 401


# ---- replays ----


@dataclass(slots=True)
class Muting(Recorder):
    """Does what it is asked for once, as the store remembers it."""

    store: SqlStore = field(kw_only=True)
    clock: FakeClock = field(kw_only=True)
    changes: list[str] = field(kw_only=True)

    async def command(self, form: Mapping[str, str], replay_key: str | None) -> Json:
        assert replay_key
        self.calls.append((form, replay_key))
        if await self.store.transact(lambda tx: tx.people.record_request(replay_key, self.clock.now())):
            self.changes.append(replay_key)
        return {}


async def test_a_replay_is_recognised_on_any_replica(store_url: str, clock: FakeClock) -> None:
    changes: list[str] = []
    rejections = RejectionLog("chat.requests_rejected", logger="notifier.web", seconds=clock.monotonic)
    async with AsyncExitStack() as stack:
        servers = []
        for _ in range(2):
            store = open_store(store_url, now=clock.now)
            stack.push_async_callback(store.aclose)
            handler = Muting(store=store, clock=clock, changes=changes)
            slack = SlackRoutes(handler=handler, signing_secret=SECRET, clock=clock, rejections=rejections)
            server = Server(Starlette(routes=slack.routes()), "127.0.0.1", 0, rejections=rejections)
            servers.append(
                ChatEndpoints(
                    server=await stack.enter_async_context(server),
                    clock=clock,
                    handler=handler,
                    responder=FakeResponder(),
                )
            )
        first, second = servers
        mute = first.signed(FIELDS | {"text": "mute gauss-prod-01 2h"})
        for endpoints in (first, first, second, second):
            assert (await endpoints.ask(mute)).status == 200
        assert len(changes) == 1
        # Neither the case of the signature nor a header beside it makes another request of it.
        assert (await second.ask(mute.replace(b"v0=", b"V0="))).status == 401
        assert (await second.ask(mute.replace(b"Host: notifier", b"Host: replay"))).status == 200
        assert len(changes) == 1
        clock.advance(SECOND)
        assert (await second.ask(second.signed(FIELDS | {"text": "mute gauss-prod-01 2h"}))).status == 200
        assert len(changes) == 2
        clock.advance(301 * SECOND)
        assert (await second.ask(mute)).status == 401
    seen = [replay_key for endpoints in servers for _, replay_key in endpoints.handler.calls]
    assert len(seen) == 6
    assert len(set(seen)) == 2


# ---- Mattermost ----


def typed(fields: Mapping[str, str] | None = None, token: str | None = TOKEN, body: bytes | None = None) -> bytes:
    """Return what Mattermost sends."""
    content = {"text": "failed", "user_id": "u1", "user_name": "ann", "token": TOKEN, **(fields or {})}
    headers = FORM if token is None else FORM | {"Authorization": f"Token {token}"}
    return request("POST", MATTERMOST, headers, urlencode(content).encode() if body is None else body)


async def test_mattermost_is_answered_with_json(endpoints: ChatEndpoints) -> None:
    reply = await endpoints.ask(typed())
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert json.loads(reply.body) == {"response_type": "ephemeral", "text": "**failed**\n- en\n- False"}
    (asked,) = endpoints.responder.asked
    assert (asked.person.id, asked.person.name, asked.replay_key) == ("u1", "ann", None)


async def test_mattermost_gets_json_even_for_an_empty_answer(endpoints: ChatEndpoints) -> None:
    assert (await endpoints.ask(typed({"text": ""}))).body == b"{}"


async def test_only_users_that_are_listed_may_change_something(endpoints: ChatEndpoints) -> None:
    for user, may in (("admin", "True"), ("Admin", "False")):
        reply = await endpoints.ask(typed({"user_id": user}))
        assert json.loads(reply.body)["text"].endswith(f"- {may}")


async def test_users_and_channels_may_be_mentioned_more_than_once(endpoints: ChatEndpoints) -> None:
    body = b"text=hi&user_id=u1&user_mentions=a&user_mentions=b&channel_mentions_ids=a&channel_mentions_ids=b"
    assert (await endpoints.ask(typed(body=body))).status == 200


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\xe9"])
async def test_the_token_in_the_form_proves_nothing(endpoints: ChatEndpoints, token: str | None) -> None:
    reply = await endpoints.ask(typed(token=token))
    assert (reply.status, reply.body) == (401, b"")
    assert endpoints.untouched


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "The field user_id is missing."),
        (b"user_id=&text=x", "The field user_id is missing."),
        (b"user_id=u1", "The field text is missing."),
        (b"user_id=u1&text=x&user_id=admin", "A field of the form is given twice."),
        (b"user_id=u1&text=%ff", "The form is not UTF-8."),
    ],
)
async def test_requests_mattermost_never_sends_get_one_plain_sentence(
    endpoints: ChatEndpoints, body: bytes, told: str
) -> None:
    reply = await endpoints.ask(typed(body=body))
    assert (reply.status, reply.body.decode()) == (400, told)
    assert endpoints.untouched


# ---- slow ones and many ----


async def so(is_so: Callable[[], bool]) -> None:
    """Wait until something inside the server is so."""
    async with asyncio.timeout(HANG_TIMEOUT):
        while not is_so():  # noqa: ASYNC110 - what is looked at tells nobody
            await asyncio.sleep(0)


async def test_half_open_connections_are_closed_and_delay_nobody(clock: FakeClock) -> None:
    timers, each = FakeTimers(), 125
    limits = ServerLimits(per_peer=600, connections=600)
    async with opened(clock, limits=limits, timers=timers) as endpoints, AsyncExitStack() as stack:
        whole = endpoints.signed(FIELDS)
        head = len(whole) - len(BODY)
        chunked = endpoints.signed(b"", headers={"Transfer-Encoding": "chunked"})
        halves = [b"", whole[:30], whole[: head + 5], chunked + b"5\r\nhel"]
        callers = []
        for half in halves * each:
            callers.append(await stack.enter_async_context(calling(endpoints.server.url)))
            callers[-1].write(half)
        await timers.armed(2 * each, limits.head)
        await timers.armed(2 * each, limits.body)
        closing = [asyncio.ensure_future(caller.closed()) for caller in callers]

        def open_still() -> list[int]:
            return [sum(not task.done() for task in closing[kind :: len(halves)]) for kind in range(len(halves))]

        timers.advance(limits.head - 0.1)
        assert (await endpoints.ask(whole)).status == 200
        assert open_still() == [each] * 4
        timers.advance(0.1)
        await asyncio.gather(*closing[0::4], *closing[1::4])
        assert (await endpoints.ask(whole)).status == 200
        assert open_still() == [0, 0, each, each]
        timers.advance(limits.body - limits.head)
        await asyncio.gather(*closing)
        assert timers.now <= 15
        assert (await endpoints.ask(whole)).status == 200
        assert len(endpoints.handler.calls) == 3


async def test_a_byte_now_and_then_does_not_prolong_a_deadline(clock: FakeClock) -> None:
    timers, limits = FakeTimers(), ServerLimits()
    async with opened(clock, timers=timers) as endpoints, calling(endpoints.server.url) as caller:
        whole = endpoints.signed(FIELDS)
        head, taken = len(whole) - len(BODY), 0

        async def drip(until: int) -> None:
            """Send on; what the server has read shows in what it holds."""
            nonlocal taken
            caller.write(whole[taken:until])
            taken = until
            await so(lambda: [taken] == [getattr(one, "unfinished", None) for one in endpoints.connections])

        for _ in range(4):
            await drip(taken + 10)
            timers.advance(1)
        caller.write(whole[taken : head + 1])
        await timers.armed(1, limits.body)
        timers.advance(9.5)
        caller.write(whole[head + 1 : head + 2])
        assert [timer.due for timer in timers.pending] == [4 + limits.body]
        timers.advance(0.5)
        assert await caller.closed() == b""
    assert endpoints.untouched


async def test_a_connection_may_idle_between_requests_for_a_bounded_time(clock: FakeClock) -> None:
    timers, limits = FakeTimers(), ServerLimits()
    async with opened(clock, timers=timers) as endpoints, calling(endpoints.server.url) as caller:
        for _ in range(3):
            caller.write(endpoints.signed(FIELDS))
            assert (await caller.reply()).status == 200
            await timers.armed(1, limits.idle)
            timers.advance(limits.idle - 0.1)
        caller.write(b"POST")
        await timers.armed(1, limits.head)
        timers.advance(limits.head)
        assert await caller.closed() == b""


async def test_a_client_that_does_not_read_its_answers_is_cut(clock: FakeClock) -> None:
    timers, limits = FakeTimers(), ServerLimits()
    async with opened(clock, timers=timers) as endpoints:
        loop = asyncio.get_running_loop()
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            deaf.setblocking(False)  # noqa: FBT003 - the library's
            await loop.sock_connect(deaf, ("127.0.0.1", int(endpoints.server.url.rpartition(":")[2])))
            asking = asyncio.ensure_future(
                loop.sock_sendall(deaf, endpoints.signed({"user_id": "U1", "text": "x" * 200_000}) * 100)
            )
            await so(lambda: any(connection.flow.write_paused for connection in endpoints.connections))
            timers.advance(limits.answer)
            with pytest.raises(ConnectionError):
                await asking


@pytest.mark.parametrize("half", [b"", b"POST /slack", request("POST", COMMANDS, {"Content-Length": "5"})])
async def test_the_real_time_passes_too(clock: FakeClock, half: bytes) -> None:
    async with (
        opened(clock, limits=ServerLimits(head=0.02, body=0.02)) as endpoints,
        calling(endpoints.server.url) as caller,
    ):
        caller.write(half)
        assert await caller.closed() == b""


async def test_a_newcomer_takes_the_place_of_the_longest_waiting(clock: FakeClock) -> None:
    timers, limits = FakeTimers(), ServerLimits(connections=3, per_peer=100)
    async with opened(clock, limits=limits, timers=timers) as endpoints, AsyncExitStack() as stack:
        callers = []
        for number in range(3):
            callers.append(await stack.enter_async_context(calling(endpoints.server.url)))
            await timers.armed(number + 1, limits.head)
        for caller in callers:
            newcomer = await stack.enter_async_context(calling(endpoints.server.url))
            newcomer.write(endpoints.signed(FIELDS))
            assert (await newcomer.reply()).status == 200
            assert await caller.closed() == b""


async def test_one_peer_takes_only_its_own_places(clock: FakeClock) -> None:
    timers, limits = FakeTimers(), ServerLimits(per_peer=2)
    async with opened(clock, limits=limits, timers=timers) as endpoints, AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(calling(endpoints.server.url)) for _ in range(3)]
        assert await callers[0].closed() == b""
        for caller in callers[1:]:
            caller.write(endpoints.signed(FIELDS))
            assert (await caller.reply()).status == 200


async def test_strangers_fill_no_log(clock: FakeClock, records: io.StringIO) -> None:
    async with opened(clock) as endpoints:
        for content in (*NOT_HTTP.values(), endpoints.signed(FIELDS, secret="wrong"), typed(token="wrong")):
            await endpoints.ask(content)
        assert len(records.getvalue().splitlines()) == 1
        clock.advance(60 * SECOND)
        await endpoints.ask(b"words\r\n\r\n")
    last = json.loads(records.getvalue().splitlines()[-1])
    assert (last["event"], last["level"]) == ("chat.requests_rejected", "warning")
    assert "not HTTP" in last["reasons"]
    assert len(records.getvalue().splitlines()) == 2


async def test_an_address_that_is_taken_is_an_error_with_a_remedy(clock: FakeClock) -> None:
    async with opened(clock) as endpoints:
        port = int(endpoints.server.url.rpartition(":")[2])
        for host, said in (("127.0.0.1", f"cannot listen on 127.0.0.1:{port}: "), ("no.such.host.invalid", "cannot")):
            with pytest.raises(ConfigurationError, match=said) as caught:
                await Server(Starlette(), host, port, rejections=endpoints.server.rejections).__aenter__()
            assert str(caught.value).endswith("choose an address of this machine and a free port")


async def test_a_stop_lets_an_answer_end_and_cuts_idle_connections(clock: FakeClock) -> None:
    asked, going_on = asyncio.Event(), asyncio.Event()

    class Slow(Recorder):
        async def command(self, form: Mapping[str, str], replay_key: str | None) -> Json:
            asked.set()
            await going_on.wait()
            return await super().command(form, replay_key)

    rejections = RejectionLog("chat.requests_rejected", logger="notifier.web", seconds=clock.monotonic)
    slack = SlackRoutes(handler=Slow(), signing_secret=SECRET, clock=clock, rejections=rejections)
    async with AsyncExitStack() as stack:
        server = Server(Starlette(routes=slack.routes()), "127.0.0.1", 0, rejections=rejections)
        await stack.enter_async_context(server)
        waiter, caller = [await stack.enter_async_context(calling(server.url)) for _ in range(2)]
        caller.write(
            ChatEndpoints(server=server, clock=clock, handler=Recorder(), responder=FakeResponder()).signed(FIELDS)
        )
        await asked.wait()
        stopping = asyncio.ensure_future(server.__aexit__(None, None, None))
        assert await waiter.closed() == b""
        going_on.set()
        assert (await caller.reply()).status == 200
        await stopping
        stack.pop_all()
