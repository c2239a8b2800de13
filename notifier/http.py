"""The one way out: every request to a cloud, a chat or a webhook goes through `HttpClient.exchange`.

It adds what the library leaves open: one deadline for the whole exchange (its timeouts are per read), a cap on the
bytes as they came (its decoder is unbounded), a rule about addresses, no redirects, no cookies, nothing from the
environment, and errors that say whether the request was sent and name the host, never the path or the query:
the URL of an incoming webhook is a secret.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from socket import AF_UNSPEC, AddressFamily
from types import SimpleNamespace

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from httpx_aiohttp import AiohttpTransport

from notifier import __version__

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


class HttpError(Exception):
    """No usable reply. The message names the host and is free of paths, queries and credentials."""


class NotSent(HttpError):
    """The request never left: repeating it is safe."""


class AddressRefused(NotSent):
    """The address rule forbids it."""


class NoAnswer(HttpError):
    """The request went out and its outcome is not known, unless the status line arrived before the rest was lost."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ReplyTooLarge(HttpError):
    """The reply was longer than asked for. The request itself was answered with `status`."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole reply. `body` holds the bytes as they came, never decompressed."""

    status: int
    headers: httpx.Headers
    body: bytes


# ---- the address rule ----

_METADATA = tuple(
    ip_network(text)
    for text in (
        "169.254.0.0/16",  # link-local: the metadata service of most clouds
        "fe80::/10",
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
        "100.100.100.200/32",
        "192.0.0.192/32",
    )
)
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = IPv6Network("::/96")
_LOW_32_BITS = 0xFFFF_FFFF


def spellings(address: IPAddress) -> Iterator[IPAddress]:
    """Yield an address and every other one that connecting to it can reach: mapped, translated or tunnelled."""
    yield address
    if address.is_unspecified:
        yield IPv4Address("127.0.0.1")
        yield IPv6Address("::1")
    elif isinstance(address, IPv6Address):
        if address.ipv4_mapped or address in _COMPATIBLE or any(address in network for network in _NAT64):
            yield IPv4Address(int(address) & _LOW_32_BITS)
        if address.sixtofour:
            yield address.sixtofour
        yield from address.teredo or ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRule:
    """Which addresses may be connected to. Metadata and link-local ones never; `deny` adds to that.

    A non-empty `allow` means only these.
    """

    allow: tuple[IPNetwork, ...] = ()
    deny: tuple[IPNetwork, ...] = ()

    def refusal(self, address: IPAddress) -> str | None:
        """Return why not, or None where it is allowed."""
        reached = tuple(spellings(address))
        if _within(reached, _METADATA):
            return "a link-local or metadata address"
        if _within(reached, self.deny):
            return "an address that network.deny lists"
        if self.allow and not _within(reached, self.allow):
            return "an address that network.allow does not list"
        return None

    def check(self, host: str, address: IPAddress) -> None:
        """Raise AddressRefused where the rule says no."""
        if reason := self.refusal(address):
            raise AddressRefused(f"{host} refused: {address} is {reason}")


def _within(addresses: Sequence[IPAddress], networks: Sequence[IPNetwork]) -> bool:
    return any(address in network for address in addresses for network in networks)


def _literal(host: str) -> IPAddress | None:
    try:
        return ip_address(host.replace("%25", "%"))
    except ValueError:
        return None


class _CheckedResolver(AbstractResolver):
    """Looks a name up once and refuses it when any of its addresses is refused.

    What is connected to is what was checked: there is no second lookup for a name server to answer differently.
    """

    def __init__(self, rule: AddressRule) -> None:
        self._rule = rule
        self._names = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: AddressFamily = AF_UNSPEC) -> list[ResolveResult]:
        found = await self._names.resolve(host, port, family)
        for result in found:
            self._rule.check(host, ip_address(result["host"]))
        return found

    async def close(self) -> None:
        await self._names.close()


# ---- the exchange ----


@dataclass(slots=True)
class _Exchange:
    """What one exchange knows of itself: aiohttp's tracing tells it that its request is on the wire."""

    guard: bool = True
    sent: bool = False
    status: int | None = None


_current: ContextVar[_Exchange] = ContextVar("_current")


async def _note_sent(_session: aiohttp.ClientSession, _context: SimpleNamespace, _params: object) -> None:
    _current.get().sent = True


