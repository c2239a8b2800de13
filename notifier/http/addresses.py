"""The rule about which addresses may be connected to."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import inet_aton

from notifier.http.errors import AddressRefused

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

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
_IPV4_COMPATIBLE = IPv6Network("::/96")
_LOW_32_BITS = 0xFFFF_FFFF


def equivalent_addresses(address: IPAddress) -> Iterator[IPAddress]:
    """Yield an address and every other one that a connection to it can reach: mapped, translated or tunnelled."""
    yield address
    if address.is_unspecified:
        yield IPv4Address("127.0.0.1")
        yield IPv6Address("::1")
    elif isinstance(address, IPv6Address):
        if address.ipv4_mapped or address in _IPV4_COMPATIBLE or any(address in network for network in _NAT64):
            yield IPv4Address(int(address) & _LOW_32_BITS)
        if address.sixtofour:
            yield address.sixtofour
        yield from address.teredo or ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRule:
    """Which addresses may be connected to: only `allow`, if given, and never `deny`, metadata and link-local ones."""

    allow: tuple[IPNetwork, ...] = ()
    deny: tuple[IPNetwork, ...] = ()

    def refusal_reason(self, address: IPAddress) -> str | None:
        """Return why an address is refused, or None when it is allowed."""
        return _refusal_reason(self, address)

    def check(self, host: str, address: IPAddress) -> None:
        """Raise AddressRefused when the rule refuses an address."""
        if reason := self.refusal_reason(address):
            raise AddressRefused(f"{host} refused: {address} is {reason}")


@lru_cache(maxsize=1024)
def _refusal_reason(rule: AddressRule, address: IPAddress) -> str | None:
    reached = tuple(equivalent_addresses(address))
    if _within(reached, _METADATA):
        return "a link-local or metadata address"
    if _within(reached, rule.deny):
        return "an address that network.deny lists"
    if rule.allow and not _within(reached, rule.allow):
        return "an address that network.allow does not list"
    return None


def _within(addresses: Sequence[IPAddress], networks: Sequence[IPNetwork]) -> bool:
    return any(address in network for address in addresses for network in networks)


_NUMERIC_HOST = re.compile(r"(?:0x[0-9a-f]+|\d+)(?:\.(?:0x[0-9a-f]+|\d+)){0,3}\.?", re.IGNORECASE)
"""Spellings such as `127.1`, `0x7f000001` and `2130706433`, which the system's resolver accepts as addresses."""


def parse_literal(host: str) -> IPAddress | None:
    """Return the address that a host spells, in any way that resolvers accept; None for a name."""
    try:
        return ip_address(host.replace("%25", "%"))
    except ValueError:
        pass
    if not _NUMERIC_HOST.fullmatch(host):
        return None
    try:
        return IPv4Address(inet_aton(host.removesuffix(".")))
    except OSError:
        return None
