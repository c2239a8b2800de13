"""A channel that keeps issues on GitLab: one for each failing operation.

GitLab has no idempotency key. The key of an issue is in a comment of HTML at the end of its description, which the
search does not index: issues are found by listing the newest ones. A reference is `group/project#12`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlencode

import msgspec

from notifier.channels.gfm import GfmText, hidden_key, inert_title, left_out, parts_of, with_hidden
from notifier.channels.tickets import Draft, TicketChannel, TicketRefused
from notifier.core.delivery import Parked, Unknown
from notifier.core.tickets import RemoteTicket, web_address
from notifier.integrations.gitlab.check import GitLabCheck
from notifier.integrations.gitlab.settings import PROJECT_PATTERN, GitLabSettings

if TYPE_CHECKING:
    from notifier.channels.reply_conditions import ParsedReply
    from notifier.ports import CheckResult

_PAGE = 100
"""Number of entries of one page of a list: the most that GitLab gives."""
_MAX_LIST = 16 * 1024 * 1024
"""Maximum size of a page of a list, in bytes. A description may have a megabyte."""


class _References(msgspec.Struct):
    full: str = ""


class _User(msgspec.Struct):
    id: int
    username: str = ""


class _Issue(msgspec.Struct):
    iid: int
    """Counts within the project. It is the number in references and addresses."""
    state: str
    web_url: str = ""
    description: str | None = None
    closed_at: datetime | None = None
    references: _References = msgspec.field(default_factory=_References)
    labels: list[str] = []
    assignees: list[_User] = []


class _Note(msgspec.Struct):
    body: str = ""


class GitLabChannel(TicketChannel[GitLabSettings]):
    """Keeps issues in one project or several."""

    kind = "gitlab"
    markup = GfmText()
    title_limit = 230
    """GitLab takes 255 characters; some of ours are followed by an invisible one."""
    text_limit = 60_000
    index_lag: ClassVar[timedelta] = timedelta(seconds=60)
    """A request whose answer was lost may still be at work."""

    async def create(self, draft: Draft, key: str) -> RemoteTicket:
        """Open an issue. What GitLab leaves out for want of a right is named."""
        project = self._project(draft)
        labels = [self.settings.marker_label, *draft.labels, *filter(None, (draft.priority,))]
        payload: dict[str, Any] = {
            "title": inert_title(draft.title)[:255],
            "description": with_hidden(key, draft.description, *draft.notes),
            "labels": ",".join(dict.fromkeys(labels)),
            **({"confidential": True} if self.settings.confidential else {}),
            **({"assignee_ids": [await self._user(draft.assignee)]} if draft.assignee else {}),
            **draft.fields,
        }
        reply = await self._call("POST", _issues(project), payload, accepted=(201,))
        issue = self.read_as(reply, _Issue)
        return replace(_remote(project, issue), left_out=_left_out(payload, issue))

    async def find(self, key: str, project: str | None) -> Sequence[RemoteTicket]:
        """Look through the newest issues: those with our label, then our own, for labels may have been left out."""
        for place in dict.fromkeys(filter(None, (project, *self.settings.projects))):
            for narrowed in ({"labels": self.settings.marker_label}, {"scope": "created_by_me"}):
                query = {"state": "all", "order_by": "created_at", "sort": "desc", "per_page": _PAGE, **narrowed}
                issues = self.read_as(await self._call("GET", _issues(place), query=query), list[_Issue])
                found = [_remote(place, issue) for issue in issues if hidden_key(issue.description) == key]
                if found:
                    return found[::-1]
        return ()

    async def read(self, ref: str) -> RemoteTicket | None:
        """Return an issue; None where it was deleted."""
        project, _ = parts_of(ref)
        if not project:  # of the time when the channel was of another kind
            return None
        reply = await self._call("GET", _path(ref), accepted=(200, 404))
        if reply.succeeded:
            return _remote(project, self.read_as(reply, _Issue))
        # The same status means that the project is out of reach: then nothing is known of the issue.
        await self._call("GET", _issues(project), query={"per_page": 1})
        return None

    async def comment(self, ref: str, text: str, mark: str) -> None:
        """Add a comment."""
        await self._call("POST", f"{_path(ref)}/notes", {"body": with_hidden(mark, text)}, accepted=(201,))

    async def has_comment(self, ref: str, mark: str) -> bool | None:
        """Return whether one of the latest comments has the mark."""
        query = {"sort": "desc", "order_by": "created_at", "per_page": _PAGE}
        reply = await self._call("GET", f"{_path(ref)}/notes", query=query)
        return any(hidden_key(note.body) == mark for note in self.read_as(reply, list[_Note]))

    async def close(self, ref: str, resolution: str) -> RemoteTicket:  # noqa: ARG002 - the comment has it
        """Close an open issue."""
        return await self._set_state(ref, "close")

    async def reopen(self, ref: str) -> RemoteTicket:
        """Open a closed issue again."""
        return await self._set_state(ref, "reopen")

    async def check(self) -> Sequence[CheckResult]:
        """Read the rights of the token, and each project."""
        return await GitLabCheck(self._call, self.context.clock.now()).results(self.settings.projects)

    # -- requests --

    async def _set_state(self, ref: str, event: str) -> RemoteTicket:
        accepted = (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED)  # the latter where it is in that state
        reply = await self._call("PUT", _path(ref), {"state_event": event}, accepted=accepted)
        if reply.succeeded:
            return _remote(parts_of(ref)[0], self.read_as(reply, _Issue))
        remote = await self.read(ref)
        if remote is None:
            raise TicketRefused(Unknown("the issue is gone"), applied=False)
        return remote

    async def _user(self, name: str) -> int:
        """Return the id of a user."""
        if name.isascii() and name.isdigit():
            return int(name)
        reply = await self._call("GET", "/users", query={"username": name})
        users = [user for user in self.read_as(reply, list[_User]) if user.username.casefold() == name.casefold()]
        if not users:
            raise TicketRefused(Parked("there is no user of the name in assignee"), applied=False)
        return users[0].id

    async def _call(
        self,
        method: str,
        path: str,
        payload: object = None,
        *,
        query: Mapping[str, object] | None = None,
        accepted: Collection[int] = (200,),
    ) -> ParsedReply:
        return await self.call(
            method,
            self.settings.api_url + path + (f"?{urlencode(query)}" if query else ""),
            headers={"private-token": self.settings.token.get_secret_value()},
            payload=payload,
            accepted=accepted,
            max_bytes=_MAX_LIST,
        )

    def _project(self, draft: Draft) -> str:
        """Return where an issue is opened. A route may name anything."""
        project = draft.project or self.settings.projects[0]
        if not re.fullmatch(PROJECT_PATTERN, project):
            what = "the project of a route is no project; write it as group/name or as its number"
            raise TicketRefused(Parked(what), applied=False)
        return project


def _issues(project: str) -> str:
    return f"/projects/{quote(project, safe='')}/issues"


def _path(ref: str) -> str:
    project, number = parts_of(ref)
    return f"{_issues(project)}/{number}"


def _remote(project: str, issue: _Issue) -> RemoteTicket:
    ref = f"{project}#{issue.iid}"
    return RemoteTicket(
        ref=ref,
        label=issue.references.full or ref,
        url=web_address(issue.web_url),
        status=issue.state,
        closed=issue.state == "closed",
        closed_at=issue.closed_at,
        key=hidden_key(issue.description),
    )


def _left_out(payload: Mapping[str, Any], issue: _Issue) -> str:
    """Return what GitLab left out: it drops labels and people where the role of the token does not allow them."""
    labels = payload["labels"]
    wanted = labels.split(",") if isinstance(labels, str) else map(str, labels)
    names = left_out(wanted, issue.labels)
    assigned = {str(user.id) for user in issue.assignees}
    people = [f"assignee {one}" for one in payload.get("assignee_ids", ()) if str(one) not in assigned]
    if not names and not people:
        return ""
    return f"GitLab left out {', '.join((*names, *people))}; labels and assignees need the role Reporter"
