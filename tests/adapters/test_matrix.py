"""Matrix, against a real homeserver: repeats, threads, changes, refusals; and what nothing from outside can do."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from chats import FAILED, delivery_of, make_context, thread_of
from factories import (
    HOSTILE,
    T0,
    hostile_event,
    make_event,
    make_render_request,
    make_task,
    open_channel,
)
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from servers.http import HttpServer, reply
from servers.synapse import MatrixUser, Synapse

from notifier.channels.base import ChannelContext
from notifier.core.delivery import Delivered, Delivery, GaveUp, Parked, Retry
from notifier.core.people import Acknowledgement
from notifier.http import HttpClient
from notifier.integrations.matrix.channel import MatrixChannel, power
from notifier.integrations.matrix.messages import plain_body
from notifier.integrations.matrix.settings import MatrixSettings

STARTED = make_event(make_task(status="running"), environment="production")
MENTION = ("@alice:example.org", "@room", "U0123ABCD")


@pytest.fixture
def context(http: HttpClient) -> ChannelContext:
    return make_context(http)


def channel_of(context: ChannelContext, **changes: Any) -> MatrixChannel:
    values = {"homeserver": "http://127.0.0.1:9", "access_token": "obviously-fake", "room_id": "!demo:example.org"}
    channel = open_channel("matrix", {"name": "dba", "kind": "matrix"} | values | changes, context)
    assert isinstance(channel, MatrixChannel)
    return channel


# ---- a real homeserver ----


@dataclass(frozen=True, kw_only=True)
class Room:
    """A room of a real homeserver, with the bot in it and a person who reads."""

    synapse: Synapse
    bot: MatrixUser
    reader: MatrixUser
    id: str
    context: ChannelContext

    def channel(self, **changes: Any) -> MatrixChannel:
        place = {"homeserver": self.synapse.url, "access_token": self.bot.token, "room_id": self.id}
        return channel_of(self.context, **(place | changes))

    def event(self, ref: str | None) -> dict[str, Any]:
        assert ref
        room, _, event_id = ref.rpartition("/")
        assert room == self.id
        return self.synapse.call("GET", f"/_matrix/client/v3/rooms/{self.id}/event/{event_id}", user=self.reader)

    def messages(self) -> list[dict[str, Any]]:
        """Return the events of the room's messages, the oldest first."""
        found = self.synapse.call(
            "GET", f"/_matrix/client/v3/rooms/{self.id}/messages?dir=f&limit=100", user=self.reader
        )
        return [event for event in found["chunk"] if event["type"] == "m.room.message"]


@pytest.fixture
def room(synapse: Synapse, context: ChannelContext, request: pytest.FixtureRequest) -> Room:
    name = re.sub(r"\W+", "-", request.node.name).lower()[:60]
    bot, reader = synapse.register(f"bot-{name}"), synapse.register(f"reader-{name}")
    return Room(synapse=synapse, bot=bot, reader=reader, id=synapse.make_room(bot, reader), context=context)


async def sent(channel: MatrixChannel, delivery: Delivery) -> Delivered:
    outcome = await channel.send(delivery)
    assert isinstance(outcome, Delivered), outcome
    return outcome


async def test_a_repeat_is_one_message_for_the_same_device(room: Room) -> None:
    channel = room.channel()
    delivery = delivery_of(channel, FAILED, mention=MENTION)
    first = await sent(channel, delivery)
    assert (await sent(room.channel(), replace(delivery, attempt=2, outcome_unknown=True))).ref == first.ref
    renewed = room.synapse.login(room.bot.id.partition(":")[0][1:], room.bot.device)
    assert renewed.token != room.bot.token
    assert (await sent(room.channel(access_token=renewed.token), replace(delivery, attempt=3))).ref == first.ref
    (message,) = room.messages()
    assert message["content"] == json.loads(delivery.body.content if delivery.body else b"")
    assert message["content"]["m.mentions"] == {"user_ids": ["@alice:example.org"], "room": True}


