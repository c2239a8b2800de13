"""What can go wrong on the way: our errors, and how foreign ones become them.

Messages name the host, never the path or the query: the URL of an incoming webhook is a secret.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import aiohttp

_NONE: Mapping[str, str] = MappingProxyType({})


class HttpError(Exception):
    """No usable reply. The message names the host and is free of paths, queries and credentials."""

    def __init__(
        self, message: str, *, status: int | None = None, headers: Mapping[str, str] = _NONE, body: bytes = b""
    ) -> None:
        super().__init__(message)
        self.status = status
        """The status, where its line arrived: then the request was answered."""
        self.headers = headers
        self.body = body
        """What arrived of the body."""


class NotSent(HttpError):
    """The request never left: repeating it is safe."""


class AddressRefused(NotSent):
    """The address rule forbids it."""


class NoAnswer(HttpError):
    """The request went out and its outcome is not known, unless the status line arrived before the rest was lost."""


class ReplyTooLarge(HttpError):
    """The reply was longer than asked for. The request itself was answered with `status`."""

    status: int


# ---- translation ----


def what_happened(cause: BaseException, host: str) -> str:
    """Return the sentence for an error of the wire."""
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        return f"certificate of {host} not accepted ({_certificate_problem(cause)})"
    if isinstance(cause, aiohttp.ClientHttpProxyError):
        return f"proxy answered HTTP {cause.status} when asked for {host}"
    if isinstance(cause, aiohttp.ClientConnectorError) and isinstance(cause.os_error, ConnectionRefusedError):
        return f"connection refused by {host}"
    return next((text for kind, text in _PROBLEMS if isinstance(cause, kind)), "connection to {host} lost").format(
        host=host
    )


_PROBLEMS: Sequence[tuple[type[BaseException], str]] = (
    (aiohttp.ClientConnectorDNSError, "no address found for {host}"),
    (UnicodeError, "no address found for {host}"),
    (aiohttp.ClientConnectorSSLError, "no TLS with {host}"),
    (aiohttp.ClientProxyConnectionError, "no connection to the proxy on the way to {host}"),
    (aiohttp.ClientConnectorError, "no connection to {host}"),
    (aiohttp.ClientResponseError, "{host} does not answer in HTTP"),
)
"""The first that fits."""


def _certificate_problem(error: aiohttp.ClientConnectorCertificateError) -> str:
    cause = error.certificate_error
    return cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else "it does not verify"
