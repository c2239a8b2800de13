"""A minimal HTTP/1.1 server for thousands of requests a second, and the notification of what has just happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus


class Wakeup:
    """Notifies waiting tasks of named events."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Event] = {}

    def notify(self, name: str) -> None:
        if event := self._waiting.pop(name, None):
            event.set()

    async def wait_for(self, name: str, patience: float) -> bool:
        """Wait for the next event of this name, at most `patience` seconds; return whether it happened."""
        event = self._waiting.setdefault(name, asyncio.Event())
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await event.wait()
        return event.is_set()


@dataclass(slots=True, kw_only=True)
class Request:
    """One complete request, and the ways to answer it."""

    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: Connection

    @property
    def gone(self) -> bool:
        """Whether the client has closed the connection."""
        return self.connection.transport.is_closing()

    def reply(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        """Answer in full."""
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Length: {len(body)}", *lines, "", ""]
        self.connection.transport.write("\r\n".join(head).encode() + body)

    def cut(self, body: bytes) -> None:
        """Announce a body and close the connection in the middle of it."""
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self.connection.transport.write(head + body[: len(body) // 2])
        self.connection.transport.close()

    def reset(self) -> None:
        """Reset the connection."""
        self.connection.transport.abort()


Handler = Callable[[Request], None]


@dataclass(slots=True)
class Connection(asyncio.Protocol):
    """One connection with one request at a time. `mark` is a number taken when it was opened."""

    handler: Handler
    mark: int
    buffer: bytes = b""
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    transport: asyncio.Transport = field(init=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while request := self._parse():
            self.handler(request)

    def _parse(self) -> Request | None:
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", 0))
        if len(rest) < size:
            return None
        self.buffer = rest[size:]
        return Request(target=first.split(" ")[1], headers=headers, body=rest[:size], connection=self)


async def listen(handler: Handler, mark: Callable[[], int]) -> tuple[asyncio.Server, int]:
    """Serve on a free port of loopback; return the server and the port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(handler, mark()), "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    return server, port
