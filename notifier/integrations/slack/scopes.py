"""Scopes that the bot needs for the chat, and what is lost without each."""

from collections.abc import Collection, Sequence

from notifier.http import HttpError
from notifier.integrations.slack.api import WebApi
from notifier.integrations.slack.errors import scope_remedy
from notifier.ports import CheckResult

SCOPES_TIMEOUT = 10.0
"""Maximum time of the call, in seconds."""

SCOPE_COSTS = {
    "commands": "nobody can type the command",
    "users:read": "replies come in the configured language, and guests may acknowledge and mute like members",
    "usergroups:read": "of those on the list `allow` only the users are known, not the members of groups",
    "im:write": "people who watch or subscribe get no direct message unless they have written to the bot before",
}
"""Every scope that the chat uses in addition to those of the channels, and the loss without it."""
_NEEDED = frozenset({"commands"})
_CHECK_NAME = "Slack chat scopes"


async def check(api: WebApi, allow: Collection[str]) -> Sequence[CheckResult]:
    """Check the scopes of the bot. Nothing is posted."""
    try:
        response = await api.call("auth.test", SCOPES_TIMEOUT, {})
    except HttpError as error:
        return (CheckResult(ok=False, what=_CHECK_NAME, detail=str(error), remedy="check the network and the proxy"),)
    if not response.ok:
        remedy = "set chat.slack.bot_token to a valid token (xoxb-…)"
        return (CheckResult(ok=False, what=_CHECK_NAME, detail=response.failure, remedy=remedy),)
    return scope_results(response.scopes, allow)


def scope_results(granted: Collection[str] | None, allow: Collection[str]) -> Sequence[CheckResult]:
    """Return the missing scopes; nothing where Slack does not list the granted ones."""
    if granted is None:
        return ()
    wanted = [scope for scope in SCOPE_COSTS if scope != "usergroups:read" or any(id_.startswith("S") for id_ in allow)]
    missing = [scope for scope in wanted if scope not in granted]
    if not missing:
        return (CheckResult(ok=True, what=_CHECK_NAME, detail=", ".join(wanted)),)
    return tuple(
        CheckResult(
            ok=scope not in _NEEDED,
            what=_CHECK_NAME,
            detail=f"{scope} is missing: {SCOPE_COSTS[scope]}",
            remedy=scope_remedy(scope),
        )
        for scope in missing
    )
