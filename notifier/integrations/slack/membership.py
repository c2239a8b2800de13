"""Whether the bot may post to a channel that somebody names in a command."""

from notifier.http import HttpError
from notifier.integrations.slack.api import WebApi

MEMBERSHIP_TIMEOUT = 1.5
"""Maximum time of the call, in seconds: the answer to the command waits for it."""
_POST_PUBLIC_SCOPE = "chat:write.public"


async def may_post(api: WebApi, channel: str) -> bool | None:
    """Return whether the bot may post to a channel; None where Slack does not say.

    The history of a channel is shown to its members alone, and takes no scope that posting does not need anyway. A
    private channel is not found by those who are not in it.
    """
    try:
        response = await api.call("conversations.history", MEMBERSHIP_TIMEOUT, query={"channel": channel, "limit": 1})
    except HttpError:
        return None
    match response.code:
        case "not_in_channel":
            return _POST_PUBLIC_SCOPE in (response.scopes or ())
        case "channel_not_found":
            return False
    return True if response.ok else None