async def test_a_task_has_one_message_with_its_steps_in_a_thread(room: Room) -> None:
    channel = room.channel()
    root = await sent(channel, delivery_of(channel, STARTED))
    assert root.thread == root.ref
    step = make_event(make_task(status="running", progress=80.0))
    quiet = await sent(channel, delivery_of(channel, step, thread=root.ref))
    relation = room.event(quiet.ref)["content"]["m.relates_to"]
    event_id = str(root.ref).rpartition("/")[2]
    assert (relation["rel_type"], relation["event_id"], relation["is_falling_back"]) == ("m.thread", event_id, True)
    assert (quiet.thread, quiet.copy) == (None, None)
    loud = await sent(channel, delivery_of(channel, FAILED, thread=root.ref))
    content = room.event(loud.ref)["content"]
    assert content["m.relates_to"] == {"m.in_reply_to": {"event_id": event_id}}
    assert (content["msgtype"], loud.copy, loud.thread) == ("m.text", loud.ref, None)
    over = make_event(make_task(status="completed"))
    end = await sent(channel, delivery_of(channel, over, thread=root.ref, ends_trouble=True))
    content = room.event(end.ref)["content"]
    assert "m.in_reply_to" in content["m.relates_to"]
    assert (content["msgtype"], end.copy) == ("m.text", None)


async def test_a_message_changes_and_calls_nobody_again(room: Room) -> None:
    channel = room.channel()
    root = await sent(channel, delivery_of(channel, STARTED))
    thread = thread_of(str(root.ref), FAILED, mention=MENTION)
    assert await channel.show(thread) == await channel.show(thread)
    taken = Acknowledgement(event_id=FAILED.id, by="U1", name="bob <b>", at=T0)
    assert isinstance(await channel.show(replace(thread, revision=3, acknowledged=taken)), Delivered)
    original, first, second = room.messages()
    replaced = room.event(root.ref)
    assert replaced["unsigned"]["m.relations"]["m.replace"]["event_id"] == second["event_id"]
    for edit in (first, second):
        content = edit["content"]
        assert content["m.relates_to"] == {"rel_type": "m.replace", "event_id": original["event_id"]}
        assert content["m.mentions"] == {}
        assert content["m.new_content"]["m.mentions"] == {"user_ids": ["@alice:example.org"], "room": True}
    assert "✅ Instance creation failed on gauss-6568-zzh" in second["content"]["m.new_content"]["body"]
    assert "bob &lt;b&gt;" in second["content"]["m.new_content"]["formatted_body"]


async def test_the_same_state_after_another_is_shown_again(room: Room) -> None:
    channel = room.channel()
    root = await sent(channel, delivery_of(channel, STARTED))
    for revision, event in ((2, FAILED), (3, STARTED), (4, FAILED)):
        assert isinstance(await channel.show(thread_of(str(root.ref), event, revision=revision)), Delivered)
    assert len(room.messages()) == 4


async def test_a_message_of_another_room_is_neither_answered_nor_changed(room: Room) -> None:
    other = room.synapse.make_room(room.bot, room.reader)
    elsewhere = await sent(room.channel(room_id=other), delivery_of(room.channel(), STARTED))
    channel = room.channel()
    assert isinstance(await channel.show(thread_of(str(elsewhere.ref), FAILED)), GaveUp)
    new = await sent(channel, delivery_of(channel, FAILED, thread=elsewhere.ref))
    assert new.thread == new.ref
    assert "m.relates_to" not in room.event(new.ref)["content"]


async def test_a_thread_that_is_not_known_begins_again(room: Room) -> None:
    channel = room.channel()
    delivery = delivery_of(channel, STARTED, thread=f"{room.id}/$gone-gone-gone-gone")
    new = await sent(channel, delivery)
    assert new.thread == new.ref
    assert (await sent(channel, replace(delivery, attempt=2))).ref == new.ref
    assert isinstance(await channel.show(thread_of(str(delivery.thread), FAILED)), GaveUp)
    assert len(room.messages()) == 1


async def test_an_encrypted_room_is_refused(room: Room) -> None:
    path = f"/_matrix/client/v3/rooms/{room.id}/state/m.room.encryption"
    room.synapse.call("PUT", path, {"algorithm": "m.megolm.v1.aes-sha2"}, room.bot)
    channel = room.channel()
    outcome = await channel.send(delivery_of(channel, FAILED))
    assert isinstance(outcome, Parked)
    assert "the room is encrypted" in outcome.reason
    assert isinstance(await channel.show(thread_of(f"{room.id}/$x", FAILED)), Parked)
    assert room.messages() == []
    account, found = await channel.check()
    assert (account.ok, found.ok) == (True, False)
    assert found.remedy == "make a room without encryption: this program does not encrypt"


