"""The signature of requests to a custom bot."""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime


def sign(secret: str, seconds: int) -> str:
    """Return the signature of a time, in base64. Time and secret are the key; the signed text is empty."""
    return b64encode(hmac.digest(f"{seconds}\n{secret}".encode(), b"", "sha256")).decode()


def signed_fields(secret: str, now: datetime) -> Mapping[str, str]:
    """Return the fields that sign a body for now. Feishu accepts them for an hour."""
    seconds = int(now.timestamp())
    return {"timestamp": str(seconds), "sign": sign(secret, seconds)}
