"""Requests as bytes, good and bad, and what comes back over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from timeouts import HANG_TIMEOUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def request(
    method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"", *, length: bool = True
) -> bytes:
    """Return a request as it is written on the wire; header values are latin-1."""
    lines = {
        "Host": "notifier.example.com",
        **({"Content-Length": str(len(body))} if length else {}),
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


class Caller:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def write(self, content: bytes) -> None:
        """Send; nobody waits for it to be taken."""
        if not self._writer.is_closing():
            self._writer.write(content)

    async def reply(self) -> Reply:
        """Return the next answer; its status is 0 where the connection is closed instead."""
        async with asyncio.timeout(HANG_TIMEOUT):
            try:
                head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return Reply(status=0, headers={}, body=b"")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Reply(status=int(head[0].split(" ")[1]), headers=headers, body=body)

    async def closed(self) -> bytes:
        """Wait until the server closes the connection; return what came before that."""
        async with asyncio.timeout(HANG_TIMEOUT):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""

    def abort(self) -> None:
        """Cut the connection."""
        self._writer.transport.abort()


@asynccontextmanager
async def calling(url: str) -> AsyncIterator[Caller]:
    """Connect, for as long as the context lasts."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    caller = Caller(reader, writer)
    try:
        yield caller
    finally:
        caller.abort()


async def ask(url: str, content: bytes) -> Reply:
    """Send these bytes on a connection of their own and return the answer to them."""
    async with calling(url) as caller:
        caller.write(content)
        return await caller.reply()
