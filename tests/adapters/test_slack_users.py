"""Who people in Slack are: their language and their groups, asked of Slack through the real slack-sdk."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from fakes import FakeClock
from servers.slack import HTML_500, NOT_JSON, RATE_LIMITED, TOKEN, Fault, SlackServer, slack_server
from timeouts import HANG_TIMEOUT

from notifier.http import HttpClient
from notifier.integrations.slack import users as directory
from notifier.integrations.slack.api import WebApi
from notifier.integrations.slack.users import (
    MAX_PROFILES,
    MAX_QUERIES,
    MEMBERS_TTL,
    PROFILE_TTL,
    QUERY_TIMEOUT,
    UserDirectory,
)

ALICE, BOB, CAROL = "U0ALICE", "U0BOB", "W0CAROL"
DBAS, ONCALL = "S0DBAS", "S0ONCALL"
SILENT = Fault(then="hang")
RESET = Fault(then="reset")


@pytest.fixture
async def slack() -> AsyncIterator[SlackServer]:
    async with slack_server() as running:
        running.scopes = "commands,users:read,usergroups:read"
        running.locales = {ALICE: "zh-CN", BOB: "en-GB", CAROL: "zh_TW"}
        running.groups = {DBAS: [ALICE], ONCALL: [BOB]}
        yield running


@pytest.fixture
async def people(slack: SlackServer, http: HttpClient, clock: FakeClock) -> AsyncIterator[UserDirectory]:
    found = UserDirectory(WebApi(http=http, url=slack.api_url, token=TOKEN), clock)
    yield found
    await found.aclose()


def asked(slack: SlackServer, method: str) -> list[str]:
    """Return whom or what a method was asked about, in order."""
    name = "user" if method == "users.info" else "usergroup"
    return [query[name] for path, query in slack.requests if path.endswith(method)]


def errors(records: io.StringIO) -> list[dict[str, str]]:
    lines = map(json.loads, records.getvalue().splitlines())
    return [line for line in lines if line["level"] == "error"]


# ---- languages ----


async def test_a_language_is_known_the_next_time(people: UserDirectory, slack: SlackServer) -> None:
    assert people.language_of(ALICE) is None
    await people.wait_idle()
    assert people.language_of(ALICE) == "zh"
    assert asked(slack, "users.info") == [ALICE]
    assert slack.requests[0][1]["include_locale"] == "true"


@pytest.mark.parametrize(("person", "language"), [(ALICE, "zh"), (BOB, "en"), (CAROL, "zh"), ("U0OTHER", "en")])
async def test_chinese_locales_read_chinese_and_all_others_english(
    people: UserDirectory, person: str, language: str
) -> None:
    people.language_of(person)
    await people.wait_idle()
    assert people.language_of(person) == language


async def test_one_question_at_a_time_is_asked_about_somebody(people: UserDirectory, slack: SlackServer) -> None:
    for _ in range(5):
        people.language_of(ALICE)
    await people.wait_idle()
    assert asked(slack, "users.info") == [ALICE]


async def test_an_old_language_serves_until_the_new_one_is_known(
    people: UserDirectory, slack: SlackServer, clock: FakeClock
) -> None:
    people.language_of(ALICE)
    await people.wait_idle()
    slack.locales[ALICE] = "en-US"
    clock.advance(timedelta(seconds=PROFILE_TTL))
    assert people.language_of(ALICE) == "zh"
    await people.wait_idle()
    assert people.language_of(ALICE) == "en"


@pytest.mark.parametrize(
    "fault", [HTML_500, NOT_JSON, RATE_LIMITED, RESET, Fault(body={"ok": True, "user": "alice"}), Fault(body="[1]")]
)
async def test_an_unknown_answer_is_no_language_for_an_hour(
    people: UserDirectory, slack: SlackServer, clock: FakeClock, fault: Fault
) -> None:
    slack.faults.append(fault)
    people.language_of(ALICE)
    await people.wait_idle()
    assert people.language_of(ALICE) is None
    clock.advance(timedelta(seconds=PROFILE_TTL - 1))
    assert people.language_of(ALICE) is None
    await people.wait_idle()
    assert asked(slack, "users.info") == [ALICE]
    clock.advance(timedelta(seconds=1))
    people.language_of(ALICE)
    await people.wait_idle()
    assert people.language_of(ALICE) == "zh"


async def test_without_the_scope_no_language_is_known(
    people: UserDirectory, slack: SlackServer, records: io.StringIO
) -> None:
    slack.scopes = "commands"
    people.language_of(ALICE)
    await people.wait_idle()
    assert people.language_of(ALICE) is None
    assert asked(slack, "users.info") == [ALICE]
    assert errors(records) == []


async def test_the_person_seen_longest_ago_is_evicted_first(
    people: UserDirectory, slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "MAX_PROFILES", 2)
    assert MAX_PROFILES > 2
    for person in (ALICE, BOB, CAROL, ALICE):
        people.language_of(person)
        await people.wait_idle()
    assert asked(slack, "users.info") == [ALICE, BOB, CAROL, ALICE]
    assert people.language_of(CAROL) == "zh"


async def test_a_person_asked_about_again_is_cached_longer(
    people: UserDirectory, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "MAX_PROFILES", 2)
    for person in (ALICE, BOB):
        people.language_of(person)
        await people.wait_idle()
    clock.advance(timedelta(seconds=PROFILE_TTL))
    for person in (ALICE, CAROL):
        people.language_of(person)
        await people.wait_idle()
    assert people.language_of(ALICE) == "zh"
    assert people.language_of(BOB) is None


async def test_many_people_make_few_questions_and_stopping_waits_for_none(
    people: UserDirectory, slack: SlackServer
) -> None:
    slack.faults += [SILENT] * 100
    for number in range(100):
        assert people.language_of(f"U{number}") is None
    assert len(people._queries) == MAX_QUERIES
    await people.aclose()
    await people.wait_idle()
    assert people._queries == {}


# ---- who may ----


@pytest.mark.parametrize(
    ("allow", "allowed"),
    [
        ([], {ALICE, BOB, CAROL}),
        ([ALICE], {ALICE}),
        ([DBAS], {ALICE}),
        ([DBAS, CAROL], {ALICE, CAROL}),
        ([DBAS, ONCALL], {ALICE, BOB}),
        (["S0UNHEARD"], set()),
    ],
)
async def test_listed_people_and_members_of_listed_groups_may_act(
    people: UserDirectory, allow: list[str], allowed: set[str]
) -> None:
    assert {person for person in (ALICE, BOB, CAROL) if await people.is_listed(person, allow)} == allowed


async def test_a_listed_person_may_act_without_a_question(people: UserDirectory, slack: SlackServer) -> None:
    slack.scopes = ""
    assert await people.is_listed(ALICE, [DBAS, ALICE])
    assert slack.requests == []


async def test_the_members_of_a_group_are_remembered_for_five_minutes(
    people: UserDirectory, slack: SlackServer, clock: FakeClock
) -> None:
    assert await people.is_listed(ALICE, [DBAS])
    slack.groups[DBAS] = [BOB]
    clock.advance(timedelta(seconds=MEMBERS_TTL - 1))
    assert await people.is_listed(ALICE, [DBAS])
    assert asked(slack, "usergroups.users.list") == [DBAS]
    clock.advance(timedelta(seconds=1))
    assert not await people.is_listed(ALICE, [DBAS])
    assert await people.is_listed(BOB, [DBAS])


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (HTML_500, "no answer that can be read"),
        (NOT_JSON, "no answer that can be read"),
        (RATE_LIMITED, "ratelimited"),
        (RESET, "connection to 127.0.0.1:PORT lost; if that port speaks TLS, write https:// instead of http://"),
        (Fault(body={"ok": True, "users": ALICE}), "no answer that can be read"),
        (
            Fault(body="x" * (directory.MAX_MEMBERS_REPLY + 1)),
            f"reply of 127.0.0.1:PORT is longer than {directory.MAX_MEMBERS_REPLY} bytes",
        ),
    ],
)
async def test_a_group_that_cannot_be_queried_has_no_members_this_time(
    people: UserDirectory, slack: SlackServer, records: io.StringIO, fault: Fault, reason: str
) -> None:
    slack.faults.append(fault)
    assert not await people.is_listed(ALICE, [DBAS])
    (error,) = errors(records)
    assert error["event"] == "chat.group_unknown"
    assert (error["group"], error["reason"]) == (DBAS, reason.replace("PORT", slack.url.rpartition(":")[2]))
    assert await people.is_listed(ALICE, [DBAS])


async def test_a_missing_scope_is_named_with_its_remedy(
    people: UserDirectory, slack: SlackServer, records: io.StringIO
) -> None:
    slack.scopes = "commands"
    assert not await people.is_listed(ALICE, [DBAS])
    (error,) = errors(records)
    assert error["reason"] == (
        "missing_scope: add the bot scope usergroups:read under OAuth & Permissions and reinstall the app"
    )


async def test_silence_is_an_error_when_its_time_is_over(
    people: UserDirectory, slack: SlackServer, records: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert QUERY_TIMEOUT <= 2
    monkeypatch.setattr(directory, "QUERY_TIMEOUT", 0.05)
    slack.faults.append(SILENT)
    assert not await people.is_listed(ALICE, [DBAS])
    (error,) = errors(records)
    assert error["reason"].endswith(" within 0.05 s")


async def test_all_groups_are_asked_about_at_once(
    people: UserDirectory, slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "QUERY_TIMEOUT", 3_600.0)
    slack.faults += [SILENT] * 2
    question = asyncio.create_task(people.is_listed(ALICE, [DBAS, ONCALL]))
    async with asyncio.timeout(HANG_TIMEOUT):
        await slack.until(lambda: len(slack.requests) == 2)
    question.cancel()
    await asyncio.gather(question, return_exceptions=True)
    assert sorted(asked(slack, "usergroups.users.list")) == [DBAS, ONCALL]


# ---- no bot ----


async def test_without_a_bot_only_the_users_on_the_list_are_known(clock: FakeClock) -> None:
    people = UserDirectory(None, clock)
    assert people.language_of(ALICE) is None
    assert await people.is_listed(ALICE, [])
    assert await people.is_listed(ALICE, [ALICE])
    assert not await people.is_listed(ALICE, [DBAS])
    await people.aclose()
