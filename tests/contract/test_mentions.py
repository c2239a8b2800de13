"""Whom a message mentions: what the configuration allows, in the form that each kind of channel understands."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from email import message_from_bytes
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from channels_sample import Sample
from factories import HOSTILE, T0, make_event, make_events, make_render_request, make_task, open_channel
from fakes import FakeClock
from hypothesis import given, settings
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
from notifier.integrations.mattermost.mentions import mention_text
from notifier.integrations.slack.mentions import mention_markup
from notifier.integrations.slack.messages import live_message, replacement_message
from notifier.ports import RenderRequest
from notifier.wording.localizer import Localizer

ENGLISH = Localizer(language="en", timezone=ZoneInfo("UTC"))
FAILED = make_event()
SAMPLES: dict[str, Sample] = {kind: importlib.import_module(f"channels_{kind}").SAMPLE for kind in installed_kinds()}
CALLING = [kind for kind, sample in SAMPLES.items() if sample.called]
ALL_ENTRIES = tuple(entry for sample in SAMPLES.values() for entry in sample.mentions)
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
    return open_channel(
        kind, {"name": "dba", "kind": kind} | dict(SAMPLES[kind].settings("http://127.0.0.1:9", 9)) | changes, context
    )


def request(mention: Sequence[str], *events: Event, severity: Severity | None = None) -> RenderRequest:
    routing = DeliveryRouting(routes=("failures",), mention=tuple(mention), severity=severity)
    return replace(make_render_request(*events or (FAILED,)), routing=routing)


def pings(kind: str, body: Body) -> list[str]:
    """Return whom a body calls, in the form of its service."""
    called = SAMPLES[kind].called
    return called(body) if called else []


@pytest.mark.parametrize(
    ("kind", "entry"), [(kind, entry) for kind, sample in SAMPLES.items() for entry in sample.mentions]
)
def test_a_kind_understands_its_forms(kind: str, entry: str) -> None:
    assert settings_class(kind).accepts_mention(entry)
    assert settings_class(kind).mention_forms


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_kind_that_names_its_forms_calls_somebody(kind: str) -> None:
    assert bool(settings_class(kind).mention_forms) == bool(SAMPLES[kind].mentions) == (kind in CALLING)


@pytest.mark.parametrize("kind", CALLING)
@pytest.mark.parametrize("digest", [False, True])
def test_a_message_calls_whom_its_routes_name(kind: str, context: ChannelContext, *, digest: bool) -> None:
    events, sample = make_events(4) if digest else (FAILED,), SAMPLES[kind]
    calls = sample.mentions if sample.calls is None else sample.calls
    assert pings(kind, channel_of(kind, context).render(request(sample.mentions, *events))) == list(calls)


@pytest.mark.parametrize("kind", [kind for kind in SAMPLES if kind != "webhook"])
@settings(max_examples=settings().max_examples // 3)
@given(entries=st.lists(ENTRIES, max_size=5))
def test_what_a_kind_does_not_understand_changes_no_byte(kind: str, entries: list[str]) -> None:
    channel, without = calling_nobody(kind)
    foreign = [entry for entry in entries if not channel.settings.accepts_mention(entry)]
    for events, body in without.items():
        assert channel.render(request(foreign, *events)) == body


@cache
def calling_nobody(kind: str) -> tuple[BaseChannel[Any], Mapping[tuple[Event, ...], Body]]:
    """Return a channel and its messages about some events without mentions; a hundred examples share them."""
    channel = channel_of(kind, ChannelContext(http=HttpClient(), clock=FakeClock(), localizer=ENGLISH))
    return channel, {events: channel.render(request((), *events)) for events in ((FAILED,), make_events(3))}


@given(entries=st.lists(ENTRIES | st.sampled_from(SAMPLES["slack"].mentions)))
def test_slack_markup_is_of_the_allowed_forms_alone(entries: list[str]) -> None:
    mention = r"<@[UW][A-Z0-9]+>|<!subteam\^S[A-Z0-9]+>|<!(here|channel|everyone)>"
    assert re.fullmatch(rf"(({mention})( ({mention}))*)?", mention_markup(entries))


@given(entries=st.lists(ENTRIES | st.sampled_from(SAMPLES["mattermost"].mentions)))
def test_chat_mentions_are_names_alone(entries: list[str]) -> None:
    assert re.fullmatch(r"(@[A-Za-z0-9._-]+( @[A-Za-z0-9._-]+)*)?", mention_text(entries))


@given(entries=st.lists(ENTRIES | st.sampled_from(SAMPLES["email"].mentions)))
def test_copies_of_a_mail_add_no_other_header(entries: list[str]) -> None:
    channel, without = calling_nobody("email")
    for events, body in without.items():
        with_copies = message_from_bytes(channel.render(request(entries, *events)).content)
        assert [name for name in with_copies if name != "Cc"] == list(message_from_bytes(body.content))
    assert len(channel.settings.cc_mailboxes(entries)) <= MAX_MENTIONS


@pytest.mark.parametrize("kind", CALLING)
@pytest.mark.parametrize(
    "quiet",
    [
        request(ALL_ENTRIES, make_event(environment="staging")),
        request(ALL_ENTRIES, severity=Severity.WARNING),
        request(ALL_ENTRIES, make_event(make_task(status="completed"))),
    ],
    ids=["staging", "warning", "completed"],
)
def test_a_quiet_message_calls_nobody(kind: str, quiet: RenderRequest, context: ChannelContext) -> None:
    assert pings(kind, channel_of(kind, context).render(quiet)) == []


@pytest.mark.parametrize("kind", [kind for kind, sample in SAMPLES.items() if sample.many])
def test_a_message_calls_at_most_so_many(kind: str, context: ChannelContext) -> None:
    many = [str(SAMPLES[kind].many).format(n=n) for n in range(3 * MAX_MENTIONS)]
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
        channel = channel_of("email", context, port=server.port, username=None, password=None)
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
