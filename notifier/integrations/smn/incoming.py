"""Messages that SMN pushes to the doorbell: what they say, and what their signature covers. Pure.

A message counts only once its signature is right: see `notifier.integrations.smn.doorbell`. Of what it says, the topic,
its kind, its time and its id are used; what people or services wrote into it is not read.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import parse_qs

import msgspec

from notifier.doorbell import Refusal, RingRefused

CONFIRMATION: Final = "SubscriptionConfirmation"
NOTIFICATION: Final = "Notification"
UNSUBSCRIPTION: Final = "UnsubscribeConfirmation"

_SIGNED: Final[Mapping[str, tuple[str, ...]]] = {
    NOTIFICATION: ("message", "message_id", "subject", "timestamp", "topic_urn", "type"),
    CONFIRMATION: ("message", "message_id", "subscribe_url", "timestamp", "topic_urn", "type"),
    UNSUBSCRIPTION: ("message", "message_id", "subscribe_url", "timestamp", "topic_urn", "type"),
}
"""What the signature covers, in this order, by the type of the message."""
_MAY_BE_ABSENT: Final = frozenset({"subject"})

_MAX_URL = 2_000
_MAX_ID = 200

_REGION = r"([a-z0-9][a-z0-9-]{1,62})"
_CERTIFICATE_PATH = re.compile(r"/smn/SMN_[\w-]{1,128}\.pem", re.ASCII)
_CERTIFICATE_ORIGIN = re.compile(rf"https://smn\.{_REGION}\.myhuaweicloud\.(?:com|cn|eu)")
_CONFIRMATION_PATHS = frozenset({"/smn/subscription/confirm", "/rest/v2/notifications/subscription/confirm"})
_CONSOLE = re.compile(
    r"https://(?:[a-z0-9-]{1,63}-)?console(?:-[a-z0-9-]{1,63})?(?:\.[a-z0-9-]{1,63})?\.huaweicloud\.(?:com|cn|eu)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmnMessage:
    """A pushed message. Nothing of it is proven before its signature is."""

    type: str
    message_id: str
    topic_urn: str
    at: datetime
    """When it was sent first: a repeat has the same time."""
    signed: bytes
    """What the signature covers."""
    signature: bytes
    certificate_url: str
    subscribe_url: str = ""

    @property
    def region(self) -> str:
        """Region of the topic."""
        return self.topic_urn.split(":")[2]

    @property
    def project_id(self) -> str:
        """Project of the topic."""
        return self.topic_urn.split(":")[3]


def parse_message(body: bytes, topics: Collection[str]) -> SmnMessage:
    """Parse a body. Raises RingRefused for one that is no message, or one of a topic that is not among `topics`."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise _malformed("the body is no JSON document") from None
    if not isinstance(fields, dict):
        raise _malformed("the body is no JSON object")
    texts = {key: value for key, value in fields.items() if isinstance(value, str)}
    kind = texts.get("type", "")
    if kind not in _SIGNED:
        raise _malformed(f"type is none of {', '.join(_SIGNED)}")
    if texts.get("signature_version", "").lower() != "v1":
        raise _malformed("signature_version is not v1")
    missing = [key for key in (*_SIGNED[kind], "signature", "signing_cert_url") if not texts.get(key)]
    if missing := [key for key in missing if key not in _MAY_BE_ABSENT]:
        raise _malformed(f"{', '.join(missing)} is missing, empty or no text")
    if texts["topic_urn"] not in topics:
        raise RingRefused(Refusal.FORBIDDEN, "the topic is none of doorbell.smn.topics")
    if len(texts["message_id"]) > _MAX_ID or any(len(texts.get(key, "")) > _MAX_URL for key in _URLS):
        raise _malformed("message_id or a URL is too long")
    return SmnMessage(
        type=kind,
        message_id=texts["message_id"],
        topic_urn=texts["topic_urn"],
        at=_time_of(texts["timestamp"]),
        signed=string_to_sign(texts),
        signature=_signature_of(texts["signature"]),
        certificate_url=texts["signing_cert_url"],
        subscribe_url=texts.get("subscribe_url", ""),
    )


_URLS = ("signing_cert_url", "subscribe_url")


def string_to_sign(fields: Mapping[str, str]) -> bytes:
    """Return what the signature of a message covers: each key and each value on a line of its own."""
    signed = ((key, fields.get(key, "")) for key in _SIGNED[fields["type"]])
    return "".join(f"{key}\n{value}\n" for key, value in signed if value).encode("utf-8", "surrogatepass")


def _time_of(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _malformed("timestamp is no time") from None
    if at.tzinfo is None:
        raise _malformed("timestamp has no offset from UTC")
    return at


def _signature_of(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _malformed("signature is not in base64") from None


def require_certificate_address(url: str, region: str, origins: Collection[str] = ()) -> None:
    """Raise RingRefused unless a certificate is at SMN's own address in a region, or below one of `origins`.

    Anybody can make a certificate and sign with it: that SMN publishes it is all that makes it SMN's.
    """
    origin, path = _split(url)
    own = _CERTIFICATE_ORIGIN.fullmatch(origin)
    known = origin in origins if origins else own is not None and own[1] == region
    if not (known and _CERTIFICATE_PATH.fullmatch(path)):
        raise RingRefused(
            Refusal.FORBIDDEN, "signing_cert_url is not the address of a certificate of SMN in the region of the topic"
        )


def require_confirmation_address(url: str, topic_urn: str, region: str, origins: Collection[str] = ()) -> None:
    """Raise RingRefused unless a subscription to a topic can be confirmed at an address."""
    origin, path = _split(url)
    own = _CERTIFICATE_ORIGIN.fullmatch(origin)
    known = origin in origins if origins else bool(_CONSOLE.fullmatch(origin)) or (own is not None and own[1] == region)
    path, _, query = path.partition("?")
    if not known or path not in _CONFIRMATION_PATHS:
        raise RingRefused(Refusal.FORBIDDEN, "subscribe_url is no address at which Huawei Cloud confirms subscriptions")
    if any(named != topic_urn for named in parse_qs(query).get("topic_urn", ())):
        raise RingRefused(Refusal.FORBIDDEN, "subscribe_url is about another topic")


_URL = re.compile(r"(https?://[^/?#\\\s]+)([!-~]*)", re.ASCII)


def _split(url: str) -> tuple[str, str]:
    """Return the origin of a URL as it is written, and the rest; two empty texts for one that is not plainly written.

    It is compared as a text, so that no other reading of it can lead elsewhere.
    """
    found = None if "\\" in url or "#" in url else _URL.fullmatch(url)
    return (found[1], found[2]) if found else ("", "")


def _malformed(why: str) -> RingRefused:
    return RingRefused(Refusal.MALFORMED, why)
