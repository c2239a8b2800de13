"""Whom a message mentions: what the configuration allows, in the form that each kind of channel understands."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from email import message_from_bytes, policy
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import HOSTILE, T0, make_event, make_events, make_render_request, make_task, open_channel
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from servers.smtp import SmtpServer

from notifier.channels.base import BaseChannel, ChannelContext, Json
from notifier.channels.kinds import installed_kinds, settings_class
from notifier.core.delivery import Body, Delivered, Delivery, DeliveryState, Thread
from notifier.core.model import Event
from notifier.core.people import Acknowledgement
from notifier.core.routing import MAX_MENTIONS, DeliveryRouting
from notifier.core.severity import Severity
from notifier.http import HttpClient
from notifier.integrations.email.settings import EmailSettings
from notifier.integrations.mattermost.mentions import mention_text
from notifier.integrations.slack.mentions import mention_markup
from notifier.integrations.slack.messages import live_message, replacement_message
from notifier.ports import RenderRequest
from notifier.wording.localizer import Localizer

ENGLISH = Localizer(language="en", timezone=ZoneInfo("UTC"))
FAILED = make_event()
CHATS = ("mattermost", "rocketchat")
SETTINGS: dict[str, dict[str, Any]] = {
    "slack": {"bot_token": "xoxb-1", "channel": "C0123"},
    "mattermost": {"webhook_url": "https://chat.example.com/hooks/x"},
    "rocketchat": {"webhook_url": "https://chat.example.com/hooks/x"},
    "email": {"host": "127.0.0.1", "security": "none", "from": "a@example.com", "to": ["dba@example.com"]},
    "webhook": {"url": "https://tickets.example.com/hooks/x"},
    "console": {},
}
UNDERSTOOD = {
    "slack": ["U0123ABCD", "W0123ABCD", "S0123ABCD", "@here", "@channel", "@everyone"],
    "mattermost": ["@alice", "@dba-team", "@a.b_c", "@here", "@channel", "@all"],
    "rocketchat": ["@alice", "@here", "@all"],
    "email": ["oncall@example.com", "Bereitschaft, Süd <sued@example.com>", "值班 <zhiban@example.com>"],
    "webhook": ["oncall", "U0123ABCD", "@here", "值班"],
    "console": [],
}
NEAR_MISSES = (
    "u0123abcd",
    "U0123ABCD ",
    "U0123ABCD\n<!channel>",
    "U0123|<!here>",
    "<@U0123ABCD>",
    "<!here>",
    "@HERE",
    "here",
    "C0123ABCD",
    "D0123ABCD",
    "S0123-ABCD",
    "subteam^S0123ABCD",
    "@",
    "@@all",
    "@a b",
    "@all\n@channel",
    "@al`ice",
    "[x](https://evil.example)",
    "a@b@c",
    "a@example.com\r\nBcc: victim@example.com",
    "a@example.com, b@example.com",
    "<a@example.com>, <b@example.com>",
    "alice",
    "",
)
ENTRIES = st.one_of(st.text(), st.sampled_from(NEAR_MISSES), st.sampled_from(HOSTILE))


@pytest.fixture
async def context() -> AsyncIterator[ChannelContext]:
    async with aclosing(HttpClient()) as http:
        yield ChannelContext(http=http, clock=FakeClock(), localizer=ENGLISH)


def channel_of(kind: str, context: ChannelContext, **changes: Any) -> BaseChannel[Any]:
    return open_channel(kind, {"name": "dba", "kind": kind} | SETTINGS[kind] | changes, context)


def request(mention: Sequence[str], *events: Event, severity: Severity | None = None) -> RenderRequest:
    routing = DeliveryRouting(routes=("failures",), mention=tuple(mention), severity=severity)
    return replace(make_render_request(*events or (FAILED,)), routing=routing)


def pings(kind: str, body: Body) -> list[str]:
    """Return whom a body calls, in the form of its service."""
    if kind == "email":
        copies = message_from_bytes(body.content, policy=policy.default)["Cc"]
        return [address.addr_spec for address in copies.addresses] if copies else []
    content = json.loads(body.content)
    if kind == "webhook":
        found: list[str] = content["data"].get("mention", [])
        return found
    if kind == "slack":
        first, *others = content["blocks"]
        assert "<" not in content["text"]
        assert not re.search(r"<[@!](?!date)", json.dumps((others, content["attachments"])))
        return re.findall(r"<(?:@|!(?!date))[^>]*>", first["text"]["text"])
    return re.findall(r"(?<!\w)@[A-Za-z0-9][\w.-]*", content["text"])


def test_every_kind_is_tested() -> None:
    assert set(installed_kinds()) == SETTINGS.keys() == UNDERSTOOD.keys()


@pytest.mark.parametrize(("kind", "entry"), [(kind, entry) for kind, known in UNDERSTOOD.items() for entry in known])
def test_a_kind_understands_its_forms(kind: str, entry: str) -> None:
    assert settings_class(kind).accepts_mention(entry)
    assert settings_class(kind).mention_forms


@pytest.mark.parametrize(
    ("kind", "called"),
    [
        ("slack", ["<@U0123ABCD>", "<@W0123ABCD>", "<!subteam^S0123ABCD>", "<!here>", "<!channel>", "<!everyone>"]),
        ("mattermost", UNDERSTOOD["mattermost"]),
        ("rocketchat", UNDERSTOOD["rocketchat"]),
        ("email", ["oncall@example.com", "sued@example.com", "zhiban@example.com"]),
        ("webhook", UNDERSTOOD["webhook"]),
    ],
)
@pytest.mark.parametrize("digest", [False, True])
def test_a_message_calls_whom_its_routes_name(
    kind: str, called: list[str], context: ChannelContext, *, digest: bool
) -> None:
    events = make_events(4) if digest else (FAILED,)
    assert pings(kind, channel_of(kind, context).render(request(UNDERSTOOD[kind], *events))) == called


@pytest.mark.parametrize("kind", ["slack", *CHATS, "email", "console"])
@given(entries=st.lists(ENTRIES, max_size=5))
def test_what_a_kind_does_not_understand_changes_no_byte(kind: str, entries: list[str]) -> None:
    context = ChannelContext(http=HttpClient(), clock=FakeClock(), localizer=ENGLISH)
    channel = channel_of(kind, context)
    foreign = [entry for entry in entries if not settings_class(kind).accepts_mention(entry)]
    for events in ((FAILED,), make_events(3)):
        assert channel.render(request(foreign, *events)) == channel.render(request((), *events))


@given(entries=st.lists(ENTRIES | st.sampled_from(UNDERSTOOD["slack"])))
def test_slack_markup_is_of_the_allowed_forms_alone(entries: list[str]) -> None:
    mention = r"<@[UW][A-Z0-9]+>|<!subteam\^S[A-Z0-9]+>|<!(here|channel|everyone)>"
    assert re.fullmatch(rf"(({mention})( ({mention}))*)?", mention_markup(entries))


@given(entries=st.lists(ENTRIES | st.sampled_from(UNDERSTOOD["mattermost"])))
def test_chat_mentions_are_names_alone(entries: list[str]) -> None:
    assert re.fullmatch(r"(@[A-Za-z0-9._-]+( @[A-Za-z0-9._-]+)*)?", mention_text(entries))


@given(entries=st.lists(ENTRIES | st.sampled_from(UNDERSTOOD["email"])))
def test_copies_of_a_mail_add_no_other_header(entries: list[str]) -> None:
    settings = EmailSettings.model_validate({"name": "mail", "kind": "email"} | SETTINGS["email"])
    context = ChannelContext(http=HttpClient(), clock=FakeClock(), localizer=ENGLISH)
    with_copies, without = (
        message_from_bytes(open_channel("email", settings.model_dump(by_alias=True), context).render(one).content)
        for one in (request(entries), request(()))
    )
    assert [name for name in with_copies if name != "Cc"] == list(without)
    assert len(settings.cc_mailboxes(entries)) <= MAX_MENTIONS


@pytest.mark.parametrize("kind", [kind for kind in SETTINGS if kind != "console"])
@pytest.mark.parametrize(
    "quiet",
    [
        request(UNDERSTOOD["slack"] + UNDERSTOOD["email"], make_event(environment="staging")),
        request(UNDERSTOOD["slack"] + UNDERSTOOD["email"], severity=Severity.WARNING),
        request(UNDERSTOOD["slack"] + UNDERSTOOD["email"], make_event(make_task(status="completed"))),
    ],
    ids=["staging", "warning", "completed"],
)
def test_a_quiet_message_calls_nobody(kind: str, quiet: RenderRequest, context: ChannelContext) -> None:
    assert pings(kind, channel_of(kind, context).render(quiet)) == []


@pytest.mark.parametrize("kind", ["slack", *CHATS])
def test_a_message_calls_at_most_so_many(kind: str, context: ChannelContext) -> None:
    many = [f"U{n:04d}" if kind == "slack" else f"@user{n}" for n in range(3 * MAX_MENTIONS)]
    assert len(pings(kind, channel_of(kind, context).render(request(many)))) == MAX_MENTIONS


def test_an_edited_message_names_the_same_and_a_replacement_nobody(context: ChannelContext) -> None:
    """Slack notifies nobody of an edit; what was posted stays as it was, whatever people do about it."""
    sent = json.loads(channel_of("slack", context).render(request(["U0123ABCD", "@here"])).content)
    thread = Thread(
        channel="dba",
        subject=FAILED.subject,
        ref="C0:1",
        event=FAILED,
        revision=1,
        routing=DeliveryRouting(routes=("failures",), mention=("U0123ABCD", "@here")),
    )
    formatter = context.formatter
    assert live_message(thread, formatter)["blocks"] == sent["blocks"]
    acknowledged = replace(thread, acknowledged=Acknowledgement(event_id=FAILED.id, by="U1", name="bob", at=T0))
    for shown in (live_message(thread, formatter), live_message(acknowledged, formatter)):
        assert "<@U0123ABCD> <!here>" in shown["blocks"][0]["text"]["text"]
    replaced: Json = replacement_message(thread, "key", formatter)
    assert "<@" not in json.dumps(replaced)


async def test_copies_are_recipients_of_their_own(context: ChannelContext) -> None:
    async with SmtpServer(replies={"RCPT oncall@example.com": "451 later"}) as server:
        channel = channel_of("email", context, port=server.port)
        asked = request(["oncall@example.com", "DBA@example.com", "Süd <sued@example.com>"])
        delivery = Delivery(
            id=asked.delivery_id,
            channel="mail",
            subject=FAILED.subject,
            state=DeliveryState.PENDING,
            available_at=T0,
            created_at=T0,
            attempt=1,
            events=asked.events,
            routing=asked.routing,
            body=channel.render(asked),
        )
        outcome = await channel.send(delivery)
        assert not isinstance(outcome, Delivered)
        assert outcome.recipients is not None
        states = {one.address: str(one.state) for one in outcome.recipients}
        assert states == {
            "dba@example.com": "delivered",
            "oncall@example.com": "waiting",
            "sued@example.com": "delivered",
        }
    assert [mail.recipients for mail in server.mails] == [("dba@example.com", "sued@example.com")]
