"""The HTTP client, on aiohttp. Requests with a flow of `httpx.Auth` go through httpx, over the same connections.

It adds what the libraries lack: one deadline for the whole exchange (httpx's timeouts are per read), a limit of bytes
before decoding (httpx's decoder is unbounded), and a rule about addresses. It follows no redirects, keeps no cookies,
repeats nothing and reads nothing from the environment. Its errors state whether the request was sent and name the host,
never the path or the query: the URL of an incoming webhook is a secret.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from socket import socket

import aiohttp
import httpx
import structlog
from httpx_aiohttp import AiohttpTransport
from yarl import URL

from notifier import __version__
from notifier.http.addresses import AddressRule, CheckedResolver, IPNetwork, parse_literal
from notifier.http.errors import (
    PROXY_STATUSES,
    USE_HTTPS,
    AddressRefused,
    HttpError,
    NoAnswer,
    NotSent,
    ReplyTooLarge,
    describe_failure,
    describe_proxy_reply,
    speaks_tls,
)
from notifier.http.proxies import ProxyException, ProxyRule, proxy_rule
from notifier.http.sockets import connect
from notifier.http.trust import create_tls_context
from notifier.http.wire import (
    Exchange,
    ExchangeConnector,
    SizeLimitExceeded,
    WireConnector,
    WireRequest,
    current_exchange,
    open_session,
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A complete reply. `body` holds the bytes as received, never decompressed."""

    status: int
    headers: httpx.Headers
    body: bytes


