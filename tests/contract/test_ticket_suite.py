"""The checks of ticket channels themselves: a small service passes them, and each mistake in a channel fails one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
import ticket_cases
from fakes import FakeClock
from memory_tickets import MemorySettings, Shop
from servers.http import Request
from servers.tickets import ServedTicket, ServerReply, TicketServer
from ticket_cases import Desk, OpenDesk, every_fault, survives

from notifier.channels.base import ChannelContext
from notifier.channels.tickets import Draft, TicketChannel
from notifier.core.tickets import RemoteTicket
from notifier.http import HttpClient
from notifier.wording.localizer import Localizer


class PlainServer(TicketServer):
    """Keeps tickets at /tickets, finds them by a part of their titles, and has a comment at most once for a mark."""

    def handle(self, request: Request) -> ServerReply:
        path, _, query = request.target.partition("?")
        parts = path.strip("/").split("/")
        sent = json.loads(request.body) if request.body else {}
        if parts == ["tickets"]:
            if request.method == "POST":
                return ServerReply(status=201, value=self.shown(self.open(**sent)))
            return ServerReply(value=[self.shown(one) for one in self.found if query in one.fields["key"]])
        ticket = self.ticket(parts[1])
        if ticket is None:
            return ServerReply(status=404, value={})
        if request.method == "POST":
            ticket.comments.append(sent["text"])
        elif request.method == "PATCH":
            ticket.closed = sent["closed"]
        return ServerReply(value=self.shown(ticket))

    def plant(self, key: str) -> ServedTicket:
        return self.open(key=key)

    def shown(self, ticket: ServedTicket) -> dict[str, Any]:
        return {
            "number": ticket.number,
            "key": ticket.fields["key"],
            "closed": ticket.closed,
            "comments": ticket.comments,
        }


class PlainTickets(TicketChannel[MemorySettings]):
    """Speaks to a `PlainServer`."""

    kind = "memory"
    index_lag: ClassVar[timedelta] = timedelta(seconds=60)
    base = ""

    async def create(self, draft: Draft, key: str) -> RemoteTicket:
        return await self.ask("POST", "/tickets", {"title": draft.title, "key": key})

    async def find(self, key: str, project: str | None) -> Sequence[RemoteTicket]:
        assert project is None
        reply = await self.call("GET", f"{self.base}/tickets?{key}")
        return [self.remote(one) for one in reply.data]

    async def read(self, ref: str) -> RemoteTicket | None:
        path = f"{self.base}/tickets/{quote(ref, safe='')}"
        reply = await self.call("GET", path, accepted=(200, 404))
        return self.remote(reply.data) if reply.succeeded else None

    async def comment(self, ref: str, text: str, mark: str) -> None:
        await self.ask("POST", f"/tickets/{ref}", {"text": f"{text} {mark}"})

    async def has_comment(self, ref: str, mark: str) -> bool | None:
        reply = await self.call("GET", f"{self.base}/tickets/{ref}")
        return any(mark in text for text in reply.data["comments"])

    async def close(self, ref: str, resolution: str) -> RemoteTicket:
        assert resolution
        return await self.ask("PATCH", f"/tickets/{ref}", {"closed": True})

    async def reopen(self, ref: str) -> RemoteTicket:
        return await self.ask("PATCH", f"/tickets/{ref}", {"closed": False})

    async def ask(self, method: str, path: str, payload: object = None) -> RemoteTicket:
        return self.remote((await self.call(method, self.base + path, payload=payload)).data)

    def remote(self, shown: dict[str, Any]) -> RemoteTicket:
        status = "done" if shown["closed"] else "new"
        number = str(shown["number"])
        return RemoteTicket(
            ref=number,
            label=f"T-{number}",
            url=f"{self.base}/tickets/{number}",
            status=status,
            closed=shown["closed"],
            key=shown["key"],
        )


class Forgets(PlainTickets):
    """Opens a second ticket after a lost answer."""

    index_lag: ClassVar[timedelta] = timedelta()

    async def find(self, key: str, project: str | None) -> Sequence[RemoteTicket]:  # noqa: ARG002 - the mistake
        return []


class Hurries(PlainTickets):
    """Does not wait until the index shows new tickets."""

    index_lag: ClassVar[timedelta] = timedelta()


class Trusts(PlainTickets):
    """Takes whatever a search returns for its own, and reads no key of a ticket that it knows."""

    async def find(self, key: str, project: str | None) -> Sequence[RemoteTicket]:
        return [replace(one, key=key) for one in await super().find(key, project)]

    async def read(self, ref: str) -> RemoteTicket | None:
        found = await super().read(ref)
        return found and replace(found, key="")


class Repeats(PlainTickets):
    """Comments again after a lost answer."""

    async def has_comment(self, ref: str, mark: str) -> bool | None:  # noqa: ARG002 - that is the mistake
        return False


def desk_of(kind: type[PlainTickets]) -> OpenDesk:
    @asynccontextmanager
    async def opened(clock: FakeClock) -> AsyncIterator[Desk]:
        async with PlainServer(clock.now, timedelta(seconds=45)) as server, aclosing(HttpClient()) as http:
            words = Localizer(language="en", timezone=ZoneInfo("UTC"))
            context = ChannelContext(http=http, clock=clock, localizer=words)
            channel = kind(MemorySettings(name="ops", kind="memory"), context)
            channel.base = server.url("").rstrip("/")
            yield Desk(shop=Shop(channel, clock), server=server)

    def open_desk(clock: FakeClock) -> AbstractAsyncContextManager[Desk]:
        return opened(clock)

    return open_desk


CHECKS: Sequence[Callable[[OpenDesk], Awaitable[object]]] = (
    ticket_cases.follows_one_operation,
    ticket_cases.leaves_others_alone,
    ticket_cases.replaces_what_another_kind_opened,
    ticket_cases.opens_again,
    ticket_cases.respects_a_person,
    ticket_cases.is_tried_with_a_test_ticket,
    ticket_cases.leaves_successes_alone,
)


async def mistakes(open_desk: OpenDesk) -> list[str]:
    """Return what is found to be wrong."""
    found = []
    for check in CHECKS:
        try:
            await check(open_desk)
        except AssertionError as error:
            found.append(f"{check.__name__}: {error}")
    for number, fault in every_fault(await ticket_cases.follows_one_operation(open_desk)):
        try:
            await survives(open_desk, number, fault)
        except AssertionError as error:
            found.append(str(error))
    return found


async def test_a_channel_without_mistakes_passes() -> None:
    assert await mistakes(desk_of(PlainTickets)) == []


@pytest.mark.parametrize("kind", [Forgets, Hurries, Trusts, Repeats])
async def test_a_mistake_is_found(kind: type[PlainTickets]) -> None:
    assert await mistakes(desk_of(kind)) != []
