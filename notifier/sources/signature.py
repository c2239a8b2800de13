"""The request signature of Huawei Cloud, SDK-HMAC-SHA256: pure functions over strings."""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from urllib.parse import quote, unquote

QueryValue = str | int | bool | Sequence[str]

_ALGORITHM = "SDK-HMAC-SHA256"
_UNRESERVED = "-._~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An access key. A temporary one has a security token and usually an expiry time."""

    access_key: str
    secret_key: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None

    def remaining(self, now: datetime) -> timedelta:
        """Return the time until they expire; negative after that."""
        return self.expires_at - now if self.expires_at else timedelta.max


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature and the two texts that it was computed from."""

    canonical_request: str
    string_to_sign: str
    signature: str
    authorization: str


def create_signature(
    credentials: Credentials, *, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
) -> Signature:
    """Sign a request.

    Args:
        credentials: the signing key.
        method: in upper case.
        path: percent-encoded or not.
        query: as returned by `canonical_query`.
        headers: the header fields to sign, including `X-Sdk-Date` and `Host`. Names with `_` are left out.
        body: the bytes of the request.
    """
    signed = {
        name.lower(): value.strip()
        for name, value in sorted(headers.items(), key=lambda item: item[0].lower())
        if "_" not in name
    }
    names = ";".join(signed)
    lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
    canonical = "\n".join((method, canonical_uri(path), query, lines, names, sha256(body).hexdigest()))
    text = "\n".join((_ALGORITHM, signed["x-sdk-date"], sha256(canonical.encode()).hexdigest()))
    signature = hmac.new(credentials.secret_key.encode(), text.encode(), sha256).hexdigest()
    return Signature(
        canonical_request=canonical,
        string_to_sign=text,
        signature=signature,
        authorization=f"{_ALGORITHM} Access={credentials.access_key}, SignedHeaders={names}, Signature={signature}",
    )


def canonical_uri(path: str) -> str:
    """Return the path as it is signed: each segment encoded once, with a final slash that is not sent."""
    encoded = "/".join(quote(unquote(segment), safe=_UNRESERVED) for segment in path.split("/"))
    return encoded if encoded.endswith("/") else f"{encoded}/"


def canonical_query(pairs: Iterable[tuple[str, QueryValue]]) -> str:
    """Return the query as it is signed and sent: sorted, a space as `%20`, a list as a repeated key."""
    flat = sorted((name, text) for name, value in pairs for text in _texts(value))
    return "&".join(f"{quote(name, safe=_UNRESERVED)}={quote(text, safe=_UNRESERVED)}" for name, text in flat)


def _texts(value: QueryValue) -> Sequence[str]:
    if isinstance(value, bool):
        return (str(value).lower(),)
    return (str(value),) if isinstance(value, str | int) else value


def request_uri(path: str, pairs: Iterable[tuple[str, QueryValue]]) -> str:
    """Return path and query as they are sent."""
    query = canonical_query(pairs)
    return f"{path}?{query}" if query else path
