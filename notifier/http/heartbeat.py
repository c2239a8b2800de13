"""A sign of life for whoever watches over the program: when the signs stop, that service raises the alarm."""

from __future__ import annotations

from notifier.http import HttpClient, HttpError, arrived

DEADLINE = 10.0
"""Seconds for one sign."""
REPLY_LIMIT = 65_536
"""Bytes that are read of an answer; what it says does not matter."""


async def beat(http: HttpClient, url: str) -> str | None:
    """Fetch the address once. Return why that was no success, or None; the address is a secret and not in it."""
    try:
        reply = await http.exchange("GET", url, deadline=DEADLINE, max_bytes=REPLY_LIMIT)
    except HttpError as error:
        if error.status is None:
            return str(error)
        reply = arrived(error)
    return None if 200 <= reply.status < 300 else f"HTTP {reply.status}"  # noqa: PLR2004 - the class of successes
