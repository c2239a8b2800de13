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
_DATE = "x-sdk-date"


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


class RequestSigner:
    """Signs requests that differ in nothing but their query and date: the rest of what is signed is prepared once.

    Args:
        credentials: the signing key.
        method: in upper case.
        path: percent-encoded or not.
        headers: the header fields to sign besides `X-Sdk-Date`, including `Host`. Names with `_` are left out.
        body: the bytes of the request.
    """

    def __init__(
        self, credentials: Credentials, *, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> None:
        signed = {
            name.lower(): f"{name.lower()}:{value.strip()}\n" for name, value in headers.items() if "_" not in name
        }
        before, after = (
            "".join(line for name, line in sorted(signed.items()) if (name > _DATE) is later) for later in (False, True)
        )
        names = ";".join(sorted((*signed, _DATE)))
        self._key = credentials.secret_key.encode()
        self._before_query = f"{method}\n{canonical_uri(path)}\n"
        self._before_date = f"\n{before}{_DATE}:"
        self._end = f"\n{after}\n{names}\n{sha256(body).hexdigest()}"
        self._authorization = f"{_ALGORITHM} Access={credentials.access_key}, SignedHeaders={names}, Signature="

    def canonical_request(self, query: str, date: str) -> str:
        """Return the request as it is signed.

        Args:
            query: as returned by `canonical_query`.
            date: the value of `X-Sdk-Date`.
        """
        return f"{self._before_query}{query}{self._before_date}{date}{self._end}"

    def string_to_sign(self, query: str, date: str) -> str:
        """Return the text that the key signs."""
        return f"{_ALGORITHM}\n{date}\n{sha256(self.canonical_request(query, date).encode()).hexdigest()}"

    def authorization(self, query: str, date: str) -> str:
        """Return the value of `Authorization`, which ends with the signature."""
        return self._authorization + hmac.digest(self._key, self.string_to_sign(query, date).encode(), "sha256").hex()


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
