"""Where a request comes from, and whether a proxy stands between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from notifier.http.addresses import IPNetwork

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The addresses of proxies whose headers are believed."""

    networks: tuple[IPNetwork, ...] = ()

    def include(self, address: str) -> bool:
        """Return whether an address is one of them."""
        try:
            found = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(found, IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped
        return any(found in network for network in self.networks if network.version == found.version)


def peer_of(request: HTTPConnection) -> str:
    """Return the address of the other end of the connection; empty where it has none."""
    return request.client.host if request.client else ""


_FORWARDING = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


def is_forwarded(request: HTTPConnection) -> bool:
    """Return whether a request shows that a proxy sent it on: by a header, or by HTTP 1.0, which no browser speaks."""
    return request.scope.get("http_version") == "1.0" or any(name in request.headers for name in _FORWARDING)


def client_of(request: HTTPConnection, trusted: TrustedProxies) -> str:
    """Return the address that a request comes from.

    Of a request through a trusted proxy that is the last address of `X-Forwarded-For` that is none of the proxies:
    everything before it may be made up.
    """
    peer = peer_of(request)
    if not trusted.include(peer):
        return peer
    return _last_stranger(request.headers.getlist("x-forwarded-for"), trusted) or peer


def _last_stranger(headers: Sequence[str], trusted: TrustedProxies) -> str | None:
    for entry in reversed(",".join(headers).split(",")):
        address = _address_of(entry.strip())
        if address is None:
            return None
        if not trusted.include(address):
            return address
    return None


def _address_of(entry: str) -> str | None:
    """Return the address in an entry, which may have a port; None where there is none."""
    host = entry.partition("]")[0].removeprefix("[") if entry.startswith("[") else entry
    host = host.partition(":")[0] if host.count(":") == 1 else host
    try:
        return str(ip_address(host))
    except ValueError:
        return None
