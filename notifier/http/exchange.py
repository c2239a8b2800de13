"""The course of one exchange, directly or through a proxy, and what its errors say."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from http import HTTPStatus

import structlog

from notifier.http.connections import Connection, ConnectionKey, ConnectionPool
from notifier.http.errors import (
    PROXY_STATUSES,
    USE_HTTPS,
    HttpError,
    NoAnswer,
    NotSent,
    ReplyTooLarge,
    connection_lost,
    describe_connect_error,
    describe_proxy_reply,
    not_http,
    proxy_failure,
    speaks_tls,
)
from notifier.http.replies import Headers, NotHttp, Reply, ReplyError, ReplyReader, ReplyTooLong, TlsAlert
from notifier.http.targets import HttpOrigin, proxy_authorization, render_request

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Exchange:
    """One exchange. It is sent once, and counts as sent from the moment at which it is written to a connection."""

    pool: ConnectionPool
    origin: HttpOrigin
    proxy: HttpOrigin | None
    tls: ssl.SSLContext
    guard: bool
    """Whether the address rule applies to a literal address."""
    deadline: float
    """Seconds for everything, from resolving the name to the last byte."""
    max_bytes: int

    async def run(self, request: bytes, *, bodyless: bool) -> Reply:
        """Send a request and return the reply, whatever its status. Raises HttpError.

        `bodyless`: whether the reply to such a request has no body.
        """
        until = self.pool.loop.time() + self.deadline
        key = self._key()
        reader = ReplyReader(bodyless=bodyless, limit=self.max_bytes)
        connection = self.pool.take(key) or await self._connect(key, until)
        try:
            await connection.send(request, reader, until)
        except (ReplyError, TimeoutError) as error:
            raise self._failure(error, reader, connection) from None
        finally:
            self.pool.put_back(connection, keep=reader.keep)
            if reader.irregularity:
                log.debug("reply.irregular", host=self.origin.name, problem=reader.irregularity)
        reply = reader.reply()
        if self.origin.scheme == "http" and (why := self._intermediary_reply(reply)):
            raise NotSent(why)
        return reply

    # ---- connecting ----

    def _key(self) -> ConnectionKey:
        origin, proxy = self.origin, self.proxy
        if origin.scheme == "https":
            return ConnectionKey(origin.host, origin.port, self.tls, self.guard, proxy)
        if proxy is not None:
            return self._key_of_proxy(proxy)
        return ConnectionKey(origin.host, origin.port, None, self.guard)

    def _key_of_proxy(self, proxy: HttpOrigin) -> ConnectionKey:
        # The configuration names the proxy, so a literal address of it is not checked.
        return ConnectionKey(proxy.host, proxy.port, self.tls if proxy.scheme == "https" else None, guard=False)

    async def _connect(self, key: ConnectionKey, until: float) -> Connection:
        try:
            async with asyncio.timeout_at(until):
                if self.proxy is None:
                    connection = await self._dial(key)
                elif key.tunnelled_by is None:
                    connection = await self._dial_proxy(key, self.proxy)
                else:
                    connection = await self._tunnel(key, self.proxy)
        except TimeoutError:
            peer = f"the proxy {self.proxy.name} on the way to {self.origin.name}" if self.proxy else self.origin.name
            raise NotSent(f"no answer from {peer} within {self.deadline:g} s") from None
        if not connection.is_usable:
            raise NotSent(self._lost(connection))
        return connection

    async def _dial(self, key: ConnectionKey) -> Connection:
        try:
            return await self.pool.connect(key)
        except (OSError, UnicodeError) as error:
            raise NotSent(describe_connect_error(error, self.origin.name)) from None

    async def _dial_proxy(self, key: ConnectionKey, proxy: HttpOrigin) -> Connection:
        try:
            return await self.pool.connect(key)
        except (OSError, UnicodeError) as error:
            what = describe_connect_error(error, f"the proxy {proxy.name}")
            raise NotSent(proxy_failure(what, self.origin.name)) from None

    async def _tunnel(self, key: ConnectionKey, proxy: HttpOrigin) -> Connection:
        """Return a connection to the origin through the proxy."""
        connection = await self._dial_proxy(self._key_of_proxy(proxy), proxy)
        try:
            await self._ask_for_tunnel(connection, proxy)
            return await self.pool.start_tls(connection, key, self.tls)
        except OSError as error:
            raise NotSent(f"{describe_connect_error(error, self.origin.name)} (by the proxy {proxy.name})") from None
        finally:
            connection.end()

    async def _ask_for_tunnel(self, connection: Connection, proxy: HttpOrigin) -> None:
        reader = ReplyReader(bodyless=True, limit=0)
        host = f"[{self.origin.host}]" if ":" in self.origin.host else self.origin.host
        authority = f"{host}:{self.origin.port}"
        request = render_request("CONNECT", authority, authority, proxy_authorization(proxy))
        try:
            # The deadline of connecting ends this too.
            await connection.send(request, reader, float("inf"))
        except ReplyError as error:
            peer = f"the proxy {proxy.name}"
            what = not_http(peer) if isinstance(error, NotHttp) else connection_lost(peer)
            raise NotSent(proxy_failure(what, self.origin.name)) from None
        status = reader.reply().status
        if not 200 <= status < 300:  # noqa: PLR2004 - the class of successes
            raise NotSent(describe_proxy_reply(proxy.name, status, self.origin.name))

    # ---- errors ----

    def _failure(self, error: Exception, reader: ReplyReader, connection: Connection) -> HttpError:
        name, head = self.origin.name, reader.head
        kind: type[HttpError] = NoAnswer
        if isinstance(error, TlsAlert):
            return NotSent(speaks_tls(name))
        if isinstance(error, ReplyTooLong):
            kind = ReplyTooLarge if head else NoAnswer
            what = f"reply of {name} is longer than {self.max_bytes} bytes"
        elif isinstance(error, TimeoutError):
            by = f" by the proxy {self.proxy.name}" if self.proxy else ""
            what = f"no answer from {name}{by} within {self.deadline:g} s"
        elif isinstance(error, NotHttp):
            what = not_http(name) + self._by_proxy
        else:
            what = self._lost(connection)
        if head is None:
            return kind(what)
        return kind(what, status=head.status, headers=Headers(head.fields), body=reader.body)

    @property
    def _by_proxy(self) -> str:
        return f" (by the proxy {self.proxy.name})" if self.proxy else ""

    def _lost(self, connection: Connection) -> str:
        # OpenSSL closes the connection without an alert when a client does not speak TLS.
        silent = self.origin.scheme == "http" and not connection.has_received
        hint = f"; if that port speaks TLS, {USE_HTTPS}" if silent else ""
        return f"{connection_lost(self.origin.name)}{self._by_proxy}{hint}"

    def _intermediary_reply(self, reply: Reply) -> str | None:
        """Return why a plain-text reply is not the receiver's: a proxy or a TLS port made it. None if it is."""
        if reply.status == HTTPStatus.BAD_REQUEST and _TLS_REQUIRED.search(reply.body[:4096]):
            return speaks_tls(self.origin.name)
        if self.proxy and _is_proxy_reply(reply):
            return describe_proxy_reply(self.proxy.name, reply.status, self.origin.name)
        return None


def _is_proxy_reply(reply: Reply) -> bool:
    if reply.status in PROXY_STATUSES:
        return True
    if reply.status >= 500 and not _PROXY_FIELDS.isdisjoint(reply.headers):  # noqa: PLR2004 - the class of server errors
        return True
    # Squid, and proxies after RFC 9209, mark the errors that they make themselves.
    return reply.status >= 400 and (  # noqa: PLR2004 - the classes of errors
        "x-squid-error" in reply.headers or "error=" in reply.headers.get("proxy-status", "")
    )


_TLS_REQUIRED = re.compile(rb"HTTP request (?:was sent )?to (?:an )?HTTPS|plain HTTP to an SSL-enabled", re.IGNORECASE)
"""Texts of nginx, of programs in Go and of Apache."""
_PROXY_FIELDS = frozenset({"proxy-status", "x-squid-error", "proxy-authenticate", "proxy-connection"})
