"""What a result of Apprise means for a message. Pure.

Apprise reports success or failure and logs the rest in sentences, of which its plugins write most in the same way. What
they do not say is unknown.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from notifier.channels.base import PROBE_AFTER
from notifier.channels.http_channel import outcome_of_status
from notifier.core.delivery import Delivered, Outcome, Parked, Retry, Unknown

_STATUS = re.compile(r"\berror=(\d{3})\b")
_SENT = re.compile(r"Sent\b")
_NOT_CONNECTED = re.compile(
    r"NewConnectionError|ConnectTimeoutError|NameResolutionError|SSLCertVerificationError|ProxyError|CERTIFICATE_VERIFY"
    r"|Failed to establish a new connection|Connection refused|Name or service not known|getaddrinfo failed"
)
"""What the HTTP library of Apprise calls errors that come before a request is sent."""

NOT_UNDERSTOOD = "Apprise does not understand the URL, or a library that the service needs is not installed"


def outcome_of(result: dict[str, Any], now: datetime) -> Outcome:
    """Return the outcome for a message; `result` is that of `child.run`."""
    if result["service"] is None:
        return Parked(f"{NOT_UNDERSTOOD}: check `url`", PROBE_AFTER)
    if result["status"] == "SUCCESS":
        return Delivered()
    lines: Sequence[tuple[str, str]] = result["lines"]
    if any(level == "INFO" and _SENT.match(text) for level, text in lines):
        return Unknown("Apprise sent a part of the message, or reached some of several receivers, and failed then")
    statuses = [int(found[1]) for level, text in lines if level != "DEBUG" and (found := _STATUS.search(text))]
    answered = [status for status in statuses if status in range(300, 600)]
    if answered:
        return outcome_of_status(answered[-1], {}, now)
    if any(_NOT_CONNECTED.search(text) for _, text in lines):
        return Retry(f"no connection to the service of Apprise ({result['service']})")
    return Unknown("Apprise reports a failure, and not whether anything was sent")