async def test_a_room_that_becomes_encrypted_is_noticed(room: Room) -> None:
    channel = room.channel()
    await sent(channel, delivery_of(channel, FAILED))
    path = f"/_matrix/client/v3/rooms/{room.id}/state/m.room.encryption"
    room.synapse.call("PUT", path, {"algorithm": "m.megolm.v1.aes-sha2"}, room.bot)
    clock = room.context.clock
    assert isinstance(clock, FakeClock)
    clock.advance(timedelta(seconds=301))
    assert isinstance(await channel.send(delivery_of(channel, STARTED)), Parked)


async def test_a_limit_says_how_long_to_wait(room: Room) -> None:
    channel = room.channel()
    outcomes = [
        await channel.send(delivery_of(channel, make_event(make_task(f"job-{number}")))) for number in range(24)
    ]
    waits = [outcome.after for outcome in outcomes if isinstance(outcome, Retry) and outcome.after]
    assert waits
    assert all(wait.total_seconds() < 60 for wait in waits)


async def test_refusals_name_what_to_do(room: Room) -> None:
    stranger = room.synapse.register(f"stranger-{room.bot.id.partition(':')[0][1:30]}")
    for changes, words in (
        ({"access_token": "obviously-fake"}, "log in again as the same device"),
        ({"access_token": stranger.token}, "invite it, let it join"),
        ({"room_id": "!no-such-room:localhost"}, "invite it, let it join"),
    ):
        channel = room.channel(**changes)
        outcome = await channel.send(delivery_of(channel, FAILED))
        assert isinstance(outcome, Parked)
        assert words in outcome.reason
        assert outcome.reply
        assert "obviously-fake" not in repr(outcome)
        failed = [one for one in await channel.check() if not one.ok]
        assert len(failed) == 1
        assert failed[0].remedy


async def test_a_check_proves_the_user_the_room_and_its_right(room: Room) -> None:
    account, found = await room.channel().check()
    assert account.detail.startswith(f"{room.bot.id}, device D1")
    assert (found.ok, found.proven, found.detail) == (True, True, "joined, not encrypted, and the user may post")
    path = f"/_matrix/client/v3/rooms/{room.id}/state/m.room.power_levels"
    levels = room.synapse.call("GET", path, user=room.bot)
    room.synapse.call("PUT", path, levels | {"events_default": 30}, room.bot)
    channel = room.channel(access_token=room.reader.token)
    _, found = await channel.check()
    assert "the power level 0, and messages need 30" in found.detail
    assert not (found.ok and found.proven)
    assert isinstance(await channel.send(delivery_of(channel, FAILED)), Parked)
    assert room.messages() == []


# ---- without one ----


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (None, (0, 0)),
        ({"users": {"@a:b.c": 50}, "events_default": 20}, (50, 20)),
        ({"users_default": 5, "events": {"m.room.message": 7}, "events_default": 1}, (5, 7)),
        ({"users": [], "events": "x"}, (0, 0)),
    ],
)
def test_power_levels_are_read_as_a_room_has_them(levels: object, expected: tuple[int, int]) -> None:
    assert power(levels, "@a:b.c") == expected


@pytest.mark.parametrize("version", ["11", "12"])
async def test_creators_of_newer_rooms_have_no_level(context: ChannelContext, version: str) -> None:
    answers = (
        {"user_id": "@bot:example.org", "device_id": "D"},
        {"membership": "join"},
        {"errcode": "M_NOT_FOUND"},
        {"events_default": 50},
        {"room_version": version},
    )
    replies = [reply(404 if "errcode" in one else 200, json.dumps(one).encode()) for one in answers]
    async with HttpServer(*replies) as server:
        _, found = await channel_of(context, homeserver=server.url("")).check()
    assert (found.ok, found.proven) == ((False, True) if version == "11" else (True, False))


async def test_a_token_without_a_device_is_pointed_out(context: ChannelContext) -> None:
    absent = reply(404, b'{"errcode": "M_NOT_FOUND"}')
    answers = (reply(200, b'{"user_id": "@bot:example.org"}'), reply(200, b'{"membership": "join"}'), absent, absent)
    async with HttpServer(*answers) as server:
        account, found = await channel_of(context, homeserver=server.url("")).check()
    assert (account.ok, account.proven, found.ok) == (True, False, True)
    assert "a repeat after a lost answer may be seen twice" in account.detail


