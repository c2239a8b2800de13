"""Who may use the page and the API: sessions, tokens, and how their secrets are made and recognised.

Only digests of secrets are recorded. A session id and a token hold 256 random bits, so that a plain digest of one can
be guessed by nobody, and looked up by an index.
"""

import hashlib
import hmac
import re
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final


class SignedInBy(StrEnum):
    """How a session was begun. Stable: it is recorded."""

    PASSWORD = "password"  # noqa: S105 - the name of a way in
    """With `web.password`, which all share; the person typed a name."""
    USER = "user"
    """With the password of an entry of `web.users`."""
    OIDC = "oidc"
    """At the provider of `web.oidc`."""
    KIOSK = "kiosk"
    """With `web.kiosk_token`, by a screen on a wall."""


class TokenScope(StrEnum):
    """What a token of the API allows. Stable: it is recorded."""

    READ = "read"
    """Read everything that the page shows."""
    ACT = "act"
    """Also acknowledge, mute, retry and so on."""
    ADMIN = "admin"
    """Also what changes access: end sessions of others."""
    METRICS = "metrics"
    """Read `/metrics`, and nothing else."""
    FEED = "feed"
    """Read the feeds, and nothing else. Such a token may be in the address of a feed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSession:
    """A browser in which somebody has signed in."""

    id: str
    """Digest of the secret in its cookie."""
    name: str
    """Who signed in."""
    how: SignedInBy
    groups: tuple[str, ...] = ()
    """Their groups, as the provider named them; roles follow from them at each request."""
    proof: str
    """What `proof_of` returned for the credential. It fits no other: a changed password ends the session."""
    created_at: datetime
    seen_at: datetime
    """Time of the last request, a minute late at most."""
    ends_at: datetime
    """Time at which it ends however much it is used."""
    address: str
    """Where it was last used from."""
    browser: str
    """Its browser and system in a few words, by its header `User-Agent`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A token of the API."""

    id: str
    """Short and public; people revoke it by this."""
    digest: str
    """Digest of the token."""
    name: str
    """What it is for, as whoever made it wrote."""
    scopes: frozenset[TokenScope]
    by: str
    by_name: str
    """Who made it, as `Person`."""
    created_at: datetime
    expires_at: datetime | None = None
    """None for one that does not expire."""
    used_at: datetime | None = None
    """Time of the last request, a minute late at most; None before the first."""


SEEN_EVERY: Final = timedelta(minutes=1)
"""Time after which the use of a session or a token is recorded again."""

LONGEST_IDLE: Final = timedelta(days=400)
"""Longest time that a session may stay unused; browsers keep no cookie longer."""

SECRET_BYTES: Final = 32
"""Random bytes in a session id and in a token."""


def digest_of(secret: str) -> str:
    """Return the digest by which a session or a token is found."""
    return hashlib.sha256(secret.encode()).hexdigest()


def proof_of(session_secret: str, credential: str) -> str:
    """Return what shows later that a session was begun with this credential.

    It is keyed with the secret of the session, which is recorded nowhere: nobody can guess a password by it.
    """
    return hmac.new(session_secret.encode(), credential.encode(), hashlib.sha256).hexdigest()


def is_over(session: WebSession, now: datetime, idle: timedelta) -> bool:
    """Return whether a session has ended: it is too old, or was not used for `idle`."""
    return now >= session.ends_at or now >= session.seen_at + idle


def is_expired(token: ApiToken, now: datetime) -> bool:
    """Return whether a token has expired."""
    return token.expires_at is not None and now >= token.expires_at


# ---- the form of tokens ----

TOKEN_PREFIX: Final = "gdbn_"  # noqa: S105 - it is the part that everybody knows
TOKEN_PATTERN: Final = r"gdbn_[0-9A-Za-z]{49}"  # noqa: S105 - as above
"""What a token looks like, for scanners that search texts for secrets."""

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH, _CHECK_LENGTH = 43, 6
"""Digits of base 62 that hold 32 bytes, and those that hold a checksum of 4."""


def format_token(random: bytes) -> str:
    """Return the token of 32 random bytes: a prefix, the bytes, and a checksum that shows what is no token offline."""
    body = _base62(int.from_bytes(random), _RANDOM_LENGTH)
    return f"{TOKEN_PREFIX}{body}{_checksum(body)}"


def is_token(text: str) -> bool:
    """Return whether a text is a token by its form and checksum: others are refused without a query."""
    if not re.fullmatch(TOKEN_PATTERN, text, re.ASCII):
        return False
    body = text.removeprefix(TOKEN_PREFIX)
    return _checksum(body[:_RANDOM_LENGTH]) == body[_RANDOM_LENGTH:]


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def parse_scopes(words: Collection[str]) -> frozenset[TokenScope]:
    """Return the scopes of these names. Raises ValueError for another word, or for none."""
    known = ", ".join(TokenScope)
    if not words:
        raise ValueError(f"a token needs a scope: {known}")
    if wrong := next((word for word in words if word not in list(TokenScope)), None):
        raise ValueError(f"no scope is called {wrong!r}; scopes are {known}")
    return frozenset(map(TokenScope, words))
