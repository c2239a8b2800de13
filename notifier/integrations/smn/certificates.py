"""The certificates that SMN signs with: fetched from its own address, and remembered. Needs the extra `doorbell`."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from notifier.core.pacing import ChannelHealth, Pace, allowance, charge
from notifier.doorbell import Refusal, RingRefused
from notifier.http import HttpClient, HttpError
from notifier.ports import Clock

FETCH_DEADLINE: Final = 2.0
"""Maximum time to fetch a certificate, in seconds. SMN waits five seconds for an answer."""
MAX_CERTIFICATES: Final = 16
"""Number of certificates that are remembered; the one that was used longest ago is forgotten first."""
MAX_SIZE: Final = 64 * 1024
"""Maximum size of a certificate with its chain, in bytes."""
MIN_KEY_BITS: Final = 2048
FETCHES: Final = Pace(per_second=0.1, burst=5)
"""How often certificates may be fetched: a stranger can name any file at the address of SMN."""

_STRONG = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_OK, _TOO_MANY, _SERVER_ERROR = 200, 429, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningCertificate:
    """A certificate of SMN."""

    key: RSAPublicKey
    algorithm: hashes.HashAlgorithm
    valid_from: datetime
    valid_until: datetime

    @classmethod
    def parse(cls, pem: bytes) -> SigningCertificate:
        """Read a file, in which the certificate is the first one. Raises RingRefused."""
        try:
            certificate = x509.load_pem_x509_certificates(pem)[0]
            key, stated = certificate.public_key(), certificate.signature_hash_algorithm
        except (ValueError, UnsupportedAlgorithm):
            raise _unproven("there is no certificate at signing_cert_url") from None
        if not isinstance(key, RSAPublicKey) or key.key_size < MIN_KEY_BITS:
            raise _unproven(f"the certificate has no RSA key of {MIN_KEY_BITS} bits or more")
        return cls(
            key=key,
            # Examples of the manual differ: SHA-256 always, or what the certificate itself is signed with.
            algorithm=stated if isinstance(stated, _STRONG) else hashes.SHA256(),
            valid_from=certificate.not_valid_before_utc,
            valid_until=certificate.not_valid_after_utc,
        )

    def verify(self, signed: bytes, signature: bytes, now: datetime) -> None:
        """Raise RingRefused unless the signature was made with the key, and the certificate is valid now."""
        if not self.valid_from <= now <= self.valid_until:
            raise _unproven("the certificate of SMN is not valid now")
        try:
            self.key.verify(signature, signed, PKCS1v15(), self.algorithm)
        except InvalidSignature:
            raise _unproven("the signature is not that of SMN") from None


class Certificates:
    """Fetches certificates, each once."""

    def __init__(self, http: HttpClient, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._known: OrderedDict[str, SigningCertificate] = OrderedDict()
        self._fetched = ChannelHealth()
        self._fetching = asyncio.Lock()

    async def get(self, url: str) -> SigningCertificate:
        """Return the certificate at an address of SMN. Raises RingRefused."""
        if url not in self._known:
            async with self._fetching:
                if url not in self._known:
                    self._known[url] = SigningCertificate.parse(await self._fetch(url))
        self._known.move_to_end(url)
        if len(self._known) > MAX_CERTIFICATES:
            self._known.popitem(last=False)
        return self._known[url]

    async def _fetch(self, url: str) -> bytes:
        now = self._clock.now()
        room = allowance(self._fetched, FETCHES, now, 1)
        if room.retry_in:
            why = "too many certificates of SMN are asked for"
            raise RingRefused(Refusal.UNAVAILABLE, why, retry_in=room.retry_in.total_seconds())
        self._fetched = charge(self._fetched, FETCHES, now, 1)
        try:
            reply = await self._http.exchange("GET", url, deadline=FETCH_DEADLINE, max_bytes=MAX_SIZE)
        except HttpError as error:
            raise RingRefused(Refusal.UNAVAILABLE, f"the certificate of SMN cannot be fetched: {error}") from None
        if reply.status >= _SERVER_ERROR or reply.status == _TOO_MANY:
            raise RingRefused(Refusal.UNAVAILABLE, f"signing_cert_url answered HTTP {reply.status}")
        if reply.status != _OK:
            raise _unproven(f"signing_cert_url answered HTTP {reply.status}")
        return reply.body


def _unproven(why: str) -> RingRefused:
    return RingRefused(Refusal.UNPROVEN, why)
