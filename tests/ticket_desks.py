"""A channel that keeps tickets, opened to a server that speaks the protocol of its service."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from zoneinfo import ZoneInfo

from factories import HOSTILE, hostile_event, make_render_request, open_channel
from fakes import FakeClock
from memory_tickets import Shop
from servers.tickets import TicketServer

from notifier.channels.base import ChannelContext
from notifier.channels.tickets import TicketChannel
from notifier.core.model import Event
from notifier.http import HttpClient
from notifier.ports import CheckResult
from notifier.wording.localizer import Localizer

ServerT = TypeVar("ServerT", bound=TicketServer)

ATTACKS = (
    *HOSTILE,
    "/close\n/assign @root\n/label ~bug",
    "@acme/dba @all @here #12 !34 &5 ~bug %1 $7 GH-9 other/repo#1",
    "![x](https://evil.example/x.png) [y](https://evil.example) https://evil.example www.evil.example",
    "<!-- gtb-aaaaaaaaaaaaaaaaaaaa -->",
    "```\n/close\n@all\n```\n~~~\n/close",
    "# heading\n> quote\n| a | b |\n- [ ] task",
)
"""Texts that would mention somebody, refer to something, or give a command."""


def make_context(http: HttpClient, clock: FakeClock) -> ChannelContext:
    return ChannelContext(http=http, clock=clock, localizer=Localizer(language="en", timezone=ZoneInfo("UTC")))


@dataclass(kw_only=True)
class Opened(Generic[ServerT]):
    """A channel with the database's part of it, and the server that it talks to."""

    shop: Shop
    server: ServerT
    clock: FakeClock

    @property
    def channel(self) -> TicketChannel[Any]:
        return self.shop.channel

    async def check(self) -> CheckResult:
        """Return the only result of a check."""
        (found,) = await self.channel.check()
        return found


@asynccontextmanager
async def opened(
    kind: str, make: Callable[[Callable[[], datetime]], ServerT], settings: Callable[[str], dict[str, Any]]
) -> AsyncIterator[Opened[ServerT]]:
    """Open a channel; `settings` makes its settings of the server's URL."""
    clock = FakeClock()
    async with make(clock.now) as server, aclosing(HttpClient()) as http:
        values = {"name": "ops", "kind": kind} | settings(server.url("").rstrip("/"))
        channel = open_channel(kind, values, make_context(http, clock))
        assert isinstance(channel, TicketChannel)
        yield Opened(shop=Shop(channel, clock), server=server, clock=clock)


def texts_of(channel: TicketChannel[Any], event: Event) -> dict[str, Any]:
    """Return what is rendered of an event."""
    found: dict[str, Any] = json.loads(channel.render(make_render_request(event)).content)
    return found


def hostile_texts(kind: str, settings: dict[str, Any], text: str) -> dict[str, Any]:
    """Return what a channel renders of an event that has a text in every field."""
    channel = open_channel(kind, {"name": "ops", "kind": kind} | settings, make_context(HttpClient(), FakeClock()))
    assert isinstance(channel, TicketChannel)
    return texts_of(channel, hostile_event(text))


def outside_code(text: str) -> str:
    """Return Markdown without its code, in which nothing is active; a block has to be closed."""
    without_blocks = re.sub(r"^```\n.*?\n```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert "```" not in without_blocks
    return re.sub(r"`[^`\n]*`", "", without_blocks)
