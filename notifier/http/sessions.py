"""aiohttp sessions, for connections that live longer than an exchange: Slack's Socket Mode."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from ipaddress import ip_address
from socket import AF_UNSPEC, AddressFamily

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from notifier.http.addresses import AddressRule
from notifier.http.errors import (
    connection_lost,
    describe_connect_error,
    describe_proxy_reply,
    not_http,
    proxy_failure,
)
from notifier.http.replies import HEAD_LIMIT


class CheckedResolver(AbstractResolver):
    """Resolves a name once and refuses it when any of its addresses is refused."""

    def __init__(self, rule: AddressRule) -> None:
        self._rule = rule
        self._names = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: AddressFamily = AF_UNSPEC) -> list[ResolveResult]:
        """Return all addresses, or raise AddressRefused."""
        found = await self._names.resolve(host, port, family)
        for result in found:
            self._rule.check(host, ip_address(result["host"]))
        return found

    async def close(self) -> None:
        """Close the resolver."""
        await self._names.close()


def open_session(
    rule: AddressRule, tls: ssl.SSLContext, headers: Mapping[str, str], trace: aiohttp.TraceConfig
) -> aiohttp.ClientSession:
    """Return a session without aiohttp's additions: no cookies, no timeouts, no decoding, no small limits."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, resolver=CheckedResolver(rule), use_dns_cache=False),
        headers=headers,
        trace_configs=[trace],
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(),
        auto_decompress=False,
        max_line_size=HEAD_LIMIT,
        max_field_size=HEAD_LIMIT,
        max_headers=HEAD_LIMIT // 4,  # as many as fit in
    )


def describe_failure(cause: BaseException, host: str, proxy: str | None) -> str:
    """Return the sentence for an error of aiohttp while connecting to a host, through a proxy if there is one."""
    if proxy is None:
        return _describe_error(cause, host)
    if isinstance(cause, aiohttp.ClientHttpProxyError):
        return describe_proxy_reply(proxy, cause.status, host)
    failed_address = f"{getattr(cause, 'host', '')}:{getattr(cause, 'port', None)}"
    its_own = isinstance(cause, aiohttp.ClientProxyConnectionError) or failed_address == proxy
    if its_own:
        return proxy_failure(_describe_error(cause, f"the proxy {proxy}"), host)
    return f"{_describe_error(cause, host)} (by the proxy {proxy})"


def _describe_error(cause: BaseException, host: str) -> str:
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        return describe_connect_error(cause.certificate_error, host)
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        return f"no address found for {host}"
    if isinstance(cause, aiohttp.ClientConnectorError):
        return describe_connect_error(cause.os_error, host)
    if isinstance(cause, UnicodeError):
        return describe_connect_error(cause, host)
    return not_http(host) if isinstance(cause, aiohttp.ClientResponseError) else connection_lost(host)
