"""The HTTP client: one deadline for a whole exchange, a limit of bytes from the wire, and a rule about addresses.

It follows no redirects, keeps no cookies, repeats nothing and reads nothing from the environment. Its errors state
whether the request was sent and name the host, never the path or the query: the URL of an incoming webhook is a secret.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

from notifier import __version__
from notifier.http.addresses import AddressRule, IPNetwork, parse_literal
from notifier.http.connections import ConnectionPool
from notifier.http.errors import HttpError
from notifier.http.exchange import Exchange
from notifier.http.proxies import ProxyException, proxy_rule
from notifier.http.replies import Reply
from notifier.http.sockets import connect
from notifier.http.targets import HttpOrigin, parse_target, proxy_authorization, render_request
from notifier.http.trust import ClientCertificate, create_tls_context

if TYPE_CHECKING:
    import aiohttp


def partial_reply(error: HttpError) -> Reply:
    """Return the part of a reply that arrived before the connection was lost. Raises the error if no status arrived."""
    if error.status is None:
        raise error
    return Reply(status=error.status, headers=error.headers, body=error.body)


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
        self._proxy_url = proxy
        self._proxies = proxy_rule(proxy, no_proxy)
        self._ca_files: tuple[Path, ...] = (ca_file,) if ca_file else ()
        self._certificate: ClientCertificate | None = None
        self._rule = AddressRule(allow=tuple(allow), deny=tuple(deny))
        self._headers = {
            "User-Agent": user_agent or f"gaussdb-notifier/{__version__}",
            "Accept-Encoding": "identity",  # nothing to decode, so that no small reply becomes a large one
            "Accept": "*/*",
        }
        self._pool = ConnectionPool(self._rule)

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

    def with_certificate(self, certificate: ClientCertificate | None) -> HttpClient:
        """Return a client that shows a certificate to servers that ask for one, or this client without a certificate.

        Both share the pool of connections, and closing either closes both. No connection on which one of them shows its
        certificate is used by the other.
        """
        if certificate is None:
            return self
        other = copy(self)
        vars(other).pop("tls", None)
        vars(other)["_certificate"] = certificate
        return other

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """The TLS context of this client, for any protocol."""
        return create_tls_context(*self._ca_files, certificate=self._certificate)

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
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
            deadline: in seconds, for everything: resolving, connecting, the last byte.
            max_bytes: maximum size of the reply's body.
            guard: False permits a literal address that the rule refuses, without a proxy: for the metadata service.
        """
        origin, path = parse_target(url)
        proxy = self._proxy_for(origin.host, guard=guard) if self._proxies.proxy else None
        fields = self._headers.copy()
        if origin.authorization:
            fields["Authorization"] = origin.authorization
        if headers:
            fields.update(headers)
        if proxy and origin.scheme == "http":
            path = f"http://{origin.name}{path}"
            fields.update(proxy_authorization(proxy))
        request = render_request(method, origin.name, path, fields, content)
        exchange = Exchange(self._pool, origin, proxy, self.tls, guard, deadline, max_bytes)
        return await exchange.run(request, bodyless=method == "HEAD")

    def session(self, trace: aiohttp.TraceConfig) -> aiohttp.ClientSession:
        """Return a new session for a long-lived connection. The caller closes it.

        It verifies the same certificates and applies the same rule to names. The caller checks a literal address with
        `check`, and passes the proxy from `proxy_url_for`.
        """
        from notifier.http.sessions import open_session  # noqa: PLC0415 - only Socket Mode needs aiohttp

        return open_session(self._rule, self.tls, self._headers, trace)

    async def connect(self, host: str, port: int) -> socket:
        """Return a connected socket for a protocol other than HTTP. The caller sets a deadline and closes it.

        The address rule applies; the proxy does not, because it speaks HTTP. If an address does not answer at once, the
        next one is tried too (RFC 8305). Raises HttpError.
        """
        return await connect(self._rule, host, port)

    @property
    def proxy_url(self) -> str | None:
        """URL of the configured proxy, credentials included, for what cannot ask host by host; None without one."""
        return self._proxy_url

    def proxy_url_for(self, host: str) -> str | None:
        """Return the URL of the proxy for a host, credentials included; None to connect directly."""
        return self._proxy_url if self._proxy_for(host, guard=True) else None

    def check(self, host: str) -> None:
        """Raise AddressRefused for a host that is a literal address and refused by the rule."""
        if literal := parse_literal(host):
            self._rule.check(host, literal)

    async def aclose(self) -> None:
        """Close every connection. An exchange under way fails."""
        await self._pool.aclose()

    def _proxy_for(self, host: str, *, guard: bool) -> HttpOrigin | None:
        """Return the proxy for a host, if any. A literal address is checked here: the proxy would not do it."""
        literal = parse_literal(host)
        if literal is not None and self._rule.refusal_reason(literal):
            if guard:
                self._rule.check(str(literal), literal)
            return None
        return self._proxies.proxy_for(host, literal)
