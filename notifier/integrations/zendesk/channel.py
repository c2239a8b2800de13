"""A channel that keeps tickets in Zendesk: one for each failing operation.

The key of a ticket is its `external_id`. It is also the idempotency key of the request that opens it: for two hours
Zendesk answers the same request with the same ticket, and refuses another request with that key. All comments are
internal, so that no mail goes to a requester.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

import msgspec

from notifier.channels.authorization import basic_authorization
from notifier.channels.base import ChannelContext
from notifier.channels.markup import ADDRESS, ZERO_WIDTH_SPACE, PlainMarkup
from notifier.channels.ticket_text import TextIn
from notifier.channels.tickets import Draft, TicketChannel, TicketRefused
from notifier.core.delivery import Retry
from notifier.core.tickets import RemoteTicket
from notifier.integrations.zendesk.check import ZendeskCheck
from notifier.integrations.zendesk.settings import ZendeskSettings

if TYPE_CHECKING:
    from notifier.channels.reply_conditions import ParsedReply
    from notifier.http import Reply
    from notifier.ports import CheckResult

PAGE = 100
"""Number of entries of one page of a list: the most that Zendesk gives."""
MAX_LIST = 16 * 1024 * 1024
"""Maximum size of a page of a list, in bytes. A comment has up to 65,535 characters."""
_KEY_IS_USED = "IdempotentRequestError"
_LOOK_AGAIN = timedelta(seconds=10)
_CLOSED, _SOLVED, _DELETED = "closed", "solved", "deleted"

ZENDESK = PlainMarkup(
    # Mentions, references, placeholders, links and pictures of Markdown, tags, addresses.
    active=re.compile(rf"[@#](?=\w)|\{{(?=[{{%])|!(?=\[)|\](?=\()|<(?=[\w/!])|{ADDRESS}"),
)


class _Ticket(msgspec.Struct):
    id: int
    status: str
    custom_status_id: int | None = None
    external_id: str | None = None


class _OneTicket(msgspec.Struct):
    ticket: _Ticket


class _Tickets(msgspec.Struct):
    tickets: list[_Ticket]


class _Comment(msgspec.Struct):
    body: str | None = None


class _Comments(msgspec.Struct):
    comments: list[_Comment]


class ZendeskChannel(TicketChannel[ZendeskSettings]):
    """Keeps tickets of one account."""

    kind = "zendesk"
    markup = TextIn(ZENDESK)
    title_limit = 140
    """Invisible characters may be added to a title."""
    repeatable_for: ClassVar[timedelta] = timedelta(hours=2)

    def __init__(self, settings: ZendeskSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        token = settings.token.get_secret_value()
        header = basic_authorization(f"{settings.user}/token", token) if settings.user else f"Bearer {token}"
        self.mask_too(header.rpartition(" ")[2])
        self._authorization = {"authorization": header}

    async def create(self, draft: Draft, key: str) -> RemoteTicket:
        """Open a ticket, which follows the one before where that is closed for good."""
        ticket: dict[str, Any] = {
            "subject": ZENDESK.active.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", draft.title),
            "comment": _internal("\n\n".join((draft.description, *draft.notes))),
            "external_id": key,
            "type": "incident",
            **({"priority": draft.priority} if draft.priority else {}),
            **({"group_id": int(draft.project)} if draft.project and draft.project.isdecimal() else {}),
            **({"tags": ["_".join(label.split()) for label in draft.labels]} if draft.labels else {}),
            **(_assignee(draft.assignee) if draft.assignee else {}),
            **await self._followed(draft),
            **draft.fields,
        }
        headers = {"idempotency-key": f"{key}-create"}
        reply = await self._call("POST", "/tickets.json", {"ticket": ticket}, accepted=(201,), headers=headers)
        return self._remote(self.read_as(reply, _OneTicket).ticket)

    async def _followed(self, draft: Draft) -> Mapping[str, int]:
        """Return the reference to the ticket before, which Zendesk takes only of a closed one."""
        number = (draft.previous or "").removeprefix("#")
        if not number.isdecimal():
            return {}
        before = await self.read(number)
        return {"via_followup_source_id": int(number)} if before is not None and before.final else {}

    async def find(self, key: str, project: str | None) -> Sequence[RemoteTicket]:  # noqa: ARG002 - of any group
        """List the tickets with this `external_id`. This is no search, which lags behind for minutes."""
        reply = await self._call("GET", "/tickets.json", query={"external_id": key})
        found = [one for one in self.read_as(reply, _Tickets).tickets if one.status != _DELETED]
        return [self._remote(one) for one in sorted(found, key=lambda ticket: ticket.id)]

    async def read(self, ref: str) -> RemoteTicket | None:
        """Return a ticket; None where it was deleted."""
        reply = await self._call("GET", f"/tickets/{ref}.json", accepted=(200, 404))
        if not reply.succeeded:
            if reply.is_page:  # there is no such account
                raise self.refusal(reply)
            return None
        ticket = self.read_as(reply, _OneTicket).ticket
        return None if ticket.status == _DELETED else self._remote(ticket)

    async def comment(self, ref: str, text: str, mark: str) -> None:
        """Add an internal comment. Its mark is the last line."""
        await self._update(ref, {"comment": _internal(f"{text}\n\n{mark}")})

    async def has_comment(self, ref: str, mark: str) -> bool | None:
        """Return whether one of the latest comments has the mark."""
        query = {"sort_order": "desc", "per_page": PAGE}
        reply = await self._call("GET", f"/tickets/{ref}/comments.json", query=query)
        return any(mark in (comment.body or "") for comment in self.read_as(reply, _Comments).comments)

    async def close(self, ref: str, resolution: str) -> RemoteTicket:  # noqa: ARG002 - the comment has it
        """Solve a ticket. Zendesk closes it for good some days later."""
        return await self._update(ref, {"status": _SOLVED, **self.settings.solve_fields})

    async def reopen(self, ref: str) -> RemoteTicket:
        """Open a solved ticket again."""
        return await self._update(ref, {"status": "open"})

    async def check(self) -> Sequence[CheckResult]:
        """Ask who the credential belongs to, and read a ticket."""
        return [await ZendeskCheck(self._call, oauth=self.settings.user is None).result()]

    # -- requests --

    def refusal(self, reply: ParsedReply, answer: Reply | None = None) -> TicketRefused:
        """Return the error for a reply. A key that was used with another body proves that the ticket was opened."""
        refused = super().refusal(reply, answer)
        if reply.status != HTTPStatus.BAD_REQUEST or _KEY_IS_USED not in reply.text:
            return refused
        # Another delivery did. The next attempt finds the ticket, and adds what this one has to say.
        why = "Zendesk has opened the ticket already"
        return TicketRefused(Retry(why, _LOOK_AGAIN, reply=refused.outcome.reply, neutral=True), applied=True)

    async def _update(self, ref: str, changes: Mapping[str, Any]) -> RemoteTicket:
        reply = await self._call("PUT", f"/tickets/{ref}.json", {"ticket": changes})
        return self._remote(self.read_as(reply, _OneTicket).ticket)

    async def _call(
        self,
        method: str,
        path: str,
        payload: object = None,
        *,
        query: Mapping[str, object] | None = None,
        accepted: Collection[int] = (200,),
        headers: Mapping[str, str] | None = None,
    ) -> ParsedReply:
        return await self.call(
            method,
            self.settings.api_url + path + (f"?{urlencode(query)}" if query else ""),
            headers={**self._authorization, **(headers or {})},
            payload=payload,
            accepted=accepted,
            max_bytes=MAX_LIST,
        )

    def _remote(self, ticket: _Ticket) -> RemoteTicket:
        custom = f"/{ticket.custom_status_id}" if ticket.custom_status_id else ""
        return RemoteTicket(
            ref=str(ticket.id),
            label=f"#{ticket.id}",
            url=f"{self.settings.url}/agent/tickets/{ticket.id}",
            status=ticket.status + custom,
            closed=ticket.status in (_SOLVED, _CLOSED),
            final=ticket.status == _CLOSED,
            key=ticket.external_id or "",
        )


def _internal(text: str) -> Mapping[str, object]:
    """Return a comment that only agents see: a public one is mailed to the requester."""
    return {"body": text, "public": False}


def _assignee(name: str) -> Mapping[str, object]:
    return {"assignee_id": int(name)} if name.isdecimal() else {"assignee_email": name}
