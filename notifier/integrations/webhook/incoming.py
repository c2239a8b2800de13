"""Signed requests to the doorbell: Standard Webhooks 1.0.0, as the webhook channel sends them."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256

from standardwebhooks import Webhook

from notifier.doorbell import CallerKind, Knock, Refusal, RingRefused

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

_IDS = re.compile(r"[\x21-\x7e]{1,200}")
_SECONDS = re.compile(r"[0-9]{1,11}")
_MAX_SIGNATURES = 20
"""Maximum number of signatures in one header: a sender adds one for each secret of a rotation."""


class WebhookCaller:
    """Proves requests by secrets of Standard Webhooks. Whoever calls it checks the time that a signature covers."""

    kind = CallerKind.WEBHOOK

    def __init__(self, secrets: Sequence[str]) -> None:
        """Take the accepted secrets, each `whsec_` and its key in base64."""
        self._signers = [Webhook(secret) for secret in secrets]

    def claims(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request is signed in this way."""
        return SIGNATURE in headers

    async def prove(self, headers: Mapping[str, str], body: bytes) -> Knock:
        """Return the knock of a request with a right signature. Raises RingRefused."""
        message_id, seconds = headers.get(ID, ""), headers.get(TIMESTAMP, "")
        if not _IDS.fullmatch(message_id) or not _SECONDS.fullmatch(seconds):
            why = f"a signed request has the headers {ID}, {TIMESTAMP} (in seconds) and {SIGNATURE}"
            raise RingRefused(Refusal.UNPROVEN, why)
        at = datetime.fromtimestamp(int(seconds), UTC)
        number = self._signer_of(message_id, at, body, headers[SIGNATURE].split()[:_MAX_SIGNATURES])
        if number is None:
            raise RingRefused(Refusal.UNPROVEN, "the signature is not made with one of the secrets of the doorbell")
        return Knock(
            caller=CallerKind.WEBHOOK,
            identity=f"{CallerKind.WEBHOOK}:{number}",
            at=at,
            # By its id alone: a sender signs what it repeats once more.
            replay_key=sha256(f"doorbell:{CallerKind.WEBHOOK}:{message_id}".encode()).hexdigest(),
        )

    async def confirm(self, knock: Knock) -> None:
        """Do nothing: no such request asks for it."""

    def _signer_of(self, message_id: str, at: datetime, body: bytes, signatures: Sequence[str]) -> int | None:
        """Return the number of the secret with which one of the signatures was made; None where none was."""
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return None
        found = None
        for number, signer in enumerate(self._signers):
            right = signer.sign(message_id, at, text).encode()
            # All are compared, so that the time of an answer does not depend on which is right.
            if any([hmac.compare_digest(right, given.encode()) for given in signatures]):  # noqa: C419 - as above
                found = number
        return found
