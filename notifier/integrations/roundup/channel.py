"""Tickets in Roundup, over its REST interface (2.0 or later)."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Generic, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from msgspec import Struct

from notifier.channels.authorization import basic_authorization
from notifier.channels.base import ChannelContext
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.tickets import Draft, TicketChannel, TicketRefused
from notifier.core.delivery import GaveUp, Retry
from notifier.core.tickets import RemoteTicket
from notifier.integrations.roundup.settings import RoundupSettings
from notifier.ports import CheckResult

_NOT_FOUND, _CHANGED_MEANWHILE = 404, 412
_TRIES = 3
"""Number of times that a change is tried which somebody else's change gets ahead of."""
_KEY = re.compile(r"\[(gtb-[a-z2-7]{20})\]")
"""The key of a ticket, in its title: nothing else of the classic template can be searched for."""


class _Named(Struct):
    name: str


class _Numbered(Struct):
    id: str


class _Issue(Struct):
    """A ticket, in a list or by itself."""

    title: str | None
    status: _Named | None
    id: str = ""
    """In a list."""
    messages: tuple[_Numbered, ...] = ()
    """By itself."""
    etag: str = ""
    """What a change must name."""


class _Attributes(Struct, rename={"etag": "@etag"}):
    attributes: _Issue
    etag: str


class _Message(Struct):
    id: str
    messageid: str | None = None


ItemT = TypeVar("ItemT")


class _Data(Struct, Generic[ItemT]):
    data: ItemT


class _Collection(Struct, Generic[ItemT]):
    collection: tuple[ItemT, ...]


