"""Issues on GitHub: what is asked of it, what it leaves out or refuses, and what text from outside cannot do."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from factories import make_event, open_channel
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from memory_tickets import wait
from pydantic import ValidationError
from servers.github import TOKEN, GitHubServer, refused
from ticket_cases import failure, success
from ticket_desks import ATTACKS, Opened, hostile_texts, make_context, opened, outside_code, texts_of

from notifier.channels.gfm import hidden_key, inert_title, with_hidden
from notifier.channels.tickets import TicketChannel
from notifier.core.delivery import Delivered, GaveUp, Parked, Retry, Unknown
from notifier.core.routing import DeliveryRouting
from notifier.core.tickets import TicketFields, TicketState
from notifier.http import HttpClient
from notifier.integrations.github.settings import GitHubSettings
from notifier.ports import RenderRequest

Desk = Opened[GitHubServer]
OFFLINE = {"token": TOKEN, "project": "acme/ops"}


@asynccontextmanager
async def desk_with(**changes: Any) -> AsyncIterator[Desk]:
    async with opened("github", GitHubServer, lambda base: OFFLINE | {"url": base} | changes) as desk:
        yield desk


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with desk_with() as found:
        yield found


class TestIssues:
    async def test_a_failure_opens_one_with_labels_and_a_hidden_key(self) -> None:
        async with desk_with(labels=["dba"], priority="P2", assignee="octocat", fields={"milestone": 3}) as desk:
            assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
            (request,) = desk.server.requests
            sent = json.loads(request.body)
            assert (request.method, request.target) == ("POST", "/api/v3/repos/acme/ops/issues")
            assert request.headers["x-github-api-version"] == "2022-11-28"
            assert sent["title"] == "gauss-6568-zzh: instance creation failed"
            assert sent["labels"] == ["gaussdb-notifier", "dba", "P2"]
            assert (sent["assignees"], sent["milestone"]) == (["octocat"], 3)
            ticket = desk.shop.ticket
            assert ticket is not None
            assert sent["body"].endswith(f"\n\n<!-- {ticket.key} -->")
            assert (ticket.label, ticket.ref) == ("acme/ops#1", "acme/ops#1")
            assert ticket.url == "https://github.com/acme/ops/issues/1"

    async def test_a_success_comments_and_closes_it_as_completed(self, desk: Desk) -> None:
        for event in (failure(1), success(2)):
            assert isinstance(await desk.shop.attempt(event), Delivered)
        (issue,) = desk.server.tickets
        assert (issue.closed, issue.fields["state_reason"]) == (True, "completed")
        assert "Fixed by job job\\-2" in issue.comments[0]
        await desk.shop.attempt(failure(3))
        assert (issue.closed, issue.fields["state_reason"]) == (False, "reopened")

    async def test_a_later_issue_refers_to_the_one_before(self, desk: Desk) -> None:
        for event in (failure(1), success(2)):
            await desk.shop.attempt(event)
        wait(desk.clock, 8 * 86_400)
        await desk.shop.attempt(failure(3))
        assert "The same operation failed before: see acme/ops#1." in desk.server.tickets[1].fields["body"]

    async def test_the_repository_follows_the_severity(self) -> None:
        projects = {"error": "acme/ops", "critical": "acme/urgent"}
        async with desk_with(project=projects) as desk:
            await desk.shop.attempt(make_event(environment="production"))
            assert desk.server.tickets[0].fields["repository"] == "acme/urgent"

    async def test_a_routes_repository_that_is_none_parks_the_channel(self, desk: Desk) -> None:
        delivery = desk.shop.claim(failure(1))
        assert delivery.body is not None
        stored = json.loads(delivery.body.content) | {"project": "../../user"}
        delivery.body = type(delivery.body)(content=json.dumps(stored).encode(), content_type="application/json")
        assert isinstance(await desk.channel.send(delivery), Parked)
        assert desk.server.requests == []


class TestWhatGitHubLeavesOut:
    async def test_dropped_labels_and_people_are_named(self) -> None:
        async with desk_with(labels=["dba"], assignee="octocat") as desk:
            desk.server.may_push = False
            outcome = await desk.shop.attempt(failure(1))
            assert isinstance(outcome, Delivered)
            assert outcome.reason == (
                "GitHub left out gaussdb-notifier, dba, octocat; labels and assignees need the right to push"
            )

    async def test_an_issue_without_its_labels_is_found_again(self, desk: Desk) -> None:
        desk.server.may_push = False
        desk.server.faults[1] = "lost"
        assert isinstance(await desk.shop.attempt(failure(1)), Unknown)
        desk.server.open_pull_request(desk.shop.ticket.key if desk.shop.ticket else "")
        assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
        assert len(desk.server.tickets) == 1
        assert desk.shop.ticket is not None
        assert desk.shop.ticket.ref == "acme/ops#1"

    async def test_an_issue_is_looked_for_in_every_repository(self) -> None:
        async with desk_with(project={"error": "acme/ops", "critical": "acme/urgent"}) as desk:
            desk.server.faults[1] = "lost"
            critical = make_event(environment="production")
            assert isinstance(await desk.shop.attempt(critical), Unknown)
            assert isinstance(await desk.shop.attempt(failure(2)), Delivered)
            assert [issue.fields["repository"] for issue in desk.server.tickets] == ["acme/urgent"]

    @pytest.mark.parametrize("status", [301, 404, 410])
    async def test_an_issue_that_was_deleted_or_transferred_is_followed_by_another(
        self, desk: Desk, status: int
    ) -> None:
        await desk.shop.attempt(failure(1))
        desk.server.tickets[0].fields["gone"] = status
        assert isinstance(await desk.shop.attempt(failure(2)), Delivered)
        assert len(desk.server.tickets) == 2
        assert desk.shop.ticket is not None
        assert desk.shop.ticket.ref == "acme/ops#2"

    @pytest.mark.parametrize("properties", [None, {"moved_to": 5}, {"has_issues": False}])
    async def test_a_repository_out_of_reach_is_no_deleted_issue(
        self, desk: Desk, properties: dict[str, Any] | None
    ) -> None:
        await desk.shop.attempt(failure(1))
        known = desk.server.repositories
        if properties is None:
            del known["acme/ops"]
        else:
            known["acme/ops"] = properties
        assert isinstance(await desk.shop.attempt(success(2)), Parked)
        assert desk.shop.ticket is not None
        assert desk.shop.ticket.state is TicketState.OPEN

    async def test_a_comment_is_found_among_many(self, desk: Desk) -> None:
        await desk.shop.attempt(failure(1))
        (issue,) = desk.server.tickets
        issue.comments += [f"me too {n}" for n in range(250)]
        desk.server.faults[3] = "lost"  # after a look at the issue
        assert isinstance(await desk.shop.attempt(failure(2)), Unknown)
        issue.comments += [f"and me {n}" for n in range(60)]
        assert isinstance(await desk.shop.attempt(failure(2)), Delivered)
        assert len([text for text in issue.comments if "gtc-" in text]) == 1


class TestRefusals:
    async def test_a_rate_limit_lasts_until_its_reset(self, desk: Desk) -> None:
        reset = int((desk.clock.now() + timedelta(minutes=7)).timestamp())
        limit = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset)}
        desk.server.limits = [
            refused(403, "API rate limit exceeded", limit),
            refused(403, "x", {**limit, "Retry-After": "9"}),
        ]
        outcome = await desk.shop.attempt(failure(1))
        assert isinstance(outcome, Retry)
        assert outcome.after == timedelta(minutes=7)
        assert isinstance(await desk.shop.attempt(failure(1)), Parked), "the rate limit did not refuse it"
        assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
        assert len(desk.server.tickets) == 1

    async def test_a_locked_issue_takes_no_comment(self, desk: Desk) -> None:
        await desk.shop.attempt(failure(1))
        desk.server.locked = True
        outcome = await desk.shop.attempt(failure(2))
        assert isinstance(outcome, GaveUp)
        assert "issue is locked" in outcome.reason

    async def test_an_unknown_assignee_parks_the_channel(self) -> None:
        async with desk_with(assignee="nobody") as desk:
            outcome = await desk.shop.attempt(failure(1))
            assert isinstance(outcome, Parked)
            assert "check assignee" in outcome.reason


class TestCheck:
    async def test_a_token_with_its_rights_is_proven_without_an_issue(self, desk: Desk) -> None:
        result = await desk.check()
        assert (result.ok, result.proven) == (True, True)
        assert desk.server.tickets == []

    @pytest.mark.parametrize(
        ("change", "detail", "remedy"),
        [
            ({"token": "wrong"}, "HTTP 401", "make a new one and set token"),
            ({"project": "acme/unknown"}, "HTTP 404", "give it `Issues: read and write`"),
        ],
    )
    async def test_what_the_configuration_has_wrong(self, change: dict[str, Any], detail: str, remedy: str) -> None:
        async with desk_with(**change) as desk:
            result = await desk.check()
            assert not result.ok
            assert detail in result.detail
            assert remedy in result.remedy

    @pytest.mark.parametrize(
        ("properties", "detail"),
        [
            ({"archived": True}, "the repository is archived"),
            ({"has_issues": False}, "issues are switched off"),
            ({"moved_to": 5}, "HTTP 301"),
        ],
    )
    async def test_what_is_wrong_with_the_repository(self, desk: Desk, properties: dict[str, Any], detail: str) -> None:
        desk.server.repositories["acme/ops"] = properties
        result = await desk.check()
        assert not result.ok
        assert detail in result.detail
        assert result.remedy

    async def test_the_missing_right_is_named(self, desk: Desk) -> None:
        desk.server.may_write = False
        result = await desk.check()
        assert not result.ok
        assert result.remedy == "give the token the right `Issues: read and write` for the repository"

    async def test_missing_labels_and_an_early_end_are_warnings(self, desk: Desk) -> None:
        desk.server.may_push = False
        result = await desk.check()
        assert (result.ok, result.proven) == (True, False)
        assert "without labels" in result.detail
        desk.server.headers = {"GitHub-Authentication-Token-Expiration": "2026-01-20 08:00:00 UTC"}
        assert (await desk.check()).detail == "project acme/ops: the token expires on 2026-01-20: make a new one before"


class TestSettings:
    @pytest.mark.parametrize(
        ("url", "api"),
        [
            ("https://github.com", "https://api.github.com"),
            ("https://acme.ghe.com/", "https://api.acme.ghe.com"),
            ("https://git.example.com:8443", "https://git.example.com:8443/api/v3"),
        ],
    )
    def test_the_api_is_where_the_edition_has_it(self, url: str, api: str) -> None:
        assert GitHubSettings.model_validate(OFFLINE | {"name": "ops", "url": url}).api_url == api

    @pytest.mark.parametrize("fields", [{"body": "x"}, {"milestone": 1, "title": "x"}])
    def test_the_text_with_the_key_cannot_be_replaced(self, fields: dict[str, Any]) -> None:
        for changes in ({"fields": fields}, {"fields_by_severity": {"critical": fields}}):
            with pytest.raises(ValidationError, match="the program writes that itself"):
                GitHubSettings.model_validate(OFFLINE | {"name": "ops"} | changes)

    async def test_a_route_cannot_replace_it_either(self, desk: Desk) -> None:
        wanted = TicketFields(fields=(("body", '"x"'), ("milestone", "3")))
        routing = DeliveryRouting(routes=("all",), ticket=wanted)
        event = failure(1)
        body = desk.channel.render(RenderRequest(delivery_id="d", events=(event,), routing=routing))
        assert json.loads(body.content)["fields"] == {"milestone": 3}

    @pytest.mark.parametrize("project", ["ops", "acme/ops/issues", "acme/o ps", "", {}, {"worst": "a/b"}])
    def test_a_project_is_a_repository(self, project: object) -> None:
        with pytest.raises(ValidationError):
            GitHubSettings.model_validate(OFFLINE | {"name": "ops", "project": project})


@given(st.sampled_from(ATTACKS) | st.text("@#!/<>`~[]()*_-\n ab1.:", max_size=80))
def test_nothing_from_outside_is_a_mention_a_reference_or_a_link(text: str) -> None:
    found = hostile_texts("github", OFFLINE, text)
    for name in ("description", "comment", "resolution"):
        shown = outside_code(found[name])
        assert not re.search(r"(?<!\\)[<\[!](?!\u200b)", shown.replace("\\\\", "")), name
        assert not re.search(r"[@#](?=\w)|GH-\d|https?://|www\.\w|<!--", shown), name
    assert "\n" not in found["title"]


def test_the_last_hidden_key_counts() -> None:
    assert hidden_key(with_hidden("gtb-b2", "text\n<!-- gtb-a2 -->")) == "gtb-b2"
    assert hidden_key("no key <!-- other -->") == hidden_key(None) == ""
    assert inert_title("@all #1 GH-2 a@b 96%").replace("\u200b", "") == "@all #1 GH-2 a@b 96%"
    assert "@all" not in inert_title("@all")


async def test_a_title_of_a_template_shows_no_escapes() -> None:
    template = {"title": "{{ data.task.instance.name }} *broke*"}
    values = OFFLINE | {"name": "ops", "kind": "github", "templates": {"task.failed": template}}
    channel = open_channel("github", values, make_context(HttpClient(), FakeClock()))
    assert isinstance(channel, TicketChannel)
    assert texts_of(channel, make_event())["title"] == "gauss-6568-zzh *broke*"
