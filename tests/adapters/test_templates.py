"""Templates that replace messages: which one applies, what it prints, and what happens where it fails."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, ClassVar, Literal
from zoneinfo import ZoneInfo

import pytest
from factories import HOSTILE, hostile_event, make_delivery, make_event, make_event_of, make_gap, make_render_request
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from notifier.channels.base import ChannelContext
from notifier.channels.envelope import facts
from notifier.channels.settings import ChannelSettings
from notifier.channels.templated import TemplatedChannel
from notifier.channels.templates import (
    BUILT_IN,
    DIGEST,
    MAX_OUTPUT,
    PRINTED_VALUE_LIMIT,
    TEMPLATE_KEYS,
    ChannelTemplates,
    FilledTemplate,
    MessageTemplate,
    template_key,
)
from notifier.core.delivery import Body, Delivered, Delivery, Outcome, Retry
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.http import HttpClient
from notifier.ports import RenderRequest
from notifier.settings.base import settings_digest
from notifier.settings.interpolated import InterpolatedStr
from notifier.wording.localizer import Localizer

ENGLISH = Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
HEADLINE = "gauss-6568-zzh: instance creation failed. The quota of vCPUs is not enough, 16:29"


class NoteSettings(ChannelSettings):
    """Settings of a kind whose markup is in angle brackets."""

    takes_templates = True
    kind: Literal["note"] = "note"


class NoteChannel(TemplatedChannel[NoteSettings]):
    """Writes a title and a text, and answers as it is asked to."""

    kind: ClassVar[str] = "note"
    outcome: Outcome = Delivered("note-1")

    def escape(self, text: str) -> str:
        return text.replace("<", "[").replace(">", "]")

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        title = filled.title or f"built-in {request.events[0].type}"
        return Body(content=f"{title}\n{filled.text or 'built-in text'}".encode(), content_type="text/plain")

    async def attempt(self, delivery: Delivery) -> Outcome:
        assert delivery.body is not None
        return self.outcome


@pytest.fixture
async def context() -> AsyncIterator[ChannelContext]:
    async with aclosing(HttpClient()) as http:
        yield ChannelContext(http=http, clock=FakeClock(), localizer=ENGLISH)


def note_settings(templates: object) -> NoteSettings:
    return NoteSettings.model_validate({"name": "notes", "kind": "note", "templates": templates})


def note_channel(context: ChannelContext, templates: object) -> NoteChannel:
    return NoteChannel(note_settings(templates), context)


def written(channel: NoteChannel, *events: Event) -> list[str]:
    return channel.render(make_render_request(*events)).content.decode().split("\n")


def filled(source: str, facts: dict[str, Any]) -> FilledTemplate:
    templates = ChannelTemplates(
        {"*": MessageTemplate.model_validate({"text": source})}, lambda text: f"‹{text}›", ENGLISH
    )
    return templates.fill("task.failed", facts)


# ---- which one applies ----


@pytest.mark.parametrize(
    ("keys", "kind", "key"),
    [
        (TEMPLATE_KEYS, "task.failed", "task.failed"),
        (("task.*", "*", DIGEST), "task.failed", "task.*"),
        (("source.*", "*", DIGEST), "task.failed", "*"),
        (("source.*", "task.started"), "task.failed", None),
        (TEMPLATE_KEYS, DIGEST, DIGEST),
        (("*", "task.*"), DIGEST, None),
        ((), "task.failed", None),
    ],
)
def test_the_most_specific_key_applies(keys: tuple[str, ...], kind: str, key: str | None) -> None:
    assert template_key(keys, kind) == key


@pytest.mark.parametrize(
    ("keys", "kind", "key"),
    [
        (("@night", *TEMPLATE_KEYS), "task.failed", "@night"),
        (("@other", "task.*"), "task.failed", "task.*"),
        (("@other",), "task.failed", None),
        (("@night", *TEMPLATE_KEYS), DIGEST, DIGEST),
        (("@night",), DIGEST, None),
    ],
)
def test_the_templates_that_a_route_chose_come_first(keys: tuple[str, ...], kind: str, key: str | None) -> None:
    assert template_key(keys, kind, "night") == key


@pytest.mark.parametrize("kind", EventType)
def test_every_type_has_a_key_and_a_family(kind: EventType) -> None:
    assert kind.value in TEMPLATE_KEYS
    assert template_key([key for key in TEMPLATE_KEYS if key.endswith(".*")], kind) is not None


def test_a_text_replaces_the_body_and_a_title_the_headline(context: ChannelContext) -> None:
    channel = note_channel(
        context,
        {
            "task.failed": {"title": "{{ data.task.label }} failed", "text": "Job {{ data.task.job_id }}\n"},
            "task.*": "Status {{ data.task.status }}",
            DIGEST: {"title": "{{ data.events | length }} events"},
        },
    )
    failed, completed = make_event(), make_event_of(EventType.TASK_COMPLETED)
    assert written(channel, failed) == ["Instance creation failed", "Job 31b8ae23-c687-4d80-b7b4-42a66c9bb886"]
    assert written(channel, completed) == ["built-in task.completed", "Status failed"]
    assert written(channel, make_gap()) == ["built-in source.gap", "built-in text"]
    assert written(channel, failed, completed) == ["2 events", "built-in text"]


def test_a_template_that_makes_no_text_replaces_nothing(context: ChannelContext) -> None:
    blank = "{% if data.late %}late{% endif %}\n "
    assert written(note_channel(context, {"*": {"title": blank, "text": blank}}), make_event()) == [
        "built-in task.failed",
        "built-in text",
    ]


def test_a_title_is_one_line(context: ChannelContext) -> None:
    channel = note_channel(context, {"*": {"title": "  one\n\n  two\t{{ headline }}\n"}})
    assert written(channel, make_event())[0] == f"one two {HEADLINE}"


# ---- what it prints ----


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_are_escaped_and_stay_on_their_line(context: ChannelContext, text: str) -> None:
    source = "<b>{{ data.task.fail_reason }}</b>\n<i>{{ data.task.instance.name }}</i>"
    title, *lines = written(
        note_channel(context, {"*": {"title": "<{{ headline }}>", "text": source}}), hostile_event(text)
    )
    assert title.count("<") == title.count(">") == 1
    assert [(line[:3], line[-4:]) for line in lines] == [("<b>", "</b>"), ("<i>", "</i>")]
    assert [line.count("<") for line in lines] == [2, 2]
    assert not any(char < " " for line in (title, *lines) for char in line)


PRINTING = (
    "{{ x }}",
    "{{ x | upper | lower }}",
    "{{ x ~ '' }}",
    "{{ '%s' | format(x) }}",
    "{{ '{}'.format(x) }}",
    "{{ x | e }}",
    "{{ x | safe }}",
    "{{ x | tojson }}",
    "{{ x | urlize }}",
    "{{ x | striptags }}",
    "{{ [x] | join }}",
    "{{ [x] }}",
    "{{ {'x': x} }}",
    "{% set y = x %}{{ y }}",
    "{% set y %}{{ x }}{% endset %}{{ y }}",
    "{% set y | striptags %}{{ x }}{% endset %}{{ y }}",
    "{% macro m(y) %}{{ y }}{% endmacro %}{{ m(x) }}",
    "{% autoescape true %}{{ x }}{% endautoescape %}",
    "{% autoescape true %}{% set y %}{{ x }}{% endset %}{{ y }}{% endautoescape %}",
    "{% for y in [x] %}{{ y }}{% endfor %}",
    "{% block b %}{{ x }}{% endblock %}",
    "{% with y = x %}{{ y }}{% endwith %}",
    "{% if x %}{{ x }}{% else %}{{ x }}{% endif %}",
)
"""Every way in which a template can print a value."""


@pytest.mark.parametrize("source", PRINTING)
@given(text=st.text(st.sampled_from("<>&;#x3c!*@_`\n\r\u2028 \x1b[31m"), max_size=40))
def test_every_way_to_print_escapes(source: str, text: str) -> None:
    templates = ChannelTemplates(
        {"*": MessageTemplate.model_validate({"text": source})}, lambda one: one.replace("<", "["), ENGLISH
    )
    found = templates.fill("task.failed", {"x": text})
    assert found.failure is None
    assert "<" not in (found.text or "")
    assert "\n" not in (found.text or "").replace("\n", "", source.count("\n"))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "‹›"), (True, "‹true›"), (3, "‹3›"), (0.5, "‹0.5›"), (["a", 1], '‹["a", 1]›'), ("a\n b", "‹a b›")],
)
def test_values_are_printed_as_text(value: object, shown: str) -> None:
    assert filled("{{ x }}", {"x": value}).text == shown


def test_a_long_value_is_cut() -> None:
    assert len(filled("{{ x }}", {"x": "x" * 10 * PRINTED_VALUE_LIMIT}).text or "") == PRINTED_VALUE_LIMIT + len("‹›")


def test_lines_of_a_reason_can_be_printed_one_by_one() -> None:
    source = "{% for line in x.splitlines() %}\n> {{ line }}\n{% endfor %}\nend"
    assert (filled(source, {"x": "one\ntwo"}).text or "").split("\n") == ["> ‹one›", "> ‹two›", "end"]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("{{ '2026-01-15T08:29:20Z' | local_time }}", "‹15 Jan 16:29:20 (UTC+8)›"),
        ("{{ 622 | duration }}", "‹10 min 22 s›"),
        ("{{ none | local_time }}{{ none | duration }}", "‹›‹›"),
    ],
)
def test_times_and_durations_are_written_for_the_readers(source: str, shown: str) -> None:
    assert filled(source, {}).text == shown


# ---- where it fails ----


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{{ data.tsk.name }}", "UndefinedError: 'dict object' has no attribute 'tsk'"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ data.update({'x': 1}) }}", "SecurityError"),
        ("{% for _ in range(10**9) %}x{% endfor %}", "OverflowError"),
        ("{% for _ in range(99999) %}x{% endfor %}", f"ValueError: it makes more than {MAX_OUTPUT} characters"),
        ("{{ data.task.fail_reason + 1 }}", "TypeError"),
        ("{{ lipsum() }}", "UndefinedError"),
        ("{{ headline | local_time }}", "ValueError"),
        ("{{ headline | duration }}", "TypeError"),
    ],
)
async def test_the_built_in_message_replaces_one_that_fails_and_the_reason_is_known(
    context: ChannelContext, records: io.StringIO, source: str, why: str
) -> None:
    channel = note_channel(context, {"task.failed": {"title": "fine", "text": source}})
    request = make_render_request(make_event())
    body = channel.render(request)
    assert body.content == b"built-in task.failed\nbuilt-in text"
    problem = channel.render_problem(request) or ""
    assert problem.startswith("template task.failed (text) fails: ")
    assert why in problem

    what = "the template fails for this event, so the built-in message was sent: see notifier preview"
    assert await channel.send(make_delivery(make_event(), body=body)) == Delivered("note-1", reason=what)
    channel.outcome = Retry("HTTP 503")
    assert (await channel.send(make_delivery(make_event(), body=body))).reason == f"HTTP 503; {what}"
    logged = json.loads(records.getvalue().splitlines()[0])
    assert (logged["event"], logged["level"], logged["channel"]) == ("channel.template_failed", "warning", "notes")
    assert logged["types"] == ["task.failed"]
    assert why in logged["reason"]


async def test_a_message_of_a_template_is_reported_as_any_other(context: ChannelContext, records: io.StringIO) -> None:
    channel = note_channel(context, {"*": "{{ headline }}"})
    delivery = make_delivery(body=channel.render(make_render_request()))
    assert await channel.send(delivery) == Delivered("note-1")
    assert records.getvalue() == ""


@pytest.mark.parametrize("text", HOSTILE)
def test_the_reason_of_a_failure_is_one_short_line(context: ChannelContext, text: str) -> None:
    channel = note_channel(context, {"*": "{{ [][data.task.fail_reason] }}{{ {}[data.task.fail_reason].x }}"})
    failure = channel.render_problem(make_render_request(hostile_event(text))) or ""
    assert "\n" not in failure
    assert len(failure) < 400


@pytest.mark.parametrize("kind", EventType)
def test_the_facts_have_what_the_standard_body_has(context: ChannelContext, kind: EventType) -> None:
    found = facts(make_render_request(make_event_of(kind)), context)
    assert {"type", "timestamp", "headline", "data"} == found.keys()
    assert json.loads(json.dumps(found)) == found


# ---- settings ----


@pytest.mark.parametrize(
    ("templates", "problem"),
    [
        ({"task.faild": "x"}, "'task.faild' is not a type of event. Did you mean task.failed?"),
        ({"tasks.*": "x"}, "'tasks.*' is not a type of event. Did you mean task.*?"),
        ({"task.failed": "{% if %}"}, "line 1: Expected an expression"),
        ({"*": {"title": "fine", "text": "a\n{{ x"}}, "line 2: "),
        ({"*": "{{ headline | upcase }}"}, "No filter named 'upcase'"),
        ({"*": "{{ ['a'] | random }}"}, "No filter named 'random'"),
        ({"*": {}}, "has no template. Give title, text or both."),
        ({"*": {"titel": "x"}}, "unknown key. Did you mean title?"),
        ({"*": ["x"]}, "must be the text of a template, or a mapping with title and text."),
        (
            {"*": "{% filter upper %}x{% endfilter %}"},
            "cannot use the statement filter: apply the filter to each value",
        ),
        ({"*": "{% call x() %}{% endcall %}"}, "cannot use the statement call"),
        ({"*": "a\n{% include 'x' %}"}, "line 2: a template cannot use the statement include"),
        ({"*": "{% import 'x' as y %}"}, "cannot use the statement import"),
        ({"*": "{% from 'x' import y %}"}, "cannot use the statement from"),
        ({"*": "{% extends 'x' %}"}, "cannot use the statement extends"),
        (
            {"*": InterpolatedStr("obviously-fake", "${A_KEY}", {"A_KEY": "obviously-fake"})},
            "takes no values from the environment, because messages are stored: remove ${A_KEY}",
        ),
    ],
)
def test_a_template_that_cannot_work_is_refused_when_it_is_read(templates: object, problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        note_settings(templates)
    assert problem in str(caught.value)
    assert "obviously-fake" not in str(caught.value)


def test_an_error_names_the_place() -> None:
    with pytest.raises(ValidationError) as caught:
        note_settings({"task.failed": {"title": "{{", "text": "fine"}})
    (error,) = caught.value.errors()
    assert error["loc"] == ("templates", "task.failed", "title")


def test_a_kind_that_takes_no_templates_refuses_them() -> None:
    class PlainSettings(ChannelSettings):
        kind: Literal["plain"] = "plain"

    with pytest.raises(ValidationError, match="channels of the kind plain take no templates"):
        PlainSettings.model_validate({"name": "plain", "templates": {"*": "x"}})


def test_templates_are_part_of_the_settings_digest_and_serialized_as_written() -> None:
    one, two = (note_settings({"task.failed": text}) for text in ("{{ headline }}", "{{ type }}"))
    assert settings_digest(one) != settings_digest(two)
    assert one.model_dump(mode="json")["templates"] == {"task.failed": {"title": None, "text": "{{ headline }}"}}
    assert (one.has_template, note_settings({}).has_template) == (True, False)


def test_without_templates_nothing_is_replaced(context: ChannelContext) -> None:
    assert note_channel(context, {}).filled(make_render_request()) == BUILT_IN
