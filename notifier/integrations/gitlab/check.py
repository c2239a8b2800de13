"""What `check --online` proves about GitLab, without a change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from urllib.parse import quote

from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.tickets import TicketRefused, refused_check
from notifier.ports import CheckResult

_SCOPE = "api"
_REPORTER = 20
"""Level of the role Reporter. Those below can open issues, without labels and assignees."""
_EXPIRES_SOON = timedelta(days=14)


class GitLabCheck:
    """One check. `ask` is `GitLabChannel._call`."""

    def __init__(self, ask: Callable[..., Awaitable[ParsedReply]], now: datetime) -> None:
        self._ask = ask
        self._now = now

    async def results(self, projects: Sequence[str]) -> Sequence[CheckResult]:
        """Return what is proven of the token and of each project. A refusal names the missing right."""
        try:
            # Tokens of some kinds may not ask about themselves.
            token = await self._ask("GET", "/personal_access_tokens/self", accepted=(200, 403, 404))
        except TicketRefused as error:
            return [refused_check("gitlab", error)]
        found = [*self._token(token)]
        scoped = token.succeeded and not found
        return [*found, *[await self._project(project, scoped=scoped) for project in projects]]

    def _token(self, reply: ParsedReply) -> Iterator[CheckResult]:
        scopes = value_at(reply.data, "scopes")
        if reply.succeeded and isinstance(scopes, list) and _SCOPE not in scopes:
            remedy = "make a token with the scope api: no narrower one opens issues"
            yield CheckResult(ok=False, what="token", detail="the token lacks the scope api", remedy=remedy)
        try:
            ends = date.fromisoformat(str(value_at(reply.data, "expires_at")))
        except ValueError:
            return
        if ends - self._now.date() <= _EXPIRES_SOON:
            detail = f"the token expires on {ends}: make a new one before"
            yield CheckResult(ok=True, what="token", detail=detail, proven=False)

    async def _project(self, project: str, *, scoped: bool) -> CheckResult:
        found = await self._result(project, scoped=scoped)
        return replace(found, detail=f"project {project}: {found.detail}")

    async def _result(self, project: str, *, scoped: bool) -> CheckResult:
        try:
            reply = await self._ask("GET", f"/projects/{quote(project, safe='')}")
        except TicketRefused as error:
            return refused_check(project, error)
        if problem := _problem(reply):
            return CheckResult(ok=False, what=project, detail=problem[0], remedy=problem[1])
        level = _level(reply)
        if level is not None and level < _REPORTER:
            detail = "issues can be opened, but without labels and assignees: those need the role Reporter"
            return CheckResult(ok=True, what=project, detail=detail, proven=False)
        if level is None or not scoped:
            detail = "answers; only a ticket proves the rights of the token: see notifier test-send"
            return CheckResult(ok=True, what=project, detail=detail, proven=False)
        return CheckResult(ok=True, what=project, detail="issues can be opened, commented and closed")


def _problem(reply: ParsedReply) -> tuple[str, str] | None:
    """Return why no issue can be opened in a project, with the remedy; None where nothing is known to be wrong."""
    if not isinstance(value_at(reply.data, "path_with_namespace"), str):
        return "the reply is not that of GitLab", "check url"
    if value_at(reply.data, "archived") is True:
        return "the project is archived", "set project to another one"
    disabled = value_at(reply.data, "issues_access_level") == "disabled"
    if disabled or value_at(reply.data, "issues_enabled") is False:
        return "issues are switched off", "turn on Issues in the settings of the project"
    return None


def _level(reply: ParsedReply) -> int | None:
    """Return the level of the token's role in the project or its group; None where GitLab does not say."""
    places = ("permissions.project_access.access_level", "permissions.group_access.access_level")
    levels = [level for place in places if isinstance(level := value_at(reply.data, place), int)]
    return max(levels, default=None)
