"""A channel that keeps issues in Redmine.

Redmine has no idempotency key: the key of a ticket is in a custom field or at the end of the subject. It ignores
filters that it does not have, and changes that it does not allow, and answers as if nothing was wrong.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlencode

import msgspec

from notifier.channels.base import PROBE_AFTER, BaseChannel, ChannelContext, Json
from notifier.channels.markup import utf8_bytes
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.ticket_text import TicketMarkup
from notifier.channels.tickets import Draft, TicketChannel, TicketRefused
from notifier.core.delivery import GaveUp, Parked
from notifier.core.tickets import RemoteTicket
from notifier.integrations.redmine.check import RedmineCheck
from notifier.integrations.redmine.markup import RedmineMarkdown, TextileText
from notifier.integrations.redmine.settings import ID_PATTERN, RedmineSettings

if TYPE_CHECKING:
    from notifier.ports import CheckResult

_PAGE = 100
"""Maximum number of issues of one page: the most that Redmine gives."""
_NOT_FOUND = 404
_STATUSES_FOR = timedelta(minutes=10)
"""Time for which the list of statuses is not read again."""
_KEY = re.compile(r"\[(gtb-[a-z2-7]{20})\]")
_NUMBER = re.compile(ID_PATTERN)


class RedmineStatus(msgspec.Struct):
    """A status of the server."""

    id: int
    name: str = ""
    is_closed: bool | None = None
    """None where the version of the server does not say that with an issue."""


class _Field(msgspec.Struct):
    id: int
    value: Any = None


class _Journal(msgspec.Struct):
    notes: str | None = None


class _Issue(msgspec.Struct):
    id: int
    status: RedmineStatus
    subject: str = ""
    custom_fields: list[_Field] = []
    journals: list[_Journal] = []
    allowed_statuses: list[RedmineStatus] = []
    closed_on: datetime | None = None


class _One(msgspec.Struct):
    issue: _Issue


class _Many(msgspec.Struct):
    issues: list[_Issue]


class _Statuses(msgspec.Struct):
    issue_statuses: list[RedmineStatus]


class RedmineChannel(TicketChannel[RedmineSettings]):
    """Keeps issues of one server; what its two text formats share."""

    kind = "redmine"
    # The subject has 255 characters, of which the key takes 27.
    title_limit = 228
    # A text has 65,535 bytes in MySQL.
    text_limit = 60_000

    def __init__(self, settings: RedmineSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self._headers = {"x-redmine-api-key": settings.api_key.get_secret_value()}
        self._statuses: Sequence[RedmineStatus] = ()
        self._statuses_until = 0.0
        """On the monotonic clock."""

    @classmethod
    def open(cls, settings: RedmineSettings, context: ChannelContext) -> BaseChannel[RedmineSettings]:
        """Return the channel for the text format of the server."""
        return (TextileRedmine if settings.text_format == "textile" else MarkdownRedmine)(settings, context)

    def text_size(self, text: str) -> int:
        """Return the length in bytes."""
        return utf8_bytes(text)

    # -- calls --

    async def create(self, draft: Draft, key: str) -> RemoteTicket:
        """Open an issue. One whose custom field did not keep the key is reported."""
        field = self.settings.key_field
        own = draft.fields.get("custom_fields")
        others = [*own] if isinstance(own, list | tuple) else []
        kept = [*others, {"id": field, "value": key}] if field else others
        issue = {
            "project_id": draft.project,
            **({"tracker_id": self.settings.tracker} if self.settings.tracker else {}),
            "subject": draft.title if field else f"{draft.title} [{key}]",
            "description": "\n\n".join((draft.description, *draft.notes)),
            **_ids(priority_id=draft.priority, assigned_to_id=draft.assignee),
            **draft.fields,
            **({"custom_fields": kept} if kept else {}),
        }
        reply = await self.ask("POST", "issues.json", payload={"issue": issue}, accepted=(200, 201))
        opened = await self._remote(self.read_as(reply, _One).issue)
        if opened.key == key:
            return opened
        what = f"Redmine did not keep custom field {field}: enable it for the project and its tracker"
        return replace(opened, left_out=what if field else "Redmine changed the subject, in which the key was")

    async def find(self, key: str, project: str | None) -> Sequence[RemoteTicket]:  # noqa: ARG002 - all are searched
        """Search all projects for the key. Raises TicketRefused where the filter was ignored."""
        field = self.settings.key_field
        by = {f"cf_{field}": key} if field else {"subject": f"~{key}"}
        query = {"status_id": "*", "sort": "created_on", "limit": _PAGE, **by}
        issues = self.read_as(await self.ask("GET", "issues.json", query=query), _Many).issues
        fits = [self._key(one) == key if field else key in one.subject for one in issues]
        if not all(fits):
            remedy = f"custom field {field} must be for all projects and used as a filter" if field else "check url"
            what = f"Redmine ignores the filter by which a ticket is found; {remedy}"
            raise TicketRefused(Parked(what, PROBE_AFTER), applied=False)
        return [await self._remote(one) for one in issues]

    async def read(self, ref: str) -> RemoteTicket | None:
        """Return an issue; None where it does not exist."""
        issue = await self._issue(ref)
        return await self._remote(issue) if issue else None

    async def comment(self, ref: str, text: str, mark: str) -> None:
        """Add a note with its mark at the end."""
        await self._update(ref, {"notes": f"{text}\n\n{mark}"})

    async def has_comment(self, ref: str, mark: str) -> bool | None:
        """Return whether one of the notes has the mark."""
        issue = await self._present(ref, include="journals")
        return any(mark in (one.notes or "") for one in issue.journals)

    async def close(self, ref: str, resolution: str) -> RemoteTicket:  # noqa: ARG002 - the note has the reason
        """Set the status that is configured, or the first closed one that the workflow allows."""
        return await self._move(ref, self.settings.close_status, self.settings.close_fields, closed=True)

    async def reopen(self, ref: str) -> RemoteTicket:
        """Set the status that is configured, or the first open one that the workflow allows."""
        return await self._move(ref, self.settings.reopen_status, {}, closed=False)

    async def _move(self, ref: str, wanted: int | None, fields: Mapping[str, Any], *, closed: bool) -> RemoteTicket:
        issue = await self._present(ref, include="allowed_statuses")
        before = await self._remote(issue)
        if before.closed is closed:
            return before
        state = "closed" if closed else "open"
        status = wanted or self._first_allowed(issue, await self.statuses(), closed=closed)
        if status is None:
            what = f"{before.label} is {before.status}, and the workflow allows no {state} status"
            raise TicketRefused(GaveUp(what), applied=False)
        await self._update(ref, {"status_id": status, **fields})
        after = await self._remote(await self._present(ref))
        if after.closed is not closed:
            # A status that the workflow does not allow is ignored, and the answer is that of a success.
            what = f"{after.label} is still {after.status}: the workflow does not let the user set status {status}"
            raise TicketRefused(GaveUp(what), applied=True)
        return after

    def _first_allowed(self, issue: _Issue, statuses: Sequence[RedmineStatus], *, closed: bool) -> int | None:
        """Return the status to set. Older servers do not list what the workflow allows."""
        allowed = {one.id for one in issue.allowed_statuses}
        fitting = (one.id for one in statuses if one.is_closed is closed and (not allowed or one.id in allowed))
        return next(fitting, None)

    async def _update(self, ref: str, fields: Mapping[str, Any]) -> None:
        path = f"issues/{quote(ref, safe='')}.json"
        await self.ask("PUT", path, payload={"issue": fields}, accepted=(200, 204), empty=True)

    async def _issue(self, ref: str, include: str = "") -> _Issue | None:
        path = f"issues/{quote(ref, safe='')}.json"
        query = {"include": include} if include else None
        # A 404 has no body.
        reply = await self.ask("GET", path, query=query, accepted=(200, 404), empty=True)
        if reply.status == _NOT_FOUND:
            await self.ask("GET", "issue_statuses.json")  # everything is not found where the server is not there
            return None
        return self.read_as(reply, _One).issue

    async def _present(self, ref: str, include: str = "") -> _Issue:
        issue = await self._issue(ref, include)
        if issue is None:
            raise TicketRefused(GaveUp(f"issue {ref} is gone"), applied=False)
        return issue

    async def statuses(self) -> Sequence[RedmineStatus]:
        """Return all statuses in the order of the server."""
        now = self.context.clock.monotonic()
        if now >= self._statuses_until:
            reply = await self.ask("GET", "issue_statuses.json")
            self._statuses = self.read_as(reply, _Statuses).issue_statuses
            self._statuses_until = now + _STATUSES_FOR.total_seconds()
        return self._statuses

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        payload: Json | None = None,
        accepted: Collection[int] = (200,),
        empty: bool = False,
    ) -> ParsedReply:
        """Call the API; see `TicketChannel.call`."""
        url = f"{self.settings.site}/{path}{f'?{urlencode(query)}' if query else ''}"
        return await self.call(method, url, headers=self._headers, payload=payload, accepted=accepted, empty=empty)

    async def _remote(self, issue: _Issue) -> RemoteTicket:
        closed = issue.status.is_closed
        if closed is None:
            closed = any(one.id == issue.status.id and one.is_closed for one in await self.statuses())
        return RemoteTicket(
            ref=str(issue.id),
            label=f"#{issue.id}",
            url=f"{self.settings.site}/issues/{issue.id}",
            status=issue.status.name or str(issue.status.id),
            closed=closed,
            closed_at=issue.closed_on if closed else None,
            key=self._key(issue),
        )

    def _key(self, issue: _Issue) -> str:
        field = self.settings.key_field
        if field is None:
            found = _KEY.findall(issue.subject)
            return str(found[-1]) if found else ""
        value = next((one.value for one in issue.custom_fields if one.id == field), None)
        return value if isinstance(value, str) else ""

    async def check(self) -> Sequence[CheckResult]:
        """Prove the key of the API, the rights in each project, and the fields and statuses of the settings."""
        return await RedmineCheck(self.settings, self.ask).results()


class TextileRedmine(RedmineChannel):
    """A server whose texts are Textile."""

    markup: ClassVar[TicketMarkup] = TextileText()


class MarkdownRedmine(RedmineChannel):
    """A server whose texts are Markdown."""

    markup: ClassVar[TicketMarkup] = RedmineMarkdown()


def _ids(**values: str | None) -> dict[str, int]:
    """Return the ids that are given. A route may name anything."""
    for name, value in values.items():
        if value is not None and not _NUMBER.fullmatch(value):
            what = f"the {'priority' if name == 'priority_id' else 'assignee'} of a route is no id of Redmine"
            raise TicketRefused(Parked(what), applied=False)
    return {name: int(value) for name, value in values.items() if value is not None}
