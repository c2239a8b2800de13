"""Alerts in Jira Service Management Operations: requests that are done later, and what a person may do meanwhile."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import ValidationError
from servers.http import reply
from servers.jsm import API, API_KEY, JsmServer
from ticket_cases import failure, success
from ticket_desks import ATTACKS, Opened, hostile_texts, opened

from notifier.channels.tickets import Draft
from notifier.core.delivery import Delivered, GaveUp, Parked, Retry
from notifier.core.tickets import TicketState
from notifier.integrations.jsm.channel import LOOK_UP_AFTER, alert
from notifier.integrations.jsm.settings import JsmSettings

Desk = Opened[JsmServer]


@asynccontextmanager
async def desk_with(**changes: Any) -> AsyncIterator[Desk]:
    def settings(base: str) -> dict[str, Any]:
        return {"api_key": API_KEY, "url": base} | changes

    async with opened("jsm", JsmServer, settings) as desk:
        yield desk


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with desk_with() as found:
        yield found


def posts(desk: Desk) -> list[str]:
    """Return where requests with an effect went, after the address of all."""
    return [request.target.removeprefix(API) for request in desk.server.requests if request.method == "POST"]


async def test_a_failure_creates_an_alert_with_what_happened() -> None:
    async with desk_with(labels=["dba"], fields={"responders": [{"type": "team", "name": "dba"}]}) as desk:
        assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
        created, *_ = desk.server.requests
        assert created.headers["authorization"] == f"GenieKey {API_KEY}"
        sent, ticket = json.loads(created.body), desk.shop.ticket
        assert ticket is not None
        assert (sent["alias"], ticket.ref, ticket.state) == (ticket.key, ticket.key, TicketState.OPEN)
        assert (sent["message"], sent["priority"]) == ("gauss-6568-zzh: instance creation failed", "P2")
        assert (sent["entity"], sent["tags"]) == ("gauss-6568-zzh", ["gaussdb", "dba"])
        assert sent["responders"] == [{"type": "team", "name": "dba"}]
        assert "> The quota of vCPUs is not enough." in sent["description"]


async def test_one_operation_is_one_alert_with_notes_that_a_success_closes(desk: Desk) -> None:
    for event in (failure(1), failure(2), success(3)):
        assert isinstance(await desk.shop.attempt(event), Delivered)
    (found,) = desk.server.tickets
    key = found.fields["alias"]
    by_alias = "?identifierType=alias"
    assert posts(desk) == ["", "", f"/{key}/notes{by_alias}", f"/{key}/notes{by_alias}", f"/{key}/close{by_alias}"]
    assert (found.closed, found.fields["count"], len(found.comments)) == (True, 2, 2)
    assert "Fixed by job job-3." in found.comments[1]
    assert "Fixed by job job-3." in found.fields["closing"]


async def test_each_request_is_done_before_the_next_is_sent(desk: Desk) -> None:
    desk.server.slow = 2
    for event in (failure(1), failure(2)):
        await desk.shop.attempt(event)
    methods = [request.method for request in desk.server.requests]
    assert methods == ["POST", "GET", "GET", "GET"] * 3
    assert [one.hidden for one in desk.server.accepted] == [0, 0, 0]


async def test_a_request_that_is_never_shown_counts_as_accepted(desk: Desk) -> None:
    desk.server.slow = 1_000
    assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
    assert len(desk.server.requests) == 1 + len(LOOK_UP_AFTER)
    assert sum(desk.clock.slept) < 10


@pytest.mark.parametrize("status", [403, 429, 500])
async def test_a_look_up_that_fails_costs_nothing(desk: Desk, status: int) -> None:
    for number in range(2, 6):
        desk.server.instead[number] = reply(status, b"no")
    assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
    assert posts(desk) == [""]


async def test_an_alert_that_is_refused_later_is_tried_again(desk: Desk) -> None:
    desk.server.refuses = "Integration is disabled\x00\n"
    outcome = await desk.shop.attempt(failure(1))
    assert isinstance(outcome, Retry)
    assert outcome.reason == "JSM refused the alert: Integration is disabled"
    assert desk.shop.ticket is not None
    assert desk.shop.ticket.state is TicketState.WANTED
    desk.server.refuses = None
    assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
    assert len(desk.server.tickets) == 1


async def test_a_failure_after_somebody_closed_the_alert_raises_another(desk: Desk) -> None:
    await desk.shop.attempt(failure(1))
    desk.server.tickets[0].closed = True
    await desk.shop.attempt(failure(2))
    assert [one.closed for one in desk.server.tickets] == [True, False]
    assert len(desk.server.tickets[1].comments) == 1


async def test_a_success_after_somebody_closed_the_alert_is_done(desk: Desk) -> None:
    await desk.shop.attempt(failure(1))
    desk.server.tickets[0].closed = True
    assert isinstance(await desk.shop.attempt(success(2)), Delivered)
    assert len(desk.server.tickets) == 1
    assert desk.shop.ticket is not None
    assert desk.shop.ticket.state is TicketState.CLOSED


async def test_a_later_alert_names_the_one_before(desk: Desk) -> None:
    for event in (failure(1), success(2), failure(3)):
        await desk.shop.attempt(event)
    first, second = desk.server.tickets
    assert first.fields["alias"] in second.fields["description"]
    assert first.fields["alias"] != second.fields["alias"]


async def test_the_priority_follows_the_severity_unless_it_is_configured() -> None:
    for priority, expected in ((None, "P2"), ("P4", "P4"), ({"error": "P1"}, "P1"), ({"info": "P5"}, "P2")):
        async with desk_with(priority=priority) as desk:
            await desk.shop.attempt(failure(1))
            assert desk.server.tickets[0].fields["priority"] == expected
    assert alert(Draft(title="t", description="d", severity="critical", priority="Highest"), "k")["priority"] == "P1"


async def test_a_refused_key_parks_the_channel_and_is_not_shown() -> None:
    async with desk_with(api_key="obviously-fake-other") as desk:
        outcome = await desk.shop.attempt(failure(1))
        assert isinstance(outcome, Parked)
        assert "check api_key" in outcome.reason
        assert "obviously-fake" not in repr(outcome)
        found = await desk.check()
        assert (found.ok, found.remedy[:13]) == (False, "check api_key")


async def test_a_check_changes_nothing(desk: Desk) -> None:
    found = await desk.check()
    assert (found.ok, found.proven) == (True, False)
    assert [request.method for request in desk.server.requests] == ["GET"]


async def test_content_that_is_refused_is_given_up(desk: Desk) -> None:
    desk.server.instead[1] = reply(422, b'{"message": "message is too long"}')
    assert isinstance(await desk.shop.attempt(failure(1)), GaveUp)


@pytest.mark.parametrize("text", ATTACKS)
def test_text_from_outside_is_plain_and_within_limits(text: str) -> None:
    stored = hostile_texts("jsm", {"api_key": API_KEY}, text)
    assert 0 < len(stored["title"]) <= 130
    assert "\n" not in stored["title"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"priority": "Highest"}, "must be one of P1"),
        ({"reopen_within": "1d"}, "is never opened again"),
        ({"fields": {"alias": "x"}}, "cannot set alias"),
        ({"url": "http://api.example.com"}, "https"),
    ],
)
def test_settings_without_effect_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        JsmSettings.model_validate({"name": "ops", "api_key": API_KEY} | changes)


def test_an_alert_has_links_to_the_page_and_the_console() -> None:
    draft = Draft(title="t", description="d", url="https://console.example.com/", page="https://notifier.example.com/")
    assert alert(draft, "key")["details"] == {"page": draft.page, "console": draft.url}
    assert "details" not in alert(Draft(title="t", description="d"), "key")
