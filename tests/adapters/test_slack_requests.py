"""Requests from Slack are parsed and answered; replies to clicks are posted over a real socket."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import pytest
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from servers.http import HttpServer, flood, reply
from servers.slack import (
    CHANNEL,
    HTML_500,
    TOKEN,
    Fault,
    Json,
    SlackServer,
    click_payload,
    command_form,
    mrkdwn_texts,
    problems,
    slack_server,
)
from timeouts import HANG_TIMEOUT

from notifier.chat.ports import BadRequest, PermissionCheck
from notifier.chat.requests import Button, ButtonAction, ChatReply, ClickRequest, CommandRequest
from notifier.core.people import Person
from notifier.http import HttpClient
from notifier.integrations.slack import chat as slack
from notifier.integrations.slack.api import MAX_API_REPLY, WebApi
from notifier.integrations.slack.chat import (
    ANSWER_TIMEOUT,
    MAX_FIELD,
    MAX_REPLIES,
    RESPONSE_HOSTS,
    SlackChat,
    SlackChatRules,
)
from notifier.integrations.slack.users import UserDirectory
from notifier.wording.phrases import Language

HOOKS = "https://hooks.slack.com/actions/T000/1/obviously-fake"
RESET = Fault(then="reset")


@dataclass(slots=True)
class FakeResponder:
    """Records requests and returns the reply that a test sets."""

    gives: ChatReply | None = field(default_factory=lambda: ChatReply(title="All is well"))
    before: Callable[[PermissionCheck], Awaitable[None]] | None = None
    """What happens before it answers."""
    asked: list[tuple[CommandRequest | ClickRequest, Language]] = field(default_factory=list)

    async def answer(
        self, request: CommandRequest | ClickRequest, language: Language, allowed: PermissionCheck
    ) -> ChatReply | None:
        self.asked.append((request, language))
        if self.before:
            await self.before(allowed)
        return self.gives


@dataclass(slots=True, kw_only=True)
class Harness:
    """A handler between a Slack and a responder."""

    slack: SlackServer
    responder: FakeResponder
    people: UserDirectory
    handler: SlackChat

    async def click(self, action: str = ButtonAction.DETAILS, value: str = "prod/job-1", **other: object) -> None:
        payload = click_payload(action, value, "U0ALICE", self.slack.response_url)
        await self.handler.interaction(payload | other, None)

    async def reply(self) -> Json:
        async with asyncio.timeout(HANG_TIMEOUT):
            return await self.slack.replies.get()

    async def settle(self) -> None:
        """Wait until no reply is on its way."""
        await asyncio.gather(*self.handler._replies)

    @property
    def posts(self) -> int:
        """How often something was posted to a response_url."""
        return sum(path.startswith("/response") for path, _ in self.slack.requests)


Build = Callable[..., Harness]


@pytest.fixture
async def build(http: HttpClient, clock: FakeClock) -> AsyncIterator[Build]:
    built: list[Harness] = []
    async with slack_server() as server:
        server.scopes = "users:read,usergroups:read"
        server.locales = {"U0ALICE": "zh-CN"}
        server.groups = {"S0DBAS": ["U0ALICE"]}

        def make(
            language: Language = "en",
            allow: tuple[str, ...] = (),
            *,
            bot: bool = True,
            workspaces: tuple[str, ...] = (),
            guests: bool = False,
        ) -> Harness:
            people = UserDirectory(
                WebApi(http=http, url=server.api_url, token=TOKEN) if bot else None, clock, workspaces
            )
            responder = FakeResponder()
            hosts = RESPONSE_HOSTS | {"127.0.0.1"}
            rules = SlackChatRules(language=language, allow=allow, guests=guests, response_hosts=hosts)
            handler = SlackChat(responder, people, http, rules)
            built.append(Harness(slack=server, responder=responder, people=people, handler=handler))
            return built[-1]

        yield make
        for harness in built:
            await harness.handler.aclose()
            await harness.people.aclose()


@pytest.fixture
def harness(build: Build) -> Harness:
    """Return one that asks Slack nothing."""
    return build(bot=False)


def form(**fields: str | None) -> dict[str, str]:
    """Return a command as Slack sends it, with other fields, and without those that are None."""
    whole = command_form("failed 24h", "U0ALICE", HOOKS) | fields
    return {name: value for name, value in whole.items() if value is not None}


def shown_text(message: Json) -> str:
    return "\n".join(mrkdwn_texts(message))


def warnings(records: io.StringIO) -> list[dict[str, object]]:
    lines = map(json.loads, records.getvalue().splitlines())
    return [line for line in lines if line["level"] == "warning"]


# ---- commands ----


async def test_a_command_is_answered_to_its_sender_alone(harness: Harness) -> None:
    harness.responder.gives = ChatReply(title="All is well", command="status", after=10)
    message = await harness.handler.command(form(), "key")
    alice = Person(id="U0ALICE", name="alice")
    asked = CommandRequest(text="failed 24h", person=alice, channel=CHANNEL, replay_key="key")
    assert harness.responder.asked == [(asked, "en")]
    assert message["response_type"] == "ephemeral"
    assert (message["text"], shown_text(message)) == ("All is well", "*All is well*")
    assert list(problems(message)) == []


async def test_what_is_shared_is_for_all_in_the_channel(harness: Harness) -> None:
    harness.responder.gives = ChatReply(title="All is well", shared=True)
    assert (await harness.handler.command(form(), None))["response_type"] == "in_channel"


async def test_the_command_may_be_called_otherwise_and_have_no_words(harness: Harness) -> None:
    await harness.handler.command(form(command="/gaussdb-staging", text=""), None)
    ((request, _),) = harness.responder.asked
    assert isinstance(request, CommandRequest)
    assert request.text == ""


@pytest.mark.parametrize("name", ["command", "text", "user_id"])
async def test_a_field_that_is_missing_is_named_and_nothing_is_done(harness: Harness, name: str) -> None:
    with pytest.raises(BadRequest, match=f"^The field {name} is missing.$"):
        await harness.handler.command(form(**{name: None}), None)
    assert (harness.responder.asked, harness.slack.requests) == ([], [])


@pytest.mark.parametrize("name", ["command", "text", "user_id"])
@pytest.mark.parametrize("value", ["x" * (MAX_FIELD + 1), "a\0b"])
async def test_a_field_that_slack_would_not_send_is_named(harness: Harness, name: str, value: str) -> None:
    with pytest.raises(BadRequest, match=f"^The field {name} is too long, or holds a NUL character.$"):
        await harness.handler.command(form(**{name: value}), None)
    assert harness.responder.asked == []


@pytest.mark.parametrize(
    ("name", "shown"), [(None, "U0ALICE"), ("", "U0ALICE"), ("  ", "U0ALICE"), ("a\nb\x1b[31m", "a b")]
)
async def test_a_name_is_one_line_and_the_id_replaces_a_missing_name(
    harness: Harness, name: str | None, shown: str
) -> None:
    await harness.handler.command(form(user_name=name), None)
    ((request, _),) = harness.responder.asked
    assert request.person == Person(id="U0ALICE", name=shown)


async def test_a_language_that_is_not_known_yet_keeps_nobody_waiting(build: Build) -> None:
    harness = build("en")
    harness.slack.faults.append(Fault(then="hang"))
    await harness.handler.command(form(), None)
    assert [language for _, language in harness.responder.asked] == ["en"]


async def test_a_known_language_is_used_for_commands_and_clicks(build: Build) -> None:
    harness = build()
    await harness.handler.command(form(), None)
    await harness.people.wait_idle()
    await harness.handler.command(form(), None)
    await harness.click()
    assert [language for _, language in harness.responder.asked] == ["en", "zh", "zh"]


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", "Still working on it: the answer follows here"), ("zh", "仍在处理，结果稍后会发到这里")],
)
async def test_what_takes_longer_goes_on_and_its_answer_follows(
    build: Build, monkeypatch: pytest.MonkeyPatch, language: Language, words: str
) -> None:
    assert ANSWER_TIMEOUT < 3
    monkeypatch.setattr(slack, "ANSWER_TIMEOUT", 0.0)
    harness = build(language, bot=False)
    free = asyncio.Event()

    async def locked(_: PermissionCheck) -> None:
        await free.wait()

    harness.responder.before = locked
    message = await harness.handler.command(form(response_url=harness.slack.response_url), None)
    assert shown_text(message) == f"⚠️ {words}"
    await harness.click(ButtonAction.PAGE_AFTER, "10:failed 24h")
    assert harness.posts == 0
    free.set()
    replies = [await harness.reply() for _ in "12"]
    assert [shown_text(reply) for reply in replies] == ["*All is well*"] * 2
    assert {reply["replace_original"] for reply in replies} == {False, True}
    assert {reply["response_type"] for reply in replies} == {"ephemeral"}


@pytest.mark.parametrize("url", [None, "", "https://example.com/x", "http://hooks.slack.com/x"])
async def test_an_answer_that_comes_too_late_goes_nowhere_but_to_slack(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    monkeypatch.setattr(slack, "ANSWER_TIMEOUT", 0.0)
    free = asyncio.Event()
    harness.responder.before = lambda _: wait_for(free)
    message = await harness.handler.command(form(response_url=url), None)
    assert shown_text(message) == "⚠️ Still working on it. Ask again in a moment"
    free.set()
    await asyncio.gather(*harness.handler._working)
    await harness.settle()
    assert harness.posts == 0


async def wait_for(event: asyncio.Event) -> None:
    await event.wait()


async def test_a_caller_that_stops_waiting_does_not_end_a_command(harness: Harness) -> None:
    begun, free = asyncio.Event(), asyncio.Event()

    async def locked(_: PermissionCheck) -> None:
        begun.set()
        await free.wait()

    harness.responder.before = locked
    caller = asyncio.create_task(harness.handler.command(form(), None))
    await begun.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    (work,) = harness.handler._working
    free.set()
    assert await work == harness.responder.gives


async def test_requests_that_pile_up_are_turned_away(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack, "ANSWER_TIMEOUT", 0.0)
    monkeypatch.setattr(slack, "MAX_RUNNING", 2)
    harness.responder.before = lambda _: wait_for(asyncio.Event())
    for _ in "12":
        await harness.handler.command(form(), None)
    monkeypatch.setattr(slack, "ANSWER_TIMEOUT", HANG_TIMEOUT)
    message = await harness.handler.command(form(), None)
    assert shown_text(message) == "⚠️ Too many requests are waiting, so nothing was done. Try again in a moment"
    assert len(harness.responder.asked) == 2


async def test_what_fails_after_nobody_waits_any_more_is_logged(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, records: io.StringIO
) -> None:
    monkeypatch.setattr(slack, "ANSWER_TIMEOUT", 0.0)

    async def fail(_: PermissionCheck) -> None:
        raise ValueError("of a test")

    harness.responder.before = fail
    await harness.click()
    await asyncio.gather(*harness.handler._working, return_exceptions=True)
    await asyncio.sleep(0)
    assert "chat.request_failed" in records.getvalue()
    assert harness.posts == 0


@pytest.mark.parametrize(
    ("allow", "allowed"), [((), True), (("U0ALICE",), True), (("S0DBAS",), True), (("U0BOB", "S0OTHER"), False)]
)
async def test_the_responder_can_ask_whether_a_person_may_act(
    build: Build, allow: tuple[str, ...], *, allowed: bool
) -> None:
    harness = build("en", allow)
    heard: list[bool] = []

    async def ask(may: PermissionCheck) -> None:
        heard.append(await may())

    harness.responder.before = ask
    await harness.handler.command(form(), None)
    await harness.click()
    assert heard == [allowed, allowed]


# ---- people of other workspaces, and guests ----


@dataclass(slots=True)
class Case:
    """Somebody who tries to change something."""

    team: str | None = "T000"
    user: Json = field(default_factory=lambda: {"team_id": "T000"})
    """What Slack says of them."""
    enterprise: str = ""
    workspaces: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    guests: bool = False
    scopes: str = "users:read,usergroups:read"
    fault: Fault | None = None
    """What becomes of the question who they are."""


FOREIGN = {"team_id": "T0OTHER", "is_stranger": True}
GUEST = {"team_id": "T000", "is_restricted": True}
GRID = {"team_id": "T0SISTER", "enterprise_user": {"enterprise_id": "E000"}}
OTHER_WORKSPACE = "You belong to another workspace than this notifier. Ask its operator"
GUEST_REFUSED = "Guests of this workspace may not do this. Ask the operator of this notifier"
UNSURE_REFUSED = "Slack could not confirm who you are, so nothing was changed. Try again soon"
WAITS = Fault(status=500)


@pytest.mark.parametrize(
    ("case", "refused", "read"),
    [
        (Case(), None, True),
        (Case(team=None), None, True),
        (Case(team="T0OTHER", user=FOREIGN), OTHER_WORKSPACE, False),
        (Case(team="T0OTHER", user=FOREIGN, scopes=""), OTHER_WORKSPACE, False),
        (Case(team="T0OTHER", user=FOREIGN, fault=WAITS), OTHER_WORKSPACE, False),
        (Case(team="T0OTHER", user=FOREIGN, guests=True), OTHER_WORKSPACE, False),
        (Case(team="T0OTHER", user=FOREIGN, workspaces=("T000", "T0OTHER"), guests=True), None, True),
        (Case(team="T000", workspaces=("T0OTHER",)), OTHER_WORKSPACE, False),
        (Case(team="T0OTHER", user=FOREIGN, allow=("U0ALICE",)), None, True),
        (Case(team="T0OTHER", user=FOREIGN, allow=("U0BOB",)), OTHER_WORKSPACE, False),
        (Case(team="T0SISTER", user=GRID, workspaces=("E000",)), None, True),
        (Case(team="T0SISTER", user=GRID), OTHER_WORKSPACE, False),
        (Case(user=GUEST), GUEST_REFUSED, True),
        (Case(user={"team_id": "T000", "is_ultra_restricted": True}), GUEST_REFUSED, True),
        (Case(user=GUEST, guests=True), None, True),
        (Case(user=GUEST, allow=("U0ALICE",)), None, True),
        (Case(user=GUEST, scopes="commands"), None, True),
        (Case(fault=WAITS), UNSURE_REFUSED, True),
    ],
)
async def test_strangers_get_nothing_and_guests_change_nothing_by_default(
    build: Build, case: Case, refused: str | None, *, read: bool
) -> None:
    harness = build("en", case.allow, workspaces=case.workspaces, guests=case.guests)
    harness.slack.scopes = case.scopes
    harness.slack.users, harness.slack.locales = {"U0ALICE": case.user}, {}
    await harness.people.fetch_workspace()
    harness.slack.broken_methods = {"users.info": case.fault} if case.fault else {}
    changing = False

    async def ask(may: PermissionCheck) -> None:
        if changing and not await may():
            harness.responder.gives = ChatReply(title="no", ok=False)

    harness.responder.before = ask
    asked = form(team_id=case.team)
    user = {"id": "U0ALICE", "username": "alice"} | ({"team_id": case.team} if case.team else {})
    await harness.click(user=user)
    answers = [shown_text(await harness.handler.command(asked, None)), shown_text(await harness.reply())]
    assert answers == (["*All is well*"] * 2 if read else [f"⚠️ {OTHER_WORKSPACE}"] * 2)
    changing = True
    await harness.click(ButtonAction.ACKNOWLEDGE, "event-1", user=user)
    changes = [shown_text(await harness.handler.command(asked, None)), shown_text(await harness.reply())]
    assert changes == ([f"⚠️ {refused}"] * 2 if refused else ["*All is well*"] * 2)


async def test_a_command_from_another_workspace_of_the_organization_is_ours(build: Build) -> None:
    harness = build("en", workspaces=("E000",))
    message = await harness.handler.command(form(team_id="T0SISTER", enterprise_id="E000"), None)
    assert shown_text(message) == "*All is well*"


async def test_the_bots_workspace_is_learned_and_people_can_read_before(build: Build) -> None:
    harness = build("en")
    harness.slack.users, harness.slack.locales = {"U0ALICE": FOREIGN}, {}
    foreign = form(team_id="T0OTHER")
    harness.slack.broken_methods = {"auth.test": WAITS}
    assert shown_text(await harness.handler.command(foreign, None)) == "*All is well*"
    await harness.people.wait_idle()
    harness.slack.broken_methods = {}
    await harness.handler.command(foreign, None)
    await harness.people.wait_idle()
    assert shown_text(await harness.handler.command(foreign, None)) == f"⚠️ {OTHER_WORKSPACE}"


# ---- clicks ----


async def test_a_click_is_handled_and_answered_at_slacks_address(harness: Harness) -> None:
    await harness.handler.interaction(
        click_payload("details", "prod/job-1", "U0ALICE", harness.slack.response_url), "key"
    )
    alice = Person(id="U0ALICE", name="alice")
    clicked = ClickRequest(
        button=Button(ButtonAction.DETAILS, "prod/job-1"), person=alice, message=f"{CHANNEL}:1768465800.000001"
    )
    assert harness.responder.asked[0][0] == replace(clicked, replay_key="key")
    message = await harness.reply()
    assert shown_text(message) == "*All is well*"
    assert (message["response_type"], message["replace_original"]) == ("ephemeral", False)


async def test_what_was_chosen_from_a_menu_is_its_value(harness: Harness) -> None:
    await harness.click(ButtonAction.MUTE, "2h:event-1")
    ((request, _),) = harness.responder.asked
    assert isinstance(request, ClickRequest)
    assert request.button == Button(ButtonAction.MUTE, "event-1", "2h")


async def test_another_page_takes_the_place_of_the_one_before(harness: Harness) -> None:
    for action in (ButtonAction.PAGE_BEFORE, ButtonAction.PAGE_AFTER):
        await harness.click(action, "10:failed 24h")
        assert (await harness.reply())["replace_original"] is True


async def test_sharing_shows_it_to_all_and_leaves_what_was_there(harness: Harness) -> None:
    harness.responder.gives = ChatReply(title="All is well", shared=True)
    await harness.click(ButtonAction.SHARE, "0:status")
    message = await harness.reply()
    assert (message["response_type"], message["replace_original"]) == ("in_channel", False)


async def test_an_empty_answer_posts_nothing(harness: Harness) -> None:
    harness.responder.gives = None
    await harness.click(ButtonAction.CONSOLE, "")
    await harness.settle()
    assert (len(harness.responder.asked), harness.posts) == (1, 0)


async def test_nobody_waits_for_a_reply_to_arrive(harness: Harness) -> None:
    harness.slack.faults.append(Fault(then="hang"))
    await harness.click()
    assert harness.slack.requests == []  # it has not even left


@pytest.mark.parametrize("kind", ["view_submission", "shortcut", "message_action", None, 7])
async def test_other_kinds_of_interaction_are_taken_and_ignored(harness: Harness, kind: object) -> None:
    await harness.click(type=kind)
    assert harness.responder.asked == []


BAD_CLICKS: list[tuple[Json, str]] = [
    ({"user": None}, "user is missing"),
    ({"user": "U0ALICE"}, "user is missing"),
    ({"user": {}}, "id is missing"),
    ({"user": {"id": 7}}, "id is missing"),
    ({"actions": None}, "actions is missing"),
    ({"actions": []}, "actions is missing"),
    ({"actions": ["details"]}, "actions is missing"),
    ({"actions": [{"value": "x"}]}, "action_id is missing"),
    ({"actions": [{"action_id": "details", "value": 7}]}, "value is not text"),
    ({"actions": [{"action_id": "details", "value": "a\0b"}]}, "value is not text"),
    ({"actions": [{"action_id": "mute", "selected_option": {}}]}, "value is not text"),
    ({"response_url": None}, "response_url is missing"),
    ({"response_url": ["https://hooks.slack.com/"]}, "response_url is missing"),
    ({"response_url": "https://hooks.slack.com/" + "x" * MAX_FIELD}, "response_url is missing"),
]


@pytest.mark.parametrize(("other", "problem"), BAD_CLICKS, ids=[problem for _, problem in BAD_CLICKS])
async def test_a_click_that_slack_would_not_send_is_refused_first(harness: Harness, other: Json, problem: str) -> None:
    with pytest.raises(BadRequest, match=problem):
        await harness.click(**other)
    assert harness.responder.asked == []


# ---- where replies go ----

ELSEWHERE = [
    "",
    "hooks.slack.com",
    "//hooks.slack.com/x",
    "http://hooks.slack.com/x",
    "ftp://hooks.slack.com/x",
    "https://hooks.slack.com:8443/x",
    "https://hooks.slack.com:port/x",
    "https://hooks.slack.com:99999/x",
    "https://hooks.slack.com:-1/x",
    "https://hooks.slack.com.example.com/x",
    "https://hooks.slack.com@example.com/x",
    "https://hooks.slack.com\\@example.com/x",
    "https://example.com/hooks.slack.com",
    "https://example.com#@hooks.slack.com/",
    "https://example.com?@hooks.slack.com/",
    "https://xhooks.slack.com/x",
    "https://slack.com/x",
    "https://169.254.169.254/latest",
    "https://[::1]/x",
    "https://[hooks.slack.com/x",
    "https://localhost/x",
    "file:///etc/passwd",
    "https://hooks.slack.com。example.com/x",
    "ftp://127.0.0.1/x",
    "https://user:password@hooks.slack.com/x",
]


@pytest.mark.parametrize("url", ELSEWHERE)
async def test_a_reply_to_any_other_address_than_slack_is_refused(harness: Harness, url: str) -> None:
    with pytest.raises(BadRequest, match=r"^The field response_url (leads elsewhere|is missing).$"):
        await harness.click(response_url=url)
    assert harness.responder.asked == []


@pytest.mark.parametrize(
    "url",
    [HOOKS, "https://hooks.slack-gov.com/actions/T/1/x", "https://hooks.slack.com:443/x", "HTTPS://HOOKS.SLACK.COM/x"],
)
async def test_slacks_own_addresses_are_taken(harness: Harness, url: str) -> None:
    harness.responder.gives = None
    await harness.click(response_url=url)
    assert len(harness.responder.asked) == 1


PIECES = ["https://", "http:", "hooks.slack.com", "example.com", *"/\\@:#?.[]%\t\n 。", "443", "user"]


@given(st.lists(st.sampled_from(PIECES), max_size=7).map("".join))
def test_an_accepted_url_is_slacks_for_other_url_readers_too(rest: str) -> None:
    url = f"https://hooks.slack.com{rest}"
    if slack._is_response_url(url, RESPONSE_HOSTS):
        assert urlsplit(url).hostname == "hooks.slack.com"


# ---- replies that do not arrive ----


async def test_a_reply_that_was_lost_is_posted_once_more(harness: Harness, records: io.StringIO) -> None:
    harness.slack.faults.append(RESET)
    await harness.click()
    assert shown_text(await harness.reply()) == "*All is well*"
    await harness.settle()
    assert (harness.posts, warnings(records)) == (2, [])


async def test_a_reply_that_is_lost_twice_is_given_up_and_logged(harness: Harness, records: io.StringIO) -> None:
    harness.slack.faults += [RESET] * 3
    await harness.click()
    await harness.settle()
    (warning,) = warnings(records)
    assert (harness.posts, warning["event"]) == (2, "chat.reply_failed")
    assert "obviously-fake" not in records.getvalue()


async def test_a_reply_that_is_refused_is_not_posted_again(harness: Harness, records: io.StringIO) -> None:
    harness.slack.faults.append(HTML_500)
    await harness.click()
    await harness.settle()
    (warning,) = warnings(records)
    assert (harness.posts, warning["event"], warning["status"]) == (1, "chat.reply_refused", 500)


async def test_an_expired_response_address_is_reported(harness: Harness, records: io.StringIO) -> None:
    for _ in range(6):
        await harness.click()
        await harness.settle()
    (warning,) = warnings(records)
    assert (warning["event"], warning["status"]) == ("chat.reply_refused", 404)


async def test_an_answer_without_end_is_not_read(harness: Harness, records: io.StringIO) -> None:
    async with HttpServer(flood()) as server:
        await harness.click(response_url=server.url("/x"))
        await harness.settle()
    (warning,) = warnings(records)
    assert warning["reason"] == f"reply of 127.0.0.1:{server.port} is longer than {MAX_API_REPLY} bytes"


async def test_a_redirect_is_not_followed(harness: Harness, records: io.StringIO) -> None:
    async with HttpServer(reply(302, b"", {"Location": f"{harness.slack.url}/elsewhere"})) as server:
        await harness.click(response_url=server.url("/x"))
        await harness.settle()
    assert harness.slack.followed_redirects == 0
    assert records.getvalue() == ""


async def test_replies_that_pile_up_are_dropped_rather_than_kept(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, records: io.StringIO
) -> None:
    monkeypatch.setattr(slack, "MAX_REPLIES", 2)
    assert MAX_REPLIES > 2
    harness.slack.faults += [Fault(then="hang")] * 9
    for _ in range(3):
        await harness.click()
    (warning,) = warnings(records)
    assert warning["event"] == "chat.reply_dropped"
    assert len(harness.handler._replies) == 2


async def test_at_the_end_what_is_on_its_way_ends(harness: Harness) -> None:
    harness.slack.faults.append(Fault(then="hang"))
    await harness.click()
    await harness.slack.until(lambda: harness.posts == 1)
    await harness.handler.aclose()
    assert harness.handler._replies == set()
