"""A throwaway certificate for a test's own server, made from the standard library alone.

One self-signed P-256 certificate (RFC 5280, SEC 1) that a client trusts by loading it as an authority.
"""

from __future__ import annotations

import hashlib
import secrets
import ssl
import textwrap
from base64 import b64encode
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

# The curve P-256 of FIPS 186-4: y² = x³ - 3x + b over the field of P, of order N, from the point G.
_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_Point = tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Paths of PEM files; `authority` is what a client trusts, `chain` what a server loads."""

    authority: Path
    chain: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain)
        return context


def make_certificate(folder: Path, host: str = "127.0.0.1") -> Certificate:
    """Write a certificate for `host`, valid from 2020 to 2099, into `folder`."""
    key = secrets.randbelow(_N - 1) + 1
    certificate = _pem("CERTIFICATE", _certificate(key, host))
    authority, chain = folder / "authority.pem", folder / "chain.pem"
    authority.write_text(certificate)
    chain.write_text(certificate + _pem("EC PRIVATE KEY", _private_key(key)))
    return Certificate(authority=authority, chain=chain)


# ---- elliptic curve ----


def _add(a: _Point, b: _Point) -> _Point:
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and (a[1] + b[1]) % _P == 0:
        return None
    if a == b:
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, _P) % _P
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, _P) % _P
    x = (slope * slope - a[0] - b[0]) % _P
    return x, (slope * (a[0] - x) - a[1]) % _P


def _multiply(scalar: int) -> tuple[int, int]:
    total: _Point = None
    step: _Point = _G
    while scalar:
        if scalar & 1:
            total = _add(total, step)
        step, scalar = _add(step, step), scalar >> 1
    assert total is not None
    return total


def _sign(key: int, message: bytes) -> bytes:
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    nonce = secrets.randbelow(_N - 1) + 1
    r = _multiply(nonce)[0] % _N
    s = pow(nonce, -1, _N) * (digest + r * key) % _N
    return _sequence(_integer(r), _integer(s))


# ---- DER ----


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _sequence(*parts: bytes) -> bytes:
    return _der(0x30, *parts)


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _octets(content: bytes) -> bytes:
    return _der(0x04, content)


def _bits(content: bytes, unused: int = 0) -> bytes:
    return _der(0x03, bytes((unused,)), content)


def _oid(hexadecimal: str) -> bytes:
    return _der(0x06, bytes.fromhex(hexadecimal))


_ECDSA_SHA256 = _sequence(_oid("2a8648ce3d040302"))
_P256 = _oid("2a8648ce3d030107")
_TRUE = b"\x01\x01\xff"


def _point(key: int) -> bytes:
    x, y = _multiply(key)
    return b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


def _private_key(key: int) -> bytes:
    return _sequence(_integer(1), _octets(key.to_bytes(32, "big")), _der(0xA0, _P256), _der(0xA1, _bits(_point(key))))


def _certificate(key: int, host: str) -> bytes:
    name = _sequence(_der(0x31, _sequence(_oid("550403"), _der(0x0C, b"test server"))))
    validity = _sequence(_der(0x18, b"20200101000000Z"), _der(0x18, b"20990101000000Z"))
    public = _sequence(_sequence(_oid("2a8648ce3d0201"), _P256), _bits(_point(key)))
    to_be_signed = _sequence(
        _der(0xA0, _integer(2)),
        _integer(secrets.randbits(120) | 1),
        _ECDSA_SHA256,
        name,
        validity,
        name,
        public,
        _der(0xA3, _sequence(*_extensions(key, host))),
    )
    return _sequence(to_be_signed, _ECDSA_SHA256, _bits(_sign(key, to_be_signed)))


def _extensions(key: int, host: str) -> list[bytes]:
    identifier = hashlib.sha256(_point(key)).digest()[:20]
    return [
        _sequence(_oid("551d13"), _TRUE, _octets(_sequence(_TRUE))),  # basic constraints: an authority
        _sequence(_oid("551d0f"), _TRUE, _octets(_bits(b"\x84", unused=2))),  # key usage: signatures, certificates
        _sequence(_oid("551d0e"), _octets(_octets(identifier))),  # subject key identifier
        _sequence(_oid("551d23"), _octets(_sequence(_der(0x80, identifier)))),  # authority key identifier
        _sequence(_oid("551d11"), _octets(_sequence(_subject_name(host)))),  # subject alternative name
    ]


def _subject_name(host: str) -> bytes:
    try:
        return _der(0x87, ip_address(host).packed)
    except ValueError:
        return _der(0x82, host.encode("ascii"))


def _pem(label: str, der: bytes) -> str:
    lines = "\n".join(textwrap.wrap(b64encode(der).decode("ascii"), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
