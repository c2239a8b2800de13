"""Issues on GitLab: what is asked of it, what it leaves out or refuses, and what text from outside cannot do."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from factories import hostile_event, make_event, make_task
from hypothesis import given
from hypothesis import strategies as st
from memory_tickets import wait
from pydantic import ValidationError
from servers.gitlab import GUEST, TOKEN, GitLabServer
from servers.http import reply
from ticket_cases import failure, success
from ticket_desks import ATTACKS, Opened, hostile_texts, opened, outside_code

from notifier.core.delivery import Delivered, Parked, Retry, Unknown
from notifier.core.tickets import TicketState
from notifier.integrations.gitlab.settings import GitLabSettings

Desk = Opened[GitLabServer]
OFFLINE = {"token": TOKEN, "project": "acme/ops"}


@asynccontextmanager
async def desk_with(**changes: Any) -> AsyncIterator[Desk]:
    async with opened("gitlab", GitLabServer, lambda base: OFFLINE | {"url": base} | changes) as desk:
        yield desk


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with desk_with() as found:
        yield found


class TestIssues:
    async def test_a_failure_opens_one_with_labels_and_a_hidden_key(self) -> None:
        settings = {"labels": ["dba"], "priority": "priority::2", "confidential": True, "fields": {"weight": 3}}
        async with desk_with(**settings) as desk:
            assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
            (request,) = desk.server.requests
            sent = json.loads(request.body)
            assert (request.method, request.target) == ("POST", "/api/v4/projects/acme%2Fops/issues")
            assert sent["title"] == "gauss-6568-zzh: instance creation failed"
            assert sent["labels"] == "gaussdb-notifier,dba,priority::2"
            assert (sent["confidential"], sent["weight"]) == (True, 3)
            ticket = desk.shop.ticket
            assert ticket is not None
            assert sent["description"].endswith(f"\n\n<!-- {ticket.key} -->")
            assert (ticket.label, ticket.ref) == ("acme/ops#1", "acme/ops#1")
            assert ticket.url == "https://gitlab.com/acme/ops/-/issues/1"

    async def test_a_success_closes_it_and_a_failure_reopens_it(self, desk: Desk) -> None:
        states = []
        for event in (failure(1), failure(2), success(3), failure(4)):
            assert isinstance(await desk.shop.attempt(event), Delivered)
            states.append(desk.server.tickets[0].closed)
        assert states == [False, False, True, False]
        assert len(desk.server.tickets[0].comments) == 3

    async def test_a_later_issue_refers_to_the_one_before(self, desk: Desk) -> None:
        for event in (failure(1), success(2)):
            await desk.shop.attempt(event)
        wait(desk.clock, 8 * 86_400)
        await desk.shop.attempt(failure(3))
        assert "The same operation failed before: see acme/ops#1." in desk.server.tickets[1].fields["description"]

    async def test_a_project_by_number_follows_the_severity(self) -> None:
        async with desk_with(project={"error": "acme/ops", "critical": "42"}) as desk:
            await desk.shop.attempt(make_event(environment="production"))
            assert desk.server.tickets[0].fields["project"] == "42"
            assert desk.shop.ticket is not None
            assert desk.shop.ticket.ref == "42#1"

    async def test_a_person_is_assigned_by_name_or_number(self) -> None:
        for assignee in ("Ann", "7"):
            async with desk_with(assignee=assignee) as desk:
                assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
                assert desk.server.tickets[0].fields["users"] == [7]

    async def test_an_unknown_assignee_parks_the_channel(self) -> None:
        async with desk_with(assignee="bob") as desk:
            assert isinstance(await desk.shop.attempt(failure(1)), Parked)
            assert desk.server.tickets == []

    async def test_a_routes_project_that_is_none_parks_the_channel(self, desk: Desk) -> None:
        delivery = desk.shop.claim(failure(1))
        assert delivery.body is not None
        stored = json.loads(delivery.body.content) | {"project": "../user"}
        delivery.body = type(delivery.body)(content=json.dumps(stored).encode(), content_type="application/json")
        assert isinstance(await desk.channel.send(delivery), Parked)
        assert desk.server.requests == []


class TestWhatGitLabLeavesOut:
    async def test_dropped_labels_and_people_are_named(self) -> None:
        async with desk_with(assignee="7") as desk:
            desk.server.level = GUEST
            outcome = await desk.shop.attempt(failure(1))
            assert isinstance(outcome, Delivered)
            assert outcome.reason == (
                "GitLab left out gaussdb-notifier, assignee 7; labels and assignees need the role Reporter"
            )

    async def test_an_issue_without_its_labels_is_found_again(self, desk: Desk) -> None:
        desk.server.level = GUEST
        desk.server.faults[1] = "lost"
        assert isinstance(await desk.shop.attempt(failure(1)), Unknown)
        assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
        assert len(desk.server.tickets) == 1

    async def test_an_issue_that_was_deleted_is_followed_by_another(self, desk: Desk) -> None:
        await desk.shop.attempt(failure(1))
        desk.server.tickets[0].number = 77
        assert isinstance(await desk.shop.attempt(failure(2)), Delivered)
        assert [issue.number for issue in desk.server.tickets] == [77, 2]

    async def test_a_project_out_of_reach_is_no_deleted_issue(self, desk: Desk) -> None:
        await desk.shop.attempt(failure(1))
        del desk.server.projects["acme/ops"]
        assert isinstance(await desk.shop.attempt(success(2)), Parked)
        assert desk.shop.ticket is not None
        assert desk.shop.ticket.state is TicketState.OPEN

    async def test_a_state_that_is_there_already_is_a_success(self, desk: Desk) -> None:
        desk.server.not_modified = True
        await desk.shop.attempt(failure(1))
        ref = "acme/ops#1"
        assert not (await desk.channel.reopen(ref)).closed
        assert (await desk.channel.close(ref, "done")).closed
        assert (await desk.channel.close(ref, "done")).closed

    async def test_a_comment_is_found_among_the_latest(self, desk: Desk) -> None:
        await desk.shop.attempt(failure(1))
        (issue,) = desk.server.tickets
        issue.comments += [f"me too {n}" for n in range(150)]
        desk.server.faults[3] = "lost"  # after a look at the issue
        assert isinstance(await desk.shop.attempt(failure(2)), Unknown)
        issue.comments += [f"and me {n}" for n in range(60)]
        assert isinstance(await desk.shop.attempt(failure(2)), Delivered)
        assert len([text for text in issue.comments if "gtc-" in text]) == 1

    async def test_a_limit_in_plain_text_is_retried(self, desk: Desk) -> None:
        desk.server.answers = [reply(429, b"This endpoint has been requested too many times.", {"Retry-After": "40"})]
        outcome = await desk.shop.attempt(failure(1))
        assert isinstance(outcome, Retry)
        assert outcome.after is not None
        assert outcome.after.total_seconds() == 40


class TestCheck:
    async def test_a_token_with_its_rights_is_proven(self, desk: Desk) -> None:
        result = await desk.check()
        assert (result.ok, result.proven, result.what) == (True, True, "acme/ops")
        assert {request.method for request in desk.server.requests} == {"GET"}

    @pytest.mark.parametrize(
        ("change", "detail", "remedy"),
        [
            ({"token": "wrong"}, "HTTP 401", "make a new one and set token"),
            ({"project": "acme/unknown"}, "HTTP 404", "give the token the role Reporter"),
        ],
    )
    async def test_what_the_configuration_has_wrong(self, change: dict[str, Any], detail: str, remedy: str) -> None:
        async with desk_with(**change) as desk:
            result = (await desk.channel.check())[-1]
            assert not result.ok
            assert detail in result.detail
            assert remedy in result.remedy

    @pytest.mark.parametrize(
        ("properties", "detail"),
        [
            ({"archived": True}, "the project is archived"),
            ({"issues_access_level": "disabled"}, "issues are switched off"),
            ({"issues_enabled": False}, "issues are switched off"),
        ],
    )
    async def test_what_is_wrong_with_the_project(self, desk: Desk, properties: dict[str, Any], detail: str) -> None:
        desk.server.projects["acme/ops"] = properties
        result = await desk.check()
        assert (result.ok, result.detail) == (False, f"project acme/ops: {detail}")
        assert result.remedy

    async def test_the_missing_scope_is_named(self, desk: Desk) -> None:
        desk.server.token = {"scopes": ["read_api"], "expires_at": None}
        token, project = await desk.channel.check()
        assert (token.ok, token.detail) == (False, "the token lacks the scope api")
        assert not project.proven

    async def test_the_missing_role_is_named(self, desk: Desk) -> None:
        desk.server.level = GUEST
        result = await desk.check()
        assert (result.ok, result.proven) == (True, False)
        assert "the role Reporter" in result.detail

    async def test_a_token_that_ends_soon_is_reported(self, desk: Desk) -> None:
        desk.server.token = {"scopes": ["api"], "expires_at": "2026-01-20"}
        token, _ = await desk.channel.check()
        assert (token.ok, token.proven) == (True, False)
        assert token.detail == "the token expires on 2026-01-20: make a new one before"

    async def test_a_token_that_may_not_ask_proves_nothing(self, desk: Desk) -> None:
        desk.server.token = None
        result = await desk.check()
        assert (result.ok, result.proven) == (True, False)


class TestSettings:
    @pytest.mark.parametrize(
        ("url", "api"),
        [
            ("https://gitlab.com", "https://gitlab.com/api/v4"),
            ("https://git.example.com:8443/gitlab/", "https://git.example.com:8443/gitlab/api/v4"),
        ],
    )
    def test_the_api_is_below_the_address(self, url: str, api: str) -> None:
        assert GitLabSettings.model_validate(OFFLINE | {"name": "ops", "url": url}).api_url == api

    def test_a_number_needs_no_quotes(self) -> None:
        assert GitLabSettings.model_validate(OFFLINE | {"name": "ops", "project": 42}).projects == ("42",)

    @pytest.mark.parametrize(
        "project", ["ops", "acme/o ps", "/acme/ops", "acme/ops/", "../x", "", {}, {"worst": "a/b"}]
    )
    def test_a_project_is_a_path_or_a_number(self, project: object) -> None:
        with pytest.raises(ValidationError):
            GitLabSettings.model_validate(OFFLINE | {"name": "ops", "project": project})


@pytest.mark.parametrize("text", ATTACKS)
async def test_no_command_is_obeyed_and_nobody_mentioned(text: str) -> None:
    """The server obeys texts as GitLab does; instance, reason, environment and template all have the attack."""
    printed = "{{ data.task.fail_reason }}\n{{ data.task.instance.name }}"
    for changes in ({}, {"templates": {"task.*": {"title": printed, "text": printed}}}):
        async with desk_with(**changes) as desk:
            event = hostile_event(text)
            assert isinstance(await desk.shop.attempt(event), Delivered)
            later = make_event(make_task(f"again-{text}", name=text, instance_name=text, fail_reason=text))
            assert isinstance(await desk.shop.attempt(later), Delivered)
            assert (desk.server.commands, desk.server.mentioned) == ([], [])


@given(st.sampled_from(ATTACKS) | st.text("@#!/<>`~[]()*_-\n ab1.:%&$", max_size=80))
def test_nothing_from_outside_is_a_reference_or_a_link(text: str) -> None:
    found = hostile_texts("gitlab", OFFLINE, text)
    for name in ("description", "comment", "resolution"):
        shown = outside_code(found[name])
        assert not re.search(r"(?<!\\)[<\[!](?!\u200b)", shown.replace("\\\\", "")), name
        assert not re.search(r"[@#!~%&$](?=\w)|https?://|www\.\w", shown.replace("\\", "")), name
        assert not re.search(r"^/", shown, re.MULTILINE), name
