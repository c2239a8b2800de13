"""What holds for every page and every answer of the API: who may embed or send what, and by which name.

A browser sends cookies, and reaches a loopback address, on behalf of any page that is open in it. So a request that
changes something must come from a page of ours, and every request must name a host that is ours: a hostile page can
let its own name point to our address (DNS rebinding).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from notifier.logs import RejectionLog
from notifier.settings.types import is_loopback
from notifier.web.api.problems import ApiProblem

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
RESPONSE_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    # With no-referrer, browsers would send `Origin: null` with forms of our own pages.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every response."""
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+))(?::\d+)?", re.ASCII)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownNames:
    """The names of this server."""

    hosts: Collection[str] = ()
    """Hosts, without ports and in lower case, besides the names of loopback."""
    any_address: bool = False
    """Whether every literal address is one: the server listens on all addresses of its machine."""
    origins: Collection[str] = ()
    """Origins of pages of ours behind a proxy that sends another host."""


def known_names(listen: str, url: str | None, hosts: Collection[str]) -> KnownNames:
    """Return the names of a server that listens at a host, is opened at `url`, and has further names."""
    opened = urlsplit(url).hostname if url else None
    return KnownNames(
        hosts=frozenset(name.lower() for name in (listen, *([opened] if opened else []), *hosts)),
        any_address=_is_unspecified(listen),
        origins=frozenset([url.lower()] if url else []),
    )


def is_known_host(header: str, names: KnownNames) -> bool:
    """Return whether a header `Host` names this server."""
    found = _HOST.fullmatch(header)
    if found is None:
        return False
    host = (found[1] or found[2]).lower().removesuffix(".")
    return host in names.hosts or is_loopback(host) or (names.any_address and _address_of(host) is not None)


def _is_unspecified(host: str) -> bool:
    address = _address_of(host)
    return address is not None and address.is_unspecified


def _address_of(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def bearer_of(headers: Mapping[str, str]) -> str | None:
    """Return the token in a request's headers; None without one. Basic authentication of a proxy in front is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def comes_from_elsewhere(method: str, headers: Mapping[str, str], names: KnownNames) -> bool:
    """Return whether a request changes something and does not provably come from a page of ours.

    One with a token is not refused: no browser adds that by itself, and whoever reads it looks at no cookie.
    """
    if method in _SAFE_METHODS or bearer_of(headers) is not None:
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin", "").lower()
    return origin not in names.origins and _host_of(origin) != headers.get("host", "").lower()


def _host_of(origin: str) -> str | None:
    """Return host and port of an origin; None where it has none."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


class GuardedApplication:
    """Serves an application to requests that name this server, and changes to its own pages only."""

    def __init__(self, app: ASGIApp, names: KnownNames, rejections: RejectionLog) -> None:
        """`rejections` counts the requests that are refused."""
        self._app = app
        self._names = names
        self._rejections = rejections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in RESPONSE_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self._refusal(scope["path"], scope["method"], Headers(scope=scope))
        await (refused or self._app)(scope, receive, send_guarded)

    def _refusal(self, path: str, method: str, headers: Headers) -> Response | None:
        """Return why a request is refused; None where it is not."""
        if bearer_of(headers) is None and not is_known_host(headers.get("host", ""), self._names):
            self._rejections.count("unknown host")
            return _refused(path, 421, "misdirected", _OTHER_NAME)
        if comes_from_elsewhere(method, headers, self._names):
            self._rejections.count("change from another site")
            return _refused(path, 403, "forbidden", _OTHER_SITE)
        return None


_OTHER_NAME = "This server has another name. Open it by the address in web.url, or add the name to web.hosts."
_OTHER_SITE = "This request comes from no page of this server, so nothing was changed. Use the page, or an API token."


def _refused(path: str, status: int, word: str, why: str) -> Response:
    if path.startswith("/api/"):
        return ApiProblem(status, word, why).response()
    return PlainTextResponse(f"{why}\n", status_code=status)
