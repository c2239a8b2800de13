"""Connections: kept, lost in every phase, shared by many exchanges, and never left open."""

from __future__ import annotations

import asyncio
import gc
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from servers.http import Answer, HttpServer, raw, reply, reset, silence
from servers.tls import Certificate, make_certificate

from notifier.http import HttpClient, HttpError, NoAnswer, NotSent, Reply, ReplyTooLarge, connections, sockets
from notifier.http.connections import SWEEP_INTERVAL, ConnectionPool

pytestmark = pytest.mark.both_loops

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FOREVER = 60.0
"""Seconds: a deadline that no test waits for."""
SHORT = 0.15
"""Seconds: a deadline that is meant to pass."""

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def pool_of(http: HttpClient) -> ConnectionPool:
    return http._pool


def idle(http: HttpClient) -> int:
    return sum(map(len, pool_of(http)._idle.values()))


async def ask(http: HttpClient, url: str, method: str = "POST", **options: Any) -> Reply:
    return await http.exchange(method, url, **{"deadline": FOREVER, "max_bytes": 10_000} | options)


async def failure(http: HttpClient, url: str, method: str = "POST", **options: Any) -> HttpError:
    with pytest.raises(HttpError) as caught:
        await ask(http, url, method, **options)
    return caught.value


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until a condition holds."""
    async with asyncio.timeout(FOREVER):
        while not condition():  # noqa: ASYNC110 - of the client's inside, which has no events
            await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(peer: Peer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve each connection with `peer` and yield the URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await peer(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


class TestKeeping:
    async def test_a_hundred_exchanges_at_once_share_nothing_and_are_kept(self, http: HttpClient) -> None:
        arrived: list[None] = []
        everybody = asyncio.Event()

        async def together(writer: asyncio.StreamWriter) -> None:
            arrived.append(None)
            if len(arrived) == 100:
                everybody.set()
            await everybody.wait()
            await reply()(writer)

        async with HttpServer(together) as server:
            bodies = [f"{number}".encode() for number in range(100)]
            replies = await asyncio.gather(*(ask(http, server.url(), content=body) for body in bodies))
            assert {got.status for got in replies} == {200}
            assert sorted(request.body for request in server.requests) == sorted(bodies)
            assert (server.connections, idle(http)) == (100, 100)
            for _ in range(10):
                await ask(http, server.url())
            assert server.connections == 100

    async def test_routes_share_no_connection(self, http: HttpClient, certificate: Certificate) -> None:
        async with HttpServer(tls=certificate.server_context()) as server, HttpServer() as plain:
            one, other = http.with_ca_file(certificate.authority), http.with_ca_file(certificate.authority)
            await ask(one, server.url())
            await ask(other, server.url())
            assert server.connections == 2
            await ask(one, plain.url())
            await ask(other, plain.url())
            await ask(other, plain.url(), guard=False)
            assert plain.connections == 2

    async def test_a_connection_that_the_server_closed_is_replaced(self, http: HttpClient) -> None:
        close, asked = asyncio.Event(), 0

        async def one_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            await reader.readuntil(b"{}")
            asked += 1
            writer.write(OK)
            await close.wait()

        async with serving(one_each) as url:
            await ask(http, url, content=b"{}")
            assert idle(http) == 1
            close.set()
            await until(lambda: idle(http) == 0)
            assert not pool_of(http)._open
            assert (await ask(http, url, content=b"{}")).status == 200
        assert asked == 2

    async def test_one_that_is_idle_for_too_long_is_not_used(
        self, http: HttpClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connections, "IDLE_LIMIT", 0.0)
        async with HttpServer() as server:
            await ask(http, server.url())
            await ask(http, server.url())
        assert server.connections == 2

    async def test_one_that_is_idle_for_too_long_is_closed(
        self, http: HttpClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connections, "IDLE_LIMIT", 0.05)
        async with HttpServer() as server:
            await ask(http, server.url(), deadline=SHORT)
            await until(lambda: not pool_of(http)._open)
        assert pool_of(http)._timer is None

    @pytest.mark.parametrize(
        "content",
        [
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
        ],
    )
    async def test_one_is_closed_after_a_reply_that_ends_it(self, http: HttpClient, content: bytes) -> None:
        async with HttpServer(raw(content)) as server:
            for _ in range(2):
                assert (await ask(http, server.url())).body == b"ok"
            assert (server.connections, idle(http)) == (2, 0)

    async def test_a_reply_to_head_keeps_it(self, http: HttpClient) -> None:
        async with HttpServer(raw(OK[:-2])) as server:
            for _ in range(2):
                assert (await ask(http, server.url(), "HEAD")).body == b""
            assert server.connections == 1

    @pytest.mark.parametrize("status", [204, 304])
    async def test_a_reply_without_a_body_keeps_it(self, http: HttpClient, status: int) -> None:
        async with HttpServer(raw(b"HTTP/1.1 %d X\r\n\r\n" % status)) as server:
            for _ in range(2):
                assert (await ask(http, server.url())).status == status
            assert server.connections == 1

    async def test_a_body_that_ends_with_the_connection_is_read_to_its_end(self, http: HttpClient) -> None:
        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000)
            writer.close()

        async with HttpServer(answer) as server:
            assert (await ask(http, server.url())).body == b"x" * 5000


class TestBigRequests:
    BIG = b"x" * 20_000_000

    async def test_one_is_sent_whole_to_a_slow_reader(self, http: HttpClient) -> None:
        async with HttpServer() as server:
            assert (await ask(http, server.url(), content=self.BIG)).status == 200
        assert len(server.requests[0].body) == len(self.BIG)

    @pytest.mark.parametrize("secure", [False, True])
    async def test_the_deadline_holds_against_a_reader_that_stops(
        self, http: HttpClient, certificate: Certificate, *, secure: bool
    ) -> None:
        async def never_read(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # it can read too
            await asyncio.Event().wait()

        tls = certificate.server_context() if secure else None
        async with serving(never_read, tls) as url:
            error = await failure(
                http.with_ca_file(certificate.authority), url, content=self.BIG, deadline=2 if secure else SHORT
            )
        assert isinstance(error, NoAnswer)
        assert not pool_of(http)._idle

    async def test_a_reply_before_the_request_is_read_counts_and_ends_the_connection(self, http: HttpClient) -> None:
        ended = asyncio.Event()

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            with suppress(ConnectionError):
                while await reader.read(1 << 20):
                    pass
            ended.set()

        async with serving(refuse) as url:
            assert (await ask(http, url, content=self.BIG)).status == 413
            assert idle(http) == 0
            async with asyncio.timeout(FOREVER):
                await ended.wait()


PHASES = [
    b"",
    b"HTTP/1.1",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length : 9\r\n\r\nok",
]


class TestLoss:
    @pytest.mark.parametrize("abort", [False, True], ids=["closed", "reset"])
    @pytest.mark.parametrize("arrived", PHASES)
    async def test_a_connection_lost_in_any_phase_is_reported_once(
        self, http: HttpClient, arrived: bytes, *, abort: bool
    ) -> None:
        async def lose(writer: asyncio.StreamWriter) -> None:
            writer.write(arrived)
            await writer.drain()
            if abort and not arrived:
                writer.transport.abort()
            writer.close()

        async with HttpServer(lose) as server:
            error = await failure(http, server.url())
        assert isinstance(error, NoAnswer)
        assert error.status == (200 if b"200" in arrived else None)
        assert str(error).startswith(f"connection to 127.0.0.1:{server.port} lost")
        await until(lambda: not pool_of(http)._open)
        assert len(server.requests) == 1

    @pytest.mark.parametrize("arrived", PHASES)
    async def test_a_cancelled_exchange_ends_its_connection(self, http: HttpClient, arrived: bytes) -> None:
        asked, gone = asyncio.Event(), asyncio.Event()

        async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(arrived)
            await writer.drain()
            asked.set()
            await reader.read()
            gone.set()

        async with serving(begin) as url, asyncio.timeout(FOREVER):
            task = asyncio.create_task(ask(http, url))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await gone.wait()
            await until(lambda: not pool_of(http)._open)

    async def test_cancelling_while_connecting_leaves_nothing_open(
        self, http: HttpClient, certificate: Certificate
    ) -> None:
        accepted, gone = asyncio.Event(), asyncio.Event()

        async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            accepted.set()
            await reader.read()
            gone.set()

        async with serving(silent) as url, asyncio.timeout(FOREVER):
            trusting = http.with_ca_file(certificate.authority)
            task = asyncio.create_task(ask(trusting, url.replace("http:", "https:")))
            await accepted.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await gone.wait()
        assert not pool_of(http)._open

    async def test_a_server_that_closes_at_once_is_reported(self, http: HttpClient) -> None:
        async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        async with serving(hang_up) as url:
            error = await failure(http, url)
        assert isinstance(error, NoAnswer | NotSent)
        assert str(error).startswith(("connection to 127.0.0.1", "no connection to 127.0.0.1"))


class TestDeadlines:
    async def test_exchanges_end_after_their_deadlines_and_not_before(self, http: HttpClient) -> None:
        loop = asyncio.get_running_loop()
        async with HttpServer(silence()) as server:

            async def wait(deadline: float) -> float:
                begun = loop.time()
                error = await failure(http, server.url(), deadline=deadline)
                assert str(error).endswith(f"within {deadline:g} s")
                return loop.time() - begun

            deadlines = [0.3, 0.05, 0.2, 0.1]
            took = await asyncio.gather(*map(wait, deadlines))
        resolution = 0.001  # of uvloop's clock
        assert all(spent > deadline - resolution for spent, deadline in zip(took, deadlines, strict=True)), took

    async def test_one_timer_serves_all_exchanges(self, http: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
        async with HttpServer() as server:
            await ask(http, server.url())
            scheduled = pool_of(http)._timer
            for _ in range(20):
                await ask(http, server.url())
            assert pool_of(http)._timer is scheduled
            sweeps: list[float] = []
            monkeypatch.setattr(pool_of(http), "_sweep", lambda: sweeps.append(0))
            await ask(http, server.url(), deadline=20)  # earlier than any before
            assert pool_of(http)._timer is not scheduled

    async def test_a_sweep_is_not_early_and_at_most_an_interval_late(self) -> None:
        class Clock:
            """Stands in for a loop: it records when a timer is due."""

            now = 1000.0

            def time(self) -> float:
                return self.now

            def call_at(self, when: float, _call: object) -> asyncio.TimerHandle:
                self.due = when
                return asyncio.get_running_loop().call_later(FOREVER, lambda: None)

        pool = ConnectionPool(HttpClient()._rule)
        clock = Clock()
        vars(pool)["loop"] = clock
        pool.sweep_at(1010.0)
        assert clock.due == 1010.0
        pool.sweep_at(1020.0)
        assert clock.due == 1010.0
        pool.sweep_at(1005.0)
        assert clock.due == 1005.0
        pool.sweep_at(1000.01)
        assert clock.due == 1000.0 + SWEEP_INTERVAL
        await pool.aclose()


class TestClosing:
    async def test_closing_ends_exchanges_and_leaves_nothing_open(self, certificate: Certificate) -> None:
        http = HttpClient(ca_file=certificate.authority)
        cut = raw(b"HTTP/1.1 200 OK\r\n\r\nthe beginning")  # a body until the connection ends, which never does
        async with (
            HttpServer(reply(), silence()) as server,
            HttpServer(reply(), silence(), tls=certificate.server_context()) as secure,
            HttpServer(cut) as endless,
            serving(lambda reader, _writer: _drain(reader)) as silent,
        ):
            await ask(http, server.url())
            await ask(http, secure.url())
            urls = (server.url(), secure.url(), endless.url(), silent.replace("http:", "https:"))
            tasks = [asyncio.create_task(failure(http, url)) for url in urls]
            await until(lambda: len(server.requests) == len(secure.requests) == 2 and len(endless.requests) == 1)
            await until(lambda: sum(len(c._reader._raw) for c in pool_of(http)._open if c._reader) > 0)
            await http.aclose()
            errors = await asyncio.gather(*tasks[:3])
            assert [(type(error), error.status) for error in errors] == [
                (NoAnswer, None),
                (NoAnswer, None),
                (NoAnswer, 200),
            ]
            assert not pool_of(http)._open
            tasks[3].cancel()
            await asyncio.gather(tasks[3], return_exceptions=True)
            with pytest.raises(RuntimeError, match="the client is closed"):
                await ask(http, server.url())
        gc.collect()  # an unclosed transport would warn now

    async def test_nothing_is_sent_by_a_client_that_was_closed_meanwhile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found, resolve = asyncio.Event(), asyncio.Event()

        async def slow(*values: Any, **options: Any) -> Any:
            found.set()
            await resolve.wait()
            return await sockets.find_addresses(*values, **options)

        monkeypatch.setattr(connections, "find_addresses", slow)
        async with HttpServer() as server, asyncio.timeout(FOREVER):
            http = HttpClient()
            task = asyncio.create_task(failure(http, server.url()))
            await found.wait()
            await http.aclose()
            resolve.set()
            assert isinstance(await task, NotSent)
            await until(lambda: not pool_of(http)._open)
        assert server.requests == []

    @pytest.mark.parametrize("encrypted", [False, True])
    async def test_an_exchange_cancelled_just_after_its_connection_was_made_leaves_none(
        self, monkeypatch: pytest.MonkeyPatch, certificate: Certificate, *, encrypted: bool
    ) -> None:
        add = ConnectionPool.add

        def add_and_cancel(pool: ConnectionPool, connection: connections.Connection) -> None:
            add(pool, connection)
            task.cancel()  # before `create_connection` has returned

        monkeypatch.setattr(ConnectionPool, "add", add_and_cancel)
        tls = certificate.server_context() if encrypted else None
        async with HttpServer(tls=tls) as server, asyncio.timeout(FOREVER):
            http = HttpClient(ca_file=certificate.authority if encrypted else None)
            task = asyncio.create_task(ask(http, server.url()))
            await asyncio.wait([task])
            assert task.cancelled()
            await http.aclose()
            assert not pool_of(http)._open
        assert server.requests == []

    async def test_closing_twice_or_unused_is_harmless(self) -> None:
        http = HttpClient()
        await http.aclose()
        await http.aclose()


async def _drain(reader: asyncio.StreamReader) -> None:
    await reader.read()


class TestHappyEyeballs:
    async def test_the_next_address_is_tried_when_the_handshake_fails(
        self, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A middlebox may accept a connection over IPv6 and pass nothing on."""

        async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        async with HttpServer(tls=certificate.server_context()) as server:
            broken = await asyncio.start_server(hang_up, "127.0.0.2", server.port)
            find = sockets.find_addresses

            async def two(rule: Any, host: str, port: int, *, guard: bool) -> Any:
                return [
                    *await find(rule, "127.0.0.2", port, guard=guard),
                    *await find(rule, host, port, guard=guard),
                ]

            monkeypatch.setattr(connections, "find_addresses", two)
            async with broken, aclosing(HttpClient(ca_file=certificate.authority)) as http:
                assert (await ask(http, server.url())).status == 200


