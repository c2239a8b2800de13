"""Templates on each kind of channel: what they replace, what stays, and that nothing printed becomes markup."""

from __future__ import annotations

import email
import email.policy
import importlib
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from channels_sample import Sample
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
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.http import HttpServer, reply
from servers.slack import CHANNEL, TOKEN, mrkdwn_texts, problems, slack_server
from servers.smtp import SmtpServer

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.channels.kinds import installed_kinds, settings_class
from notifier.channels.templated import FALLBACK_MARK
from notifier.core.delivery import Body, Delivered, Thread
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.routing import DeliveryRouting
from notifier.core.storms import Storm
from notifier.http import HttpClient
from notifier.integrations.console import drawn
from notifier.integrations.slack.channel import SlackChannel
from notifier.integrations.slack.templates import inert
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


def _slack(body: Body) -> Shown:
    message = json.loads(body.content)
    assert list(problems(message)) == []
    return Shown(message["text"], "\n".join(_texts(message)))


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


def read_mail(body: Body) -> EmailMessage:
    mail = email.message_from_bytes(body.content, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    assert not mail.defects
    return mail


def mail_part(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    text: str = part.get_content()
    return text.replace("\r\n", "\n")


def _email(body: Body) -> Shown:
    mail = read_mail(body)
    return Shown(str(mail["Subject"]), f"{mail['Subject']}\n{mail_part(mail, 'plain')}")


def _console(body: Body) -> Shown:
    text = drawn(decode(body.content), None, colours=False)
    return Shown(text.split("\n")[0], text)


def _sampled(kind: str) -> tuple[Mapping[str, Any], Callable[[Body], Shown]]:
    """Return the settings and the reader of a kind as its sample for the contract suite has them."""
    sample: Sample = importlib.import_module(f"channels_{kind}").SAMPLE
    return sample.settings("http://127.0.0.1:9", 9), lambda body: Shown(sample.pushed(body), sample.text(body))


HOOK = {"webhook_url": "https://chat.example.com/hooks/obviously-fake"}
BOT = {"bot_token": TOKEN, "channel": CHANNEL}
MAIL = {"host": "127.0.0.1", "security": "none", "from": "gaussdb@example.com", "to": ["dba@example.com"]}
KINDS: dict[str, tuple[Mapping[str, Any], Callable[[Body], Shown]]] = {
    **{kind: _sampled(kind) for kind in installed_kinds() if settings_class(kind).takes_templates},
    "slack": (BOT, _slack),
    "mattermost": (HOOK, _mattermost),
    "rocketchat": (HOOK, _mattermost),
    "email": (MAIL, _email),
    "console": ({}, _console),
}
del KINDS["webhook"]  # a template is its whole body


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


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not settings_class(kind).keeps_tickets])
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


def test_buttons_links_and_the_colour_of_a_slack_message_stay(context: ChannelContext) -> None:
    plain, own = (
        json.loads(make_channel("slack", context, templates).render(make_render_request(FAILED)).content)
        for templates in ({}, {"task.*": OWN})
    )

    def kept(message: Mapping[str, Any]) -> list[Any]:
        (attachment,) = message["attachments"]
        last = [block for block in attachment["blocks"] if block["type"] in ("actions", "context")]
        return [attachment["color"], message["metadata"], *last]

    assert kept(own) == kept(plain)
    assert own["text"][0] == plain["text"][0]


def test_headers_of_a_mail_stay(context: ChannelContext) -> None:
    plain, own = (
        read_mail(make_channel("email", context, templates).render(make_render_request(FAILED)))
        for templates in ({}, {"task.*": OWN})
    )
    assert [(name, value) for name, value in own.items() if name != "Subject"] == [
        (name, value) for name, value in plain.items() if name != "Subject"
    ]
    assert own["Subject"] == "Own title of 31b8ae23"
    page = mail_part(own, "html")
    assert "First own line, error" in page
    assert "Third own line" in page


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
@settings(max_examples=settings().max_examples // 3)
@given(text=st.sampled_from(ATTACKS) | st.text(max_size=60))
def test_a_value_stays_within_its_line(kind: str, text: str) -> None:
    context = OFFLINE
    short = text[:90]  # the title of an alert has 130 characters
    found = shown(kind, context, {"*": BETWEEN}, hostile(short))
    assert len(printed(found.push)) == 1
    assert found.text.count("⟧") == found.text.count("⟦")
    assert len(printed(found.text)) == found.text.count("⟦") >= 3
    assert not any(char < " " or char == "\u2028" for line in found.text.split("\n") for char in line)


@given(text=st.sampled_from(ATTACKS) | st.text(st.sampled_from("*_~`<>&!@#:|>ab1 \n中"), max_size=30))
def test_nothing_printed_is_markup_in_slack(text: str) -> None:
    context = OFFLINE
    for value in printed(shown("slack", context, {"*": BETWEEN}, hostile(text)).text):
        assert not re.search("[<>`]", value)
        assert not re.search(r"&(?!(amp|lt|gt);)", value)
        assert not re.search(r"(?<![A-Za-z0-9])[*_~]|[*_~](?![A-Za-z0-9])", value)
        assert not re.search(r":(?!\d{1,2}:)[\w+'-]+:", value)
        assert not value.startswith("&gt;")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("prod_orders-01", "prod_orders-01"),
        ("2026-01-15T08:30:00Z", "2026-01-15T08:30:00Z"),
        ("a < b & c", "a &lt; b &amp; c"),
        ("*x* _y_ ~z~ `c`", "∗x∗ ˍyˍ ∼z∼ ˋcˋ"),
        ("> quoted", "\u200b&gt; quoted"),
        (":fire:", ":\u200bfire:"),
        ("中*文*中", "中∗文∗中"),
    ],
)
def test_what_is_harmless_in_slack_stays_as_it_is(text: str, shown: str) -> None:
    assert inert(text) == shown


