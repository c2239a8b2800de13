"""Socket Mode through the real slack-sdk, over real connections that end as they like."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

import pytest
from aiohttp import web
from fakes import FakeClock
from servers.http import HttpServer, reply
from servers.slack import (
    APP_TOKEN,
    HELLO,
    HTML_500,
    NOT_JSON,
    Fault,
    Json,
    SlackServer,
    click_payload,
    refused,
    slack_server,
)
from servers.tls import Certificate

from notifier.chat.ports import BadRequest
from notifier.http import HttpClient
from notifier.integrations.slack import socket_mode as socket
from notifier.integrations.slack.api import MAX_API_REPLY, WebApi
from notifier.integrations.slack.socket_mode import MAX_OPENED, MAX_WAIT, REJECTED_WAIT, SocketModeTransport, check

pytestmark = pytest.mark.both_loops

PING_INTERVAL = 0.5
"""Seconds: how soon a lost connection is noticed."""


@dataclass(slots=True)
class Recorder:
    """Records requests. One whose text is `slow` waits for `go`."""

    commands: list[Mapping[str, object]] = field(default_factory=list)
    clicks: list[Json] = field(default_factory=list)
    clicked: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    ended: int = 0

    async def command(self, form: Mapping[str, str], replay_key: str | None) -> Json:
        assert replay_key is None
        self.commands.append(form)
        try:
            await self._wait(form.get("text"))
        finally:
            self.ended += 1
        return {"text": f"you said {form['text']}"}

    async def interaction(self, payload: Json, replay_key: str | None) -> None:
        assert replay_key is None
        self.clicks.append(payload)
        self.clicked.set()
        await self._wait(payload["type"])

    async def _wait(self, what: object) -> None:
        if what == "slow":
            self.begun.set()
            await self.go.wait()
        if what == "bad":
            raise BadRequest("The field user_id is missing.")
        if what == "broken":
            raise RuntimeError("out of order")


MAPPED = str(ip_address("::ffff:a9fe:a9fe"))
"""How this version of Python writes an IPv4 address inside an IPv6 one."""


@pytest.fixture
async def slack() -> AsyncIterator[SlackServer]:
    async with slack_server() as running:
        yield running


@pytest.fixture
def handler() -> Recorder:
    return Recorder()


@pytest.fixture
def api(slack: SlackServer, http: HttpClient) -> WebApi:
    return WebApi(http=http, url=slack.api_url, token=APP_TOKEN)


@pytest.fixture
def transport(handler: Recorder, api: WebApi, clock: FakeClock) -> SocketModeTransport:
    return SocketModeTransport(handler, api, clock, ping_every=PING_INTERVAL)


@asynccontextmanager
async def opened(transport: SocketModeTransport, slack: SlackServer, connections: int = 1) -> AsyncIterator[None]:
    """Run a transport, and wait for a number of connections."""
    running = asyncio.create_task(transport.run())
    try:
        await slack.until(lambda: len(slack.sockets) == connections)
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()


def asked(slack: SlackServer) -> int:
    """Return how often it was asked where to connect to."""
    return sum(path.endswith("/apps.connections.open") for path, _ in slack.requests)


def leave(reason: str) -> Json:
    return {"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-1"}}


def cut(connection: web.WebSocketResponse) -> None:
    request = connection._req
    assert request
    assert request.transport
    request.transport.abort()


def is_up(transport: SocketModeTransport) -> bool:
    return transport.connected


def log_records(records: io.StringIO) -> list[Json]:
    return [json.loads(line) for line in records.getvalue().splitlines()]


def events(records: io.StringIO) -> list[str]:
    return [record["event"] for record in log_records(records)]


NOT_CONNECTED = "chat.disconnected"
AGAIN = "chat.recovered"


# ---- what comes is acknowledged ----


async def test_a_command_is_acknowledged_with_its_answer(
    transport: SocketModeTransport, slack: SlackServer, handler: Recorder
) -> None:
    async with opened(transport, slack):
        assert await slack.type_command("failed 24h") == {"text": "you said failed 24h"}
    assert handler.commands[0]["user_id"] == "U0ALICE"


async def test_a_click_is_acknowledged_at_once_and_without_words(
    transport: SocketModeTransport, slack: SlackServer, handler: Recorder
) -> None:
    async with opened(transport, slack):
        payload = click_payload("details", "prod/job-1", "U0ALICE", slack.response_url) | {"type": "slow"}
        assert await slack.ask("interactive", payload) is None
        await handler.clicked.wait()
        assert handler.clicks == [payload]
        assert not handler.go.is_set()


@pytest.mark.parametrize("kind", ["events_api", "options", "something_new"])
async def test_what_else_comes_is_acknowledged_and_left_alone(
    transport: SocketModeTransport, slack: SlackServer, handler: Recorder, kind: str
) -> None:
    async with opened(transport, slack):
        assert await slack.ask(kind, {"type": "event_callback"}) is None
    assert (handler.commands, handler.clicks) == ([], [])


@pytest.mark.parametrize(
    ("text", "level", "event"),
    [("bad", "warning", "chat.request_invalid"), ("broken", "error", "chat.request_failed")],
)
async def test_a_command_that_goes_wrong_is_acknowledged_all_the_same(
    transport: SocketModeTransport, slack: SlackServer, records: io.StringIO, *, text: str, level: str, event: str
) -> None:
    async with opened(transport, slack):
        assert await slack.type_command(text) is None
        assert await slack.type_command("help") == {"text": "you said help"}
    assert [(record["level"], record["event"]) for record in log_records(records)] == [(level, event)]


@pytest.mark.parametrize("kind", ["bad", "broken"])
async def test_a_click_that_goes_wrong_harms_nobody_else(
    transport: SocketModeTransport, slack: SlackServer, records: io.StringIO, kind: str
) -> None:
    async with opened(transport, slack):
        await slack.ask("interactive", {"type": kind})
        assert await slack.type_command("help") == {"text": "you said help"}
    (record,) = log_records(records)
    assert record["event"] in ("chat.request_invalid", "chat.request_failed")


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"a":' * 100_000,
        "null",
        '{"type": "slash_commands"}',
        '{"type": "slash_commands", "envelope_id": "e", "payload": []}',
        '{"type": ["slash_commands"], "envelope_id": "e", "payload": {}}',
        '{"type": "disconnect", "reason": ["link_disabled"]}',
        '{"type": {"a": 1}}',
    ],
)
async def test_a_frame_that_slack_would_not_send_harms_nobody(
    transport: SocketModeTransport, slack: SlackServer, frame: str
) -> None:
    async with opened(transport, slack):
        first = slack.sockets[0]
        slack._acknowledged["e"] = asyncio.get_running_loop().create_future()
        await first.send_str(frame)
        if "disconnect" in frame:
            await slack.another_connection(first)
        assert await slack.type_command("help") == {"text": "you said help"}


async def test_a_slow_command_keeps_nobody_else_waiting(
    transport: SocketModeTransport, slack: SlackServer, handler: Recorder
) -> None:
    async with opened(transport, slack):
        slow = asyncio.create_task(slack.type_command("slow"))
        await handler.begun.wait()
        assert await slack.type_command("help") == {"text": "you said help"}
        handler.go.set()
        assert await slow == {"text": "you said slow"}


# ---- connections end ----


@pytest.mark.parametrize("reason", ["warning", "refresh_requested", "too_many_websockets", "something_new"])
async def test_when_slack_asks_for_it_there_is_a_new_connection(
    transport: SocketModeTransport, slack: SlackServer, records: io.StringIO, reason: str
) -> None:
    async with opened(transport, slack):
        first = slack.sockets[0]
        await first.send_json(leave(reason))
        await slack.another_connection(first)
        await slack.until(lambda: first not in slack.sockets)
        assert await slack.type_command("help") == {"text": "you said help"}
        assert transport.connected
    assert events(records) == []


async def test_however_often_slack_asks_one_connection_is_left(
    transport: SocketModeTransport, slack: SlackServer
) -> None:
    async with opened(transport, slack):
        first = slack.sockets[0]
        for _ in range(4):
            await first.send_json(leave("refresh_requested"))
        await slack.until(lambda: slack.opened == 5 and len(slack.sockets) == 1)
        assert await slack.type_command("help") == {"text": "you said help"}
    assert slack.opened == 5


@pytest.mark.parametrize("how", ["politely", "closed", "cut"])
async def test_a_command_in_progress_is_acknowledged_on_the_next_connection(
    transport: SocketModeTransport, slack: SlackServer, handler: Recorder, how: str
) -> None:
    async with opened(transport, slack):
        first = slack.sockets[0]
        slow = asyncio.create_task(slack.type_command("slow"))
        await handler.begun.wait()
        if how == "politely":
            await first.send_json(leave("refresh_requested"))
        elif how == "closed":
            await first.close()
        else:
            cut(first)
        await slack.another_connection(first)
        handler.go.set()
        assert await slow == {"text": "you said slow"}


async def test_a_cut_connection_is_not_reported_as_open(transport: SocketModeTransport, slack: SlackServer) -> None:
    assert not is_up(transport)
    async with opened(transport, slack):
        await slack.type_command("help")
        assert is_up(transport)
        slack.closed = True
        first = slack.sockets[0]
        cut(first)
        await slack.until(lambda: asked(slack) == 2)
        assert not is_up(transport)
        slack.closed = False
        await slack.another_connection(first)
    assert not is_up(transport)


async def test_a_connection_that_falls_silent_is_replaced(transport: SocketModeTransport, slack: SlackServer) -> None:
    slack.reads_nothing = True  # it answers no ping
    async with opened(transport, slack):
        first = slack.sockets[0]
        slack.reads_nothing = False
        await slack.another_connection(first)
        assert await slack.type_command("help") == {"text": "you said help"}


async def test_two_programs_answer_and_one_of_them_can_go(
    slack: SlackServer, handler: Recorder, api: WebApi, clock: FakeClock
) -> None:
    other = Recorder()
    servers = [SocketModeTransport(one, api, clock, ping_every=PING_INTERVAL) for one in (handler, other)]
    async with opened(servers[0], slack):
        first = slack.sockets[0]
        async with opened(servers[1], slack, 2):
            second = slack.sockets[1]
            for connection in (first, second, first):
                assert await slack.ask("slash_commands", {"text": "help"}, connection) == {"text": "you said help"}
            assert (len(handler.commands), len(other.commands)) == (2, 1)
        await slack.until(lambda: slack.sockets == [first])
        assert await slack.type_command("help") == {"text": "you said help"}


# ---- no connection comes about ----


@pytest.mark.parametrize(
    "code", ["invalid_auth", "not_authed", "token_revoked", "not_allowed_token_type", "missing_scope"]
)
async def test_a_refused_token_is_reported_once_and_retried_every_5_minutes(
    transport: SocketModeTransport, slack: SlackServer, clock: FakeClock, records: io.StringIO, code: str
) -> None:
    slack.faults += [refused(code)] * 3
    troubles: list[str | None] = []
    handler_of_time = clock.sleep

    async def sleep(seconds: float) -> None:
        troubles.append(transport.trouble)
        await handler_of_time(seconds)

    clock.sleep = sleep  # type: ignore[method-assign]  # to look at it while it waits
    async with opened(transport, slack):
        assert await slack.type_command("help") == {"text": "you said help"}
    first, last = log_records(records)
    assert (first["event"], first["level"], first["reason"]) == (NOT_CONNECTED, "error", code)
    assert first["remedy"].startswith("set chat.slack.app_token to an app-level token (xapp-…) with the scope")
    assert last["event"] == AGAIN
    assert asked(slack) == 4
    assert set(troubles) == {code}
    assert 3 * REJECTED_WAIT <= clock.monotonic() <= 3 * (REJECTED_WAIT + MAX_WAIT)
    assert "obviously-fake" not in records.getvalue()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (HTML_500, "HTTP 500"),
        (NOT_JSON, "HTTP 200"),
        (Fault(body={"ok": True}), "HTTP 200"),
        (Fault(body={"ok": True, "url": 7}), "HTTP 200"),
        (Fault(body={"ok": True, "url": "https://slack.com/"}), "HTTP 200"),
        (Fault(body={"ok": True, "url": "ws://["}), "HTTP 200"),
        (Fault(body="[" * 60_000), "HTTP 200"),
        (Fault(body="x" * (MAX_API_REPLY + 1)), f"reply of 127.0.0.1:PORT is longer than {MAX_API_REPLY} bytes"),
        (refused("internal_error"), "internal_error"),
        (
            Fault(then="reset"),
            "connection to 127.0.0.1:PORT lost; if that port speaks TLS, write https:// instead of http://",
        ),
    ],
)
async def test_a_silent_slack_is_retried_ever_more_slowly(
    transport: SocketModeTransport,
    slack: SlackServer,
    clock: FakeClock,
    records: io.StringIO,
    *,
    fault: Fault,
    reason: str,
) -> None:
    slack.faults += [fault] * 8
    async with opened(transport, slack):
        assert clock.slept == [1, 2, 4, 8, 16, 30, 30, 30]
        await slack.type_command("help")
    first, last = log_records(records)
    assert first["reason"] == reason.replace("PORT", slack.url.rpartition(":")[2])
    assert (first["event"], last["event"]) == (NOT_CONNECTED, AGAIN)


async def test_a_wait_that_slack_asks_for_is_kept(
    transport: SocketModeTransport, slack: SlackServer, clock: FakeClock
) -> None:
    slack.faults.append(Fault(status=429, body={"ok": False, "error": "ratelimited"}, headers={"Retry-After": "60"}))
    async with opened(transport, slack):
        assert clock.monotonic() >= 60
        assert asked(slack) == 2


@asynccontextmanager
async def sent_to(url: str, transport: SocketModeTransport, slack: SlackServer) -> AsyncIterator[None]:
    """Let Slack name an address that leads to no connection, and wait until another one is asked for."""
    slack.faults.append(Fault(body={"ok": True, "url": url}))
    running = asyncio.create_task(transport.run())
    try:
        await slack.until(lambda: asked(slack) >= 2)
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ws://127.0.0.1:1/socket", "connection refused by 127.0.0.1"),
        ("ws://nowhere.invalid/socket", "no address found for nowhere.invalid"),
        ("ws://169.254.169.254/latest", "169.254.169.254 refused: 169.254.169.254 is a link-local or metadata address"),
        ("ws://[::ffff:a9fe:a9fe]/latest", f"{MAPPED} refused: {MAPPED} is a link-local"),
    ],
)
async def test_an_unreachable_address_is_reported_and_replaced(
    transport: SocketModeTransport,
    slack: SlackServer,
    records: io.StringIO,
    *,
    url: str,
    reason: str,
) -> None:
    async with sent_to(url, transport, slack):
        await slack.connected.wait()
    record = log_records(records)[0]
    assert record["event"] == NOT_CONNECTED
    assert record["reason"].startswith(reason)
    assert record["remedy"] == "check the network and the proxy"


@pytest.mark.parametrize(
    ("known", "reason"),
    [(True, "127.0.0.1 answered HTTP 403 and not as a WebSocket"), (False, "certificate of 127.0.0.1 not accepted")],
)
async def test_certificates_are_verified_as_everywhere(
    slack: SlackServer,
    handler: Recorder,
    clock: FakeClock,
    records: io.StringIO,
    *,
    certificate: Certificate,
    known: bool,
    reason: str,
) -> None:
    async with (
        HttpServer(reply(403), tls=certificate.server_context()) as server,
        aclosing(HttpClient(ca_file=certificate.authority if known else None)) as http,
    ):
        transport = SocketModeTransport(handler, WebApi(http=http, url=slack.api_url, token=APP_TOKEN), clock)
        async with sent_to(server.url("/x").replace("http", "ws"), transport, slack):
            pass
    assert log_records(records)[0]["reason"].startswith(reason)


async def test_the_rule_about_addresses_holds_here_too(
    slack: SlackServer, handler: Recorder, clock: FakeClock, records: io.StringIO
) -> None:
    async with aclosing(HttpClient(deny=[ip_network("127.0.0.2/32")])) as http:
        transport = SocketModeTransport(handler, WebApi(http=http, url=slack.api_url, token=APP_TOKEN), clock)
        async with sent_to("ws://127.0.0.2/x", transport, slack):
            pass
    assert log_records(records)[0]["reason"] == "127.0.0.2 refused: 127.0.0.2 is an address that network.deny lists"


async def test_socket_mode_switched_off_is_reported_and_retried_later(
    transport: SocketModeTransport, slack: SlackServer, clock: FakeClock, records: io.StringIO
) -> None:
    async with opened(transport, slack):
        first = slack.sockets[0]
        await first.send_json(leave("link_disabled"))
        await slack.type_command("help")  # which comes after
        await first.close()
        cut(first)
        await slack.until(lambda: not slack.sockets)
        assert asked(slack) == 1
        clock.ticks += REJECTED_WAIT
        await slack.another_connection(first)
        assert await slack.type_command("help") == {"text": "you said help"}
    first_record, last_record = log_records(records)
    assert (first_record["event"], first_record["reason"]) == (NOT_CONNECTED, "Socket Mode is switched off")
    assert first_record["remedy"] == "switch Socket Mode on, on the app's page Socket Mode"
    assert last_record["event"] == AGAIN


async def test_mass_disconnects_reopen_few_connections_a_minute(
    transport: SocketModeTransport, slack: SlackServer, clock: FakeClock, records: io.StringIO
) -> None:
    slack.greeting = (HELLO, leave("too_many_websockets"))
    async with opened(transport, slack):
        await slack.until(lambda: slack.opened == MAX_OPENED and len(slack.sockets) == 1)
        assert await slack.type_command("help") == {"text": "you said help"}  # the last one stays
        assert slack.opened == MAX_OPENED
        slack.greeting = (HELLO,)
        clock.ticks += 60
        last = slack.sockets[0]
        await last.send_json(leave("warning"))
        await slack.another_connection(last)
        await slack.type_command("help")
    assert [(record["event"], record.get("reason")) for record in log_records(records)] == [
        (NOT_CONNECTED, "Slack ends every connection at once"),
        (AGAIN, None),
    ]


# ---- proxies ----


async def test_proxies_in_the_environment_are_ignored(
    handler: Recorder, api: WebApi, clock: FakeClock, slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with opened(SocketModeTransport(handler, api, clock), slack):
        assert await slack.type_command("help") == {"text": "you said help"}


async def test_the_configured_proxy_is_gone_by_and_named(
    handler: Recorder, slack: SlackServer, clock: FakeClock, records: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def elsewhere(_api: WebApi) -> str:
        return "ws://wss.slack.invalid/socket"

    refused = asyncio.Queue[None]()

    async def refuse(writer: asyncio.StreamWriter) -> None:
        await reply(407)(writer)
        refused.put_nowait(None)

    monkeypatch.setattr(socket, "_open", elsewhere)
    async with HttpServer(refuse) as proxy, aclosing(HttpClient(proxy=proxy.url(""))) as http:
        api = WebApi(http=http, url=slack.api_url, token=APP_TOKEN)
        running = asyncio.create_task(SocketModeTransport(handler, api, clock).run())
        for _ in range(3):
            await refused.get()
        running.cancel()
        await asyncio.wait({running})
    assert {request.target.partition("?")[0] for request in proxy.requests} == {"ws://wss.slack.invalid/socket"}
    assert f"the proxy 127.0.0.1:{proxy.port} answered HTTP 407 when asked for wss.slack.invalid" in records.getvalue()


async def test_this_machine_is_reached_without_the_proxy(
    handler: Recorder, slack: SlackServer, clock: FakeClock
) -> None:
    async with aclosing(HttpClient(proxy="http://127.0.0.1:1")) as http:
        api = WebApi(http=http, url=slack.api_url, token=APP_TOKEN)
        async with opened(SocketModeTransport(handler, api, clock), slack):
            assert await slack.type_command("help") == {"text": "you said help"}


async def test_a_transport_reports_whether_it_is_connected(transport: SocketModeTransport, slack: SlackServer) -> None:
    troubles = [transport.trouble]
    async with opened(transport, slack):
        await slack.type_command("help")
        troubles.append(transport.trouble)
    assert troubles == ["not connected to Slack yet", None]


# ---- the end ----


async def test_stopping_closes_the_connection_and_ends_work_in_progress(
    transport: SocketModeTransport, slack: SlackServer, handler: Recorder, records: io.StringIO
) -> None:
    async with opened(transport, slack):
        slow = asyncio.create_task(slack.type_command("slow"))
        await handler.begun.wait()
    assert handler.ended == 1
    assert not transport.connected
    await slack.until(lambda: not slack.sockets)
    slow.cancel()
    assert events(records) == []


async def test_nobody_waits_long_for_slack_to_take_leave(
    transport: SocketModeTransport, slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        socket, "CLOSE_TIMEOUT", 1.2 * PING_INTERVAL
    )  # long enough for the library to look around; by itself it waits for ten seconds
    slack.reads_nothing = True
    async with asyncio.timeout(5), opened(transport, slack):
        pass
    assert slack.opened == 1


async def test_the_end_can_come_before_there_is_a_connection(
    transport: SocketModeTransport, slack: SlackServer
) -> None:
    slack.faults.append(Fault(then="hang"))
    running = asyncio.create_task(transport.run())
    await slack.until(lambda: asked(slack) == 1)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert slack.opened == 0


# ---- the check ----


async def test_the_check_proves_a_connection_and_opens_none(api: WebApi, slack: SlackServer) -> None:
    (finding,) = await check(api)
    assert (finding.ok, finding.what, finding.detail) == (True, "Slack Socket Mode", "a connection can be opened")
    assert (asked(slack), slack.opened) == (1, 0)


@pytest.mark.parametrize(
    ("fault", "detail", "remedy"),
    [
        (refused("invalid_auth"), "invalid_auth", "set chat.slack.app_token"),
        (refused("missing_scope"), "missing_scope", "set chat.slack.app_token"),
        (refused("internal_error"), "internal_error", "it is tried again"),
        (HTML_500, "HTTP 500", "it is tried again"),
        (
            Fault(then="reset"),
            "connection to 127.0.0.1:PORT lost; if that port speaks TLS, write https:// instead of http://",
            "check the network",
        ),
    ],
)
async def test_the_check_reports_what_is_wrong_and_the_remedy(
    api: WebApi, slack: SlackServer, fault: Fault, detail: str, remedy: str
) -> None:
    slack.faults.append(fault)
    (finding,) = await check(api)
    assert (finding.ok, finding.detail) == (False, detail.replace("PORT", slack.url.rpartition(":")[2]))
    assert finding.remedy
    assert finding.remedy.startswith(remedy)
