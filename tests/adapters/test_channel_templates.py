"""Templates on each kind of channel: what they replace, what stays, and that nothing printed becomes markup."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import (
    HOSTILE,
    T0,
    hostile_event,
    make_delivery,
    make_event,
    make_events,
    make_render_request,
    make_task,
    open_channel,
)
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from servers.http import HttpServer, reply
from servers.slack import TOKEN

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.channels.kinds import installed_kinds, settings_class
from notifier.channels.templated import FALLBACK_MARK
from notifier.core.delivery import Body
from notifier.core.model import Event
from notifier.core.storms import Storm
from notifier.http import HttpClient
from notifier.integrations.console import drawn
from notifier.wording.lines import decode
from notifier.wording.localizer import Localizer

ENGLISH = Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
ATTACKS = [
    *HOSTILE,
    "*bold* _italic_ ~struck~ `code`",
    "> quoted\n# heading\n- item",
    ":rotating_light: :100:",
    "https://evil.example @alice #dba",
    "Subject: x\r\nBcc: victim@example.com",
]
OFFLINE = ChannelContext(http=HttpClient(), clock=FakeClock(), localizer=ENGLISH)
"""For messages that are only rendered."""
FAILED = make_event(make_task(fail_reason="The quota of vCPUs is not enough."))


@dataclass(frozen=True)
class Shown:
    """What a person sees of a message."""

    push: str
    """A lock screen, a subject, or the first line."""
    text: str
    """Everything."""


def _texts(part: Any) -> list[str]:
    """Return every text of a message in order."""
    if isinstance(part, Mapping):
        found = [part["text"]] if isinstance(part.get("text"), str) and part.get("type") != "button" else []
        return found + [text for inner in part.values() for text in _texts(inner)]
    return [text for inner in part for text in _texts(inner)] if isinstance(part, list) else []


def _mattermost(body: Body) -> Shown:
    message = json.loads(body.content)
    attached = [text for attachment in message.get("attachments", ()) for text in _texts([attachment])]
    return Shown(message["text"].split("\n")[0], "\n".join([message["text"], *attached]))


def _console(body: Body) -> Shown:
    text = drawn(decode(body.content), None, colours=False)
    return Shown(text.split("\n")[0], text)


HOOK = {"webhook_url": "https://chat.example.com/hooks/obviously-fake"}
KINDS: Mapping[str, tuple[Mapping[str, Any], Callable[[Body], Shown]]] = {
    "mattermost": (HOOK, _mattermost),
    "rocketchat": (HOOK, _mattermost),
    "console": ({}, _console),
}


@pytest.fixture
async def context() -> AsyncIterator[ChannelContext]:
    async with aclosing(HttpClient()) as http:
        yield ChannelContext(
            http=http,
            clock=FakeClock(),
            localizer=ENGLISH,
            console_url="https://console.example.com/{region}",
            chat_tokens=frozenset({TOKEN}),
        )


def make_channel(kind: str, context: ChannelContext, templates: object, **changes: Any) -> BaseChannel[Any]:
    values, _ = KINDS[kind]
    return open_channel(kind, {"name": "dba", "kind": kind, "templates": templates} | dict(values) | changes, context)


def shown(kind: str, context: ChannelContext, templates: object, *events: Event, **changes: Any) -> Shown:
    _, show = KINDS[kind]
    return show(make_channel(kind, context, templates, **changes).render(make_render_request(*events)))


def test_every_kind_takes_templates() -> None:
    assert {kind for kind in installed_kinds() if settings_class(kind).takes_templates} == {*KINDS, "webhook"}


# ---- what they replace ----

OWN = {
    "title": "Own title of {{ data.task.job_id[:8] }}",
    "text": "First own line, {{ data.severity }}\n\nThird own line, {{ data.duration_seconds | duration }}",
}


@pytest.mark.parametrize("kind", KINDS)
def test_title_and_text_replace_the_words_and_nothing_else(kind: str, context: ChannelContext) -> None:
    found = shown(kind, context, {"task.failed": OWN}, FAILED)
    assert "Own title of 31b8ae23" in found.push
    assert "First own line, error" in found.text
    assert "Third own line, 12 min 20 s" in found.text
    assert "quota" not in found.text
    assert "31b8ae23" in found.text.replace("Own title of 31b8ae23", "")
    other = make_event(make_task(status="completed", fail_reason=None))
    assert shown(kind, context, {"task.failed": OWN}, other) == shown(kind, context, {}, other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_title_alone_keeps_the_built_in_body(kind: str, context: ChannelContext) -> None:
    found = shown(kind, context, {"task.failed": {"title": OWN["title"]}}, FAILED)
    assert "Own title of 31b8ae23" in found.push
    assert "The quota of vCPUs is not enough." in found.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_alone_keeps_the_built_in_headline(kind: str, context: ChannelContext) -> None:
    found = shown(kind, context, {"task.failed": "Own line"}, FAILED)
    assert found.push == shown(kind, context, {}, FAILED).push
    assert "Own line" in found.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_digest_has_templates_of_its_own(kind: str, context: ChannelContext) -> None:
    events = make_events(30)
    own = {"digest": {"title": "{{ data.events | length }} own events", "text": "Own list"}, "*": "never"}
    found = shown(kind, context, own, *events)
    assert "30 own events" in found.push
    assert "Own list" in found.text
    assert "job-00000" not in found.text
    assert shown(kind, context, {"*": "never"}, *events) == shown(kind, context, {}, *events)


@pytest.mark.parametrize("kind", KINDS)
def test_messages_of_a_storm_stay_built_in(kind: str, context: ChannelContext) -> None:
    storm = Storm(id="s", channel="dba", source="prod", started_at=T0, updated_at=T0, total=30)
    request = replace(make_render_request(*make_events(30)), storm=storm, opens_storm=True)
    templates = {"digest": OWN, "*": OWN}
    assert make_channel(kind, context, templates).render(request) == make_channel(kind, context, {}).render(request)


def test_one_line_on_the_console_has_both(context: ChannelContext) -> None:
    found = shown("console", context, {"task.failed": OWN}, FAILED, style="line")
    (line,) = found.text.splitlines()
    assert "Own title of 31b8ae23" in line
    assert "First own line, error Third own line" in line


# ---- what they print ----

BETWEEN = {
    "title": "a ⟦{{ data.task.instance.name }}⟧ z",
    "text": "⟦{{ data.task.fail_reason }}⟧\nb ⟦{{ headline }}⟧ z",
}


def printed(text: str) -> list[str]:
    """Return what stands between the brackets of the template, which no value of a test contains."""
    return re.findall("⟦(.*?)⟧", text)


def hostile(text: str) -> Event:
    return hostile_event(text.replace("⟦", "").replace("⟧", ""))


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.sampled_from(ATTACKS) | st.text(max_size=60))
def test_a_value_stays_within_its_line(kind: str, text: str) -> None:
    context = OFFLINE
    short = text[:150]
    found = shown(kind, context, {"*": BETWEEN}, hostile(short))
    assert len(printed(found.push)) == 1
    assert found.text.count("⟧") == found.text.count("⟦")
    assert len(printed(found.text)) == found.text.count("⟦") >= 3
    assert not any(char < " " or char == "\u2028" for line in found.text.split("\n") for char in line)


@pytest.mark.parametrize("kind", ["mattermost", "rocketchat"])
@given(text=st.sampled_from(ATTACKS) | st.text(st.sampled_from("*_~`<>&!@#:|>[]()\\ab1 \n"), max_size=30))
def test_nothing_printed_is_a_mention_or_a_link_in_markdown(kind: str, text: str) -> None:
    context = OFFLINE
    for value in printed(shown(kind, context, {"*": BETWEEN}, hostile(text)).text):
        assert "`" not in value
        assert not re.search(r"@[\w]|<[!@#\w]|&\w|:[\w+-]+:|\w://", value)
        assert not re.search(r"(?<!\\)(?:\\\\)*(?<!\\)\*\S|(?<!\\)(?:\\\\)*(?<!\\)\]\(", value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_result_is_cut_to_the_limits(kind: str, context: ChannelContext) -> None:
    long = {"title": "{% for _ in range(60) %}<long title>{% endfor %}", "text": "line <of text>\n" * 2_000}
    for events in ((FAILED,), make_events(30)):
        _, show = KINDS[kind]
        body = make_channel(kind, context, {"*": long, "digest": long}).render(make_render_request(*events))
        found = show(body)
        assert found.push.startswith(("🔴 <long", "🔴 **<long", "<long", "🚨 <long", "🚨 **<long")) or kind == "console"
        assert len(found.push) < 1_000
        assert len(body.content) < 40_000
        assert FALLBACK_MARK not in body.content_type


# ---- where they fail ----

BROKEN = {"*": {"title": "never", "text": "{{ data.task.nmae }}"}, "digest": "{{ data.task.name }}"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_built_in_message_replaces_one_that_fails(kind: str, context: ChannelContext) -> None:
    for events in ((FAILED,), make_events(30)):
        request = make_render_request(*events)
        broken, plain = (make_channel(kind, context, templates) for templates in (BROKEN, {}))
        body, built_in = broken.render(request), plain.render(request)
        assert (body.content, body.content_type) == (built_in.content, built_in.content_type + FALLBACK_MARK)
        assert "UndefinedError" in (broken.render_problem(request) or "")
        assert plain.render_problem(request) is None


WHAT = "the template fails for this event, so the built-in message was sent: see notifier preview"


async def send(kind: str, context: ChannelContext, records: io.StringIO, **changes: Any) -> None:
    channel = make_channel(kind, context, BROKEN, **changes)
    outcome = await channel.send(make_delivery(FAILED, body=channel.render(make_render_request(FAILED))))
    assert outcome.reason == WHAT
    (logged,) = map(json.loads, records.getvalue().splitlines())
    assert (logged["event"], logged["types"]) == ("channel.template_failed", ["task.failed"])
    assert logged["reason"].startswith("template * (text) fails: UndefinedError")


@pytest.mark.parametrize(("kind", "answer"), [("mattermost", b"ok"), ("rocketchat", b'{"success":true}')])
async def test_a_chat_gets_the_built_in_message(
    kind: str, answer: bytes, context: ChannelContext, records: io.StringIO
) -> None:
    async with HttpServer(reply(200, answer)) as server:
        await send(kind, context, records, webhook_url=server.url())
    assert b"The quota of vCPUs is not enough" in server.requests[0].body


async def test_the_console_gets_the_built_in_message(
    context: ChannelContext, records: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    await send("console", context, records)
    assert "The quota of vCPUs is not enough" in capsys.readouterr().out


def test_a_change_of_the_templates_changes_the_key_of_shared_bodies(context: ChannelContext) -> None:
    keys = {make_channel("console", context, {"*": text}).body_key for text in ("a", "b", "b")}
    assert len(keys) == 2
    assert make_channel("console", context, {}).body_key not in keys