@pytest.mark.parametrize("kind", ["mattermost", "rocketchat"])
@settings(max_examples=settings().max_examples // 3)
@given(text=st.sampled_from(ATTACKS) | st.text(st.sampled_from("*_~`<>&!@#:|>[]()\\ab1 \n"), max_size=30))
def test_nothing_printed_is_a_mention_or_a_link_in_markdown(kind: str, text: str) -> None:
    context = OFFLINE
    for value in printed(shown(kind, context, {"*": BETWEEN}, hostile(text)).text):
        assert "`" not in value
        assert not re.search(r"@[\w]|<[!@#\w]|&\w|:[\w+-]+:|\w://", value)
        assert not re.search(r"(?<!\\)(?:\\\\)*(?<!\\)\*\S|(?<!\\)(?:\\\\)*(?<!\\)\]\(", value)


class Page(HTMLParser):
    """The elements of a page with their attributes, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(attrs)))


@settings(max_examples=settings().max_examples // 3)
@given(text=st.sampled_from(ATTACKS) | st.text(st.sampled_from("<>&\"'=\r\n:;? abc"), max_size=40))
def test_nothing_printed_is_a_header_or_an_element_of_a_mail(text: str) -> None:
    context = OFFLINE
    channel = make_channel("email", context, {"*": BETWEEN})
    got, harmless = (read_mail(channel.render(make_render_request(hostile(one)))) for one in (text, "harmless"))
    assert {*got.keys()} <= {*harmless.keys()}
    assert len(got.keys()) == len({*got.keys()})
    assert [address.addr_spec for address in got["To"].addresses] == ["dba@example.com"]
    assert "\n" not in got["Subject"]
    assert {*Page(mail_part(got, "html")).elements} <= {*Page(mail_part(harmless, "html")).elements}


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_result_is_cut_to_the_limits(kind: str, context: ChannelContext) -> None:
    long = {"title": "{% for _ in range(60) %}<long title>{% endfor %}", "text": "line <of text>\n" * 2_000}
    for events in ((FAILED,), make_events(30)):
        _, show = KINDS[kind]
        body = make_channel(kind, context, {"*": long, "digest": long}).render(make_render_request(*events))
        found = show(body)
        assert found.push.startswith(("🔴 <long", "🔴 **<long", "<long", "🚨 <long", "🚨 **<long")) or kind == "console"
        assert len(found.push) < 1_000
        assert len(body.content) < 100_000  # a ticket has its text twice: for a new one, and as a comment
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


def logged_failure(records: io.StringIO) -> Mapping[str, Any]:
    (logged,) = (line for line in map(json.loads, records.getvalue().splitlines()) if line["logger"] != "mail.log")
    assert (logged["event"], logged["level"]) == ("channel.template_failed", "warning")
    return dict(logged)


async def send(kind: str, context: ChannelContext, records: io.StringIO, **changes: Any) -> None:
    channel = make_channel(kind, context, BROKEN, **changes)
    outcome = await channel.send(make_delivery(FAILED, body=channel.render(make_render_request(FAILED))))
    assert outcome.reason == WHAT
    logged = logged_failure(records)
    assert logged["types"] == ["task.failed"]
    assert logged["reason"].startswith("template * (text) fails: UndefinedError")


@pytest.mark.parametrize(("kind", "answer"), [("mattermost", b"ok"), ("rocketchat", b'{"success":true}')])
async def test_a_chat_gets_the_built_in_message(
    kind: str, answer: bytes, context: ChannelContext, records: io.StringIO
) -> None:
    async with HttpServer(reply(200, answer)) as server:
        await send(kind, context, records, webhook_url=server.url())
    assert b"The quota of vCPUs is not enough" in server.requests[0].body


async def test_slack_gets_the_built_in_message(context: ChannelContext, records: io.StringIO) -> None:
    async with slack_server() as server:
        await send("slack", context, records, api_url=server.api_url)
        assert len(server.messages) == 1


async def test_a_mailbox_gets_the_built_in_message(context: ChannelContext, records: io.StringIO) -> None:
    async with SmtpServer() as server:
        await send("email", context, records, port=server.port)
    assert len(server.mails) == 1


async def test_the_console_gets_the_built_in_message(
    context: ChannelContext, records: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    await send("console", context, records)
    assert "The quota of vCPUs is not enough" in capsys.readouterr().out


async def test_a_live_message_of_slack_shows_the_template_of_its_latest_event(
    context: ChannelContext, records: io.StringIO
) -> None:
    templates = {
        "task.started": {"title": "Own start"},
        "task.failed": {"title": "Own end"},
        "task.stalled": {"title": "{{ data.nothing }}"},
    }
    async with slack_server() as server:
        channel = make_channel("slack", context, templates, api_url=server.api_url)
        assert isinstance(channel, SlackChannel)
        started = replace(FAILED, type=EventType.TASK_STARTED)
        outcome = await channel.send(make_delivery(started, body=channel.render(make_render_request(started))))
        assert isinstance(outcome, Delivered)
        assert "Own start" in next(mrkdwn_texts(server.messages[0]))
        thread = Thread(channel="dba", subject=FAILED.subject, ref=outcome.ref or "", event=FAILED, revision=1)
        await channel.show(thread)
        assert "Own end" in next(mrkdwn_texts(server.messages[0]))
        await channel.show(replace(thread, event=replace(FAILED, type=EventType.TASK_STALLED, since=T0)))
        assert "gauss-6568-zzh" in next(mrkdwn_texts(server.messages[0]))
    assert logged_failure(records)["types"] == ["task.stalled"]


def test_a_change_of_the_templates_changes_the_key_of_shared_bodies(context: ChannelContext) -> None:
    keys = {make_channel("console", context, {"*": text}).body_key for text in ("a", "b", "b")}
    assert len(keys) == 2
    assert make_channel("console", context, {}).body_key not in keys


# ---- the documents ----

DOCUMENT = (Path(__file__).parents[2] / "docs" / "channels.md").read_text(encoding="utf-8")
SECTION = DOCUMENT.partition("\n## Templates\n")[2].partition("\n## ")[0]
EXAMPLES = {
    entry["kind"]: entry
    for block in re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    for entry in yaml.safe_load(block)
}


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        (
            "slack",
            [
                "*Instance creation failed* on gauss-6568-zzh (production)",
                "> Quota of 4∗ vCPUs. See &lt;!channel&gt;",
                "ran 12 min 20 s · <https://wiki.example.com/gaussdb|How we restore>",
            ],
        ),
        (
            "email",
            [
                "[critical] gauss-6568-zzh: Instance creation failed",
                "  Quota of 4* vCPUs.",
                "  See <!channel>",
                "Ended    15 Jan 16:29:20 (UTC+8)",
                "Team     storage",
            ],
        ),
    ],
)
def test_the_examples_of_the_documents_work(kind: str, lines: list[str], context: ChannelContext) -> None:
    example, (_, show) = EXAMPLES[kind], KINDS[kind]
    event = make_event(
        make_task(fail_reason="Quota of 4* vCPUs.\nSee <!channel>"),
        environment="production",
        labels=(("team", "storage"),),
    )
    channel = open_channel(kind, example | ({"bot_token": TOKEN} if kind == "slack" else {}), context)
    request = make_render_request(event)
    assert channel.render_problem(request) is None
    text = show(channel.render(request)).text
    assert [line for line in lines if line not in text] == []
    unknown = make_event(make_task(fail_reason=None, ended_at=None, created_at=None, instance_name=None))
    for events in ((unknown,), make_events(3), make_events(30)):
        assert channel.render_problem(make_render_request(*events)) is None


async def test_a_template_that_a_route_chose_replaces_those_by_type(context: ChannelContext) -> None:
    channel = make_channel("console", context, {"@night": "by the route", "task.*": "by the type"})
    chosen, other = (
        replace(make_render_request(make_event()), routing=DeliveryRouting(template=name))
        for name in ("night", "unknown")
    )
    texts = [channel.render(request).content.decode() for request in (chosen, other)]
    assert ["by the route" in text for text in texts] == [True, False]
    assert ["by the type" in text for text in texts] == [False, True]
