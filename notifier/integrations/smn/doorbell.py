"""Messages of topics of SMN that ring the doorbell: verified, and answered where they ask for something."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from notifier.doorbell import CallerKind, Knock, KnockKind, Refusal, RingRefused
from notifier.http import HttpClient, HttpError
from notifier.integrations.smn import incoming
from notifier.integrations.smn.certificates import Certificates
from notifier.ports import Clock

MESSAGE_TYPE: Final = "x-smn-message-type"
CONFIRM_DEADLINE: Final = 2.5
"""Maximum time to confirm a subscription, in seconds; with the fetch of a certificate it is less than SMN waits."""
MAX_CONFIRMATION: Final = 256 * 1024
"""Maximum size that is read of the page that says that a subscription is confirmed, in bytes."""

_KINDS: Final[Mapping[str, KnockKind]] = {
    incoming.NOTIFICATION: KnockKind.RING,
    incoming.CONFIRMATION: KnockKind.CONFIRM,
    incoming.UNSUBSCRIPTION: KnockKind.END,
}
_MEDIA_TYPES = frozenset({"", "application/json", "text/plain", "text/json"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SmnRules:
    """What is believed of SMN."""

    topics: Collection[str]
    """URNs of the topics whose messages ring."""
    origins: Collection[str] = ()
    """Where certificates are and subscriptions are confirmed; empty for Huawei Cloud's own addresses."""


class SmnCaller:
    """Proves messages by the signature of SMN. Whoever calls it checks the time that a signature covers."""

    kind = CallerKind.SMN

    def __init__(self, rules: SmnRules, http: HttpClient, clock: Clock) -> None:
        self._rules = rules
        self._http = http
        self._clock = clock
        self._certificates = Certificates(http, clock)

    def claims(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request is a message of SMN."""
        return MESSAGE_TYPE in headers

    async def prove(self, headers: Mapping[str, str], body: bytes) -> Knock:
        """Return what a message is about once SMN has signed it. Raises RingRefused.

        What costs nothing is judged first, so that a stranger without the name of a topic causes no request of ours.
        """
        if headers.get("content-type", "").partition(";")[0].strip().lower() not in _MEDIA_TYPES:
            raise RingRefused(Refusal.MEDIA_TYPE, "a message of SMN is sent as application/json or text/plain")
        message = incoming.parse_message(body, self._rules.topics)
        origins = self._rules.origins
        incoming.require_certificate_address(message.certificate_url, message.region, origins)
        certificate = await self._certificates.get(message.certificate_url)
        certificate.verify(message.signed, message.signature, self._clock.now())
        kind = _KINDS[message.type]
        if kind is KnockKind.CONFIRM:
            incoming.require_confirmation_address(message.subscribe_url, message.topic_urn, message.region, origins)
        return Knock(
            caller=CallerKind.SMN,
            identity=message.topic_urn,
            kind=kind,
            at=message.at,
            replay_key=sha256(f"doorbell:{message.topic_urn}:{message.message_id}".encode()).hexdigest(),
            topic=message.topic_urn,
            region=message.region,
            project_id=message.project_id,
            subscribe_url=message.subscribe_url,
        )

    async def confirm(self, knock: Knock) -> None:
        """Request the address that confirms the subscription. Raises RingRefused."""
        try:
            reply = await self._http.exchange(
                "GET", knock.subscribe_url, deadline=CONFIRM_DEADLINE, max_bytes=MAX_CONFIRMATION
            )
            status = reply.status
        except HttpError as error:
            if error.status is None:
                why = f"the subscription cannot be confirmed: {error}"
                raise RingRefused(Refusal.UNAVAILABLE, why) from None
            status = error.status  # the page is longer than what is read of it
        if not _CONFIRMED.start <= status < _CONFIRMED.stop:
            raise RingRefused(Refusal.UNAVAILABLE, f"the subscription is not confirmed: HTTP {status}")


_CONFIRMED = range(200, 300)
