"""An HTTP server on loopback that answers as it is told, well or badly, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What arrived. Header names are in lower case; `connection` numbers the connections from 1."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""Writes a reply, or does not."""

# ---- answers ----


def reply(status: int = 200, body: bytes = b"ok", headers: Mapping[str, str] | None = None) -> Answer:
    """Answer in full and keep the connection."""
    lines = [f"{name}: {value}" for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items()]
    return raw(_head(status, *lines) + body)


def raw(content: bytes) -> Answer:
    """Write these bytes, whatever they are."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()

    return answer


def silence() -> Answer:
    """Never answer."""

    async def answer(_writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    return answer


def reset() -> Answer:
    """Cut the connection instead of answering."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    return answer


def cut_short(status: int = 200, body: bytes = b"only this") -> Answer:
    """Promise more than is sent, then close."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(_head(status, f"Content-Length: {len(body) + 1000}") + body)
        await writer.drain()
        writer.close()

    return answer


def drip(status: int = 200) -> Answer:
    """Send the head at once and the body a byte at a time, without end."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(_head(status, "Content-Length: 1000000"))
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.005)  # this is the server's pace; no test waits for it

    return answer


def flood(status: int = 200) -> Answer:
    """Send a body without end as fast as it is read."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(_head(status, "Transfer-Encoding: chunked"))
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()

    return answer


def gzip_bomb(megabytes: int = 50) -> Answer:
    """Send a small body that would decompress to a large one, though nobody asked for compression."""
    body = gzip.compress(b"\0" * (megabytes << 20), compresslevel=1)
    return reply(200, body, {"Content-Encoding": "gzip"})


def _head(status: int, *lines: str) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unheard of"
    return "\r\n".join([f"HTTP/1.1 {status} {phrase}", *lines, "", ""]).encode("ascii")


# ---- the server ----


class HttpServer:
    """`async with HttpServer() as server:` listens on a free port; `server.url("/x")` is where.

    `server.answers` are used one for each request in turn, the last for all that follow.
    """

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers) or [reply()]
        self.requests: list[Request] = []
        self.connections = 0
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def url(self, target: str = "/", host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{target}"

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        number = self.connections
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                request = await _read(reader, number)
                self.requests.append(request)
                await self.next_answer(request)(writer)
        writer.close()
        with suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
            await writer.wait_closed()

    def next_answer(self, request: Request) -> Answer:  # noqa: ARG002 - a server that knows its service needs it
        """Return the answer to a request."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def _read(reader: asyncio.StreamReader, connection: int) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method=method, target=target, headers=headers, body=body, connection=connection)
