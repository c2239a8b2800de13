"""The key with which the simulated SMN signs, and its certificate. Needs the library cryptography."""

from datetime import datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.x509.oid import NameOID

VALID_FOR = timedelta(days=365)


class SigningKey:
    """A key that is made when it is first needed, another one in each run."""

    def __init__(self, region: str, now: datetime) -> None:
        self._region = region
        self._made_at = now

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @cached_property
    def certificate(self) -> bytes:
        """The certificate, in PEM, signed by itself."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"smn.{self._region}.simulated")])
        built = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._made_at - VALID_FOR)
            .not_valid_after(self._made_at + VALID_FOR)
            .sign(self._key, hashes.SHA256())
        )
        return built.public_bytes(serialization.Encoding.PEM)

    def sign(self, text: bytes) -> bytes:
        """Return a signature: PKCS#1 v1.5 with SHA-256."""
        return self._key.sign(text, PKCS1v15(), hashes.SHA256())
