"""What `check --online` proves about GitHub, without a change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.tickets import TicketRefused, refused_check
from notifier.ports import CheckResult

_INVALID = 422
_EXPIRES_SOON = timedelta(days=14)
_EXPIRY = "github-authentication-token-expiration"


class GitHubCheck:
    """One check. `ask` is `GitHubChannel._call`."""

    def __init__(self, ask: Callable[..., Awaitable[ParsedReply]], now: datetime) -> None:
        self._ask = ask
        self._now = now

    async def result(self, repository: str) -> CheckResult:
        """Return what is proven of a repository. A refusal names the missing right."""
        found = await self._result(repository)
        return replace(found, detail=f"project {repository}: {found.detail}")

    async def _result(self, repository: str) -> CheckResult:
        path = f"/repos/{repository}"
        try:
            found = await self._ask("GET", path)
            if problem := _problem(found):
                return CheckResult(ok=False, what=repository, detail=problem[0], remedy=problem[1])
            await self._ask("GET", f"{path}/issues?per_page=1")
            # An issue without a title is refused: with 422 where it could be opened, else for want of the right.
            await self._ask("POST", f"{path}/issues", {}, accepted=(_INVALID,))
        except TicketRefused as error:
            return refused_check(repository, error)
        warning = self._expiry(found) or _labels(found)
        detail = warning or "issues can be opened, commented and closed"
        return CheckResult(ok=True, what=repository, detail=detail, proven=not warning)

    def _expiry(self, reply: ParsedReply) -> str:
        """Return that the token expires soon, where GitHub says so."""
        try:
            ends = datetime.strptime(reply.headers.get(_EXPIRY, ""), "%Y-%m-%d %H:%M:%S %Z").replace(tzinfo=UTC)
        except ValueError:
            return ""
        soon = ends - self._now <= _EXPIRES_SOON
        return f"the token expires on {ends:%Y-%m-%d}: make a new one before" if soon else ""


def _problem(reply: ParsedReply) -> tuple[str, str] | None:
    """Return why no issue can be opened in a repository, with the remedy; None where nothing is known to be wrong."""
    if not isinstance(value_at(reply.data, "full_name"), str):
        return "the reply is not that of GitHub", "check url"
    if value_at(reply.data, "archived") is True:
        return "the repository is archived", "set project to another one"
    if value_at(reply.data, "has_issues") is False:
        return "issues are switched off", "turn on Issues in the settings of the repository"
    return None


def _labels(reply: ParsedReply) -> str:
    rights = value_at(reply.data, "permissions")
    if not isinstance(rights, dict) or rights.get("push") or rights.get("triage"):
        return ""
    return "issues can be opened, but without labels and assignees: those need the right to push"
