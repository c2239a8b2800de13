"""What `check --online` proves about Jira, without a change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.tickets import TicketRefused
from notifier.integrations.jira.settings import JiraSettings
from notifier.ports import CheckResult

_RIGHTS = {
    "BROWSE_PROJECTS": "Browse Projects",
    "CREATE_ISSUES": "Create Issues",
    "ADD_COMMENTS": "Add Comments",
    "TRANSITION_ISSUES": "Transition Issues",
}
"""The project permissions that the channel needs, by their names in the API."""
_GIVEN = frozenset({"project", "issuetype", "summary", "description", "labels", "reporter"})
"""Fields of a new issue that the program sets, or Jira by itself."""
_EXPIRES_SOON = timedelta(days=14)
_NOT_FOUND = 404


class JiraCheck:
    """One check. `ask` is `JiraChannel.ask`."""

    def __init__(self, settings: JiraSettings, ask: Callable[..., Awaitable[ParsedReply]], now: datetime) -> None:
        self._settings = settings
        self._ask = ask
        self._now = now

    async def results(self) -> Sequence[CheckResult]:
        """Ask, and return what is proven. A refusal of one question answers it, and ends its part."""
        found = [*self._expiry()]
        try:
            reply = await self._ask("GET", "myself")
        except TicketRefused as error:
            return [*found, _failed("jira", error.outcome.reason, self._credential_remedy())]
        name = value_at(reply.data, "displayName") or value_at(reply.data, "name")
        if not isinstance(name, str):
            return [*found, _failed("jira", "the reply is not that of Jira", "check url")]
        found.append(CheckResult(ok=True, what="jira", detail=f"logged in as {name[:100]}"))
        for project in self._settings.projects:
            found += await self._project(project)
        return found

    def _expiry(self) -> Iterator[CheckResult]:
        ends = self._settings.token_expires
        if ends is None:
            return
        left = ends - self._now.date()
        if left < timedelta():
            yield _failed("token", f"expired on {ends}", "make a new token, and set token and token_expires")
        elif left <= _EXPIRES_SOON:
            detail = f"expires on {ends}: make a new one before"
            yield CheckResult(ok=True, what="token", detail=detail, proven=False)

    def _credential_remedy(self) -> str:
        settings = self._settings
        if settings.deployment == "data_center":
            return "check url and token; a password needs user, and a personal access token goes without"
        if settings.cloud_id:
            return "check user, token and cloud_id; the token needs read:jira-work, write:jira-work and read:jira-user"
        return "check url, user and token; the tokens of service accounts and those with scopes need cloud_id"

    async def _project(self, project: str) -> Sequence[CheckResult]:
        what = f"project {project}"
        try:
            rights = await self._rights(project)
            if missing := [_RIGHTS[name] for name, given in rights.items() if given is False]:
                remedy = f"give the account a role in {project} that has them"
                return [_failed(what, f"without the right {', '.join(missing)}", remedy)]
            problem = await self._type_problem(project)
        except TicketRefused as error:
            return [_failed(what, error.outcome.reason, "check the key of the project, and the rights of the account")]
        if problem:
            return [_failed(what, *problem)]
        known = all(given is True for given in rights.values())
        detail = "may browse, create, comment and close" if known else "answers; only test-send proves the rights"
        return [CheckResult(ok=True, what=what, detail=detail, proven=known)]

    async def _rights(self, project: str) -> dict[str, Any]:
        """Return whether the account has each right; None where Jira does not say."""
        path = f"mypermissions?projectKey={quote(project, safe='')}&permissions={','.join(_RIGHTS)}"
        reply = await self._ask("GET", path)
        return {name: value_at(reply.data, f"permissions.{name}.havePermission") for name in _RIGHTS}

    async def _type_problem(self, project: str) -> tuple[str, str] | None:
        """Return why no issue can be created, with the remedy; None where nothing is known to be wrong."""
        wanted = self._settings.issue_type
        types = await self._listed(f"issue/createmeta/{quote(project, safe='')}/issuetypes", "issueTypes")
        if types is None:
            return None
        found = next((one for one in types if wanted in (value_at(one, "id"), value_at(one, "name"))), None)
        if found is None:
            names = ", ".join(sorted(str(value_at(one, "name")) for one in types)[:10])
            return f"has no issue type {wanted}, or it may not be created", f"set issue_type to one of: {names}"
        path = f"issue/createmeta/{quote(project, safe='')}/issuetypes/{quote(str(found['id']), safe='')}"
        fields = await self._listed(path, "fields")
        missing = sorted(_required(fields or (), self._set_by_us))
        if missing:
            what = f"issue type {wanted} needs the fields {', '.join(missing)}"
            return what, "set them in `fields`, by the names in the API"
        return None

    @property
    def _set_by_us(self) -> Collection[str]:
        settings = self._settings
        always = {"priority"} if settings.priority else set()
        return _GIVEN | always | ({"assignee"} if settings.assignee else set()) | settings.fields.keys()

    async def _listed(self, path: str, name: str) -> list[Any] | None:
        """Return a list of a reply: `values` on a server. None where the version of a server has no such call."""
        reply = await self._ask("GET", f"{path}?maxResults=200", accepted=(200, 404))
        found = value_at(reply.data, name)
        found = value_at(reply.data, "values") if found is None else found
        return found if isinstance(found, list) and reply.status != _NOT_FOUND else None


def _required(fields: Collection[Any], given: Collection[str]) -> Iterator[str]:
    for one in fields:
        name = value_at(one, "fieldId") or value_at(one, "key")
        needed = value_at(one, "required") is True and value_at(one, "hasDefaultValue") is not True
        if needed and name not in given:
            yield f"{name} ({value_at(one, 'name')})"


def _failed(what: str, detail: str, remedy: str) -> CheckResult:
    return CheckResult(ok=False, what=what, detail=detail, remedy=remedy)