# ---- proxies ----


def tunnel_to(port: int, requests: list[str]) -> Peer:
    """Answer CONNECT, and pass bytes between the client and a port of this machine."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        far_reader, far = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await source.read(65536):
                    target.write(data)
            target.close()

        try:
            await asyncio.gather(copy(reader, far), copy(far_reader, writer))
        finally:
            far.close()

    return serve


class TestTunnels:
    async def test_https_goes_through_a_tunnel_that_is_kept(self, tmp_path: Path) -> None:
        certificate = make_certificate(tmp_path, "tickets.example")
        requests: list[str] = []
        async with (
            HttpServer(tls=certificate.server_context()) as server,
            serving(tunnel_to(server.port, requests)) as proxy,
            aclosing(HttpClient(proxy=proxy, ca_file=certificate.authority)) as http,
        ):
            for number in range(3):
                got = await ask(http, "https://tickets.example./hook", content=b"%d" % number)
                assert (got.status, got.body) == (200, b"ok")
        assert [request.target for request in server.requests] == ["/hook"] * 3
        assert requests == ["CONNECT tickets.example.:443 HTTP/1.1\r\nHost: tickets.example.:443\r\n\r\n"]

    async def test_a_proxy_may_speak_tls_itself(self, certificate: Certificate, tmp_path: Path) -> None:
        if sys.version_info < (3, 12, 2) and isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop):
            pytest.skip("asyncio could not abort TLS inside TLS")
        receivers = make_certificate(tmp_path, "tickets.example")
        async with (
            HttpServer(tls=receivers.server_context()) as server,
            serving(tunnel_to(server.port, []), certificate.server_context()) as proxy,
            aclosing(HttpClient(proxy=proxy, ca_file=certificate.authority)) as http,
        ):
            trusting = http.with_ca_file(receivers.authority)
            assert (await ask(trusting, "https://tickets.example/hook")).status == 200
            error = await failure(http, "https://tickets.example/hook")
            assert isinstance(error, NotSent)
            assert str(error).startswith("certificate of tickets.example not accepted (")

    async def test_a_wrong_certificate_is_the_receivers(self, certificate: Certificate) -> None:
        async with (
            HttpServer(tls=certificate.server_context()) as server,
            serving(tunnel_to(server.port, [])) as proxy,
            aclosing(HttpClient(proxy=proxy)) as http,
        ):
            error = await failure(http, "https://tickets.example/hook")
            assert isinstance(error, NotSent)
            assert str(error).startswith("certificate of tickets.example not accepted (")
            assert str(error).endswith(f" (by the proxy {proxy.split('/')[2]})")
            assert not pool_of(http)._open
        assert server.requests == []

    @pytest.mark.parametrize("answers", [(silence(),), (raw(b"HTTP/1.1 200 OK\r\n\r\n"),)])
    async def test_the_deadline_holds_while_it_is_made(self, answers: tuple[Answer, ...]) -> None:
        async with HttpServer(*answers) as proxy, aclosing(HttpClient(proxy=proxy.url())) as http:
            error = await failure(http, "https://tickets.example/hook", deadline=SHORT)
            assert isinstance(error, NotSent)
            assert str(error) == (
                f"no answer from the proxy 127.0.0.1:{proxy.port} on the way to tickets.example within 0.15 s"
            )
            await until(lambda: not pool_of(http)._open)

    async def test_what_is_lost_in_it_was_sent(self, tmp_path: Path) -> None:
        certificate = make_certificate(tmp_path, "tickets.example")
        async with (
            HttpServer(reset(), tls=certificate.server_context()) as server,
            serving(tunnel_to(server.port, [])) as proxy,
            aclosing(HttpClient(proxy=proxy, ca_file=certificate.authority)) as http,
        ):
            error = await failure(http, "https://tickets.example/hook")
        assert isinstance(error, NoAnswer)
        assert str(error) == f"connection to tickets.example lost (by the proxy {proxy.split('/')[2]})"

    async def test_http_through_it_shares_connections_between_hosts(self) -> None:
        async with HttpServer() as proxy, aclosing(HttpClient(proxy=proxy.url())) as http:
            await ask(http, "http://one.example/a?b")
            await ask(http, "http://two.example:81/")
        assert proxy.connections == 1
        assert [(request.target, request.headers["host"]) for request in proxy.requests] == [
            ("http://one.example/a?b", "one.example"),
            ("http://two.example:81/", "two.example:81"),
        ]

    async def test_an_answer_lost_behind_it_was_sent(self) -> None:
        async with HttpServer(reset()) as proxy, aclosing(HttpClient(proxy=proxy.url())) as http:
            error = await failure(http, "http://one.example/")
        assert isinstance(error, NoAnswer)
        assert str(error).startswith(f"connection to one.example lost (by the proxy 127.0.0.1:{proxy.port})")


async def test_a_status_of_a_reply_that_is_too_long_is_known(http: HttpClient) -> None:
    async with HttpServer(reply(503, b"x" * 20_000)) as server:
        error = await failure(http, server.url())
    assert isinstance(error, ReplyTooLarge)
    assert error.status == 503


async def test_an_address_is_checked_when_it_is_connected_to(http: HttpClient) -> None:
    async with HttpServer() as server, aclosing(HttpClient(deny=[ip_network("127.0.0.0/8")])) as denied:
        await ask(http, server.url())
        assert isinstance(await failure(denied, server.url()), NotSent)
        assert server.connections == 1
