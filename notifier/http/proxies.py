"""The rule about which hosts are reached through the configured proxy."""

from collections.abc import Sequence
from dataclasses import dataclass

from notifier.http.addresses import IPAddress, IPNetwork, equivalent_addresses
from notifier.http.targets import HttpOrigin, parse_target

ProxyException = str | IPNetwork
"""A host with its subdomains (`example.com`, `.example.com`), `*` for every host, or a network of addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRule:
    """The proxy, if any, and the hosts reached without it. This machine is always reached without it."""

    proxy: HttpOrigin | None = None
    exceptions: tuple[ProxyException, ...] = ()

    def proxy_for(self, host: str, literal: IPAddress | None) -> HttpOrigin | None:
        """Return the proxy for a host, whose literal address is given if it is one; None to connect directly."""
        if self.proxy is None or _is_this_machine(host, literal):
            return None
        return None if any(_matches(exception, host, literal) for exception in self.exceptions) else self.proxy


def proxy_rule(url: str | None, exceptions: Sequence[ProxyException]) -> ProxyRule:
    """Return the rule for a proxy's URL, which may contain credentials."""
    return ProxyRule(proxy=parse_target(url)[0], exceptions=tuple(exceptions)) if url else ProxyRule()


def _is_this_machine(host: str, literal: IPAddress | None) -> bool:
    if literal is not None:
        return any(address.is_loopback for address in equivalent_addresses(literal))
    name = _normalized(host)
    return name == "localhost" or name.endswith(".localhost")


def _matches(exception: ProxyException, host: str, literal: IPAddress | None) -> bool:
    if not isinstance(exception, str):
        return literal is not None and any(address in exception for address in equivalent_addresses(literal))
    wanted, name = _normalized(exception), _normalized(host)
    return wanted in {"*", name} or name.endswith(f".{wanted}")


def _normalized(host: str) -> str:
    """Return a host in the form that is compared: lower case, ASCII, without dots at its ends."""
    name = host.strip(".").lower()
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return name