@dataclass(slots=True)
class _Transport(httpx.AsyncBaseTransport):
    """One aiohttp session, opened when first used because that needs a running loop."""

    rule: AddressRule
    tls: ssl.SSLContext
    proxy: httpx.Proxy | None
    _session: aiohttp.ClientSession | None = None
    _direct: AiohttpTransport = field(init=False)
    _usual: AiohttpTransport = field(init=False)

    def __post_init__(self) -> None:
        self._direct = AiohttpTransport(verify=self.tls, client=self._open)
        self._usual = AiohttpTransport(verify=self.tls, client=self._open, proxy=self.proxy)

    def _open(self) -> aiohttp.ClientSession:
        self._session = self._session or _session(self.rule, self.tls)
        return self._session

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send by the proxy if there is one; a literal address is checked here, a name when it is resolved."""
        literal = _literal(request.url.host)
        if literal is None or not self.rule.refusal(literal):
            return await self._usual.handle_async_request(request)
        if _current.get().guard:
            self.rule.check(request.url.host, literal)
        return await self._direct.handle_async_request(request)

    async def aclose(self) -> None:
        if self._session:
            await self._session.close()


def _session(rule: AddressRule, tls: ssl.SSLContext) -> aiohttp.ClientSession:
    tracing = aiohttp.TraceConfig()
    tracing.on_request_headers_sent.append(_note_sent)
    connector = aiohttp.TCPConnector(
        ssl=tls,
        resolver=_CheckedResolver(rule),
        use_dns_cache=False,
        limit=0,  # callers bound what they have in flight; one cap for all would let a dead host delay the others
    )
    return aiohttp.ClientSession(connector=connector, trace_configs=[tracing], cookie_jar=aiohttp.DummyCookieJar())


class HttpClient:
    """Build one, share it, close it: connections are kept and reused.

    `allow` and `deny` make the address rule stricter. Behind a `proxy` (a URL, credentials allowed in it) the rule
    applies to the proxy's address and to literal ones; judging names is then the proxy's duty.
    `tls` replaces the default of verifying against the certifi bundle.
    """

    def __init__(
        self,
        *,
        proxy: str | None = None,
        allow: Sequence[IPNetwork] = (),
        deny: Sequence[IPNetwork] = (),
        user_agent: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        # httpx logs every URL at INFO, and the URL of an incoming webhook is a secret.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        rule = AddressRule(allow=tuple(allow), deny=tuple(deny))
        self._client = httpx.AsyncClient(
            transport=_Transport(rule, tls or default_tls(), _proxy(proxy)),
            headers={
                "User-Agent": user_agent or f"gaussdb-notifier/{__version__}",
                "Accept-Encoding": "identity",  # nothing to decode, so no small reply that becomes a large one
            },
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=None,  # noqa: S113 - `exchange` puts one deadline around everything
            follow_redirects=False,
            trust_env=False,
        )

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
        """Send one request and return the whole reply, whatever its status.

        `deadline` is in seconds and covers everything: names, connecting, what `auth` sends, the last byte.
        `guard=False` lets a literal address pass that the rule refuses, straight and past any proxy: it is for the
        metadata service. Raises HttpError.
        """
        exchange = _Exchange(guard)
        token = _current.set(exchange)
        try:
            async with asyncio.timeout(deadline):
                request = self._client.build_request(method, url, headers=headers, content=content)
                return await self._read(request, auth, max_bytes, exchange)
        except TimeoutError:
            raise _lost(exchange, f"no answer from {_host(url)} within {deadline:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, UnicodeError) as error:
            # `from None`: the library's own messages can carry the whole URL.
            raise _translated(exchange, error, _host(url)) from None
        finally:
            _current.reset(token)

    async def _read(self, request: httpx.Request, auth: httpx.Auth | None, limit: int, exchange: _Exchange) -> Reply:
        response = await self._client.send(request, auth=auth, stream=True)
        try:
            exchange.status = response.status_code
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > limit:
                    message = f"reply of {_host(request.url)} is longer than {limit} bytes"
                    raise ReplyTooLarge(message, status=response.status_code)
            return Reply(status=response.status_code, headers=response.headers, body=bytes(body))
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


def default_tls(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a context that verifies names and certificates, from TLS 1.2 on.

    `ca_file` (PEM) adds authorities to the certifi bundle. Raises OSError or ssl.SSLError where it cannot be read.
    """
    context = httpx.create_ssl_context(trust_env=False)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    return context


def _proxy(url: str | None) -> httpx.Proxy | None:
    if not url:
        return None
    proxy = httpx.Proxy(url)
    if not proxy.auth:
        return proxy
    # aiohttp makes Proxy-Authorization of it; handing it user and password apart is deprecated there.
    return httpx.Proxy(proxy.url, headers={"Authorization": aiohttp.encode_basic_auth(*proxy.auth)})


def _host(url: str | httpx.URL) -> str:
    try:
        return httpx.URL(url).netloc.decode("ascii") or "the address given"
    except httpx.InvalidURL:
        return "the address given"


# ---- translation of errors ----


def _lost(exchange: _Exchange, message: str) -> HttpError:
    return NoAnswer(message, status=exchange.status) if exchange.sent else NotSent(message)


def _translated(exchange: _Exchange, error: Exception, host: str) -> HttpError:
    """Make our error of a foreign one. The transport's mapping is too coarse: it calls a lost answer ConnectTimeout."""
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return AddressRefused(f"{host} refused: not a usable http or https address")
    return _lost(exchange, _what_happened(error.__cause__ or error, host))


def _what_happened(cause: BaseException, host: str) -> str:
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        return f"certificate of {host} not accepted ({_certificate_problem(cause)})"
    if isinstance(cause, aiohttp.ClientHttpProxyError):
        return f"proxy answered HTTP {cause.status} when asked for {host}"
    if isinstance(cause, aiohttp.ClientConnectorError) and isinstance(cause.os_error, ConnectionRefusedError):
        return f"connection refused by {host}"
    return next((text for kind, text in _PROBLEMS if isinstance(cause, kind)), "connection to {host} lost").format(
        host=host
    )


_PROBLEMS: Sequence[tuple[type[BaseException], str]] = (
    (aiohttp.ClientConnectorDNSError, "no address found for {host}"),
    (UnicodeError, "no address found for {host}"),
    (aiohttp.ClientConnectorSSLError, "no TLS with {host}"),
    (aiohttp.ClientProxyConnectionError, "no connection to the proxy on the way to {host}"),
    (aiohttp.ClientConnectorError, "no connection to {host}"),
    (aiohttp.ClientResponseError, "{host} does not answer in HTTP"),
)
"""The first that fits."""


def _certificate_problem(error: aiohttp.ClientConnectorCertificateError) -> str:
    cause = error.certificate_error
    return cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else "it does not verify"
