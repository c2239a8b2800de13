"""What every channel with tickets does with its service, over sockets, whatever the service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from factories import HOSTILE, T0, hostile_event
from fakes import FakeClock
from memory_tickets import wait
from servers.http import reply
from servers.jira import JiraServer
from servers.redmine import RedmineServer
from servers.servicenow import ServiceNowServer
from servers.tracker import TrackerServer
from ticket_counter import DAY, Counter, failure, success

from notifier.core.delivery import Delivered, GaveUp, Parked, Retry, Skipped
from notifier.core.tickets import ClosedBy, TicketState
from notifier.http import HttpClient

JSON_TYPE = {"Content-Type": "application/json"}

SERVICES: dict[str, Callable[[Callable[[], datetime]], TrackerServer]] = {
    "jira cloud": JiraServer,
    "jira scoped": lambda now: JiraServer(now, scoped=True),
    "redmine": RedmineServer,
    "redmine with a field": partial(RedmineServer, key_field=7),
    "servicenow": ServiceNowServer,
    "servicenow with a client": partial(ServiceNowServer, oauth=True),
    "jira data center": lambda now: JiraServer(now, deployment="data_center"),
}


@pytest.fixture(params=SERVICES)
async def counter(request: pytest.FixtureRequest, http: HttpClient) -> AsyncIterator[Counter]:
    clock = FakeClock()
    async with SERVICES[request.param](clock.now) as server:
        made = Counter(server, http, clock)
        yield made
        await made.channel.aclose()


class TestOneTicket:
    async def test_failures_open_and_comment_and_a_success_closes(self, counter: Counter) -> None:
        for event in (failure(1), failure(2), success()):
            assert isinstance(await counter.attempt(event), Delivered)
        server = counter.server
        (ticket,) = server.tickets
        assert server.title(ticket).startswith("gauss-6568-zzh: instance creation failed")
        assert "The quota of vCPUs is not enough." in server.text(ticket)
        assert "Fixed by job" in ticket.comments[-1]
        assert ticket.closed
        recorded = counter.shop.ticket
        assert recorded is not None
        assert (recorded.state, recorded.closed_by) == (TicketState.CLOSED, ClosedBy.US)
        assert (recorded.url or "").startswith(server.url(""))

    async def test_a_failure_soon_after_opens_it_again(self, counter: Counter) -> None:
        await counter.attempt(failure(), success())
        wait(counter.clock, 3600)
        await counter.attempt(failure(10))
        assert [ticket.closed for ticket in counter.server.tickets] == [False]
        await counter.attempt(success(11))
        assert [ticket.closed for ticket in counter.server.tickets] == [True]

    async def test_a_failure_long_after_opens_one_that_names_the_old_one(self, counter: Counter) -> None:
        await counter.attempt(failure(), success())
        assert counter.shop.ticket is not None
        label = counter.shop.ticket.label
        wait(counter.clock, 8 * DAY)
        await counter.attempt(failure(10))
        old, new = counter.server.tickets
        assert (old.closed, new.closed) == (True, False)
        assert f"The same operation failed before: see {label}." in counter.server.text(new)

    async def test_a_deleted_ticket_is_followed_by_a_new_one(self, counter: Counter) -> None:
        await counter.attempt(failure())
        counter.server.tickets.clear()
        assert isinstance(await counter.attempt(success()), Skipped)
        await counter.attempt(failure(10))
        assert len(counter.server.tickets) == 1

    async def test_a_ticket_that_somebody_moved_stays_open(self, counter: Counter) -> None:
        await counter.attempt(failure())
        (ticket,) = counter.server.tickets
        ticket.touched = True
        outcome = await counter.attempt(failure(2), success())
        assert isinstance(outcome, Delivered)
        assert "somebody has moved" in (outcome.reason or "")
        assert (ticket.closed, len(ticket.comments)) == (False, 2)

    async def test_one_that_may_be_a_second_one_says_so(self, counter: Counter) -> None:
        counter.server.faults[counter.first] = "not applied"
        assert isinstance(await counter.settle(failure()), Delivered)
        (ticket,) = counter.server.tickets
        assert "may be a duplicate" in counter.server.text(ticket)


class TestText:
    async def test_hostile_text_arrives_and_is_taken(self, counter: Counter) -> None:
        for number, text in enumerate(HOSTILE):
            counter.shop.ticket = None
            assert isinstance(await counter.attempt(hostile_event(text)), Delivered), text
            assert len(counter.server.tickets) == number + 1
            assert isinstance(await counter.attempt(failure(50 + number)), Delivered)

    async def test_text_without_end_is_cut(self, counter: Counter) -> None:
        for text in ("很长\n" * 40_000, "\U0001f525" * 80_000, "<[`*_\\" * 20_000):
            counter.shop.ticket = None
            assert isinstance(await counter.attempt(hostile_event(text)), Delivered)
            assert isinstance(await counter.attempt(hostile_event(text + ".")), Delivered)


class TestRefusals:
    async def test_a_refused_credential_parks_the_channel(self, counter: Counter) -> None:
        counter.server.unauthorized = True
        outcome = await counter.attempt(failure())
        assert isinstance(outcome, Parked)
        counter.server.unauthorized = False
        assert isinstance(await counter.attempt(failure()), Delivered)
        assert "duplicate" not in counter.server.text(counter.server.tickets[0])

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"Retry-After": "90"}, 90),
            ({"X-RateLimit-Reset": str(int((T0 + timedelta(seconds=70)).timestamp()))}, 70),
            ({"X-RateLimit-Reset": "2026-01-15T08:31Z"}, 60),
            ({"X-RateLimit-Reset": "soon"}, None),
        ],
    )
    async def test_a_limit_is_kept(self, counter: Counter, headers: dict[str, str], seconds: int | None) -> None:
        counter.server.instead[counter.first] = reply(429, b"{}", JSON_TYPE | headers)
        outcome = await counter.attempt(failure())
        assert isinstance(outcome, Retry)
        assert outcome.after == (None if seconds is None else timedelta(seconds=seconds))

    async def test_refused_content_is_given_up(self, counter: Counter) -> None:
        counter.server.instead[counter.first] = reply(400, b"{}", JSON_TYPE)
        assert isinstance(await counter.attempt(failure()), GaveUp)

    async def test_a_web_page_is_no_ticket(self, counter: Counter) -> None:
        page = b"<!DOCTYPE html><html><title>Hibernating</title></html>"
        counter.server.instead[counter.first] = reply(200, page, {"Content-Type": "text/html"})
        assert isinstance(await counter.attempt(failure()), Parked)


class TestCheck:
    async def test_it_proves_what_it_can_and_changes_nothing(self, counter: Counter) -> None:
        results: Sequence[Any] = await counter.channel.check()
        assert results
        assert [one for one in results if not one.ok] == []
        assert counter.server.tickets == []

    async def test_a_refused_credential_is_named(self, counter: Counter) -> None:
        counter.server.unauthorized = True
        (failed,) = [one for one in await counter.channel.check() if not one.ok]
        assert failed.remedy
