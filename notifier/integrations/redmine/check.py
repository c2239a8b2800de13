"""What `check --online` proves about Redmine, without a change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.tickets import TicketRefused
from notifier.integrations.redmine.settings import RedmineSettings
from notifier.ports import CheckResult

_RIGHTS = {
    "view_issues": "View issues",
    "add_issues": "Add issues",
    "edit_issues": "Edit issues",
    "add_issue_notes": "Add notes",
}
"""The permissions that the channel needs, by their names in the API."""
_NOBODYS_KEY = "gtb-check"
"""A key that no ticket has."""
_NOT_FOUND, _UNREADABLE = 404, frozenset({403, 404})


class RedmineCheck:
    """One check. `ask` is `RedmineChannel.ask`."""

    def __init__(self, settings: RedmineSettings, ask: Callable[..., Awaitable[ParsedReply]]) -> None:
        self._settings = settings
        self._ask = ask

    async def results(self) -> Sequence[CheckResult]:
        """Ask, and return what is proven. A refusal of one question answers it, and ends its part."""
        try:
            reply = await self._ask("GET", "users/current.json", query={"include": "memberships"})
            user = value_at(reply.data, "user")
            if not isinstance(user, dict):
                return [_failed("redmine", "the reply is not that of Redmine", "check url")]
            problem = await self._filter_problem() or await self._status_problem()
        except TicketRefused as error:
            remedy = "check url and api_key, and whether an administrator has enabled the REST API (Settings, API)"
            return [_failed("redmine", error.outcome.reason, remedy)]
        if problem:
            return [_failed("redmine", *problem)]
        found = [CheckResult(ok=True, what="redmine", detail=f"logged in as {str(user.get('login', ''))[:100]}")]
        return [*found, *[await self._project(project, user) for project in self._settings.projects]]

    async def _filter_problem(self) -> tuple[str, str] | None:
        field = self._settings.key_field
        by = {f"cf_{field}": _NOBODYS_KEY} if field else {"subject": f"~{_NOBODYS_KEY}"}
        reply = await self._ask("GET", "issues.json", query={"status_id": "*", "limit": 1, **by})
        if value_at(reply.data, "issues.0") is None:
            return None
        what = f"ignores the filter on custom field {field}" if field else "ignores the filter on subjects"
        return what, "let the field be for all projects and used as a filter" if field else "check url"

    async def _status_problem(self) -> tuple[str, str] | None:
        reply = await self._ask("GET", "issue_statuses.json")
        listed = value_at(reply.data, "issue_statuses")
        statuses = listed if isinstance(listed, list) else []
        known = {value_at(one, "id"): value_at(one, "is_closed") for one in statuses}
        for name, closed in (("close_status", True), ("reopen_status", False)):
            wanted = getattr(self._settings, name)
            if wanted is not None and known.get(wanted) is not closed:
                ids = ", ".join(str(one) for one, is_closed in known.items() if is_closed is closed)
                state = "closed" if closed else "open"
                return f"{name} is {wanted}, which is no {state} status", f"set it to one of: {ids}"
        return None

    async def _project(self, project: str, user: dict[str, Any]) -> CheckResult:
        what = f"project {project}"
        try:
            path = f"projects/{quote(project, safe='')}.json"
            reply = await self._ask("GET", path, query={"include": "trackers"}, accepted=(200, 404), empty=True)
            if reply.status == _NOT_FOUND:
                return _failed(what, "does not exist, or the user may not see it", "check project, and add the user")
            if problem := self._tracker_problem(value_at(reply.data, "project.trackers")):
                return _failed(what, *problem)
            rights = await self._rights(value_at(reply.data, "project.id"), user)
        except TicketRefused as error:
            return _failed(what, error.outcome.reason, "check the key of the project, and the rights of the user")
        if rights is None:
            return CheckResult(ok=True, what=what, detail="is there; only test-send proves the rights", proven=False)
        if missing := [name for right, name in _RIGHTS.items() if right not in rights]:
            remedy = f"give the user a role in {project} that has them"
            return _failed(what, f"without the right {', '.join(missing)}", remedy)
        return CheckResult(ok=True, what=what, detail="may view, add, edit and note; the workflow decides on closing")

    def _tracker_problem(self, trackers: object) -> tuple[str, str] | None:
        wanted = self._settings.tracker
        known = {value_at(one, "id"): value_at(one, "name") for one in trackers} if isinstance(trackers, list) else {}
        if wanted is None or not known or wanted in known:
            return None
        shown = ", ".join(f"{number} ({name})" for number, name in known.items())
        return f"has no tracker {wanted}", f"set tracker to one of: {shown}"

    async def _rights(self, project: object, user: dict[str, Any]) -> frozenset[str] | None:
        """Return the permissions of the user's roles in a project; None where they cannot be read."""
        if user.get("admin") is True:
            return frozenset(_RIGHTS)
        found = set[str]()
        for role in _roles(user.get("memberships"), project):
            reply = await self._ask("GET", f"roles/{role}.json", accepted=(200, *_UNREADABLE), empty=True)
            permissions = value_at(reply.data, "role.permissions")
            if not isinstance(permissions, list):
                return None
            found |= set(map(str, permissions))
        return frozenset(found) if found else None


def _roles(memberships: object, project: object) -> Iterator[int]:
    for one in memberships if isinstance(memberships, list) else ():
        roles = value_at(one, "roles")
        if value_at(one, "project.id") == project and isinstance(roles, list):
            yield from (role for entry in roles if isinstance(role := value_at(entry, "id"), int))


def _failed(what: str, detail: str, remedy: str) -> CheckResult:
    return CheckResult(ok=False, what=what, detail=detail, remedy=remedy)
