"""A sign of life for whoever watches over the program: when the signs stop, that service raises the alarm."""

from __future__ import annotations

from notifier.http import HttpClient, HttpError, partial_reply

HEARTBEAT_TIMEOUT = 10.0
"""Seconds for one sign."""
HEARTBEAT_MAX_BYTES = 65_536
"""Bytes that are read of an answer; what it says does not matter."""


async def send_heartbeat(http: HttpClient, url: str) -> str | None:
    """Fetch the address once. Return why that was no success, or None; the address is a secret and not in it."""
    try:
        reply = await http.exchange("GET", url, deadline=HEARTBEAT_TIMEOUT, max_bytes=HEARTBEAT_MAX_BYTES)
    except HttpError as error:
        if error.status is None:
            return str(error)
        reply = partial_reply(error)
    return None if 200 <= reply.status < 300 else f"HTTP {reply.status}"  # noqa: PLR2004 - the class of successes
