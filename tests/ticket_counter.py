"""A service of tickets with the channel to it, and what happens to it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from factories import T0, make_event, make_task, open_channel
from fakes import FakeClock
from memory_tickets import Shop, wait
from servers.tracker import TrackerServer
from ticket_desks import Opened, make_context

from notifier.channels.tickets import TicketChannel
from notifier.core.delivery import Outcome, Retry, Unknown
from notifier.core.model import Event, TaskStatus
from notifier.http import HttpClient

DAY = 86_400
"""Seconds of a day."""
MAX_ATTEMPTS = 12


def failure(number: int = 1) -> Event:
    return make_event(make_task(f"job-{number}", ended_at=T0 + timedelta(minutes=number)))


def success(number: int = 9) -> Event:
    ended = T0 + timedelta(minutes=number)
    return make_event(make_task(f"job-{number}", status=TaskStatus.COMPLETED, ended_at=ended))


class Counter(Opened[TrackerServer]):
    """A channel to a server that makes the settings for it."""

    def __init__(self, server: TrackerServer, http: HttpClient, clock: FakeClock, **changes: Any) -> None:
        values = {"name": "ops", "kind": server.kind} | server.settings() | changes
        channel = open_channel(server.kind, values, make_context(http, clock))
        assert isinstance(channel, TicketChannel)
        super().__init__(shop=Shop(channel, clock), server=server, clock=clock)

    @property
    def first(self) -> int:
        """The number of the first request that carries the credential: one before it may fetch a token."""
        return 2 if "auth" in self.channel.settings.model_fields_set else 1

    async def attempt(self, *events: Event) -> Outcome:
        """Attempt one event after the other; return the last outcome."""
        outcomes = [await self.shop.attempt(event) for event in events]
        return outcomes[-1]

    async def settle(self, event: Event) -> Outcome:
        """Attempt an event until it needs no more, as long as the service asks."""
        outcomes = [await self.shop.attempt(event)]
        while isinstance(outcomes[-1], Retry | Unknown):
            assert len(outcomes) < MAX_ATTEMPTS, outcomes
            wait(self.clock, (getattr(outcomes[-1], "after", None) or timedelta(seconds=1)).total_seconds())
            outcomes.append(await self.shop.attempt(event))
        return outcomes[-1]
