"""Addresses of hosts and connected sockets, under the rule about addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, AI_ADDRCONFIG, IPPROTO_TCP, SOCK_STREAM, gaierror, socket

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from notifier.http.addresses import AddressRule, parse_literal
from notifier.http.errors import NotSent

HAPPY_EYEBALLS_DELAY = 0.25
"""Time without an answer after which the next address of a host is tried too (RFC 8305, 5), in seconds."""


async def connect(rule: AddressRule, host: str, port: int) -> socket:
    """Return a socket to the address that answers first. Raises NotSent, or AddressRefused if the rule refuses any."""
    try:
        found = await find_addresses(rule, host, port)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, gaierror) else "not a name"
        raise NotSent(f"no address found for {host} ({why})") from error
    try:
        opened, _ = await open_socket(found)
    except ConnectionRefusedError as error:
        raise NotSent(f"connection refused by {host}") from error
    except OSError as error:
        raise NotSent(f"no connection to {host}") from error
    return opened


async def find_addresses(rule: AddressRule, host: str, port: int, *, guard: bool = True) -> list[AddrInfoType]:
    """Return every address of a host. Raises OSError or UnicodeError, or AddressRefused if the rule refuses any.

    The checked addresses are the ones to connect to: a name server cannot answer a second query differently.
    `guard`: False permits a literal address that the rule refuses.
    """
    literal = parse_literal(host)
    if literal is not None:
        if guard:
            rule.check(str(literal), literal)
        if literal.version == 4:  # noqa: PLR2004 - the version of the protocol
            return [(AF_INET, SOCK_STREAM, IPPROTO_TCP, "", (str(literal), port))]
        return [(AF_INET6, SOCK_STREAM, IPPROTO_TCP, "", (str(literal), port, 0, 0))]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=SOCK_STREAM, flags=AI_ADDRCONFIG)
    for *_, address in found:
        rule.check(host, ip_address(address[0]))
    return list(found)


async def open_socket(addresses: Sequence[AddrInfoType]) -> tuple[socket, tuple[str, int]]:
    """Return a socket to the address that answers first, and the host and port of that address. Raises OSError."""
    try:
        opened = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY, interleave=1
        )
    except RuntimeError as error:  # uvloop raises it now and then
        raise OSError(str(error)) from error
    try:
        return opened, opened.getpeername()[:2]
    except OSError:  # it was reset already
        opened.close()
        raise
