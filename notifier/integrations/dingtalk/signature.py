"""The signature of requests to a custom robot."""

import hmac
from base64 import b64encode
from datetime import datetime
from urllib.parse import urlencode


def sign(secret: str, milliseconds: int) -> str:
    """Return the signature of a time, in base64."""
    message = f"{milliseconds}\n{secret}"
    return b64encode(hmac.digest(secret.encode(), message.encode(), "sha256")).decode()


def signed_url(url: str, secret: str, now: datetime) -> str:
    """Return the URL with the time and its signature. DingTalk accepts it for an hour."""
    milliseconds = int(now.timestamp() * 1000)
    query = urlencode({"timestamp": milliseconds, "sign": sign(secret, milliseconds)})
    return f"{url}{'&' if '?' in url else '?'}{query}"
