"""Tickets in Roundup, over its REST interface (2.0 or later)."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote, urlencode, urlsplit

from notifier.channels.base import ChannelContext
from notifier.channels.basic_auth import basic_authorization
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.tickets import Draft, TicketChannel, TicketRefused
from notifier.core.delivery import Retry, Unknown
from notifier.core.tickets import RemoteTicket
from notifier.integrations.roundup.settings import RoundupSettings
from notifier.ports import CheckResult

_NOT_FOUND, _CHANGED_MEANWHILE = 404, 412
_TRIES = 3
"""Number of times that a change is tried which somebody else's change gets ahead of."""
_KEY = re.compile(r"\[(gtb-[a-z2-7]{20})\]")
"""The key of a ticket, in its title: nothing else of the classic template can be searched for."""


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
        message = await self._post("msg", {"content": text})
        wanted: dict[str, object] = {
            "title": f"{draft.title} [{key}]",
            "status": self.settings.open_status,
            "messages": [message],
            **({"priority": draft.priority} if draft.priority else {}),
            **({"assignedto": draft.assignee} if draft.assignee else {}),
            **({"keyword": list(draft.labels)} if draft.labels else {}),
        }
        return await self._known(await self._post("issue", {**wanted, **draft.fields}))

    async def find(self, key: str) -> Sequence[RemoteTicket]:
        """Return the tickets that have the key in their title."""
        reply = await self._get("issue", {"title": key, "@fields": "title,status", "@verbose": "2"})
        found = sorted(reply.data["data"]["collection"], key=lambda one: int(one["id"]))
        return [self._remote(one["id"], one) for one in found]

    async def read(self, ref: str) -> RemoteTicket | None:
        """Return a ticket; None where it was deleted: lists leave it out, and it can still be read by itself."""
        reply = await self._get("issue", {"id": ref, "@fields": "title,status", "@verbose": "2"})
        return next((self._remote(ref, one) for one in reply.data["data"]["collection"] if one["id"] == ref), None)

    async def comment(self, ref: str, text: str, mark: str) -> None:
        """Add a message, which has the mark as its Message-ID. The status stays: by itself it would change."""
        known = await self._messages_with(mark)
        message = known[0] if known else await self._post("msg", {"content": text, "messageid": _message_id(mark)})

        def added(issue: Mapping[str, Any]) -> dict[str, object]:
            messages = [one["id"] for one in issue["messages"]]
            status = issue["status"]["name"] if issue["status"] else None
            return {} if message in messages else {"messages": [*messages, message], "status": status}

        await self._change(ref, added)

    async def has_comment(self, ref: str, mark: str) -> bool | None:
        """Return whether a message of the ticket has the mark."""
        known = await self._messages_with(mark)
        if not known:
            return False
        issue = await self._issue(ref)
        return issue is not None and any(one["id"] in known for one in issue["messages"])

    async def close(self, ref: str, resolution: str) -> RemoteTicket:  # noqa: ARG002 - the comment has it
        """Set the status of closed tickets."""

        def closed(issue: Mapping[str, Any]) -> dict[str, object]:
            return {} if self._remote(ref, issue).closed else {"status": self.settings.closed_status}

        return await self._change(ref, closed)

    async def reopen(self, ref: str) -> RemoteTicket:
        """Set the status of open tickets."""

        def opened(issue: Mapping[str, Any]) -> dict[str, object]:
            return {"status": self.settings.open_status} if self._remote(ref, issue).closed else {}

        return await self._change(ref, opened)

    # -- requests --

    async def _change(self, ref: str, change: Callable[[Mapping[str, Any]], dict[str, object]]) -> RemoteTicket:
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
                payload={**changed, "@etag": issue["@etag"]},
                accepted=(200, _CHANGED_MEANWHILE),
            )
            if reply.succeeded:
                return await self._known(ref)
        raise TicketRefused(Retry("others change the ticket all the time"), applied=False)

    async def _known(self, ref: str) -> RemoteTicket:
        """Return a ticket that is there."""
        found = await self._issue(ref)
        if found is None:
            raise TicketRefused(Unknown("the ticket that was just changed cannot be read"), applied=True)
        return self._remote(ref, found)

    async def _issue(self, ref: str) -> Mapping[str, Any] | None:
        wanted = {"@fields": "title,status,messages,activity", "@verbose": "2"}
        reply = await self._get(f"issue/{quote(ref)}", wanted, also=(_NOT_FOUND,))
        if reply.status == _NOT_FOUND:
            return None
        data: Mapping[str, Any] = reply.data["data"]
        return {**data["attributes"], "@etag": data["@etag"]}

    async def _messages_with(self, mark: str) -> Sequence[str]:
        reply = await self._get("msg", {"messageid": _message_id(mark), "@fields": "messageid"})
        found = reply.data["data"]["collection"]
        return [one["id"] for one in found if one["messageid"] == _message_id(mark)]

    async def _post(self, collection: str, values: Mapping[str, object]) -> str:
        reply = await self.call("POST", self._url(collection), headers=self._headers, payload=values, accepted=(201,))
        created: str = reply.data["data"]["id"]
        return created

    async def _get(self, path: str, query: Mapping[str, str], also: Sequence[int] = ()) -> ParsedReply:
        url = f"{self._url(path)}?{urlencode(query)}"
        return await self.call("GET", url, headers=self._headers, accepted=(200, *also))

    def _url(self, path: str) -> str:
        return f"{self.settings.url}/rest/data/{path}"

    def _remote(self, ref: str, issue: Mapping[str, Any]) -> RemoteTicket:
        status = issue["status"]["name"] if issue["status"] else ""
        key = _KEY.search(issue["title"] or "")
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
            found = await self._get("status", {"@fields": "name"})
        except TicketRefused as refused:
            remedy = "check url, user and password, and that the account has the role User"
            return (CheckResult(ok=False, what="roundup", detail=refused.outcome.reason, remedy=remedy),)
        known = {one["name"] for one in found.data["data"]["collection"]}
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
