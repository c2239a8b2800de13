"""The section `network`: proxies, and the addresses that may be connected to."""

import ipaddress
import re
from contextlib import suppress
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from notifier.settings.base import Settings
from notifier.settings.types import CaFile, HttpUrl
from notifier.settings.words import FixedMessageError


def _network(text: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(str(text))
    except ValueError as error:
        hint = "the address has bits outside the mask" if "host bits" in str(error) else "that is not one"
        raise ValueError(f"must be a network such as 10.0.0.0/8; {hint}.") from None


Network = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network,
    PlainValidator(_network),
    WithJsonSchema({"type": "string", "examples": ["10.0.0.0/8", "fd00::/8"]}),
]


def _proxy_exception(text: object) -> str | ipaddress.IPv4Network | ipaddress.IPv6Network:
    if isinstance(text, str):
        with suppress(ValueError):
            return ipaddress.ip_network(text.strip("[]"), strict=False)
        name = text.removeprefix("*") if text.startswith("*.") else text
        if re.fullmatch(r"\*|\.?[^\s/:@*\[\]?#.,;|]+(\.[^\s/:@*\[\]?#.,;|]+)*\.?", name):
            return name
    raise FixedMessageError("must be a host such as corp.example, a network such as 10.0.0.0/8, or *: no URL, no port.")


ProxyExceptionSetting = Annotated[
    str | ipaddress.IPv4Network | ipaddress.IPv6Network,
    PlainValidator(_proxy_exception),
    WithJsonSchema({"type": "string", "examples": ["corp.example", "10.0.0.0/8", "*"]}),
]


class NetworkSettings(Settings):
    """Outgoing connections. Link-local and metadata addresses are always refused."""

    allow: tuple[Network, ...] = ()
    """If any are given, only these networks may be reached."""
    deny: tuple[Network, ...] = ()
    """Networks that may not be reached."""
    proxy: HttpUrl | None = None
    """An HTTP proxy for all HTTP connections. Proxies in the environment are ignored."""
    no_proxy: tuple[ProxyExceptionSetting, ...] = ()
    """Hosts reached without the proxy: hosts with their subdomains (`corp.example`), networks (`10.0.0.0/8`, for
    literal addresses), `*` for all. This machine always is."""
    ca_file: CaFile = None
    """PEM file of authorities to trust besides those of the operating system, for all connections."""

    @property
    def proxy_url(self) -> str | None:
        """URL of the proxy, password included."""
        return self.proxy.get_secret_value() if self.proxy else None
