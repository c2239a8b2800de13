"""Connections for protocols other than HTTP, under the same rule about addresses."""

from socket import AF_INET6, IPPROTO_TCP, SOCK_STREAM, gaierror, socket

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from notifier.http.addresses import AddressRule, CheckedResolver
from notifier.http.errors import NotSent

HAPPY_EYEBALLS_DELAY = 0.25
"""Time without an answer after which the next address of a host is tried too (RFC 8305, 5), in seconds."""


async def connect(rule: AddressRule, host: str, port: int) -> socket:
    """Return a socket to the address that answers first. Raises NotSent, or AddressRefused if the rule refuses any."""
    found = await _addresses(rule, host, port)
    try:
        return await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY, interleave=1)
    except ConnectionRefusedError as error:
        raise NotSent(f"connection refused by {host}") from error
    except (OSError, RuntimeError) as error:  # uvloop raises the other one now and then
        raise NotSent(f"no connection to {host}") from error


async def _addresses(rule: AddressRule, host: str, port: int) -> list[AddrInfoType]:
    resolver = CheckedResolver(rule)
    try:
        found = await resolver.resolve(host, port)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, gaierror) else "not a name"
        raise NotSent(f"no address found for {host} ({why})") from error
    finally:
        await resolver.close()
    return [
        (
            result["family"],
            SOCK_STREAM,
            IPPROTO_TCP,
            "",
            (result["host"], port, 0, 0) if result["family"] is AF_INET6 else (result["host"], port),
        )
        for result in found
    ]
