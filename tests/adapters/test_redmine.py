"""Redmine: a workflow that refuses in silence, filters that are ignored, and text that links what it names."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from factories import hostile_event, make_render_request
from fakes import FakeClock
from pydantic import ValidationError
from servers.http import reply
from servers.redmine import RedmineServer
from ticket_counter import Counter, failure, success
from ticket_desks import ATTACKS

from notifier.core.delivery import Delivered, GaveUp, Parked, Unknown
from notifier.http import HttpClient
from notifier.integrations.redmine.markup import MARKDOWN, TEXTILE, RedmineMarkdown, TextileText
from notifier.integrations.redmine.settings import RedmineSettings
from notifier.ports import CheckResult

VALUES = {"name": "ops", "kind": "redmine", "url": "https://redmine.x.com/", "api_key": "k", "project": "ops"}
REFERENCES = (
    "@admin",
    "#12",
    "r42",
    "user:admin",
    "[[Secrets]]",
    "{{include(Secrets)}}",
    "</code>@admin<code>",
    "</pre>{{toc}}<pre>",
    "!http://evil.example/x.png!",
    '"click":http://evil.example',
    "<notextile>@admin</notextile>",
    "h1. big",
    "*bold* _em_ -gone- +new+",
    "|a|b|",
)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def server(clock: FakeClock) -> AsyncIterator[RedmineServer]:
    async with RedmineServer(clock.now) as made:
        yield made


@pytest.fixture
def counter(server: RedmineServer, http: HttpClient, clock: FakeClock) -> Counter:
    return Counter(server, http, clock)


class TestWorkflow:
    async def test_no_status_is_set_where_it_is_right_already(self, server: RedmineServer, counter: Counter) -> None:
        """A person was quicker."""
        await counter.attempt(failure())
        assert not (await counter.channel.reopen("1")).closed
        server.issue().move(6)
        assert (await counter.channel.close("1", "fixed")).closed
        assert server.issue().status == 6

    async def test_a_status_that_is_refused_in_silence_is_noticed(
        self, server: RedmineServer, http: HttpClient, clock: FakeClock
    ) -> None:
        counter = Counter(server, http, clock, close_status=5)
        server.workflow[1] = {2}
        outcome = await counter.attempt(failure(), success())
        assert isinstance(outcome, GaveUp)
        assert outcome.reason == "#1 is still New: the workflow does not let the user set status 5"
        assert len(server.issue().comments) == 1

    async def test_one_that_the_workflow_allows_is_taken(self, server: RedmineServer, counter: Counter) -> None:
        server.workflow[1] = {2, 6}
        assert isinstance(await counter.attempt(failure(), success()), Delivered)
        assert server.issue().status == 6

    async def test_a_workflow_without_a_way_is_named(self, server: RedmineServer, counter: Counter) -> None:
        server.workflow[1] = {2}
        outcome = await counter.attempt(failure(), success())
        assert isinstance(outcome, GaveUp)
        assert outcome.reason == "#1 is New, and the workflow allows no closed status"

    async def test_a_server_that_does_not_list_what_is_allowed_is_served(
        self, server: RedmineServer, counter: Counter
    ) -> None:
        server.lists_allowed = False
        for event in (failure(), success(), failure(10), success(11)):
            assert isinstance(await counter.attempt(event), Delivered)
        assert server.issue().status == 5
        asked = [request for request in server.requests if "issue_statuses" in request.target]
        assert len(asked) == 1

    async def test_configured_statuses_and_fields_are_set(
        self, server: RedmineServer, http: HttpClient, clock: FakeClock
    ) -> None:
        counter = Counter(server, http, clock, close_status=6, reopen_status=2, close_fields={"done_ratio": 100})
        await counter.attempt(failure(), success())
        assert (server.issue().status, server.issue().fields["done_ratio"]) == (6, 100)
        await counter.attempt(failure(10))
        assert server.issue().status == 2

    async def test_the_time_of_closing_is_read(self, server: RedmineServer, counter: Counter) -> None:
        await counter.attempt(failure(), success())
        remote = await counter.channel.read("1")
        assert remote is not None
        assert remote.closed_at == datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
        assert remote.url == server.url("/redmine/issues/1")


class TestKey:
    async def test_it_stands_at_the_end_of_the_subject(self, server: RedmineServer, counter: Counter) -> None:
        await counter.attempt(hostile_event("x" * 400))
        assert re.search(r" \[gtb-[a-z2-7]{20}\]$", server.title(server.issue()))
        assert len(server.title(server.issue())) <= 255

    async def test_it_stands_in_the_custom_field_alone(
        self, server: RedmineServer, http: HttpClient, clock: FakeClock
    ) -> None:
        changes = {"key_field": 7, "fields": {"custom_fields": [{"id": 8, "value": "dba"}]}}
        await Counter(server, http, clock, **changes).attempt(failure())
        assert "gtb-" not in server.title(server.issue())
        assert server.issue().custom[7].startswith("gtb-")
        assert server.issue().custom[8] == "dba"

    async def test_a_field_that_the_project_does_not_have_is_reported(
        self, server: RedmineServer, http: HttpClient, clock: FakeClock
    ) -> None:
        server.fields = set()
        outcome = await Counter(server, http, clock, key_field=7).attempt(failure())
        assert isinstance(outcome, Delivered)
        assert (outcome.reason or "").startswith("Redmine did not keep custom field 7")

    async def test_a_filter_that_is_ignored_opens_nothing(
        self, server: RedmineServer, http: HttpClient, clock: FakeClock
    ) -> None:
        other = server.plant("x")
        server.filters = set()
        server.faults[1] = "lost"
        counter = Counter(server, http, clock, key_field=7)
        assert isinstance(await counter.attempt(failure()), Unknown)
        outcome = await counter.attempt(failure())
        assert isinstance(outcome, Parked)
        assert "ignores the filter" in outcome.reason
        assert (len(server.tickets), other.comments) == (2, [])

    async def test_a_closed_issue_is_found_too(self, server: RedmineServer, counter: Counter) -> None:
        """The list has open issues only, unless all are asked for."""
        server.faults[1] = "lost"
        await counter.attempt(failure())
        server.issue().closed = True
        await counter.settle(failure())
        assert len(server.tickets) == 1


class TestFields:
    async def test_ids_are_sent_as_numbers(self, server: RedmineServer, http: HttpClient, clock: FakeClock) -> None:
        changes = {"tracker": 2, "priority": {"error": 4, "critical": "5"}, "assignee": 17, "fields": {"parent": 3}}
        await Counter(server, http, clock, **changes).attempt(failure())
        fields = server.issue().fields
        assert (fields["tracker_id"], fields["priority_id"], fields["assigned_to_id"]) == (2, 4, 17)
        assert fields["parent"] == 3

    async def test_a_field_that_is_wanted_parks_the_channel(self, server: RedmineServer, counter: Counter) -> None:
        server.required = ["category_id"]
        outcome = await counter.attempt(failure())
        assert isinstance(outcome, Parked)
        assert "cannot be blank" in outcome.reason

    @pytest.mark.parametrize(
        ("values", "key"),
        [
            ({"labels": ["a"]}, "labels"),
            ({"priority": "High"}, "priority"),
            ({"project": {"error": "ops"}}, "project"),
            ({"tracker": 0}, "tracker"),
            ({"url": "http://redmine.example.com"}, "url"),
        ],
    )
    def test_what_does_not_fit_is_named(self, values: dict[str, Any], key: str) -> None:
        with pytest.raises(ValidationError) as caught:
            RedmineSettings.model_validate(VALUES | values)
        assert {error["loc"][0] for error in caught.value.errors()} == {key}

    async def test_a_server_that_is_not_there_has_lost_no_issue(self, server: RedmineServer, counter: Counter) -> None:
        """Everything is not found then, and the old issue must not be followed by a new one."""
        await counter.attempt(failure())
        server.instead[2] = server.instead[3] = reply(404, b"")
        outcome = await counter.attempt(failure(2))
        assert isinstance(outcome, Parked)
        assert isinstance(await counter.attempt(failure(2)), Delivered)
        assert len(server.tickets) == 1


class TestMarkup:
    @pytest.mark.parametrize("text", [*ATTACKS, *REFERENCES])
    def test_nothing_from_outside_is_active(self, text: str) -> None:
        for markup in (TEXTILE, MARKDOWN):
            for written in (markup.plain(text, 5_000), markup.code(text, 5_000), markup.fence(text, 5_000)):
                inside = re.sub(r"^<(code|pre)>|</(code|pre)>$", "", written)
                assert not re.search(r"@\w|\{\{|</?(pre|code|notextile)", inside), written
        plain = TEXTILE.plain(text, 5_000)
        assert not re.search(r"#\d|\[\[|(?<!\w)r\d|user:\w|^h1\.|\":|(?<![^\s>(])[*_\-+^~%!|]", plain), plain

    def test_a_link_has_its_title_and_address(self) -> None:
        assert TEXTILE.link('Run "book"', "https://x.com/a b") == '"Run book":https://x.com/a%20b'

    def test_a_title_of_a_template_is_plain(self) -> None:
        for markup in (TextileText(), RedmineMarkdown()):
            assert markup.unescape(markup.escape("a_b @x #1 *y*")) == "a_b @x #1 *y*"

    @pytest.mark.parametrize("text_format", ["textile", "markdown"])
    async def test_a_whole_description_mentions_nobody(
        self, server: RedmineServer, http: HttpClient, clock: FakeClock, text_format: str
    ) -> None:
        channel = Counter(server, http, clock, text_format=text_format).channel
        for attack in REFERENCES:
            stored = json.loads(channel.render(make_render_request(hostile_event(attack))).content)
            for text in (stored["description"], stored["comment"]):
                assert not re.search(r"@admin|\{\{", text)


class TestCheck:
    async def results(self, counter: Counter) -> Sequence[CheckResult]:
        found = await counter.channel.check()
        assert [one for one in found if not one.ok and not one.remedy] == []
        return found

    async def test_all_that_is_needed_is_there(self, counter: Counter) -> None:
        assert [(one.ok, one.what, one.proven) for one in await self.results(counter)] == [
            (True, "redmine", True),
            (True, "project ops", True),
        ]

    async def test_a_missing_right_is_named(self, server: RedmineServer, counter: Counter) -> None:
        server.rights.remove("add_issue_notes")
        failed = (await self.results(counter))[-1]
        assert (failed.ok, failed.detail) == (False, "without the right Add notes")

    async def test_an_api_that_is_off_is_named(self, server: RedmineServer, counter: Counter) -> None:
        server.unauthorized = True
        (failed,) = await self.results(counter)
        assert "enables it" in failed.detail or "enabled the REST API" in failed.remedy

    @pytest.mark.parametrize(
        ("changes", "detail"),
        [
            ({"key_field": 9}, "ignores the filter on custom field 9"),
            ({"close_status": 2}, "close_status is 2, which is no closed status"),
            ({"reopen_status": 77}, "reopen_status is 77, which is no open status"),
            ({"tracker": 12}, "has no tracker 12"),
            ({"project": "none"}, "does not exist, or the user may not see it"),
        ],
    )
    async def test_what_does_not_fit_the_server_is_named(
        self, server: RedmineServer, http: HttpClient, clock: FakeClock, changes: dict[str, Any], detail: str
    ) -> None:
        server.plant("x")
        failed = (await self.results(Counter(server, http, clock, **changes)))[-1]
        assert (failed.ok, failed.detail) == (False, detail)
