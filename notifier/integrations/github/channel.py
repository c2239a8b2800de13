"""A channel that keeps issues on GitHub: one for each failing operation.

GitHub has no idempotency key. The key of an issue is in a comment of HTML at the end of its text, and issues are found
by listing the newest ones, for the search lags behind. A reference is `owner/name#12`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

import msgspec

from notifier.channels.gfm import GfmText, hidden_key, left_out, parts_of, with_hidden
from notifier.channels.tickets import Draft, TicketChannel, TicketRefused
from notifier.core.delivery import Parked, Retry
from notifier.core.retry import reset_after
from notifier.core.tickets import RemoteTicket, web_address
from notifier.integrations.github.check import GitHubCheck
from notifier.integrations.github.settings import REPOSITORY_PATTERN, GitHubSettings

if TYPE_CHECKING:
    from notifier.channels.reply_conditions import ParsedReply
    from notifier.http import Reply
    from notifier.ports import CheckResult

API_VERSION = "2022-11-28"
_PAGE = 100
"""Number of entries of one page of a list: the most that GitHub gives."""
_MAX_LIST = 16 * 1024 * 1024
"""Maximum size of a page of a list, in bytes. One text has up to 65,536 characters."""
_MOVED = (301, 302, 307, 308)
_GONE = (404, 410)
_LIMITED = (403, 429)
_PAUSE = timedelta(minutes=1)
"""Wait after a rate limit whose end is not given. GitHub asks for at least so much."""
_LAST_PAGE = re.compile(r'[?&]page=(\d{1,6})[^>]*>;\s*rel="last"')


class _Named(msgspec.Struct):
    name: str


class _User(msgspec.Struct):
    login: str


class _Issue(msgspec.Struct):
    number: int
    state: str
    html_url: str = ""
    body: str | None = None
    closed_at: datetime | None = None
    labels: list[_Named] = []
    assignees: list[_User] = []
    pull_request: dict[str, Any] | None = None


class _Comment(msgspec.Struct):
    body: str | None = None


class GitHubChannel(TicketChannel[GitHubSettings]):
    """Keeps issues in one repository or several."""

    kind = "github"
    markup = GfmText()
    title_limit = 250
    text_limit = 60_000
    index_lag: ClassVar[timedelta] = timedelta(seconds=60)
    """A request whose answer was lost may still be at work."""

    async def create(self, draft: Draft, key: str) -> RemoteTicket:
        """Open an issue. What GitHub leaves out for want of a right is named."""
        repository = self._repository(draft)
        labels = [self.settings.marker_label, *draft.labels, *filter(None, (draft.priority,))]
        payload: dict[str, Any] = {
            "title": draft.title,
            "body": with_hidden(key, draft.description, *draft.notes),
            "labels": list(dict.fromkeys(labels)),
            **({"assignees": [draft.assignee]} if draft.assignee else {}),
            **draft.fields,
        }
        reply = await self._call("POST", f"/repos/{repository}/issues", payload, accepted=(201,))
        issue = self.read_as(reply, _Issue)
        return replace(_remote(repository, issue), left_out=_left_out(payload, issue))

    async def find(self, key: str, project: str | None) -> Sequence[RemoteTicket]:
        """Look through the newest issues: those with our label, then all, for labels may have been left out."""
        for repository in dict.fromkeys(filter(None, (project, *self.settings.projects))):
            for label in (self.settings.marker_label, None):
                issues = await self._newest(repository, label)
                found = [_remote(repository, issue) for issue in issues if hidden_key(issue.body) == key]
                if found:
                    return found[::-1]
        return ()

    async def _newest(self, repository: str, label: str | None) -> Sequence[_Issue]:
        """Return the newest issues, the newest first, without the pull requests that GitHub lists among them."""
        query = {"state": "all", "sort": "created", "direction": "desc", "per_page": _PAGE}
        reply = await self._call(
            "GET", f"/repos/{repository}/issues", query=query | ({"labels": label} if label else {})
        )
        return [issue for issue in self.read_as(reply, list[_Issue]) if issue.pull_request is None]

    async def read(self, ref: str) -> RemoteTicket | None:
        """Return an issue; None where it was deleted or transferred to another repository."""
        repository, number = parts_of(ref)
        if not repository:  # of the time when the channel was of another kind
            return None
        path = f"/repos/{repository}/issues/{number}"
        reply = await self._call("GET", path, accepted=(200, *_MOVED, *_GONE))
        if reply.succeeded:
            return _remote(repository, self.read_as(reply, _Issue))
        # The same statuses mean that the repository is out of reach: then nothing is known of the issue.
        await self._call("GET", f"/repos/{repository}/issues", query={"per_page": 1})
        return None

    async def comment(self, ref: str, text: str, mark: str) -> None:
        """Add a comment."""
        payload = {"body": with_hidden(mark, text)}
        await self._call("POST", f"{_path(ref)}/comments", payload, accepted=(201,))

    async def has_comment(self, ref: str, mark: str) -> bool | None:
        """Return whether one of the latest comments has the mark. GitHub lists the oldest first."""
        query = {"per_page": _PAGE}
        reply = await self._call("GET", f"{_path(ref)}/comments", query=query)
        last = _LAST_PAGE.search(reply.headers.get("link", ""))
        pages = [reply]
        if last:
            latest = int(last[1])
            numbers = range(max(latest - 1, 2), latest + 1)
            pages = [await self._call("GET", f"{_path(ref)}/comments", query=query | {"page": n}) for n in numbers]
        comments = (comment for page in pages for comment in self.read_as(page, list[_Comment]))
        return any(hidden_key(comment.body) == mark for comment in comments)

    async def close(self, ref: str, resolution: str) -> RemoteTicket:  # noqa: ARG002 - the comment has it
        """Close an issue as completed."""
        return await self._set_state(ref, {"state": "closed", "state_reason": "completed"})

    async def reopen(self, ref: str) -> RemoteTicket:
        """Open a closed issue again."""
        return await self._set_state(ref, {"state": "open"})

    async def check(self) -> Sequence[CheckResult]:
        """Read each repository, and try the right to write with a request that has no effect."""
        check = GitHubCheck(self._call, self.context.clock.now())
        return [await check.result(repository) for repository in self.settings.projects]

    # -- requests --

    def refusal(self, reply: ParsedReply, answer: Reply | None = None) -> TicketRefused:
        """Return the error for a reply. A rate limit comes as 403 or 429, and its end in a header."""
        refused = super().refusal(reply, answer)
        spent = reply.status in _LIMITED and reply.headers.get("x-ratelimit-remaining") == "0"
        if not spent or "retry-after" in reply.headers:
            return refused
        after = reset_after(reply.headers, self.context.clock.now())
        why = f"HTTP {reply.status}: the rate limit of the token is used up"
        return TicketRefused(Retry(why, after or _PAUSE, reply=refused.outcome.reply), applied=False)

    async def _set_state(self, ref: str, payload: Mapping[str, str]) -> RemoteTicket:
        reply = await self._call("PATCH", _path(ref), payload, accepted=(200,))
        return _remote(parts_of(ref)[0], self.read_as(reply, _Issue))

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
            self.settings.api_url + path + _query(query or {}),
            headers=self._headers,
            payload=payload,
            accepted=accepted,
            max_bytes=_MAX_LIST,
        )

    @property
    def _headers(self) -> Mapping[str, str]:
        return {
            "authorization": f"Bearer {self.settings.token.get_secret_value()}",
            "accept": "application/vnd.github+json",
            "x-github-api-version": API_VERSION,
        }

    def _repository(self, draft: Draft) -> str:
        """Return where an issue is opened. A route may name anything."""
        repository = draft.project or self.settings.projects[0]
        if not re.fullmatch(REPOSITORY_PATTERN, repository):
            what = "the project of a route is no repository; write it as owner/name"
            raise TicketRefused(Parked(what), applied=False)
        return repository


def _query(values: Mapping[str, object]) -> str:
    return f"?{urlencode(values)}" if values else ""


def _path(ref: str) -> str:
    repository, number = parts_of(ref)
    return f"/repos/{repository}/issues/{number}"


def _remote(repository: str, issue: _Issue) -> RemoteTicket:
    ref = f"{repository}#{issue.number}"
    return RemoteTicket(
        ref=ref,
        label=ref,
        url=web_address(issue.html_url),
        status=issue.state,
        closed=issue.state == "closed",
        closed_at=issue.closed_at,
        key=hidden_key(issue.body),
    )


def _left_out(payload: Mapping[str, Any], issue: _Issue) -> str:
    """Return what GitHub left out: it drops labels and people where the token's user may not push."""
    labels = left_out(map(str, payload["labels"]), (label.name for label in issue.labels))
    people = left_out(map(str, payload.get("assignees", ())), (user.login for user in issue.assignees))
    if not labels and not people:
        return ""
    return f"GitHub left out {', '.join((*labels, *people))}; labels and assignees need the right to push"
