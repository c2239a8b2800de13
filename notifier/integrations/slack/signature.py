"""Slack's signature of a request: https://docs.slack.dev/authentication/verifying-requests-from-slack. Pure."""

import hmac
import re
from datetime import datetime
from hashlib import sha256
from typing import Literal

TOLERANCE = 300
"""Maximum difference between a request's time and ours, in seconds, either way."""

RejectionReason = Literal["not signed", "no time", "wrong time", "no signature", "wrong signature"]

_SECONDS = re.compile(rb"[0-9]{1,12}")
_SIGNATURE = re.compile(rb"v0=[0-9a-f]{64}")


def rejection_reason(
    secret: str, *, timestamp: bytes, signature: bytes, body: bytes, now: datetime
) -> RejectionReason | None:
    """Return why a request is not proven to be Slack's; None where it is. Never raises, whatever the bytes are.

    Args:
        secret: the signing secret, not blank.
        timestamp: the header `X-Slack-Request-Timestamp`, empty where there is none.
        signature: the header `X-Slack-Signature`, likewise.
        body: the whole body, unparsed.
        now: aware.
    """
    if not timestamp and not signature:
        return "not signed"
    if not _SECONDS.fullmatch(timestamp):
        return "no time"
    if abs(int(timestamp) - now.timestamp()) > TOLERANCE:
        return "wrong time"
    if not _SIGNATURE.fullmatch(signature):
        return "no signature"
    return None if hmac.compare_digest(sign(secret, timestamp=timestamp, body=body), signature) else "wrong signature"


def sign(secret: str, *, timestamp: bytes, body: bytes) -> bytes:
    """Return the header that Slack would send."""
    text = b"v0:%b:%b" % (timestamp, body)
    return b"v0=" + hmac.new(secret.encode(), text, sha256).hexdigest().encode()
