"""Where a request goes, and the bytes that are sent there."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from notifier.http.errors import AddressRefused

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_PLAIN_ORIGIN = re.compile(
    rf"(https?)://((?=[0-9.-]*[a-z])[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|{_OCTET}(?:\.{_OCTET}){{3}})"
    r"(?::([1-9][0-9]{0,3}|[1-5][0-9]{4}))?"
)
"""An origin that means to httpx what it says: the usual one. To import httpx takes a tenth of a second."""
_CHARACTER = r"[!$&-.0-;=@-Z\[-_a-z|~]|%[0-9A-Fa-f]{2}"
_AS_WRITTEN = re.compile(rf"(https?://[^/?#\\\s]+)((?:/(?!\.)(?:{_CHARACTER})*)+(?:\?(?:[/?`{{}}]|{_CHARACTER})*)?)?")
"""A URL whose path and query httpx would leave as they are written. It quotes others, and resolves `/..`."""

_USUAL_PORTS = {"http": 80, "https": 443}
_BODYLESS_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOrigin:
    """The part of a URL that says where to connect to."""

    scheme: str
    host: str
    """In ASCII; an IPv6 address without brackets."""
    port: int
    name: str
    """The host as messages and the header `Host` name it, with its port unless that is the usual one."""
    authorization: str | None
    """Value of the header `Authorization` for the user and password in the URL; None without."""


@lru_cache(maxsize=256)
def parse_target(url: str) -> tuple[HttpOrigin, str]:
    """Return the origin of a URL, and its path and query. Raises AddressRefused for one that cannot be requested."""
    if found := _AS_WRITTEN.fullmatch(url):
        return _origin_of(found[1]), found[2] or "/"
    import httpx  # noqa: PLC0415 - see `_PLAIN_ORIGIN`

    return _parse_origin(url), httpx.URL(url).raw_path.decode("ascii")


@lru_cache(maxsize=256)
def _origin_of(text: str) -> HttpOrigin:
    plain = _PLAIN_ORIGIN.fullmatch(text)
    if plain is None:
        return _parse_origin(text)
    scheme, host, usual = plain[1], plain[2], _USUAL_PORTS[plain[1]]
    port = int(plain[3] or usual)
    name = host if port == usual else f"{host}:{port}"
    return HttpOrigin(scheme=scheme, host=host, port=port, name=name, authorization=None)


def _parse_origin(url: str) -> HttpOrigin:
    import httpx  # noqa: PLC0415 - as above

    name = "the address given"
    try:
        parsed = httpx.URL(url)
        name = parsed.netloc.decode("ascii") or name
    except (httpx.InvalidURL, ValueError):
        parsed = httpx.URL()
    if parsed.scheme not in _USUAL_PORTS or not parsed.raw_host:
        raise AddressRefused(f"{name} refused: not a usable http or https address")
    user = b64encode(f"{parsed.username}:{parsed.password}".encode()).decode("ascii")
    return HttpOrigin(
        scheme=parsed.scheme,
        host=parsed.raw_host.decode("ascii"),
        port=parsed.port or _USUAL_PORTS[parsed.scheme],
        name=name,
        authorization=f"Basic {user}" if parsed.userinfo else None,
    )


def proxy_authorization(proxy: HttpOrigin) -> Mapping[str, str]:
    """Return the header field that carries the user and password of a proxy; empty without."""
    return {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}


def render_request(
    method: str, host: str, path: str, headers: Mapping[str, str], content: bytes | None = None
) -> bytes:
    """Return a request as it is sent. Raises ValueError for a header field with a line break.

    Args:
        method: in upper case.
        host: with its port unless that is the usual one.
        path: and query, quoted.
        headers: a later field replaces an earlier one whose name differs in case only.
        content: its body.
    """
    lines = {"": f"{method} {path} HTTP/1.1", "host": f"Host: {host}"}
    for name, value in headers.items():
        lines[name.lower()] = f"{name}: {value}"
    if content or method not in _BODYLESS_METHODS:
        lines["content-length"] = f"Content-Length: {len(content or b'')}"
    head = "\r\n".join(lines.values())
    breaks = len(lines) - 1
    if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head:
        raise ValueError("a header field contains a line break")
    return f"{head}\r\n\r\n".encode() + (content or b"")
