"""What the bot must be allowed to do for the chat, and what it costs where it is not."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from notifier.http import HttpError
from notifier.integrations.slack.api import WebApi
from notifier.ports import CheckResult

SCOPES_TIMEOUT = 10.0
"""Seconds that the question may take."""

SCOPE_COSTS = {
    "commands": "nobody can type the command",
    "users:read": "replies come in the configured language, and guests may acknowledge and mute like members",
    "usergroups:read": "of those on the list `allow` only the users are known, not the members of groups",
    "im:write": "who watches a task gets no direct message unless they have written to the bot before",
}
"""Every scope that the chat uses beside those of the channels, and what is lost without it."""
_NEEDED = frozenset({"commands"})
_CHECK_NAME = "Slack chat scopes"


async def check(api: WebApi, allow: Collection[str]) -> Sequence[CheckResult]:
    """Ask Slack which scopes the bot has. Nothing is posted."""
    try:
        answer = await api.call("auth.test", SCOPES_TIMEOUT, {})
    except HttpError as error:
        return (CheckResult(ok=False, what=_CHECK_NAME, detail=str(error), remedy="check the network and the proxy"),)
    if answer.data.get("ok") is not True:
        why = answer.code or f"HTTP {answer.status}"
        return (
            CheckResult(
                ok=False, what=_CHECK_NAME, detail=why, remedy="set chat.slack.bot_token to a valid token (xoxb-…)"
            ),
        )
    return scope_results(answer.headers.get("x-oauth-scopes"), allow)


def scope_results(granted: str | None, allow: Collection[str]) -> Sequence[CheckResult]:
    """Return what is missing; Slack names the scopes that a token has in a header of its answers."""
    if granted is None:
        return ()
    has = set(re.split(r"[\s,]+", granted))
    wanted = [scope for scope in SCOPE_COSTS if scope != "usergroups:read" or any(id_.startswith("S") for id_ in allow)]
    missing = [scope for scope in wanted if scope not in has]
    if not missing:
        return (CheckResult(ok=True, what=_CHECK_NAME, detail=", ".join(wanted)),)
    return tuple(
        CheckResult(
            ok=scope not in _NEEDED,
            what=_CHECK_NAME,
            detail=f"{scope} is missing: {SCOPE_COSTS[scope]}",
            remedy=f"add the bot scope {scope} under OAuth & Permissions and reinstall the app",
        )
        for scope in missing
    )
