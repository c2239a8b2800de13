"""The side of SMN that pushes messages: a key, its certificate, and messages signed with it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.x509.oid import NameOID

TOPIC = "urn:smn:cn-north-4:0611f1bd8b00d5d32f17c017f15b599f:gaussdb"
CERTIFICATE_PATH = "/smn/SMN_cn-north-4_b3974c411807498bb532b3cd6cd65d91.pem"
CONFIRM_PATH = f"/smn/subscription/confirm?token=0a419ac9&topic_urn={TOPIC}&region=cn-north-4"

ORDER = {
    "Notification": ("message", "message_id", "subject", "timestamp", "topic_urn", "type"),
    "SubscriptionConfirmation": ("message", "message_id", "subscribe_url", "timestamp", "topic_urn", "type"),
    "UnsubscribeConfirmation": ("message", "message_id", "subscribe_url", "timestamp", "topic_urn", "type"),
}
"""What is signed, as the manual of SMN lists it for each type of message."""

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


BEGIN, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)


def certificate_of(key: PrivateKey, *, begin: datetime = BEGIN, until: datetime = END) -> bytes:
    """Return a self-signed certificate in PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "SMN")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(until)
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, kw_only=True)
class Push:
    """Makes requests as SMN does. `origin` is where its certificate is and subscriptions are confirmed."""

    key: rsa.RSAPrivateKey
    origin: str
    now: datetime
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Signed fields that differ from the usual ones; None leaves one out."""
    unsigned: Mapping[str, Any] = field(default_factory=dict)
    """Fields that are changed after the message was signed."""

    def message(self, kind: str = "Notification") -> dict[str, Any]:
        """Return the fields of a signed message."""
        found: dict[str, Any] = {
            "type": kind,
            "message_id": uuid4().hex,
            "message": json.dumps({"alarm_name": "disk"}),
            "topic_urn": TOPIC,
            "timestamp": self.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "signature_version": "v1",
            "signing_cert_url": f"{self.origin}{CERTIFICATE_PATH}",
        }
        if kind == "Notification":
            found |= {"subject": "[Alarm] disk", "unsubscribe_url": f"{self.origin}/smn/subscription/unsubscribe"}
        else:
            found["subscribe_url"] = f"{self.origin}{CONFIRM_PATH}"
        found = {name: value for name, value in (found | dict(self.fields)).items() if value is not None}
        covered = "".join(
            f"{name}\n{found[name]}\n" for name in ORDER.get(kind, ORDER["Notification"]) if found.get(name)
        )
        signature = self.key.sign(covered.encode(), PKCS1v15(), hashes.SHA256())
        return found | {"signature": b64encode(signature).decode()} | dict(self.unsigned)

    def request(self, kind: str = "Notification") -> dict[str, Any]:
        """Return the headers and the content of a request, as keywords of an HTTP client."""
        message = self.message(kind)
        headers = {
            "X-SMN-MESSAGE-TYPE": kind,
            "X-SMN-MESSAGE-ID": str(message.get("message_id", "")),
            "X-SMN-TOPIC-URN": str(message.get("topic_urn", "")),
            "Content-Type": "text/plain;charset=UTF-8",
        }
        return {"headers": headers, "content": json.dumps(message).encode()}
