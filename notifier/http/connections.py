"""Connections to servers: each carries one exchange at a time, and is kept for the next one.

Nothing is pipelined, and nothing is sent twice: what was written once may have been received.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import cached_property
from socket import socket
from typing import NamedTuple, cast

from notifier.http.addresses import AddressRule
from notifier.http.replies import ReplyCutShort, ReplyError, ReplyReader
from notifier.http.sockets import find_addresses, open_socket
from notifier.http.targets import HttpOrigin

IDLE_LIMIT = 15.0
"""Maximum time that a connection is kept without an exchange, in seconds."""
SWEEP_INTERVAL = 0.05
"""Minimum time between two sweeps, in seconds. An exchange ends this much after its deadline at most, never before."""


class ConnectionKey(NamedTuple):
    """What connections have in common that may be used in place of each other."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    guard: bool
    """Whether the address rule applies to a literal address too. It always applies to names."""
    tunnelled_by: HttpOrigin | None = None
    """The proxy that passes the bytes on."""

    @property
    def server_name(self) -> str | None:
        """The name that the certificate must have; None without TLS. Certificates have no dot at the end of a name."""
        return self.host.rstrip(".") if self.tls else None


class Connection(asyncio.Protocol):
    """One connection of a pool."""

    def __init__(self, pool: ConnectionPool, key: ConnectionKey) -> None:
        self.key = key
        self.has_received = False
        """Whether any byte has arrived."""
        self.expires = float("inf")
        """Time of the loop at which the exchange under way, or else the idle connection, is ended."""
        self.lost: asyncio.Future[None] = pool.loop.create_future()
        """Done when the connection has ended."""
        self._pool = pool
        self._transport: asyncio.Transport
        self._ended = False
        """Whether the peer has ended its side, or we ours."""
        self._reader: ReplyReader | None = None
        """The reader of the exchange under way."""
        self._waiter: asyncio.Future[None] | None = None
        """Done when the exchange under way is over."""
        self._early: bytes | None = b""
        """Bytes that arrived before the first request. None after it: no others were asked for."""

    @property
    def is_usable(self) -> bool:
        """Whether a request can be written: no exchange is under way, and both sides are open."""
        return self._reader is None and not self._ended and not self._transport.is_closing()

    @property
    def is_writing(self) -> bool:
        """Whether a part of the last request waits to be written, although its reply may have come."""
        return self._transport.get_write_buffer_size() > 0

    def send(self, request: bytes, reader: ReplyReader, until: float) -> asyncio.Future[None]:
        """Write a request and return a future that is done when the reader is.

        The future raises ReplyError, or TimeoutError at `until`, a time of the loop.
        """
        self._waiter = waiter = self._pool.loop.create_future()
        self._reader, self.expires = reader, until
        self._transport.write(request)
        self._pool.sweep_at(until)
        early, self._early = self._early, None
        if early:
            self.data_received(early)
        return waiter

    def end(self, error: Exception | None = None) -> None:
        """End the connection at once, and an exchange under way with an error."""
        self._end_exchange(error or ReplyCutShort())
        if not self._ended:
            self._ended = True
            self._transport.abort()

    def give_away(self) -> asyncio.Transport:
        """Return the transport, which gets another protocol."""
        self.connection_lost(None)
        return self._transport

    # ---- called by the transport ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._pool.add(self)

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the reader. Bytes that were not asked for end the connection: they could answer a request."""
        self.has_received = True
        if self._reader is None:
            if self._early is None:
                self.end()
            else:
                self._early += data
            return
        try:
            self._reader.feed(data)
        except ReplyError as error:
            self.end(error)
        else:
            if self._reader.done:
                self._end_exchange()

    def eof_received(self) -> None:
        """End both sides."""
        self._finish_reply()
        self.end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - what arrived counts, however it ended
        """End the exchange under way. It may be complete."""
        self._ended = True
        self._finish_reply()
        self._pool.remove(self)
        if not self.lost.done():
            self.lost.set_result(None)

    def _finish_reply(self) -> None:
        if self._reader is None:
            return
        try:
            self._reader.finish()
        except ReplyError as error:
            self._end_exchange(error)
        else:
            self._end_exchange()

    def _end_exchange(self, error: Exception | None = None) -> None:
        waiter, self._waiter, self._reader = self._waiter, None, None
        if waiter is None or waiter.done():  # done: the exchange was cancelled
            return
        if error:
            waiter.set_exception(error)
        else:
            waiter.set_result(None)


class ConnectionPool:
    """The connections of one client. It belongs to the loop that runs when it is first used."""

    def __init__(self, rule: AddressRule) -> None:
        self.closed = False
        self._rule = rule
        self._open: set[Connection] = set()
        self._idle: dict[ConnectionKey, list[Connection]] = {}
        self._next_sweep = float("inf")
        self._timer: asyncio.TimerHandle | None = None

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the connections."""
        return asyncio.get_running_loop()

    def take(self, key: ConnectionKey) -> Connection | None:
        """Return a kept connection, the one used last; None if there is none."""
        if self.closed:
            raise RuntimeError("the client is closed")
        while idle := self._idle.get(key):
            connection = idle.pop()
            if connection.is_usable and connection.expires > self.loop.time():
                return connection
            connection.end()
        return None

    async def connect(self, key: ConnectionKey) -> Connection:
        """Return a new connection. Raises AddressRefused, OSError or UnicodeError.

        A failed handshake counts like a refused connection: the other addresses of the host are tried.
        """
        addresses = await find_addresses(self._rule, key.host, key.port, guard=key.guard)
        while True:
            opened, peer = await open_socket(addresses)
            try:
                return await self._begin(opened, key)
            except OSError:
                addresses = [address for address in addresses if address[4][:2] != peer]
                if not addresses:
                    raise

    async def _begin(self, opened: socket, key: ConnectionKey) -> Connection:
        connection = Connection(self, key)
        try:
            await self.loop.create_connection(
                lambda: connection, sock=opened, ssl=key.tls, server_hostname=key.server_name
            )
        except BaseException:
            # Cancelled just after it was made: uvloop closes such a connection without a word to it.
            connection.connection_lost(None)
            raise
        if self.closed:
            connection.end()
        return connection

    async def start_tls(self, connection: Connection, key: ConnectionKey, tls: ssl.SSLContext) -> Connection:
        """Return the connection with TLS that begins on an open one, which must not be used again. Raises OSError."""
        secured = Connection(self, key)
        transport = await self.loop.start_tls(connection.give_away(), secured, tls, server_hostname=key.server_name)
        secured.connection_made(cast("asyncio.BaseTransport", transport))
        return secured

    def put_back(self, connection: Connection, *, keep: bool) -> None:
        """Keep a connection for the next exchange, or end it."""
        if keep and connection.is_usable and not connection.is_writing and not self.closed:
            connection.expires = self.loop.time() + IDLE_LIMIT
            self._idle.setdefault(connection.key, []).append(connection)
        else:
            connection.end()

    async def aclose(self) -> None:
        """End every connection, and wait until they have ended."""
        self.closed = True
        if self._timer:
            self._timer.cancel()
        for connection in tuple(self._open):
            connection.end()
        if self._open:
            await asyncio.wait([connection.lost for connection in self._open])

    def add(self, connection: Connection) -> None:
        """Begin to watch a connection."""
        connection.expires = self.loop.time() + IDLE_LIMIT
        self._open.add(connection)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._open.discard(connection)
        idle = self._idle.get(connection.key, [])
        if connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(connection.key, None)

    # One timer serves all connections: most exchanges end long before their deadline, and begin without touching it.

    def sweep_at(self, when: float) -> None:
        """Make sure that a sweep takes place at a time of the loop."""
        if when >= self._next_sweep:
            return
        if self._timer:
            self._timer.cancel()
        self._next_sweep = max(when, self.loop.time() + SWEEP_INTERVAL)
        self._timer = self.loop.call_at(self._next_sweep, self._sweep)

    def _sweep(self) -> None:
        now = self.loop.time()
        self._timer, self._next_sweep = None, float("inf")
        for connection in tuple(self._open):
            if connection.expires <= now:
                connection.expires = float("inf")
                connection.end(TimeoutError())
        self.sweep_at(min((connection.expires for connection in self._open), default=float("inf")))
