"""The rate that each kind of channel reaches where one is configured: the service, and servers on loopback.

The servers accept everything. A channel gets its messages at once; they may leave as its rate, its burst and its
concurrency allow.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import work
from systems import ours

from notifier import logs
from notifier.cli import event_loop
from notifier.service.service import Service
from notifier.wiring.app import open_app

BURST = 5
"""Messages at once, of every channel."""

HTTP_REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
SLACK_POSTED = b'{"ok":true,"channel":"C0123456789","ts":"1768465800.000100"}'


@dataclass(slots=True)
class Arrivals:
    """When messages arrived, in seconds."""

    times: list[float] = field(default_factory=list)

    async def wait_for(self, count: int) -> None:
        while len(self.times) < count:  # noqa: ASYNC110 - a check at every arrival would cost more
            await asyncio.sleep(0.05)

    def reached(self, count: int) -> float:
        """Return the messages a second after the burst."""
        return (count - BURST) / (self.times[count - 1] - self.times[0])


class HttpServer(asyncio.Protocol):
    """Answers requests with a Content-Length, one after the other, with the same reply. It counts those of a path."""

    def __init__(self, arrivals: Arrivals, content_type: bytes, reply: bytes, path: bytes) -> None:
        self._arrivals = arrivals
        self._path = path
        self._reply = HTTP_REPLY % (content_type, len(reply), reply)
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        while end:
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            length = int(fields.get(b"content-length", b"0"))
            if len(rest) < length:
                return
            if self._path in head.partition(b"\r\n")[0]:
                self._arrivals.times.append(time.monotonic())
            self._transport.write(self._reply)
            self._buffer = rest[length:]
            head, end, rest = self._buffer.partition(b"\r\n\r\n")


class SmtpServer(asyncio.Protocol):
    """Takes mails without encryption or a user."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._buffer = b""
        self._mail = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(b"220 bench ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        for line in self._lines():
            self._transport.write(self._answer(line))

    def _lines(self) -> Iterator[bytes]:
        end = b"\r\n.\r\n" if self._mail else b"\r\n"
        while end in self._buffer:
            line, _, self._buffer = self._buffer.partition(end)
            yield line
            end = b"\r\n.\r\n" if self._mail else b"\r\n"

    def _answer(self, line: bytes) -> bytes:
        if self._mail:
            self._mail = False
            self._arrivals.times.append(time.monotonic())
            return b"250 taken\r\n"
        command = line[:4].upper()
        self._mail = command == b"DATA"
        return {b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n", b"EHLO": b"250-bench\r\n250 8BITMIME\r\n"}.get(
            command, b"250 ok\r\n"
        )


def _http(
    content_type: bytes, reply: bytes, path: bytes = b"/"
) -> Callable[[Arrivals], Callable[[], asyncio.Protocol]]:
    return lambda arrivals: partial(HttpServer, arrivals, content_type, reply, path)


PLAIN, JSON = _http(b"text/plain", b"ok"), partial(_http, b"application/json")

KINDS: Mapping[str, tuple[Callable[[Arrivals], Callable[[], asyncio.Protocol]], Callable[[int], dict[str, Any]]]] = {
    "webhook": (PLAIN, lambda port: {"kind": "webhook", "url": f"http://127.0.0.1:{port}/"}),
    "slack webhook": (PLAIN, lambda port: {"kind": "slack", "webhook_url": f"http://127.0.0.1:{port}/services/x"}),
    "slack bot": (
        JSON(SLACK_POSTED, b"/chat.postMessage "),
        lambda port: {
            "kind": "slack",
            "bot_token": "xoxb-1234567890",
            "channel": "C0123456789",
            "api_url": f"http://127.0.0.1:{port}/api/",
        },
    ),
    "mattermost": (PLAIN, lambda port: {"kind": "mattermost", "webhook_url": f"http://127.0.0.1:{port}/hooks/x"}),
    "rocketchat": (
        JSON(b'{"success":true}'),
        lambda port: {"kind": "rocketchat", "webhook_url": f"http://127.0.0.1:{port}/hooks/x/y"},
    ),
    "email": (
        lambda arrivals: partial(SmtpServer, arrivals),
        lambda port: {
            "kind": "email",
            "host": "127.0.0.1",
            "port": port,
            "security": "none",
            "from": "notifier@example.com",
            "to": ["dba@example.com"],
        },
    ),
}
"""The server of each kind, and the settings of a channel to a port."""


async def reached(kind: str, *, rate: int, concurrency: int, seconds: float) -> float:
    """Return the messages a second that a channel with a rate makes, after its burst."""
    server, settings = KINDS[kind]
    arrivals, count = Arrivals(), BURST + round(rate * seconds)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fanout-"))
        listening = await asyncio.get_running_loop().create_server(server(arrivals), "127.0.0.1", 0)
        stack.callback(listening.close)
        pace = {"rate": f"{rate}/s", "burst": BURST, "concurrency": concurrency, "digest_above": None}
        channel = settings(listening.sockets[0].getsockname()[1]) | {"name": "receiver"} | pace
        place = work.Place(urls=(), folder=folder)
        app = await stack.enter_async_context(open_app(ours.config_of(place, [channel]), exclusive=True))
        service, stop = Service(app), asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        await ours.accept(service, range(count))
        async with asyncio.timeout(10 * seconds + 10):
            await arrivals.wait_for(count)
        stop.set()
        await running
    return arrivals.reached(count)


def rates_reached(rates: Sequence[int], *, concurrency: int, seconds: float) -> Mapping[str, Mapping[str, float]]:
    """Return for each kind the messages a second that it reached where a rate was configured, by the rate."""
    logs.configure("critical", "json", sys.stderr)  # the one source is never there
    return {
        kind: {
            f"{rate}/s": event_loop.run(reached(kind, rate=rate, concurrency=concurrency, seconds=seconds))
            for rate in rates
        }
        for kind in KINDS
    }
