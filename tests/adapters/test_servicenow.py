"""ServiceNow: filters that are dropped, fields that are not kept, policies of closing, states of a site's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from factories import hostile_event, make_render_request
from fakes import FakeClock
from memory_tickets import wait
from pydantic import ValidationError
from servers.http import reply
from servers.servicenow import ServiceNowServer
from ticket_counter import Counter, failure, success

from notifier.channels.ticket_text import Paragraph, Written
from notifier.core.delivery import Delivered, GaveUp, Parked, Unknown
from notifier.http import HttpClient
from notifier.integrations.servicenow.channel import JournalMarkup
from notifier.integrations.servicenow.settings import ServiceNowSettings
from notifier.wording.marks import quoted

VALUES = {"name": "ops", "kind": "servicenow", "url": "https://x.service-now.com", "user": "u", "password": "p"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def server(clock: FakeClock) -> AsyncIterator[ServiceNowServer]:
    async with ServiceNowServer(clock.now) as made:
        yield made


@pytest.fixture
def counter(server: ServiceNowServer, http: HttpClient, clock: FakeClock) -> Counter:
    return Counter(server, http, clock)


class TestSearch:
    async def test_a_dropped_filter_finds_nothing_and_opens_nothing(
        self, server: ServiceNowServer, counter: Counter
    ) -> None:
        """The filter on a field that may not be read matches every incident."""
        other = server.plant("gtb-of-somebody-else")
        server.faults[1] = "lost"
        assert isinstance(await counter.attempt(failure()), Unknown)
        server.hidden = {"correlation_id"}
        outcome = await counter.attempt(failure())
        assert isinstance(outcome, Parked)
        assert "drops the filter on correlation_id" in outcome.reason
        assert other.comments == []
        assert len(server.tickets) == 2
        server.hidden = set()
        assert isinstance(await counter.attempt(failure()), Delivered)
        assert len(server.tickets) == 2

    async def test_the_oldest_of_several_is_ours(self, server: ServiceNowServer, counter: Counter) -> None:
        server.faults[1] = "lost"
        await counter.attempt(failure())
        server.opened(dict(server.incident().fields))
        await counter.settle(failure())
        assert counter.shop.ticket is not None
        assert counter.shop.ticket.label == "INC0000001"

    async def test_a_key_that_was_not_kept_is_reported(self, server: ServiceNowServer, counter: Counter) -> None:
        server.readonly = {"correlation_id"}
        outcome = await counter.attempt(failure())
        assert isinstance(outcome, Delivered)
        assert (outcome.reason or "").startswith("ServiceNow did not keep correlation_id")
        assert isinstance(await counter.attempt(success()), Delivered)
        assert server.incident().closed


class TestFields:
    async def test_severities_have_their_own(
        self, server: ServiceNowServer, http: HttpClient, clock: FakeClock
    ) -> None:
        changes = {
            "priority": {"critical": "1/1", "error": "2/1"},
            "project": "287ebd7da9fe198100f92cc8d1d2154e",
            "assignee": "46d44a23a9fe19810012d100cca80666",
            "fields": {"category": "database", "correlation_id": "mine"},
        }
        await Counter(server, http, clock, **changes).attempt(failure())
        fields = server.incident().fields
        assert (fields["impact"], fields["urgency"]) == ("2", "1")
        assert fields["assignment_group"] == changes["project"]
        assert fields["assigned_to"] == changes["assignee"]
        assert fields["category"] == "database"
        assert fields["correlation_id"].startswith("gtb-")

    async def test_a_link_opens_the_incident(self, server: ServiceNowServer, counter: Counter) -> None:
        await counter.attempt(failure())
        assert counter.shop.ticket is not None
        uri = f"incident.do%3Fsys_id%3D{server.incident().sys_id}"
        assert counter.shop.ticket.url == server.url(f"/nav_to.do?uri={uri}")
        assert counter.shop.ticket.label == "INC0000001"

    @pytest.mark.parametrize("field", ["work_notes", "comments"])
    async def test_comments_go_where_they_are_configured(
        self, server: ServiceNowServer, http: HttpClient, clock: FakeClock, field: str
    ) -> None:
        await Counter(server, http, clock, comment_field=field).attempt(failure(), failure(2))
        assert server.journal == field

    async def test_a_journal_that_may_not_be_read_costs_no_comment(
        self, server: ServiceNowServer, counter: Counter
    ) -> None:
        await counter.attempt(failure())
        ref = server.incident().sys_id
        assert await counter.channel.has_comment(ref, "gtc-x") is False
        server.hidden = {"work_notes"}
        assert await counter.channel.has_comment(ref, "gtc-x") is None
        server.faults[5] = "not applied"
        await counter.settle(failure(2))
        assert len(server.incident().comments) == 1


class TestStates:
    async def test_none_is_set_where_it_is_right_already(self, server: ServiceNowServer, counter: Counter) -> None:
        """A person was quicker."""
        await counter.attempt(failure())
        ref = server.incident().sys_id
        assert not (await counter.channel.reopen(ref)).closed
        assert server.incident().state == "1"
        server.incident().move("8")
        assert (await counter.channel.close(ref, "fixed")).closed
        assert server.incident().state == "8"

    async def test_a_resolved_incident_has_its_code_and_notes(self, server: ServiceNowServer, counter: Counter) -> None:
        await counter.attempt(failure(), success())
        fields = server.incident().fields
        assert (fields["state"], fields["close_code"]) == ("6", "Solution provided")
        assert "Fixed by job" in fields["close_notes"]

    async def test_a_policy_that_wants_more_parks_the_channel(
        self, server: ServiceNowServer, http: HttpClient, clock: FakeClock
    ) -> None:
        counter = Counter(server, http, clock, close_fields={"close_notes": ""})
        outcome = await counter.attempt(failure(), success())
        assert isinstance(outcome, Parked)
        assert "close_fields" in outcome.reason
        assert len(server.incident().comments) == 1

    async def test_a_rule_that_keeps_the_state_is_named(self, server: ServiceNowServer, counter: Counter) -> None:
        server.readonly = {"state"}
        outcome = await counter.attempt(failure(), success())
        assert isinstance(outcome, GaveUp)
        assert outcome.reason.startswith("INC0000001 is still New")

    async def test_states_of_a_site_are_known(
        self, server: ServiceNowServer, http: HttpClient, clock: FakeClock
    ) -> None:
        counter = Counter(server, http, clock, resolved_state="12", closed_states=["12", "7"], reopened_state="3")
        assert isinstance(await counter.attempt(failure(), success()), Delivered)
        assert server.incident().fields["state"] == "12"

    @pytest.mark.parametrize("state", ["7", "8"])
    async def test_one_that_is_final_is_followed_by_a_new_one(
        self, server: ServiceNowServer, counter: Counter, state: str
    ) -> None:
        await counter.attempt(failure(), success())
        server.incident().move(state)
        wait(counter.clock, 60)
        assert isinstance(await counter.attempt(failure(10)), Delivered)
        assert [one.closed for one in server.tickets] == [True, False]
        assert "see INC0000001" in server.text(server.incident(1))

    async def test_the_time_of_resolving_is_read(self, server: ServiceNowServer, counter: Counter) -> None:
        await counter.attempt(failure(), success())
        server.incident().fields["resolved_at"] = "2026-01-15 08:31:07"
        assert counter.shop.ticket is not None
        assert counter.shop.ticket.ref is not None
        remote = await counter.channel.read(counter.shop.ticket.ref)
        assert remote is not None
        assert remote.closed_at == datetime(2026, 1, 15, 8, 31, 7, tzinfo=UTC)


class TestClient:
    async def test_a_token_that_was_revoked_is_replaced_once(self, http: HttpClient, clock: FakeClock) -> None:
        async with ServiceNowServer(clock.now, oauth=True) as server:
            counter = Counter(server, http, clock)
            await counter.attempt(failure())
            server.token = "another"
            assert isinstance(await counter.attempt(failure(2), success()), Delivered)
            issued = [request for request in server.requests if request.target == "/oauth_token.do"]
        assert len(issued) == 2
        assert server.incident().closed

    async def test_a_client_that_is_refused_parks_the_channel(self, http: HttpClient, clock: FakeClock) -> None:
        async with ServiceNowServer(clock.now, oauth=True) as server:
            server.unauthorized = True
            counter = Counter(server, http, clock)
            outcome = await counter.attempt(failure())
            (found,) = await counter.channel.check()
        assert isinstance(outcome, Parked)
        assert "auth.client_id" in outcome.reason
        assert not found.ok


class TestSettings:
    @pytest.mark.parametrize(
        ("values", "key"),
        [
            ({}, "close_code"),
            ({"close_code": "Done", "labels": ["a"]}, "labels"),
            ({"close_code": "Done", "priority": "High"}, "priority"),
            ({"close_code": "Done", "user": "a:b"}, "user"),
            ({"close_code": "Done", "password": None}, "auth"),
            ({"close_code": "Done", "user": None, "password": None}, "user"),
            ({"close_code": "Done", "auth": {"client_id": "a", "client_secret": "b"}}, "auth"),
            ({"close_code": "Done", "url": "https://x.service-now.com/api"}, "url"),
        ],
    )
    def test_what_does_not_fit_is_named(self, values: dict[str, Any], key: str) -> None:
        with pytest.raises(ValidationError) as caught:
            ServiceNowSettings.model_validate(VALUES | values)
        assert {error["loc"][0] for error in caught.value.errors()} == {key}


class TestText:
    def test_no_html_begins_in_text_from_outside(self) -> None:
        markup = JournalMarkup()
        for block in (Paragraph(quoted("[code]<b>x</b>[/CODE]")), Written(markup.escape("[Code]x"))):
            assert "[code]" not in markup.write([block]).lower()
        assert markup.write([Written("[code]<b>ours</b>[/code]")]) == "[code]<b>ours</b>[/code]"

    async def test_a_title_of_a_template_has_no_invisible_characters(
        self, server: ServiceNowServer, http: HttpClient, clock: FakeClock
    ) -> None:
        templates = {"*": {"title": "{{ instance }}", "text": "x"}}
        counter = Counter(server, http, clock, templates=templates)
        await counter.attempt(hostile_event("[code]x"))
        assert "\u200b" not in server.title(server.incident())

    async def test_a_hostile_reason_is_no_html(self, counter: Counter) -> None:
        body = counter.channel.render(make_render_request(hostile_event("[code]<script>[/code]")))
        stored = json.loads(body.content)
        assert "[code]" not in stored["description"] + stored["comment"] + stored["resolution"]


class TestCheck:
    async def test_reading_is_proven_and_writing_is_not(self, server: ServiceNowServer, counter: Counter) -> None:
        for _ in range(2):
            found = await counter.check()
            assert (found.ok, found.proven) == (True, False)
            assert "notifier test-send ops" in found.detail
            server.plant("x")

    async def test_a_dropped_filter_is_named(self, server: ServiceNowServer, counter: Counter) -> None:
        server.plant("x")
        server.hidden = {"correlation_id"}
        found = await counter.check()
        assert (found.ok, found.detail) == (False, "drops the filter on correlation_id")

    async def test_a_field_that_may_not_be_read_is_named(self, server: ServiceNowServer, counter: Counter) -> None:
        server.plant("x")
        server.hidden, server.strict_queries = {"correlation_id"}, True
        found = await counter.check()
        assert (found.ok, found.detail) == (False, "the user may not read correlation_id of incidents")

    async def test_an_instance_that_hibernates_is_named(self, server: ServiceNowServer, counter: Counter) -> None:
        page = b"<!DOCTYPE html><html><title>Instance Hibernating</title></html>"
        server.instead[1] = reply(200, page, {"Content-Type": "text/html"})
        found = await counter.check()
        assert not found.ok
        assert "web page" in found.detail
