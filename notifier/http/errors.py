"""The errors of an exchange. Messages name the host, never path or query: the URL of a webhook is a secret."""

import ssl
from collections.abc import Mapping
from socket import gaierror

from notifier.http.replies import Headers

_NONE = Headers()


class HttpError(Exception):
    """There is no usable reply. The message names the host and contains no path, query or credential."""

    def __init__(self, message: str, *, status: int | None = None, headers: Headers = _NONE, body: bytes = b"") -> None:
        super().__init__(message)
        self.status = status
        """HTTP status. Set when the status line arrived: the request was then answered."""
        self.headers = headers
        self.body = body
        """The part of the body that arrived."""


class NotSent(HttpError):
    """The request was not sent: repeating it is safe."""


class AddressRefused(NotSent):
    """The address rule refuses the address."""


class NoAnswer(HttpError):
    """The request was sent and its outcome is unknown, unless `status` arrived before the connection was lost."""


class ReplyTooLarge(HttpError):
    """The reply is larger than its limit. The request was answered with `status`."""

    status: int


PROXY_STATUSES = frozenset({407, 502, 504, 511})
"""Statuses that proxies answer with; a receiver does not, unless it is a proxy itself."""


def describe_proxy_reply(proxy: str, status: int, host: str) -> str:
    """Return the sentence for a proxy that does not forward a request."""
    remedy = _PROXY_REMEDIES.get(status, _PROXY_REFUSES)
    return f"the proxy {proxy} answered HTTP {status} when asked for {host}: {remedy}"


_PROXY_REFUSES = "it does not let this through; check network.proxy and network.no_proxy"
_PROXY_UNREACHABLE = "it cannot reach it; check the host, and network.no_proxy where the proxy is not to be used for it"
_PROXY_REMEDIES: Mapping[int, str] = {
    407: "it wants a user and a password, or others; give them in network.proxy",
    **dict.fromkeys((500, 502, 503, 504), _PROXY_UNREACHABLE),
}


def proxy_failure(what: str, host: str) -> str:
    """Return the sentence for a failure of the proxy itself, from one that names the proxy."""
    return f"{what} on the way to {host}: check network.proxy"


def describe_handshake_reply(status: int, host: str, proxy: str | None = None) -> str:
    """Return the sentence for an HTTP reply to a WebSocket handshake."""
    if proxy and status in PROXY_STATUSES:
        return describe_proxy_reply(proxy, status, host)
    return f"{host} answered HTTP {status} and not as a WebSocket"


USE_HTTPS = "write https:// instead of http://"


def speaks_tls(host: str) -> str:
    """Return the sentence for a plain-text request to a port that speaks TLS."""
    return f"{host} speaks TLS: {USE_HTTPS}"


def describe_connect_error(error: BaseException, host: str) -> str:
    """Return the sentence for an error while resolving, connecting or agreeing on TLS."""
    if isinstance(error, ssl.CertificateError):
        return f"certificate of {host} not accepted ({certificate_problem(error)})"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with {host} ({_tls_problem(error)})"
    if isinstance(error, ConnectionRefusedError):
        return f"connection refused by {host}"
    if isinstance(error, gaierror | UnicodeError):
        return f"no address found for {host}"
    return f"no connection to {host}"


def not_http(host: str) -> str:
    """Return the sentence for a peer that answers in another protocol."""
    return f"{host} does not answer in HTTP"


def connection_lost(host: str) -> str:
    """Return the sentence for a connection that ended before the reply was complete."""
    return f"connection to {host} lost"


_NOT_YET_VALID, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64
_OWN_AUTHORITY = "; where an authority of your own issued it, name its file as ca_file there or under network"
_REMEDIES: Mapping[int, str] = {
    _NOT_YET_VALID: "; check the clock of this machine",
    _EXPIRED: "; it has to be renewed, or the clock of this machine is wrong",
    **dict.fromkeys((_OTHER_NAME, _OTHER_ADDRESS), "; write the host as the certificate names it"),
    **dict.fromkeys((2, 18, 19, 20, 21), _OWN_AUTHORITY),
}
"""Remedy by OpenSSL's verification code: unknown issuer, self-signed certificate, and so on."""


def certificate_problem(verdict: ssl.SSLCertVerificationError) -> str:
    """Return why a certificate is not accepted, with the remedy if there is one."""
    return f"{verdict.verify_message}{_REMEDIES.get(verdict.verify_code, '')}"


_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"})
"""OpenSSL's reasons for an answer in plain text."""


def _tls_problem(error: ssl.SSLError) -> str:
    reason = error.reason or "it ended the handshake"
    if reason in _NOT_TLS:
        return "it answers, but not in TLS: write http:// if that is meant"
    return str(reason).lower().replace("_", " ")