class RoundupChannel(TicketChannel[RoundupSettings]):
    """Keeps tickets in one tracker."""

    kind: ClassVar[str] = "roundup"
    title_limit = 200

    def __init__(self, settings: RoundupSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        origin = urlsplit(settings.url)
        authorization = basic_authorization(settings.user, settings.password.get_secret_value())
        self.mask_too(authorization.removeprefix("Basic "))
        # Roundup refuses a change without the last two, as a protection against pages that make browsers send one.
        self._headers = {
            "authorization": authorization,
            "x-requested-with": "rest",
            "origin": f"{origin.scheme}://{origin.netloc}",
        }

    async def create(self, draft: Draft, key: str) -> RemoteTicket:
        """Open a ticket whose first message is the description, and whose title ends with the key."""
        text = "\n\n".join((draft.description, *draft.notes))
        message = await self._write_message(text)
        wanted: dict[str, object] = {
            "title": f"{draft.title} [{key}]",
            "status": self.settings.open_status,
            "messages": [message],
            **({"priority": draft.priority} if draft.priority else {}),
            **({"assignedto": draft.assignee} if draft.assignee else {}),
            **({"keyword": list(draft.labels)} if draft.labels else {}),
        }
        values = {**wanted, **draft.fields}
        opened = _Issue(title=str(values["title"]), status=_Named(str(values["status"])))
        return self._remote(await self._post("issue", values), opened)

    async def find(self, key: str, project: str | None) -> Sequence[RemoteTicket]:  # noqa: ARG002 - there is one list
        """Return the tickets that have the key in their title."""
        return await self._listed({"title": key})

    async def read(self, ref: str) -> RemoteTicket | None:
        """Return a ticket; None where it was deleted: lists leave it out, and it can still be read by itself."""
        return next((one for one in await self._listed({"id": ref}) if one.ref == ref), None)

    async def _listed(self, query: Mapping[str, str]) -> Sequence[RemoteTicket]:
        reply = await self._get("issue", {**query, "@fields": "title,status", "@verbose": "2"})
        found = self.read_as(reply, _Data[_Collection[_Issue]]).data.collection
        return sorted((self._remote(one.id, one) for one in found), key=lambda one: (len(one.ref), one.ref))

    async def comment(self, ref: str, text: str, mark: str) -> None:
        """Add a message, which has the mark as its Message-ID. The status stays: by itself it would change."""
        known = await self._messages_with(mark)
        message = known[0] if known else await self._write_message(text, messageid=_message_id(mark))

        def added(issue: _Issue) -> dict[str, object]:
            messages = [one.id for one in issue.messages]
            status = issue.status.name if issue.status else None
            return {} if message in messages else {"messages": [*messages, message], "status": status}

        await self._change(ref, added)

    async def has_comment(self, ref: str, mark: str) -> bool | None:
        """Return whether a message of the ticket has the mark."""
        known = await self._messages_with(mark)
        if not known:
            return False
        issue = await self._issue(ref)
        return issue is not None and any(one.id in known for one in issue.messages)

    async def close(self, ref: str, resolution: str) -> RemoteTicket:  # noqa: ARG002 - the comment has it
        """Set the status of closed tickets."""

        def closed(issue: _Issue) -> dict[str, object]:
            return {} if self._remote(ref, issue).closed else {"status": self.settings.closed_status}

        return await self._change(ref, closed)

    async def reopen(self, ref: str) -> RemoteTicket:
        """Set the status of open tickets."""

        def opened(issue: _Issue) -> dict[str, object]:
            return {"status": self.settings.open_status} if self._remote(ref, issue).closed else {}

        return await self._change(ref, opened)

    # -- requests --

    async def _change(self, ref: str, change: Callable[[_Issue], dict[str, object]]) -> RemoteTicket:
        """Change a ticket as it is now, if there is anything to change, and return it as it is then."""
        for _ in range(_TRIES):
            issue = await self._issue(ref)
            if issue is None:
                raise TicketRefused(Retry("the ticket has been deleted meanwhile"), applied=False)
            changed = change(issue)
            if not changed:
                return self._remote(ref, issue)
            reply = await self.call(
                "PUT",
                self._url(f"issue/{quote(ref)}"),
                headers=self._headers,
                payload={**changed, "@etag": issue.etag},
                accepted=(200, _CHANGED_MEANWHILE),
            )
            if reply.succeeded:
                if changed.get("status"):
                    issue.status = _Named(str(changed["status"]))
                return self._remote(ref, issue)
        raise TicketRefused(Retry("others change the ticket all the time"), applied=False)

    async def _issue(self, ref: str) -> _Issue | None:
        wanted = {"@fields": "title,status,messages,activity", "@verbose": "2"}
        reply = await self._get(f"issue/{quote(ref)}", wanted, also=(_NOT_FOUND,))
        if reply.status == _NOT_FOUND:
            return None
        found = self.read_as(reply, _Data[_Attributes]).data
        found.attributes.etag = found.etag
        return found.attributes

    async def _messages_with(self, mark: str) -> Sequence[str]:
        reply = await self._get("msg", {"messageid": _message_id(mark), "@fields": "messageid"})
        found = self.read_as(reply, _Data[_Collection[_Message]]).data.collection
        return [one.id for one in found if one.messageid == _message_id(mark)]

    async def _write_message(self, text: str, **more: str) -> str:
        """Write a message that belongs to no ticket yet, and return its id."""
        try:
            return await self._post("msg", {"content": text, **more})
        except TicketRefused as refused:
            # Nothing is wrong with a text: something stands before the tracker, or it is being changed.
            if isinstance(refused.outcome, GaveUp):
                raise TicketRefused(Retry(refused.outcome.reason, reply=refused.outcome.reply), applied=False) from None
            raise

    async def _post(self, collection: str, values: Mapping[str, object]) -> str:
        reply = await self.call("POST", self._url(collection), headers=self._headers, payload=values, accepted=(201,))
        return self.read_as(reply, _Data[_Numbered]).data.id

    async def _get(self, path: str, query: Mapping[str, str], also: Sequence[int] = ()) -> ParsedReply:
        url = f"{self._url(path)}?{urlencode(query)}"
        return await self.call("GET", url, headers=self._headers, accepted=(200, *also))

    def _url(self, path: str) -> str:
        return f"{self.settings.url}/rest/data/{path}"

    def _remote(self, ref: str, issue: _Issue) -> RemoteTicket:
        status = issue.status.name if issue.status else ""
        key = _KEY.search(issue.title or "")
        return RemoteTicket(
            ref=ref,
            label=f"issue{ref}",
            url=f"{self.settings.url}/issue{ref}",
            status=status,
            closed=status in self.settings.closed_statuses,
            key=key[1] if key else "",
        )

    # -- checks --

    async def check(self) -> Sequence[CheckResult]:
        """Read a page of tickets, and compare the configured statuses with those of the tracker."""
        try:
            await self._get("issue", {"@page_size": "1"})
            found = self.read_as(await self._get("status", {"@fields": "name"}), _Data[_Collection[_Named]])
        except TicketRefused as refused:
            remedy = "check url, user and password, and that the account has the role User"
            return (CheckResult(ok=False, what="roundup", detail=refused.outcome.reason, remedy=remedy),)
        known = {one.name for one in found.data.collection}
        settings = self.settings
        unknown = sorted({settings.open_status, settings.closed_status, *settings.closed_statuses} - known)
        if unknown:
            remedy = f"set open_status, closed_status and closed_statuses to some of: {', '.join(sorted(known))}"
            detail = f"the tracker has no status {', '.join(unknown)}"
            return (CheckResult(ok=False, what="roundup", detail=detail, remedy=remedy),)
        detail = (
            f"the account can read tickets; only a ticket proves that it can open one: notifier test-send {self.name}"
        )
        return (CheckResult(ok=True, what="roundup", detail=detail, proven=False),)


def _message_id(mark: str) -> str:
    return f"<{mark}@gaussdb-notifier>"