def partial_reply(error: HttpError) -> Reply:
    """Return the part of a reply that arrived before the connection was lost. Raises the error if no status arrived."""
    if error.status is None:
        raise error
    return Reply(status=error.status, headers=httpx.Headers(error.headers), body=error.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """A parsed URL."""

    url: URL
    """The URL without user and password, sent exactly as it is."""
    host: str
    """The host as messages name it."""
    headers: Mapping[str, str]
    """Header fields that carry the user and password of the URL."""


@lru_cache(maxsize=256)
def _target(url: str) -> _Target:
    """Parse a URL as httpx does, the stricter library. Raises AddressRefused for a URL that cannot be requested."""
    host = "the address given"
    try:
        parsed = httpx.URL(url)
        host = parsed.netloc.decode("ascii") or host
        credentials = aiohttp.encode_basic_auth(parsed.username, parsed.password) if parsed.userinfo else None
    except (httpx.InvalidURL, ValueError):
        parsed, credentials = httpx.URL(), None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise _unusable_url(host)
    return _Target(
        url=URL(str(parsed.copy_with(userinfo=b"")), encoded=True),
        host=host,
        headers={"Authorization": credentials} if credentials else {},
    )


@dataclass(slots=True)
class _Wire:
    """One aiohttp session, opened on first use because that needs a running loop."""

    rule: AddressRule
    proxies: ProxyRule
    headers: Mapping[str, str]
    _session: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = ExchangeConnector(
                resolver=CheckedResolver(self.rule),
                use_dns_cache=False,
                limit=0,  # callers set limits: one for all would let a dead host delay the others
            )
            # No timeouts: `exchange` sets one deadline for everything.
            self._session = open_session(connector, self.headers, request_class=WireRequest)
        return self._session

    def proxy_for(self, host: str, *, guard: bool) -> httpx.Proxy | None:
        """Return the proxy for a host, if any. A literal address is checked here, a name when it is resolved."""
        literal = parse_literal(host)
        if literal is not None and self.rule.refusal_reason(literal):
            if guard:
                self.rule.check(str(literal), literal)
            return None
        return self.proxies.proxy_for(host, literal)

    async def aclose(self) -> None:
        if self._session:
            await self._session.close()


@dataclass(slots=True)
class _Transport(httpx.AsyncBaseTransport):
    """httpx's transport over the same connections."""

    wire: _Wire
    _direct: AiohttpTransport = field(init=False)
    _proxied: AiohttpTransport = field(init=False)

    def __post_init__(self) -> None:
        # Each request brings its own context; without one here, httpx would load another.
        unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._direct = AiohttpTransport(verify=unused, client=self.wire.session)
        self._proxied = AiohttpTransport(verify=unused, client=self.wire.session, proxy=self.wire.proxies.proxy)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = current_exchange.get()
        proxy = self.wire.proxy_for(request.url.host, guard=exchange.guard)
        exchange.start_request(URL(str(request.url), encoded=True), proxy)
        return await (self._proxied if proxy else self._direct).handle_async_request(request)


class HttpClient:
    """An HTTP client to be shared: it keeps connections and reuses them until it is closed.

    Args:
        proxy: URL of an HTTP proxy, credentials included. Behind it the address rule applies to the proxy's address
            and to literal addresses only: the proxy resolves the names.
        allow: if any are given, only these networks may be reached.
        deny: networks that may not be reached.
        no_proxy: hosts and networks reached without the proxy. This machine always is.
        ca_file: PEM file of authorities to trust besides those of the operating system.
        user_agent: value of the header `User-Agent`.
    """

    def __init__(
        self,
        *,
        proxy: str | None = None,
        allow: Sequence[IPNetwork] = (),
        deny: Sequence[IPNetwork] = (),
        no_proxy: Sequence[ProxyException] = (),
        ca_file: Path | None = None,
        user_agent: str | None = None,
    ) -> None:
        for name in ("httpx", "httpcore", "httpx2", "httpcore2"):  # they log URLs, and the URL of a webhook is a secret
            logging.getLogger(name).setLevel(logging.WARNING)
        self._proxy_url = proxy
        self._ca_files: tuple[Path, ...] = (ca_file,) if ca_file else ()
        self._wire = _Wire(
            rule=AddressRule(allow=tuple(allow), deny=tuple(deny)),
            proxies=proxy_rule(proxy, no_proxy),
            headers={
                "User-Agent": user_agent or f"gaussdb-notifier/{__version__}",
                "Accept-Encoding": "identity",  # nothing to decode, so that no small reply becomes a large one
            },
        )
        self._httpx = httpx.AsyncClient(
            transport=_Transport(self._wire),
            headers=self._wire.headers,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=None,  # noqa: S113 - `exchange` sets one deadline for everything
            follow_redirects=False,
            trust_env=False,
        )

    def with_ca_file(self, ca_file: Path | None) -> HttpClient:
        """Return a client that also trusts the authorities in a file, or this client without a file.

        Both share all connections, and closing either closes both.
        """
        if ca_file is None:
            return self
        other = copy(self)
        vars(other).pop("tls", None)
        vars(other)["_ca_files"] = (*self._ca_files, ca_file)
        return other

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """The TLS context of this client, for any protocol."""
        return create_tls_context(*self._ca_files)

    async def exchange(
        self,
        method: str,
        url: str | httpx.URL,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        auth: httpx.Auth | None = None,
        deadline: float,
        max_bytes: int,
        guard: bool = True,
    ) -> Reply:
        """Send one request and return the complete reply, whatever its status. Raises HttpError.

        Args:
            method: in upper case.
            url: with a user and password, if any.
            headers: of the request.
            content: body of the request.
            auth: flow that may send several requests. It takes three times the time of a request without.
            deadline: in seconds, for everything: resolving, connecting, the requests of `auth`, the last byte.
            max_bytes: maximum size of the reply's body.
            guard: False permits a literal address that the rule refuses, without a proxy: for the metadata service.
        """
        target = _target(str(url))
        exchange = Exchange(url=target.url, limit=max_bytes, guard=guard, tls=self.tls)
        token = current_exchange.set(exchange)
        try:
            async with asyncio.timeout(deadline):
                if auth is None:
                    reply = await self._send_with_aiohttp(method, target, headers=headers or {}, content=content)
                else:
                    request = self._httpx.build_request(method, url, headers=headers, content=content)
                    reply = await self._send_with_httpx(request, auth)
        except SizeLimitExceeded:
            kind = ReplyTooLarge if exchange.head else NoAnswer
            what = f"reply of {target.host} is longer than {max_bytes} bytes"
            raise _error_with_reply(kind, what, exchange) from None
        except TimeoutError:
            peer = _unresponsive_peer(exchange, target.host)
            raise _failure(exchange, f"no answer from {peer} within {deadline:g} s") from None
        except (httpx.HTTPError, aiohttp.ClientError, OSError, UnicodeError) as error:
            # `from None`: the library's own message can contain the whole URL.
            raise _translate_error(exchange, error, target.host) from None
        finally:
            current_exchange.reset(token)
            if exchange.connection is not None and (problem := exchange.connection.irregularity):
                log.debug("reply.irregular", host=target.host, problem=problem)
        if why := _intermediary_reply(reply, exchange, target.host):
            raise NotSent(why)
        return reply

    async def _send_with_aiohttp(
        self, method: str, target: _Target, *, headers: Mapping[str, str], content: bytes | None
    ) -> Reply:
        exchange = current_exchange.get()
        exchange.proxy = proxy = self._wire.proxy_for(target.url.raw_host or "", guard=exchange.guard)
        async with self._wire.session().request(
            method,
            target.url,
            headers={**target.headers, **headers},
            data=content or None,
            allow_redirects=False,
            proxy=str(proxy.url) if proxy else None,
            proxy_headers=proxy.headers if proxy else None,
        ) as response:
            body = await _read_body(response.content.iter_any(), exchange)
            return Reply(status=response.status, headers=httpx.Headers(response.raw_headers), body=body)

    async def _send_with_httpx(self, request: httpx.Request, auth: httpx.Auth) -> Reply:
        response = await self._httpx.send(request, auth=auth, stream=True)
        try:
            body = await _read_body(response.aiter_raw(), current_exchange.get())
            return Reply(status=response.status_code, headers=response.headers, body=body)
        finally:
            await response.aclose()

    def session(self, trace: aiohttp.TraceConfig) -> aiohttp.ClientSession:
        """Return a new session for a long-lived connection. The caller closes it.

        It verifies the same certificates and applies the same rule to names. The caller checks a literal address with
        `check`, and passes the proxy from `proxy_url_for`.
        """
        connector = WireConnector(ssl=self.tls, resolver=CheckedResolver(self._wire.rule), use_dns_cache=False)
        return open_session(connector, self._wire.headers, traces=[trace])

    async def connect(self, host: str, port: int) -> socket:
        """Return a connected socket for a protocol other than HTTP. The caller sets a deadline and closes it.

        The address rule applies; the proxy does not, because it speaks HTTP. If an address does not answer at once, the
        next one is tried too (RFC 8305). Raises HttpError.
        """
        return await connect(self._wire.rule, host, port)

    def proxy_url_for(self, host: str) -> str | None:
        """Return the URL of the proxy for a host, credentials included; None to connect directly."""
        return self._proxy_url if self._wire.proxy_for(host, guard=True) else None

    def check(self, host: str) -> None:
        """Raise AddressRefused for a host that is a literal address and refused by the rule."""
        if literal := parse_literal(host):
            self._wire.rule.check(host, literal)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._httpx.aclose()
        await self._wire.aclose()


async def _read_body(chunks: AsyncIterable[bytes], exchange: Exchange) -> bytes:
    async for chunk in chunks:
        exchange.body += chunk
        if len(exchange.body) > exchange.limit:
            raise SizeLimitExceeded
    return bytes(exchange.body)


# ---- errors ----


def _translate_error(exchange: Exchange, error: Exception, host: str) -> HttpError:
    # httpx's translation of aiohttp's errors is too coarse: it calls a lost answer ConnectTimeout.
    cause = error.__cause__ or error if isinstance(error, httpx.HTTPError) else error
    if isinstance(cause, aiohttp.InvalidURL):
        return _unusable_url(host)
    if exchange.connection is not None and exchange.connection.speaks_tls:
        return NotSent(speaks_tls(host))
    what = describe_failure(cause, host, _proxy_name(exchange), passed=exchange.sent)
    silent = exchange.connection is not None and not exchange.connection.has_received
    # OpenSSL closes the connection without an alert when a client does not speak TLS.
    hint = f"; if that port speaks TLS, {USE_HTTPS}" if silent and exchange.url.scheme == "http" else ""
    return _failure(exchange, what + hint)


def _proxy_name(exchange: Exchange) -> str | None:
    return exchange.proxy.url.netloc.decode("ascii") if exchange.proxy else None


def _unresponsive_peer(exchange: Exchange, host: str) -> str:
    """Return the name of the peer that did not answer: the proxy, until it was sent the request."""
    proxy = _proxy_name(exchange)
    if proxy is None:
        return host
    return f"{host} by the proxy {proxy}" if exchange.sent else f"the proxy {proxy} on the way to {host}"


def _intermediary_reply(reply: Reply, exchange: Exchange, host: str) -> str | None:
    """Return why a plain-text reply is not the receiver's: a proxy or a TLS port made it. None if it is."""
    if exchange.url.scheme != "http":
        return None
    if reply.status == HTTPStatus.BAD_REQUEST and _TLS_REQUIRED.search(reply.body[:4096]):
        return speaks_tls(host)
    proxy = _proxy_name(exchange)
    return describe_proxy_reply(proxy, reply.status, host) if proxy and _is_proxy_reply(reply) else None


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


def _failure(exchange: Exchange, message: str) -> HttpError:
    return _error_with_reply(NoAnswer, message, exchange) if exchange.sent else NotSent(message)


def _error_with_reply(kind: type[HttpError], message: str, exchange: Exchange) -> HttpError:
    head = exchange.head
    if head is None:
        return kind(message)
    return kind(message, status=head.status, headers=httpx.Headers(list(head.fields)), body=bytes(exchange.body))


def _unusable_url(host: str) -> AddressRefused:
    return AddressRefused(f"{host} refused: not a usable http or https address")
