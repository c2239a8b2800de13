"""The heartbeat: a request to a monitoring service, which alerts when the requests stop."""

from notifier.http import HttpClient, HttpError, partial_reply

HEARTBEAT_TIMEOUT = 10.0
"""Time limit of one heartbeat, in seconds."""
HEARTBEAT_MAX_BYTES = 65_536
"""Maximum size of the reply, in bytes. Its content is ignored."""


async def send_heartbeat(http: HttpClient, url: str) -> str | None:
    """Fetch the URL once. Return why that failed, or None. The URL is a secret and is not part of the reason."""
    try:
        reply = await http.exchange("GET", url, deadline=HEARTBEAT_TIMEOUT, max_bytes=HEARTBEAT_MAX_BYTES)
    except HttpError as error:
        if error.status is None:
            return str(error)
        reply = partial_reply(error)
    return None if 200 <= reply.status < 300 else f"HTTP {reply.status}"  # noqa: PLR2004 - the class of successes
