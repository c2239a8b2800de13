"""Tickets in Zendesk: what is asked of it, what its idempotency key and closed tickets lead to, what a check proves."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from factories import hostile_event, make_event
from hypothesis import given
from hypothesis import strategies as st
from memory_tickets import wait
from pydantic import ValidationError
from servers.http import reply
from servers.zendesk import BASIC, TOKEN, USER, ZendeskServer
from ticket_cases import failure, success
from ticket_desks import ATTACKS, Opened, hostile_texts, opened

from notifier.core.delivery import Delivered, GaveUp, Parked, Retry, Skipped, Unknown
from notifier.core.tickets import TicketState
from notifier.integrations.zendesk.settings import ZendeskSettings

Desk = Opened[ZendeskServer]
OFFLINE = {"url": "https://acme.zendesk.com", "user": USER, "token": TOKEN}


@asynccontextmanager
async def desk_with(**changes: Any) -> AsyncIterator[Desk]:
    async with opened("zendesk", ZendeskServer, lambda base: OFFLINE | {"url": base} | changes) as desk:
        yield desk


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with desk_with() as found:
        yield found


def sent_by(desk: Desk, method: str = "POST") -> list[dict[str, Any]]:
    """Return the tickets of the requests of a method."""
    return [json.loads(one.body)["ticket"] for one in desk.server.requests if one.method == method]


class TestTickets:
    async def test_a_failure_opens_one_with_its_key_and_an_internal_comment(self) -> None:
        settings = {
            "labels": ["dba"],
            "priority": {"error": "high"},
            "project": {"error": 360},
            "assignee": "ann@example.com",
            "fields": {"ticket_form_id": 9},
        }
        async with desk_with(**settings) as desk:
            assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
            (request,) = desk.server.requests
            ticket = desk.shop.ticket
            assert ticket is not None
            (sent,) = sent_by(desk)
            assert request.headers["idempotency-key"] == f"{ticket.key}-create"
            assert request.headers["authorization"] == BASIC
            assert (sent["external_id"], sent["type"]) == (ticket.key, "incident")
            assert (sent["priority"], sent["tags"], sent["group_id"]) == ("high", ["dba"], 360)
            assert (sent["assignee_email"], sent["ticket_form_id"]) == ("ann@example.com", 9)
            assert sent["comment"]["public"] is False
            assert (ticket.ref, ticket.label) == ("1", "#1")
            assert ticket.url == desk.server.url("/agent/tickets/1")

    async def test_no_comment_is_mailed_to_the_requester(self, desk: Desk) -> None:
        for event in (failure(1), failure(2), success(3), failure(4)):
            assert isinstance(await desk.shop.attempt(event), Delivered)
        assert desk.server.mailed == []
        assert len(desk.server.tickets[0].comments) == 3
        assert desk.server.tickets[0].fields["status"] == "open"

    async def test_a_ticket_that_somebody_took_is_not_solved(self, desk: Desk) -> None:
        await desk.shop.attempt(failure(1))
        desk.server.tickets[0].fields["status"] = "pending"
        outcome = await desk.shop.attempt(success(2))
        assert isinstance(outcome, Delivered)
        assert outcome.reason == "not closed: somebody has moved #1 to pending"
        assert not desk.server.tickets[0].closed

    async def test_a_status_of_the_account_counts_as_moved(self, desk: Desk) -> None:
        await desk.shop.attempt(failure(1))
        desk.server.tickets[0].fields["custom_status_id"] = 77
        outcome = await desk.shop.attempt(success(2))
        assert isinstance(outcome, Delivered)
        assert outcome.reason == "not closed: somebody has moved #1 to new/77"

    async def test_a_deleted_ticket_is_followed_by_another(self, desk: Desk) -> None:
        await desk.shop.attempt(failure(1))
        desk.server.tickets[0].fields["status"] = "deleted"
        assert isinstance(await desk.shop.attempt(success(2)), Skipped)
        assert isinstance(await desk.shop.attempt(failure(3)), Delivered)
        assert len(desk.server.tickets) == 2

    async def test_fields_that_a_form_requires_come_with_the_solution(self) -> None:
        async with desk_with(solve_fields={"cause_id": 3}) as desk:
            desk.server.required_to_solve = "cause_id"
            for event in (failure(1), success(2)):
                assert isinstance(await desk.shop.attempt(event), Delivered)
            assert desk.server.tickets[0].closed

    async def test_a_missing_required_field_leaves_it_open_with_a_reason(self, desk: Desk) -> None:
        desk.server.required_to_solve = "cause_id"
        await desk.shop.attempt(failure(1))
        outcome = await desk.shop.attempt(success(2))
        assert isinstance(outcome, GaveUp)
        assert "is required when solving a ticket" in (outcome.reply or "")
        assert desk.shop.ticket is not None
        assert desk.shop.ticket.state is TicketState.OPEN

    async def test_an_unknown_assignee_parks_the_channel(self) -> None:
        async with desk_with(assignee="nobody@example.com") as desk:
            outcome = await desk.shop.attempt(failure(1))
            assert isinstance(outcome, Parked)
            assert "check assignee" in outcome.reason


class TestClosedForGood:
    @pytest.fixture
    async def closed(self, desk: Desk) -> Desk:
        """Return a desk whose ticket was solved, and closed by Zendesk some days later."""
        for event in (failure(1), success(2)):
            assert isinstance(await desk.shop.attempt(event), Delivered)
        desk.server.tickets[0].fields["status"] = "closed"
        wait(desk.clock, 4 * 86_400)
        return desk

    async def test_the_next_failure_opens_a_follow_up(self, closed: Desk) -> None:
        assert isinstance(await closed.shop.attempt(failure(3)), Delivered)
        first, second = sent_by(closed)
        assert "via_followup_source_id" not in first
        assert second["via_followup_source_id"] == 1
        assert "see #1" in second["comment"]["body"].replace("\u200b", "")

    async def test_a_solved_ticket_is_only_named_by_the_next_one(self) -> None:
        async with desk_with(reopen_within="1d") as desk:
            for event in (failure(1), success(2)):
                await desk.shop.attempt(event)
            wait(desk.clock, 4 * 86_400)
            assert isinstance(await desk.shop.attempt(failure(3)), Delivered)
            assert "via_followup_source_id" not in sent_by(desk)[1]

    async def test_a_ticket_that_closes_between_two_requests_is_followed_up(self, desk: Desk) -> None:
        await desk.shop.attempt(failure(1))
        ticket = desk.server.tickets[0]
        shown = json.dumps({"ticket": desk.server.shown(ticket)}).encode()
        ticket.fields["status"] = "closed"
        ticket.closed = True
        desk.server.instead[2] = reply(200, shown, {"Content-Type": "application/json"})
        assert isinstance(await desk.shop.attempt(failure(2)), Retry)
        assert isinstance(await desk.shop.attempt(failure(2)), Delivered)
        assert [one.fields.get("via_followup_source_id") for one in desk.server.tickets] == [None, 1]


class TestIdempotency:
    async def test_a_repeat_is_the_same_request_byte_for_byte(self, desk: Desk) -> None:
        desk.server.faults[1] = "not applied"
        assert isinstance(await desk.shop.attempt(failure(1)), Unknown)
        wait(desk.clock, 3_600)
        assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
        first, again = (one for one in desk.server.requests if one.method == "POST")
        assert first.body == again.body
        assert first.headers["idempotency-key"] == again.headers["idempotency-key"]

    async def test_a_request_that_the_list_does_not_show_yet_is_answered_with_its_ticket(self, desk: Desk) -> None:
        desk.server.faults[1] = "lost"
        assert isinstance(await desk.shop.attempt(failure(1)), Unknown)
        nothing = reply(200, b'{"tickets": [], "count": 0}', {"Content-Type": "application/json"})
        desk.server.instead[2] = desk.server.instead[3] = nothing
        assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
        assert len(desk.server.tickets) == 1
        assert len(sent_by(desk)) == 2

    async def test_a_key_that_another_failure_has_used_leads_to_its_ticket(self, desk: Desk) -> None:
        desk.server.faults[1] = "lost"
        assert isinstance(await desk.shop.attempt(failure(1)), Unknown)
        nothing = reply(200, b'{"tickets": [], "count": 0}', {"Content-Type": "application/json"})
        desk.server.instead[2] = nothing
        outcome = await desk.shop.attempt(failure(2))
        assert isinstance(outcome, Retry)
        assert (outcome.reason, outcome.neutral) == ("Zendesk has opened the ticket already", True)
        assert isinstance(await desk.shop.attempt(failure(2)), Delivered)
        (ticket,) = desk.server.tickets
        assert len(ticket.comments) == 1

    async def test_after_two_hours_a_possible_duplicate_says_so(self, desk: Desk) -> None:
        desk.server.faults[1] = "not applied"
        assert isinstance(await desk.shop.attempt(failure(1)), Unknown)
        wait(desk.clock, 7_300)
        assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
        assert "duplicate" in sent_by(desk)[-1]["comment"]["body"]


class TestCheck:
    async def test_an_api_token_of_an_agent_is_proven(self, desk: Desk) -> None:
        result = await desk.check()
        assert (result.ok, result.proven) == (True, True)
        assert {request.method for request in desk.server.requests} == {"GET"}

    async def test_an_oauth_token_with_two_scopes_is_enough(self) -> None:
        async with desk_with(user=None) as desk:
            result = await desk.check()
            assert (result.ok, result.proven) == (True, False)
            assert "tickets:write" in result.detail

    @pytest.mark.parametrize("changes", [{"token": "wrong"}, {"user": "other@example.com"}])
    async def test_an_anonymous_user_is_a_wrong_credential(self, changes: dict[str, Any]) -> None:
        async with desk_with(**changes) as desk:
            result = await desk.check()
            assert (result.ok, result.remedy) == (False, "check user and token")

    async def test_a_wrong_oauth_token_is_refused(self) -> None:
        async with desk_with(user=None, token="wrong") as desk:
            assert not (await desk.check()).ok
            assert isinstance(await desk.shop.attempt(failure(1)), Parked)

    @pytest.mark.parametrize(
        ("user", "detail"),
        [({"role": "end-user"}, "the user is no agent"), ({"suspended": True}, "the user is suspended")],
    )
    async def test_a_user_without_rights_is_named(self, desk: Desk, user: dict[str, Any], detail: str) -> None:
        desk.server.user |= user
        result = await desk.check()
        assert (result.ok, result.detail) == (False, detail)
        assert result.remedy

    async def test_an_agent_that_sees_only_some_tickets_is_a_warning(self, desk: Desk) -> None:
        desk.server.user["ticket_restriction"] = "assigned"
        result = await desk.check()
        assert (result.ok, result.proven) == (True, False)


@pytest.mark.parametrize(
    "wrong", [{"priority": "P1"}, {"labels": ["two words"]}, {"project": "dba"}, {"url": "https://acme.zendesk.com/x"}]
)
def test_settings_are_in_the_words_of_zendesk(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ZendeskSettings.model_validate(OFFLINE | {"name": "ops"} | wrong)


@given(st.sampled_from(ATTACKS) | st.text("@#!/<>`~[](){}%*_-\n ab1.:", max_size=80))
def test_nothing_from_outside_is_a_mention_a_placeholder_or_a_link(text: str) -> None:
    found = hostile_texts("zendesk", OFFLINE, text)
    for name in ("description", "comment", "resolution"):
        assert not re.search(r"[@#](?=\w)|\{[{%]|!\[|\]\(|<[\w/!]|https?://|www\.\w", found[name]), name


async def test_a_subject_fills_no_placeholder_and_mentions_nobody(desk: Desk) -> None:
    await desk.shop.attempt(hostile_event("{{ticket.requester.email}} @all"))
    subject = sent_by(desk)[0]["subject"]
    assert "{{" not in subject
    assert "@all" not in subject


async def test_the_same_failure_in_another_environment_stays_one_ticket(desk: Desk) -> None:
    for event in (failure(1), make_event(environment="production")):
        assert isinstance(await desk.shop.attempt(event), Delivered)
    assert len(desk.server.tickets) == 1
