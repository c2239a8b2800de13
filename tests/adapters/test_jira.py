"""Jira: its lagging search, its transitions and their screens, documents and wiki markup, and what a check names."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from factories import HOSTILE, hostile_event, make_render_request
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from memory_tickets import wait
from pydantic import ValidationError
from servers.jira import STANDARD, JiraServer, Way, is_document, shown
from ticket_counter import DAY, Counter, failure, success

from notifier.channels.ticket_text import Facts, Links, Paragraph, Quote, Written
from notifier.core.delivery import Delivered, GaveUp, Parked, Retry, Unknown
from notifier.http import HttpClient
from notifier.integrations.jira.adf import ADF, document
from notifier.integrations.jira.settings import JiraSettings
from notifier.integrations.jira.transitions import read_transitions
from notifier.integrations.jira.wiki import WIKI
from notifier.ports import CheckResult
from notifier.wording.marks import quoted, strong

CLOUD = {"deployment": "cloud", "url": "https://x.atlassian.net", "user": "b@x.com", "token": "t", "project": "OPS"}
SERVER = {"deployment": "data_center", "url": "https://jira.x.com/jira/", "token": "t", "project": "OPS"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def server(clock: FakeClock) -> AsyncIterator[JiraServer]:
    async with JiraServer(clock.now) as made:
        yield made


class TestSearch:
    async def test_a_ticket_that_is_not_indexed_yet_is_waited_for(self, http: HttpClient, clock: FakeClock) -> None:
        async with JiraServer(clock.now, timedelta(seconds=100)) as server:
            counter = Counter(server, http, clock)
            server.faults[1] = "lost"
            waits = []
            while not isinstance(outcome := await counter.attempt(failure()), Delivered):
                assert isinstance(outcome, Retry | Unknown)
                waits.append((getattr(outcome, "after", None) or timedelta(seconds=5)).total_seconds())
                wait(clock, waits[-1])
            assert waits == [5, 10, 30, 90]
            assert len(server.tickets) == 1

    async def test_it_is_opened_again_only_after_the_lag(
        self, server: JiraServer, http: HttpClient, clock: FakeClock
    ) -> None:
        server.faults[1] = "not applied"
        began = clock.now()
        await Counter(server, http, clock).settle(failure())
        assert len(server.tickets) == 1
        assert (server.tickets[0].created_at - began).total_seconds() >= 180

    async def test_the_oldest_of_cloned_issues_is_ours(
        self, server: JiraServer, http: HttpClient, clock: FakeClock
    ) -> None:
        """Jira copies labels when somebody clones an issue."""
        counter = Counter(server, http, clock)
        server.faults[1] = "lost"
        await counter.attempt(failure())
        server.opened(dict(server.issue().fields))
        await counter.settle(failure())
        assert counter.shop.ticket is not None
        assert counter.shop.ticket.label == "OPS-1"

    async def test_an_issue_without_our_label_is_not_taken(
        self, server: JiraServer, http: HttpClient, clock: FakeClock
    ) -> None:
        """Whatever a search returns, the label in the record decides."""
        foreign = server.plant("gtb-of-somebody-else")
        server.faults[1] = "lost"
        server.ignores_labels = True
        counter = Counter(server, http, clock)
        await counter.attempt(failure())
        await counter.settle(failure())
        assert foreign.comments == []
        assert counter.shop.ticket is not None
        assert counter.shop.ticket.label != "OPS-1"

    async def test_a_comment_is_found_among_many(self, server: JiraServer, http: HttpClient, clock: FakeClock) -> None:
        counter = Counter(server, http, clock)
        await counter.attempt(failure())
        for _ in range(150):
            await counter.channel.comment(server.issue().id, "", "gtc-old")
        await counter.channel.comment(server.issue().id, "", "gtc-new")
        assert await counter.channel.has_comment(server.issue().id, "gtc-new")
        assert not await counter.channel.has_comment(server.issue().id, "gtc-never")

    async def test_a_state_that_was_not_learned_does_not_keep_it_open(
        self, server: JiraServer, http: HttpClient, clock: FakeClock
    ) -> None:
        """The reply to a creation has no state, and the account may see issues only later."""
        counter = Counter(server, http, clock)
        server.reader = False
        await counter.attempt(failure())
        server.reader = True
        assert isinstance(await counter.attempt(success()), Delivered)
        assert server.issue().closed


class TestTransitions:
    async def test_none_is_taken_where_the_state_is_right_already(
        self, server: JiraServer, http: HttpClient, clock: FakeClock
    ) -> None:
        """A person was quicker."""
        counter = Counter(server, http, clock)
        await counter.attempt(failure())
        ref = server.issue().id
        assert not (await counter.channel.reopen(ref)).closed
        server.issue().closed = True
        assert (await counter.channel.close(ref, "fixed")).closed
        assert server.issue().status == "Won't Do"

    def test_a_field_with_a_default_is_not_missing(self) -> None:
        fields = {
            "resolution": {"required": True, "hasDefaultValue": True},
            "team": {"required": True, "hasDefaultValue": False},
            "comment": {"required": False},
        }
        found = read_transitions({"transitions": [{"id": "5", "name": "Finish", "fields": fields}]})
        assert found is not None
        assert found[0].missing({}) == ["team"]
        assert found[0].missing({"team": "x"}) == []

    async def test_one_that_needs_nothing_goes_first(
        self, server: JiraServer, http: HttpClient, clock: FakeClock
    ) -> None:
        counter = Counter(server, http, clock)
        await counter.attempt(failure(), success())
        assert server.issue().status == "Done"

    @pytest.mark.parametrize("wanted", ["Reject", "41"])
    async def test_the_configured_one_is_taken(
        self, server: JiraServer, http: HttpClient, clock: FakeClock, wanted: str
    ) -> None:
        fields = {"resolution": {"name": "Done"}}
        counter = Counter(server, http, clock, close_transition=wanted, close_fields=fields)
        await counter.attempt(failure(), success())
        assert server.issue().state == "Won't Do"

    async def test_fields_that_the_screen_does_not_have_are_left_out(
        self, server: JiraServer, http: HttpClient, clock: FakeClock
    ) -> None:
        counter = Counter(server, http, clock, close_fields={"resolution": {"name": "Done"}, "customfield_1": "x"})
        server.workflow = {**STANDARD, "To Do": [Way("9", "Done!", "Done", {"resolution": True, "assignee": False})]}
        assert isinstance(await counter.attempt(failure(), success()), Delivered)
        assert server.issue().closed

    async def test_a_field_that_is_missing_is_named(
        self, server: JiraServer, http: HttpClient, clock: FakeClock
    ) -> None:
        counter = Counter(server, http, clock)
        server.workflow = {**STANDARD, "To Do": [Way("9", "Done!", "Done", {"resolution": True})]}
        outcome = await counter.attempt(failure(), success())
        assert outcome == GaveUp(
            "OPS-1: the transition Done! needs resolution; set close_fields", ticket=outcome.ticket
        )
        assert len(server.issue().comments) == 1

    async def test_a_workflow_that_has_no_way_out_is_named(
        self, server: JiraServer, http: HttpClient, clock: FakeClock
    ) -> None:
        counter = Counter(server, http, clock)
        server.rights["TRANSITION_ISSUES"] = False
        outcome = await counter.attempt(failure(), success())
        assert isinstance(outcome, GaveUp)
        assert outcome.reason.startswith("OPS-1 is To Do and has no transition that closes it")

    async def test_a_configured_one_that_does_not_close_is_named(
        self, server: JiraServer, http: HttpClient, clock: FakeClock
    ) -> None:
        counter = Counter(server, http, clock, close_transition="Start")
        outcome = await counter.attempt(failure(), success())
        assert isinstance(outcome, GaveUp)
        assert outcome.reason == "OPS-1 is In Progress: the transition Start is not one that closes it"

    async def test_an_issue_that_cannot_be_reopened_is_followed_by_a_new_one(
        self, server: JiraServer, http: HttpClient, clock: FakeClock
    ) -> None:
        counter = Counter(server, http, clock)
        await counter.attempt(failure(), success())
        server.issue().move("Archived")
        wait(counter.clock, 60)
        assert isinstance(await counter.attempt(failure(10)), Delivered)
        assert [ticket.closed for ticket in server.tickets] == [True, False]
        link = server.issue(1).fields["description"]["content"][-1]["content"][1]
        assert (link["text"], link["marks"][0]["attrs"]["href"]) == ("OPS-1", server.url("/jira/browse/OPS-1"))


class TestFields:
    async def test_severities_have_their_own(self, server: JiraServer, http: HttpClient, clock: FakeClock) -> None:
        projects = {"critical": "DBA", "error": "DBA", "warning": "OPS", "info": "OPS"}
        changes = {
            "project": projects,
            "priority": {"error": "High", "warning": "Low"},
            "assignee": "5b10",
            "labels": ["data base", "gauss"],
            "fields": {"labels": ["more"], "components": [{"name": "db"}]},
            "issue_type": "10001",
        }
        await Counter(server, http, clock, **changes).attempt(failure())
        fields = server.issue().fields
        assert fields["project"] == {"key": "DBA"}
        assert fields["priority"] == {"name": "High"}
        assert fields["assignee"] == {"id": "5b10"}
        assert fields["issuetype"] == {"id": "10001"}
        assert fields["components"] == [{"name": "db"}]
        *labels, key = fields["labels"]
        assert labels == ["data_base", "gauss", "more"]
        assert re.fullmatch("gtb-[a-z2-7]{20}", key)

    async def test_a_field_that_is_refused_parks_the_channel_and_is_named(
        self, server: JiraServer, http: HttpClient, clock: FakeClock
    ) -> None:
        server.required = ["team"]
        outcome = await Counter(server, http, clock, priority="Whatever").attempt(failure())
        assert isinstance(outcome, Parked)
        assert outcome.reason.startswith("HTTP 400: Jira refuses priority, team; check the settings")

    async def test_data_center_calls_people_by_name(self, http: HttpClient, clock: FakeClock) -> None:
        async with JiraServer(clock.now, deployment="data_center") as server:
            await Counter(server, http, clock, assignee="zhang.san").attempt(failure())
        assert server.issue().fields["assignee"] == {"name": "zhang.san"}


class TestSettings:
    @pytest.mark.parametrize(
        ("values", "key"),
        [
            (CLOUD | {"user": None}, "user"),
            (SERVER | {"cloud_id": "1-2"}, "cloud_id"),
            (CLOUD | {"project": {"error": "OPS"}}, "project"),
            (CLOUD | {"url": "http://jira.example.com"}, "url"),
            ({name: value for name, value in CLOUD.items() if name != "deployment"}, "deployment"),
        ],
    )
    def test_what_does_not_fit_is_named(self, values: dict[str, Any], key: str) -> None:
        with pytest.raises(ValidationError) as caught:
            JiraSettings.model_validate({"name": "ops", "kind": "jira"} | values)
        assert [error["loc"] for error in caught.value.errors()] == [(key,)]

    async def test_a_scoped_token_at_the_address_of_the_site_is_explained(
        self, http: HttpClient, clock: FakeClock
    ) -> None:
        async with JiraServer(clock.now, scoped=True) as server:
            counter = Counter(server, http, clock, cloud_id=None)
            outcome = await counter.attempt(failure())
            results = await counter.channel.check()
        assert isinstance(outcome, Parked)
        assert "cloud_id" in outcome.reason
        assert ["cloud_id" in one.remedy for one in results] == [True]


class TestCheck:
    async def results(
        self, server: JiraServer, http: HttpClient, clock: FakeClock, **changes: Any
    ) -> Sequence[CheckResult]:
        found = await Counter(server, http, clock, **changes).channel.check()
        assert server.tickets == []
        return found

    @pytest.mark.parametrize("deployment", ["cloud", "data_center"])
    async def test_all_that_is_needed_is_there(self, http: HttpClient, clock: FakeClock, deployment: Any) -> None:
        async with JiraServer(clock.now, deployment=deployment) as server:
            found = await self.results(server, http, clock)
        assert [(one.ok, one.what, one.detail) for one in found] == [
            (True, "jira", "logged in as GaussDB bot"),
            (True, "project OPS", "may browse, create, comment and close"),
        ]

    @pytest.mark.parametrize(
        ("right", "name"), [("ADD_COMMENTS", "Add Comments"), ("TRANSITION_ISSUES", "Transition Issues")]
    )
    async def test_a_missing_right_is_named(
        self, server: JiraServer, http: HttpClient, clock: FakeClock, right: str, name: str
    ) -> None:
        server.rights[right] = False
        failed = (await self.results(server, http, clock))[-1]
        assert (failed.ok, failed.detail) == (False, f"without the right {name}")

    async def test_a_field_that_nobody_sets_is_named(
        self, server: JiraServer, http: HttpClient, clock: FakeClock
    ) -> None:
        server.required = ["customfield_7"]
        failed = (await self.results(server, http, clock))[-1]
        assert (failed.ok, failed.detail) == (False, "issue type Task needs the fields customfield_7 (Customfield_7)")
        assert (await self.results(server, http, clock, fields={"customfield_7": "x"}))[-1].ok

    async def test_an_unknown_type_or_project_is_named(
        self, server: JiraServer, http: HttpClient, clock: FakeClock
    ) -> None:
        failed = (await self.results(server, http, clock, issue_type="Störung"))[-1]
        assert (failed.ok, failed.remedy) == (False, "set issue_type to one of: Bug, Task")
        failed = (await self.results(server, http, clock, project="NONE"))[-1]
        assert not failed.ok
        assert failed.what == "project NONE"

    @pytest.mark.parametrize(
        ("day", "told"), [("2026-01-14", [(False, True)]), ("2026-01-20", [(True, False)]), ("2026-03-01", [])]
    )
    async def test_the_end_of_a_token_is_told_before(
        self, server: JiraServer, http: HttpClient, clock: FakeClock, day: str, told: list[tuple[bool, bool]]
    ) -> None:
        found = [one for one in await self.results(server, http, clock, token_expires=day) if one.what == "token"]
        assert [(one.ok, one.proven) for one in found] == told


class TestDocuments:
    BLOCKS = (
        Paragraph(f"{quoted('a*b')} failed, {strong('at once')}"),
        Quote("one\n\ntwo {x}"),
        Facts((("Job", "[~admin]"), ("", ""))),
        Links((("Console", "https://x.com/a"),)),
        Written("first\nsecond\n \nthird"),
    )

    def test_blocks_become_nodes(self) -> None:
        nodes = json.loads(ADF.write(self.BLOCKS))["content"]
        assert [node["type"] for node in nodes] == [
            "paragraph",
            "blockquote",
            "bulletList",
            "bulletList",
            "paragraph",
            "paragraph",
        ]
        assert is_document({"type": "doc", "version": 1, "content": nodes})
        assert nodes[0]["content"][0] == {"type": "text", "text": "a*b", "marks": [{"type": "code"}]}
        assert shown(nodes[-2]) == "first\nsecond"

    def test_nothing_to_show_makes_no_node(self) -> None:
        nothing = (Paragraph(""), Quote(" "), Facts(()), Links(()), Written("\n\n"))
        assert json.loads(ADF.write(nothing))["content"] == []

    def test_a_mark_and_notes_stand_at_the_end(self) -> None:
        found = document(ADF.write(self.BLOCKS), ["see OPS-1, or AB_C-20."], browse="https://b/", mark="gtc-x")
        *_, note, mark = found["content"]
        assert shown(note) == "see OPS-1, or AB_C-20."
        links = [one["marks"][0]["attrs"]["href"] for one in note["content"] if "marks" in one]
        assert links == ["https://b/OPS-1", "https://b/AB_C-20"]
        assert mark["content"][0]["marks"] == [{"type": "code"}]

    @given(st.text(), st.text())
    def test_any_text_makes_a_document_that_is_taken(self, text: str, more: str) -> None:
        written = ADF.write([Paragraph(text), Quote(more), Facts(((text, more),)), Written(more)])
        assert is_document(document(written, [text], browse="https://b/"))


class TestWiki:
    @pytest.mark.parametrize("text", [*HOSTILE, "[~admin]", "{noformat}[~admin]{noformat}", "{NoFormat}x", "a\\{b}"])
    def test_nothing_from_outside_is_markup(self, text: str) -> None:
        plain = WIKI.plain(text, 10_000)
        assert not re.search(r"(?<!\\)[\[\]{}!|*_^~+?#-]", plain)
        assert not re.search(r"(?<!\\)(\\\\)+$", plain)
        for written in (plain, WIKI.code(text, 10_000), WIKI.fence(text, 10_000), WIKI.block_quote(text, 10_000)):
            assert "[~" not in written
        fence = WIKI.fence(text, 10_000)
        assert len(re.findall(r"\{noformat\}", fence, re.IGNORECASE)) == 2

    def test_a_link_keeps_its_address(self) -> None:
        assert WIKI.link("Run book", "https://x.com/a|b]") == "[Run book|https://x.com/a%7Cb%5D]"

    async def test_a_whole_description_mentions_nobody(self, http: HttpClient, clock: FakeClock) -> None:
        async with JiraServer(clock.now, deployment="data_center") as server:
            counter = Counter(server, http, clock)
            body = counter.channel.render(make_render_request(hostile_event("[~admin] {code}!http://x/y.png!")))
        stored = json.loads(body.content)
        assert "[~" not in stored["description"] + stored["comment"] + stored["resolution"]


async def test_a_failure_after_the_window_names_the_old_issue(
    server: JiraServer, http: HttpClient, clock: FakeClock
) -> None:
    counter = Counter(server, http, clock, reopen_within="1d")
    await counter.attempt(failure(), success())
    wait(counter.clock, 2 * DAY)
    await counter.attempt(failure(10))
    assert [server.issue(number).key for number in (0, 1)] == ["OPS-1", "OPS-2"]