ATTACKS = [
    *HOSTILE,
    "@room @alice:example.org #room:example.org",
    '<a href="https://matrix.to/#/@alice:example.org">x</a>',
    "</blockquote><h1>x</h1><mx-reply>",
    "https://evil.example www.evil.example evil.example",
    "&lt;img src=x&gt; <img src=mxc://x/y>",
]


class Tags(HTMLParser):
    """Keeps what an HTML text has besides text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[tuple[str, str]] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add((tag, ",".join(f"{name}={value}" for name, value in attrs)))


@settings(max_examples=settings().max_examples // 3)
@given(st.sampled_from(ATTACKS) | st.text("<>@#:&;\"'/. \nab", max_size=60), st.sampled_from([1, 2]))
def test_nothing_from_outside_is_markup_a_mention_or_a_link(text: str, count: int) -> None:
    channel = channel_of(make_context(HttpClient()))
    events = [replace(hostile_event(text), environment=text)] * count
    message = json.loads(channel.render(make_render_request(*events)).content)
    assert message["m.mentions"] == {}
    tags = Tags()
    tags.feed(message["formatted_body"])
    link = ("a", "href=https://console.example.com/cn-north-4")
    assert tags.found <= {*((name, "") for name in ("strong", "code", "br", "blockquote")), link}
    for part in (message["body"], message["formatted_body"]):
        own = part.replace("https://console.example.com/cn-north-4", "")
        assert not re.search(r"[@#](?!\u200b)|://|evil\.", own)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("a<br>b<br><br>c", "a\nb\n\nc"),
        ("x<blockquote>a<br>b</blockquote>y", "x\n\n> a\n> b\n\ny"),
        ('<a href="https://x/?a=1&amp;b=2">t</a>', "t: https://x/?a=1&b=2"),
        ('<a href="https://matrix.to/#/@a:b.c">@a:b.c</a>', "@a:b.c"),
        ("<p>1 &lt; 2 &amp;lt;</p><ul><li>x</li></ul>", "1 < 2 &lt;\nx"),
    ],
)
def test_plain_text_says_the_same_as_html(html: str, text: str) -> None:
    assert plain_body(html) == text


async def test_a_template_is_html_and_its_values_are_not(context: ChannelContext) -> None:
    template = {"task.failed": {"text": "<em>{{ data.task.fail_reason }}</em><br>done"}}
    message = json.loads(
        channel_of(context, templates=template).render(make_render_request(hostile_event("<b>x"))).content
    )
    assert "<em>&lt;b&gt;x" in message["formatted_body"]
    assert "<b>x" in message["body"]
    assert "\ndone" in message["body"]


async def test_older_servers_say_in_the_body_how_long_to_wait(context: ChannelContext) -> None:
    for wait, seconds in ((2_500, 2.5), (10**8, 3_600), (-1, None), ("soon", None), (True, None)):
        body = json.dumps({"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": wait}).encode()
        async with HttpServer(reply(404, b'{"errcode": "M_NOT_FOUND"}'), reply(429, body)) as server:
            channel = channel_of(context, homeserver=server.url(""))
            outcome = await channel.send(delivery_of(channel, FAILED))
        assert isinstance(outcome, Retry)
        assert (outcome.after and outcome.after.total_seconds()) == seconds


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"room_id": "#dba:example.org"}, "begins with `!`"),
        ({"room_id": "!"}, "begins with `!`"),
        ({"homeserver": "http://matrix.example.org"}, "https"),
        ({"homeserver": "https://matrix.example.org/_matrix"}, "without a user, a path"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, str], words: str) -> None:
    values = {"name": "dba", "homeserver": "https://m.example.org", "access_token": "x", "room_id": "!a:b"}
    with pytest.raises(ValidationError, match=words):
        MatrixSettings.model_validate(values | changes)


async def test_messages_and_changes_share_what_a_server_takes(context: ChannelContext) -> None:
    usual, free, plain = channel_of(context), channel_of(context, rate=None), channel_of(context, style="thread")
    assert usual.edit_pace.per_second == 0.1
    assert free.edit_pace.per_second is None
    assert usual.edit_budget == free.edit_budget
    assert plain.edit_budget is None
