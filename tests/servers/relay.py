"""A network between a client and a server, to freeze or to cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path


class Relay:
    """Passes bytes between TCP on loopback and a server: a Unix socket, or a port on loopback."""

    def __init__(self, place: Path | int) -> None:
        self.port = 0
        self.swallowed = asyncio.Event()
        """Set when frozen traffic was dropped."""
        self.path = place
        """Where a new connection leads."""
        self._open: set[asyncio.StreamWriter] = set()
        self._frozen: set[asyncio.StreamWriter] = set()
        self._to_clients: set[asyncio.StreamWriter] = set()

    def freeze(self) -> None:
        """Silently drop all traffic of the current connections, in both directions."""
        self._frozen |= self._open

    def mute(self) -> None:
        """Silently drop what servers send over the current connections. What clients send arrives."""
        self._frozen |= self._to_clients

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._open:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await self._connect()
        ends = {writer, far_writer}
        self._open |= ends
        self._to_clients.add(writer)
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        self._open -= ends
        self._to_clients.discard(writer)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.path, int):
            return await asyncio.open_connection("127.0.0.1", self.path)
        return await asyncio.open_unix_connection(self.path)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if writer in self._frozen:
                    self.swallowed.set()
                else:
                    writer.write(data)
        writer.close()


@asynccontextmanager
async def relay(place: Path | int) -> AsyncIterator[Relay]:
    """Relay to a Unix socket, or to a port on loopback, until the end."""
    found = Relay(place)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found
        found.cut()
