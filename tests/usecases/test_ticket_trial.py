"""`test-send` to a ticket channel: a marked ticket is opened and closed, and no other one is touched."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from factories import make_delivery, make_render_request
from fakes import FakeClock
from memory_tickets import MemorySettings, MemoryTickets, Tracker

from notifier.channels.base import ChannelContext
from notifier.cli.samples import sample_event
from notifier.cli.ticket_trial import TicketTrial, try_ticket
from notifier.core.delivery import Delivered, Delivery, GaveUp, Unknown
from notifier.core.events import EventType
from notifier.http import HttpClient
from notifier.wording.localizer import Localizer


@pytest.fixture
def channel(http: HttpClient, clock: FakeClock) -> MemoryTickets:
    return open_tickets(http, clock)


def open_tickets(http: HttpClient, clock: FakeClock, **settings: object) -> MemoryTickets:
    words = Localizer(language="en", timezone=ZoneInfo("UTC"))
    context = ChannelContext(http=http, clock=clock, localizer=words)
    channel = MemoryTickets(MemorySettings.model_validate({"name": "ops", "kind": "memory"} | settings), context)
    channel.tracker = Tracker()
    return channel


def delivery(channel: MemoryTickets, kind: EventType, clock: FakeClock) -> Delivery:
    event = sample_event(kind, clock.now(), marked="This is a test.")
    return make_delivery(event, channel="ops", body=channel.render(make_render_request(event, channel="ops")))


async def tried(channel: MemoryTickets, clock: FakeClock) -> TicketTrial:
    clock.advance(timedelta(minutes=1))
    failed = delivery(channel, EventType.TASK_FAILED, clock)
    return await try_ticket(channel, failed, delivery(channel, EventType.TASK_COMPLETED, clock))


async def test_a_marked_ticket_is_opened_and_closed(channel: MemoryTickets, clock: FakeClock) -> None:
    trial = await tried(channel, clock)
    assert isinstance(trial.outcome, Delivered)
    assert trial.closed
    (record,) = channel.tracker.records.values()
    assert record.ticket.closed
    assert "TEST" in record.draft.title
    assert channel.tracker.changes == ["create", "comment", "close"]


async def test_each_trial_has_a_ticket_of_its_own(channel: MemoryTickets, clock: FakeClock) -> None:
    for _ in "abc":
        assert (await tried(channel, clock)).closed
    keys = {record.ticket.key for record in channel.tracker.records.values()}
    assert len(keys) == 3


async def test_no_ticket_is_a_trial_that_failed(channel: MemoryTickets, clock: FakeClock) -> None:
    channel.tracker.fault = (1, "refused")
    trial = await tried(channel, clock)
    assert isinstance(trial.outcome, GaveUp)
    assert trial.ticket is None


async def test_a_ticket_that_could_not_be_closed_is_named(channel: MemoryTickets, clock: FakeClock) -> None:
    channel.tracker.fault = (4, "lost")
    trial = await tried(channel, clock)
    assert isinstance(trial.outcome, Unknown)
    assert trial.ticket
    assert (trial.ticket.label, trial.closed) == ("T-1", False)


async def test_a_channel_that_never_closes_leaves_it_open(http: HttpClient, clock: FakeClock) -> None:
    trial = await tried(open_tickets(http, clock, close="never"), clock)
    assert isinstance(trial.outcome, Delivered)
    assert not trial.closed
    assert trial.outcome.reason == "not closed: the channel never closes tickets"
