"""Slash commands as Slack sends them."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import urlencode

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"  # noqa: S105 - of Slack's example


def request(text: str, number: int) -> tuple[bytes, Mapping[str, str]]:
    """Return the body and the headers of a command that a person types now. `number` makes it unlike all others.

    It has no response_url, so that an answer that comes too late goes nowhere.
    """
    form = {
        "command": "/gaussdb",
        "text": text,
        "user_id": f"U{number:08}",
        "user_name": "alice",
        "team_id": "T0BENCH",
        "channel_id": "C0BENCH",
        "trigger_id": f"{number}.1",
    }
    body, now = urlencode(form).encode(), str(int(time.time()))
    signed = hmac.new(SECRET.encode(), b"v0:%b:%b" % (now.encode(), body), sha256).hexdigest()
    return body, {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": now,
        "X-Slack-Signature": f"v0={signed}",
    }
