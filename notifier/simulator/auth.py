"""Verifying requests signed with SDK-HMAC-SHA256, as the API gateway does.

Written from the description of the algorithm and independent of the client's signer, so that each proves the other.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

from notifier.simulator.replies import SimulatedError, unauthenticated

ALGORITHM = "SDK-HMAC-SHA256"
MAX_CLOCK_SKEW = timedelta(minutes=15)
MAX_FAILURES = 5
LOCK_DURATION = timedelta(minutes=5)
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Access=(?P<access>[^,\s]+), ?SignedHeaders=(?P<signed>[^,\s]+), ?Signature=(?P<signature>\w+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """A request before any decoding."""

    method: str
    path: str
    """The path of the request line, percent-encoded, without the query."""
    query: str
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An access key and its secret. A temporary one has a token and an expiry time."""

    access: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _SignatureHeader:
    access: str
    signed: tuple[str, ...]
    signature: str


def canonical_request(request: SignedRequest, signed: tuple[str, ...]) -> str:
    """Return the text that both sides hash, with exactly the headers that the client signed."""
    headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in signed)
    path, query = _canonical_path(request.path), _canonical_query(request.query)
    return "\n".join((request.method.upper(), path, query, headers, ";".join(signed), _payload_hash(request)))


def _canonical_path(path: str) -> str:
    encoded = "/".join(_encode(unquote(segment)) for segment in path.split("/"))
    return encoded if encoded.endswith("/") else encoded + "/"


def _canonical_query(query: str) -> str:
    pairs = (part.partition("=") for part in query.split("&") if part)
    decoded = sorted((unquote(name), unquote(value)) for name, _, value in pairs)
    return "&".join(f"{_encode(name)}={_encode(value)}" for name, value in decoded)


def _encode(text: str) -> str:
    return quote(text, safe="~")


def _payload_hash(request: SignedRequest) -> str:
    declared = request.headers.get("x-sdk-content-sha256")
    return declared if declared and request.body else hashlib.sha256(request.body).hexdigest()


def signature_of(canonical: str, date: str, secret: str) -> str:
    """Return the signature made with a secret."""
    to_sign = "\n".join((ALGORITHM, date, hashlib.sha256(canonical.encode()).hexdigest()))
    return hmac.new(secret.encode(), to_sign.encode(), hashlib.sha256).hexdigest()


def _parse(request: SignedRequest) -> _SignatureHeader:
    match = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if not match:
        raise unauthenticated("the format of the authorization header is incorrect")
    signed = tuple(match["signed"].split(";"))
    missing = [name for name in (*signed, "x-sdk-date") if name not in request.headers]
    if missing or "x-sdk-date" not in signed:
        raise unauthenticated(f"signed header not found: {', '.join(missing) or 'x-sdk-date'}")
    return _SignatureHeader(access=match["access"], signed=signed, signature=match["signature"])


def _check_date(text: str, now: datetime) -> None:
    try:
        signed_at = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise unauthenticated("the format of x-sdk-date is incorrect") from None
    if abs(now - signed_at) > MAX_CLOCK_SKEW:
        raise unauthenticated(f"signature expired, x-sdk-date:{text}")


def _check_signature(request: SignedRequest, header: _SignatureHeader, key: Key) -> None:
    canonical = canonical_request(request, header.signed)
    expected = signature_of(canonical, request.headers["x-sdk-date"], key.secret)
    if not hmac.compare_digest(expected, header.signature):
        echo = canonical.replace("\n", "|")
        raise unauthenticated(f"verify aksk signature fail, canonicalRequest:{echo}")


def _check_token(request: SignedRequest, key: Key, now: datetime) -> None:
    if key.token and request.headers.get("x-security-token") != key.token:
        raise unauthenticated("verify security token fail")
    if key.expires_at and now >= key.expires_at:
        raise unauthenticated("the security token has expired")


@dataclass(slots=True)
class _Record:
    failures: int = 0
    locked_until: datetime | None = None


class SignatureVerifier:
    """Verifies signed requests, and locks an access key after too many consecutive failures."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def admit(self, request: SignedRequest, keys: Mapping[str, Key], now: datetime) -> Key:
        """Return the key that signed the request. Raises SimulatedError, all of them 401."""
        header = _parse(request)
        key = keys.get(header.access)
        if key is None:
            raise unauthenticated(f"ak {header.access} not exist")
        record = self._records.setdefault(key.access, _Record())
        _check_lock(record, now)
        try:
            _check_date(request.headers["x-sdk-date"], now)
            _check_signature(request, header, key)
            _check_token(request, key, now)
        except SimulatedError:
            record.failures += 1
            if record.failures > MAX_FAILURES:
                record.locked_until = now + LOCK_DURATION
            raise
        record.failures = 0
        return key


def _check_lock(record: _Record, now: datetime) -> None:
    if record.locked_until is None:
        return
    if now < record.locked_until:
        raise unauthenticated("AK access failed to reach the limit,forbidden")
    record.failures, record.locked_until = 0, None
