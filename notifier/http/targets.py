"""Where a request goes, and the bytes that are sent there."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address
from urllib.parse import quote, unquote

import idna

from notifier.http.errors import AddressRefused

_URL = re.compile(r"([^/?#]*//[^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL)
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?:(?P<user>[^@:]*)(?::(?P<password>[^@]*))?@)?"
    r"(?P<host>\[[^@\[\]]*\]|[^@:\[\]]+)(?::(?P<port>[0-9]{0,5}))?",
    re.IGNORECASE | re.DOTALL,
)
_HOST = re.compile(r"[a-z0-9_.-]+")
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_USUAL_PORTS = {"http": 80, "https": 443}

# What RFC 3986 lets stand in a path and a query, and what receivers are known to put into a query besides.
_PATH = "%/:@!$&'()*+,;=[]\\^|"
_QUERY = f"{_PATH}?`{{}}"

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
    """Return the origin of a URL, and its path and query as they are sent: as written, but for what must be quoted.

    Raises AddressRefused for a URL that cannot be requested. Its message has no part of a path, a query or a password.
    """
    found = _URL.fullmatch(url)
    if found is None or _CONTROL.search(url):
        raise _unusable()
    try:
        return _parse_origin(found[1]), quote(found[2] or "/", _PATH) + quote(found[3] or "", _QUERY)
    except ValueError:  # of a character, or an address
        raise _unusable() from None


@lru_cache(maxsize=256)
def _parse_origin(text: str) -> HttpOrigin:
    found = _ORIGIN.fullmatch(text)
    if found is None:
        raise _unusable()
    scheme, host = found["scheme"].lower(), _ascii_host(found["host"].lower())
    usual = _USUAL_PORTS[scheme]
    port = int(found["port"] or usual)
    shown = f"[{host}]" if ":" in host else host
    user = f"{unquote(found['user'] or '')}:{unquote(found['password'] or '')}"
    return HttpOrigin(
        scheme=scheme,
        host=host,
        port=port,
        name=shown if port == usual else f"{shown}:{port}",
        authorization=f"Basic {b64encode(user.encode()).decode('ascii')}" if user != ":" else None,
    )


def _ascii_host(host: str) -> str:
    if host.startswith("["):
        return str(IPv6Address(host[1:-1].replace("%25", "%")))
    encoded = host if host.isascii() else idna.encode(host).decode("ascii")
    if not _HOST.fullmatch(encoded):
        raise _unusable()
    return encoded


def _unusable() -> AddressRefused:
    return AddressRefused("the address given refused: not a usable http or https address")


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
