"""Simple Message Notification: a topic, its subscribers, and the messages that it signs for them. Pure."""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

from notifier.simulator.options import Options
from notifier.simulator.replies import SimulatedError
from notifier.simulator.world import AnyRow, RawRow

MessageType = Literal["Notification", "SubscriptionConfirmation"]
SIGNED: Mapping[MessageType, tuple[str, ...]] = {
    "Notification": ("message", "message_id", "subject", "timestamp", "topic_urn", "type"),
    "SubscriptionConfirmation": ("message", "message_id", "subscribe_url", "timestamp", "topic_urn", "type"),
}
"""What the signature covers, in this order."""
CONFIRM_WITHIN = timedelta(hours=48)
MAX_MESSAGE = 262_144
"""Maximum size of a message, in bytes."""
TRIES = 7
"""How often a message is sent to a subscriber that answers 5xx."""
ANSWER_WITHIN = 5.0
"""Time in which a subscriber must answer, in seconds."""
CONFIRM_PATH = "/smn/subscription/confirm"
_INVITATION = (
    "You are invited to subscribe to topic: {urn}. To confirm this subscription, please visit the subscribe_url"
    " included in this message. The subscribe_url is valid only within 48 hours."
)
Sign = Callable[[bytes], bytes]
"""Signs with the key of the certificate that SMN publishes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmnSubscription:
    """One subscriber."""

    urn: str
    endpoint: str
    token: str
    """What its confirmation names."""
    asked_at: datetime
    """Time of the last request for a confirmation."""
    confirmed: bool = False

    def wire(self, topic_urn: str, owner: str) -> dict[str, Any]:
        """Return it as the service shows it."""
        return {
            "topic_urn": topic_urn,
            "protocol": urlsplit(self.endpoint).scheme,
            "subscription_urn": self.urn,
            "owner": owner,
            "endpoint": self.endpoint,
            "remark": "",
            "status": int(self.confirmed),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SmnPush:
    """A request to a subscriber."""

    endpoint: str
    message_id: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SmnSender:
    """The service at the moment of a message."""

    origin: str
    """Its address, without a path."""
    now: datetime
    sign: Sign


@dataclass(frozen=True, slots=True, kw_only=True)
class SmnText:
    """What somebody publishes."""

    message: str
    subject: str = ""


def parse_text(fields: Mapping[str, Any]) -> SmnText:
    """Check what is to be published. Raises SimulatedError 400."""
    message, subject = fields.get("message"), fields.get("subject") or ""
    fits = isinstance(message, str) and 0 < len(message.encode()) <= MAX_MESSAGE
    if not fits or not isinstance(subject, str) or not isinstance(message, str):
        raise parameter_error("message")
    return SmnText(message=message, subject=subject)


def task_text(row: AnyRow) -> SmnText:
    """Return what is published about a task that has changed."""
    instance = row.instance_of() if isinstance(row, RawRow) else row.instance
    fields = {
        "job_id": row.job_id,
        "name": row.name,
        "status": row.status,
        "instance_id": instance.id if instance else "",
        "instance_name": instance.name if instance else "",
    }
    return SmnText(subject="GaussDB task", message=json.dumps(fields))


def parameter_error(name: str) -> SimulatedError:
    """Return the error of the service for a parameter that it refuses."""
    return SimulatedError(400, "SMN.0007", f"Invalid parameter: {name}.")


def string_to_sign(fields: Mapping[str, str]) -> bytes:
    """Return what the signature covers: each key and each value on a line of its own, an empty subject left out."""
    kind: MessageType = "Notification" if fields["type"] == "Notification" else "SubscriptionConfirmation"
    return "".join(f"{name}\n{fields[name]}\n" for name in SIGNED[kind] if fields.get(name)).encode()


@dataclass(slots=True, kw_only=True)
class SmnTopic:
    """The topic of the simulated project."""

    urn: str
    certificate: str
    """File name of the certificate."""
    rng: Random = field(repr=False)
    subscriptions: dict[str, SmnSubscription] = field(default_factory=dict)
    """By address of the subscriber."""

    @classmethod
    def of(cls, options: Options) -> "SmnTopic":
        """Return the topic of a simulator."""
        rng = options.random("smn")
        return cls(
            urn=f"urn:smn:{options.region}:{options.project_id}:gaussdb",
            certificate=f"SMN_{options.region}_{rng.getrandbits(128):032x}.pem",
            rng=rng,
        )

    def subscribe(self, endpoint: str, now: datetime) -> SmnSubscription:
        """Add a subscriber that has to confirm, or ask a known one again unless it has. Raises SimulatedError 400."""
        if urlsplit(endpoint).scheme not in {"http", "https"}:
            raise parameter_error("endpoint")
        known = self.subscriptions.get(endpoint)
        if known is None or not known.confirmed:
            urn = known.urn if known else f"{self.urn}:{self.rng.getrandbits(128):032x}"
            token = f"{self.rng.getrandbits(256):064x}"
            known = SmnSubscription(urn=urn, endpoint=endpoint, token=token, asked_at=now)
            self.subscriptions[endpoint] = known
        return known

    def confirm(self, token: str | None, now: datetime) -> SmnSubscription:
        """Confirm a subscription. Raises SimulatedError 400 for a token that is unknown or too old."""
        found = next((one for one in self.subscriptions.values() if one.token == token), None)
        if found is None or now - found.asked_at > CONFIRM_WITHIN:
            raise parameter_error("token")
        confirmed = replace(found, confirmed=True)
        self.subscriptions[confirmed.endpoint] = confirmed
        return confirmed

    def confirmed(self) -> list[SmnSubscription]:
        """Return the subscribers that get messages."""
        return [one for one in self.subscriptions.values() if one.confirmed]

    def invitation(self, subscription: SmnSubscription, sender: SmnSender) -> SmnPush:
        """Return the request for a confirmation."""
        query = urlencode({"token": subscription.token, "topic_urn": self.urn, "endpoint": subscription.endpoint})
        fields = {
            "type": "SubscriptionConfirmation",
            "message": _INVITATION.format(urn=self.urn),
            "subscribe_url": f"{sender.origin}{CONFIRM_PATH}?{query}",
        }
        return self._push(subscription, fields, sender)

    def notification(self, subscription: SmnSubscription, text: SmnText, sender: SmnSender) -> SmnPush:
        """Return a published message for a subscriber."""
        fields = {
            "type": "Notification",
            "subject": text.subject,
            "message": text.message,
            "unsubscribe_url": f"{sender.origin}/smn/subscription/unsubscribe?subscription_urn={subscription.urn}",
        }
        return self._push(subscription, fields, sender)

    def _push(self, subscription: SmnSubscription, fields: Mapping[str, str], sender: SmnSender) -> SmnPush:
        message_id = f"{self.rng.getrandbits(128):032x}"
        whole = {
            **fields,
            "message_id": message_id,
            "topic_urn": self.urn,
            "timestamp": sender.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "signature_version": "v1",
            "signing_cert_url": f"{sender.origin}/smn/{self.certificate}",
        }
        whole["signature"] = b64encode(sender.sign(string_to_sign(whole))).decode()
        headers = {
            "X-SMN-MESSAGE-TYPE": fields["type"],
            "X-SMN-MESSAGE-ID": message_id,
            "X-SMN-TOPIC-URN": self.urn,
            "Content-Type": "text/plain;charset=UTF-8",
        }
        return SmnPush(
            endpoint=subscription.endpoint, message_id=message_id, headers=headers, body=json.dumps(whole).encode()
        )
