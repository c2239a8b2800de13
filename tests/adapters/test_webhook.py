"""Webhooks: the body that is a contract, its signature, templates, and what a receiver's answers come to."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import (
    HOSTILE,
    OWN_TYPES,
    T0,
    hostile_event,
    make_alert,
    make_delivery,
    make_event,
    make_event_of,
    make_events,
    make_gap,
    make_render_request,
    make_task,
)
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from servers.http import HttpServer, cut_short, drip, flood, reply, reset, silence
from standardwebhooks import Webhook, WebhookVerificationError

from notifier.channels.base import ChannelContext, stored_body
from notifier.channels.placeholders import Placeholders, readable
from notifier.channels.templates import MAX_OUTPUT
from notifier.core.delivery import Delivered, Delivery, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.routing import DeliveryRouting
from notifier.core.severity import Severity
from notifier.core.storms import Storm, StormGroup
from notifier.http import HttpClient
from notifier.integrations.webhook.channel import WebhookChannel
from notifier.integrations.webhook.settings import WebhookSettings
from notifier.settings.base import settings_digest
from notifier.settings.interpolated import InterpolatedStr
from notifier.wording.causes import builtin_catalogue
from notifier.wording.localizer import Localizer

# Obviously fake keys: the bytes 0 to 23 and 24 to 47 in base64.
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
OLD_SECRET = "whsec_GBkaGxwdHh8gISIjJCUmJygpKissLS4v"
SECRET_PATH = "/hooks/obviously-fake-token"
ENGLISH = Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
HEADLINE = "gauss-6568-zzh: instance creation failed. The quota of vCPUs is not enough, 16:29"
CAUSE = builtin_catalogue().explain("The quota of vCPUs is not enough.").cause or pytest.fail("it is known")
UNKNOWN = make_task(fail_reason=None, created_at=None)
EXPLAINED = {
    "summary", "severity", "environment", "labels", "error_code", "cause", "means", "action", "duration_seconds",
    "console_url", "runbook_url", "dedup_key",
}  # fmt: skip
"""What is added to the facts of the API."""
SHORT = timedelta(milliseconds=150)


def make_settings(**changes: Any) -> WebhookSettings:
    values = {"name": "tickets", "kind": "webhook", "url": f"https://tickets.example.com{SECRET_PATH}"}
    return WebhookSettings.model_validate(values | changes)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def context(http: HttpClient, clock: FakeClock) -> ChannelContext:
    return ChannelContext(http=http, clock=clock, localizer=ENGLISH)


def make_channel(context: ChannelContext, **changes: Any) -> WebhookChannel:
    return WebhookChannel(make_settings(**changes), context)


def rendered(channel: WebhookChannel, *events: Event) -> Delivery:
    return make_delivery(
        *events, channel="tickets", body=channel.render(make_render_request(*events, channel="tickets"))
    )


def body(channel: WebhookChannel, *events: Event) -> Any:
    return json.loads(channel.render(make_render_request(*events, channel="tickets")).content)


async def outcome(context: ChannelContext, server: HttpServer, **changes: Any) -> Outcome:
    channel = make_channel(context, url=server.url(SECRET_PATH), **changes)
    return await channel.send(rendered(channel))


# ---- the standard body ----


class TestBody:
    def test_it_is_the_contract(self, context: ChannelContext) -> None:
        event = make_event(environment="production", labels=(("team", "dba"),))
        context = replace(
            context,
            console_url="https://console.example.com/{region}",
            runbook_url="https://wiki.example.com/{cause}",
        )
        assert body(make_channel(context), event) == {
            "type": "task.failed",
            "timestamp": "2026-01-15T08:29:20Z",
            "data": {
                "event_id": event.id,
                "source": "prod",
                "region": "cn-north-4",
                "project_id": "0611f1bd8b00d5d32f17c017f15b599f",
                "late": False,
                "previous_status": "running",
                "task": {
                    "job_id": "31b8ae23-c687-4d80-b7b4-42a66c9bb886",
                    "name": "CreateGaussDBV5Instance",
                    "label": "Instance creation",
                    "status": "failed",
                    "raw_status": "Failed",
                    "progress": None,
                    "instance": {
                        "id": "fe2bd7a6d5e34ec8a2d0f0ae3b4d3bcain14",
                        "name": "gauss-6568-zzh",
                        "status": "creating",
                    },
                    "created_at": "2026-01-15T08:17:00Z",
                    "ended_at": "2026-01-15T08:29:20Z",
                    "fail_reason": "The quota of vCPUs is not enough.",
                },
                "summary": "Instance creation failed on gauss-6568-zzh: The quota of vCPUs is not enough",
                "severity": "critical",
                "environment": "production",
                "labels": {"team": "dba"},
                "error_code": None,
                "cause": CAUSE.id,
                "means": CAUSE.means["en"],
                "action": CAUSE.do["en"],
                "duration_seconds": 740,
                "console_url": "https://console.example.com/cn-north-4",
                "runbook_url": f"https://wiki.example.com/{CAUSE.id}",
                "dedup_key": "prod/31b8ae23-c687-4d80-b7b4-42a66c9bb886",
            },
        }

    @pytest.mark.parametrize("kind", EventType)
    def test_what_is_not_known_is_null(self, context: ChannelContext, kind: EventType) -> None:
        event = replace(make_event_of(kind), task=None) if kind in OWN_TYPES else make_event(UNKNOWN, type=kind)
        data = body(make_channel(context), event)["data"]
        assert data.keys() >= EXPLAINED
        nothing = {"environment", "error_code", "cause", "means", "duration_seconds", "console_url", "runbook_url"}
        assert {data[name] for name in nothing} == {None}
        assert data["labels"] == {}
        assert data["summary"]
        assert data["severity"] in [*Severity]
        assert data["dedup_key"] == event.subject

    @pytest.mark.parametrize(
        ("task", "seconds"),
        [
            ({"status": "running"}, 780),
            ({"ended_at": None}, None),
            ({"created_at": None}, None),
            ({"ended_at": T0 - timedelta(hours=1)}, None),
        ],
    )
    def test_the_duration_is_that_of_the_task(
        self, context: ChannelContext, task: dict[str, Any], seconds: int | None
    ) -> None:
        assert body(make_channel(context), make_event(make_task(**task)))["data"]["duration_seconds"] == seconds

    def test_a_severity_of_the_routes_wins(self, context: ChannelContext) -> None:
        channel, routing = make_channel(context), DeliveryRouting(severity=Severity.INFO)
        for events in ((make_event(),), make_events(2)):
            request = replace(make_render_request(*events), routing=routing)
            data = json.loads(channel.render(request).content)["data"]
            assert [data["severity"], *(one["data"]["severity"] for one in data.get("events", ()))] == ["info"] * (
                1 if len(events) == 1 else 3
            )

    def test_a_storm_is_described(self, context: ChannelContext) -> None:
        groups = (StormGroup(code="OBS.0503", operation="CreateGaussDBV5Backup", count=239, reason="no\nupload"),)
        storm = Storm(
            id="s-1",
            channel="tickets",
            source="prod",
            started_at=T0,
            updated_at=T0,
            total=300,
            groups=groups,
            instances=(("gauss-1", 8), ("gauss-2", 1)),
        )
        request = replace(make_render_request(*make_events(2)), storm=storm, opens_storm=True)
        data = json.loads(make_channel(context).render(request).content)["data"]
        assert data["summary"].startswith("300 tasks failed")
        assert data["storm"] == {
            "id": "s-1",
            "started_at": "2026-01-15T08:30:00Z",
            "total": 300,
            "instances": 2,
            "reasons": [
                {"error_code": "OBS.0503", "operation": "CreateGaussDBV5Backup", "count": 239, "reason": "no upload"}
            ],
        }
        assert len(data["events"]) == 2

    @pytest.mark.parametrize(("progress", "written"), [(60.0, b"60,"), (60.5, b"60.5,"), (None, b"null,")])
    def test_progress_is_a_number_or_null(
        self, context: ChannelContext, progress: float | None, written: bytes
    ) -> None:
        event = make_event(make_task(status="running", progress=progress))
        content = make_channel(context).render(make_render_request(event)).content
        assert b'"progress":' + written in content

    def test_an_event_without_a_time_carries_when_it_was_observed(self, context: ChannelContext) -> None:
        event = make_event(make_task(created_at=None, ended_at=None), occurred_at=None)
        got = body(make_channel(context), event)
        assert got["timestamp"] == "2026-01-15T08:30:00Z"
        assert got["data"]["task"]["created_at"] is None

    def test_an_event_about_a_source_has_no_task_but_a_detail(self, context: ChannelContext) -> None:
        got = body(make_channel(context), make_gap())
        assert (got["type"], got["data"]["task"]) == ("source.gap", None)
        assert got["data"]["detail"].startswith("Not observed from")

    def test_an_event_about_a_channel_names_it_and_since_when(self, context: ChannelContext) -> None:
        data = body(make_channel(context), make_alert(EventType.CHANNEL_GAVE_UP))["data"]
        assert (data["channel"], data["source"], data["count"]) == ("dba", "", 3)
        assert (data["since"], data["detail"]) == ("2026-01-15T08:24:00Z", "HTTP 503 from example.com")
        assert not {"channel", "since", "count"} & body(make_channel(context), make_event())["data"].keys()

    def test_a_digest_lists_events_of_the_same_shape(self, context: ChannelContext) -> None:
        events = make_events(3)
        channel = make_channel(context)
        got = body(channel, *events)
        assert (got["type"], got["timestamp"]) == ("digest", "2026-01-15T08:30:02Z")
        assert got["data"] == {
            "summary": "2 tasks failed, 1 completed",
            "severity": "error",
            "events": [body(channel, event) for event in events],
        }

    def test_machines_get_each_event_alone_by_default(self) -> None:
        assert make_settings().digest_above is None
        assert make_settings(digest_above=5).digest_above == 5

    @pytest.mark.parametrize("text", HOSTILE)
    def test_hostile_text_arrives_as_it_was(self, context: ChannelContext, text: str) -> None:
        task = body(make_channel(context), hostile_event(text))["data"]["task"]
        assert (task["name"], task["fail_reason"], task["instance"]["name"]) == (text, text, text)

    def test_a_lone_surrogate_does_not_stop_it(self, context: ChannelContext) -> None:
        got = body(make_channel(context), make_event(make_task(fail_reason="half a smile: \ud83d")))
        assert got["data"]["task"]["fail_reason"] == "half a smile: ?"


# ---- templates ----


class TestTemplate:
    def test_it_makes_the_body(self, context: ChannelContext) -> None:
        template = '{"text": "{{ headline }}", "job": {{ data.task.job_id | tojson }}, "late": {{ data.late }}}'
        assert body(make_channel(context, body_template=template)) == {
            "text": HEADLINE,
            "job": "31b8ae23-c687-4d80-b7b4-42a66c9bb886",
            "late": False,
        }

    @pytest.mark.parametrize("text", HOSTILE)
    def test_text_cannot_leave_its_quotes(self, context: ChannelContext, text: str) -> None:
        template = '{"quoted": "{{ data.task.fail_reason }}", "filtered": {{ data.task.fail_reason | tojson }}, "x": 1}'
        channel = make_channel(context, body_template=template)
        short = text[:9_000]
        assert body(channel, hostile_event(short)) == {"quoted": short, "filtered": short, "x": 1}

    def test_a_body_that_is_not_json_can_be_asked_for(self, context: ChannelContext) -> None:
        channel = make_channel(context, body_template="{{ headline }}\n", content_type="text/plain; charset=utf-8")
        got = channel.render(make_render_request())
        assert got.content.decode() == f"{HEADLINE}\n"
        assert got.content_type == "text/plain; charset=utf-8"

    def test_text_in_xml_is_escaped(self, context: ChannelContext) -> None:
        channel = make_channel(context, body_template="<a>{{ data.task.name }}</a>", content_type="application/xml")
        got = channel.render(make_render_request(hostile_event("</a><b c='d'>")))
        assert got.content == b"<a>&lt;/a&gt;&lt;b c=&#39;d&#39;&gt;</a>"

    def test_where_it_fails_on_an_event_the_standard_body_goes_out(self, context: ChannelContext) -> None:
        template = '{"job": {{ data.task.job_id | tojson }}}'
        channel = make_channel(context, body_template=template, content_type="application/vnd.example+json")
        got = channel.render(make_render_request(make_gap()))
        assert json.loads(got.content)["type"] == "source.gap"
        assert got.content_type == "application/json; body=standard"

    async def test_an_event_a_template_fails_on_is_sent_as_json_and_reported(
        self, context: ChannelContext, records: io.StringIO
    ) -> None:
        template = '{"job": {{ data.task.job_id | tojson }}}'
        answers = (reply(200), reply(400), reply(503))
        async with HttpServer(*answers) as server:
            channel = make_channel(
                context,
                url=server.url(SECRET_PATH),
                body_template=template,
                content_type="application/vnd.example+json",
            )
            outcomes = [await channel.send(rendered(channel, make_gap())) for _ in answers]
            whole = await channel.send(rendered(channel, make_event()))
        what = "body_template fails for this event, so the standard body was sent: see notifier preview"
        assert [outcome.reason for outcome in outcomes] == [what, f"HTTP 400; {what}", f"HTTP 503; {what}"]
        assert whole.reason == "HTTP 503"
        types = [request.headers["content-type"] for request in server.requests]
        assert types == ["application/json"] * 3 + ["application/vnd.example+json"]
        logged = json.loads(records.getvalue().splitlines()[0])
        assert (logged["level"], logged["channel"], logged["types"]) == ("warning", "tickets", ["source.gap"])
        assert "None" in logged["reason"]

    @pytest.mark.parametrize("type_", EventType)
    def test_it_is_flawed_where_it_fails(self, context: ChannelContext, type_: EventType) -> None:
        channel = make_channel(context, body_template='{"job": {{ data.task.job_id | tojson }}}')
        render_problem = channel.render_problem(make_render_request(make_event_of(type_)))
        assert bool(render_problem) is not type_.about_task
        assert make_channel(context).render_problem(make_render_request(make_event_of(type_))) is None

    def test_where_it_grows_too_long_the_standard_body_goes_out(self, context: ChannelContext) -> None:
        channel = make_channel(context, body_template='"{% for _ in "1234" %}{{ data.task.fail_reason }}{% endfor %}"')
        long = make_event(make_task(fail_reason="x" * (MAX_OUTPUT // 4)))
        assert body(channel, long)["type"] == "task.failed"

    def test_each_type_may_have_its_own(self, context: ChannelContext) -> None:
        templates = {"task.failed": '{"failed": "{{ headline }}"}', "digest": '{"n": {{ data.events | length }}}'}
        channel = make_channel(context, templates=templates, body_template='{"any": "{{ type }}"}')
        assert body(channel, make_event()) == {"failed": HEADLINE}
        assert body(channel, make_gap()) == {"any": "source.gap"}
        assert body(channel, *make_events(3)) == {"n": 3}
        assert body(make_channel(context, templates=templates), make_gap())["type"] == "source.gap"

    async def test_the_one_that_fails_is_named(self, context: ChannelContext, records: io.StringIO) -> None:
        async with HttpServer() as server:
            channel = make_channel(context, url=server.url(), templates={"source.*": '{"x": "{{ data.task.name }}"}'})
            found = await channel.send(rendered(channel, make_gap()))
        what = "template source.* fails for this event, so the standard body was sent: see notifier preview"
        assert found.reason == what
        assert json.loads(records.getvalue().splitlines()[0])["reason"].startswith("template source.* fails: Undefined")

    @pytest.mark.parametrize(
        ("templates", "problem"),
        [
            ({"task.failed": {"title": "x"}}, "a body has no title: give the text of the whole body"),
            ({"task.failed": "{% if %}"}, "line 1: Expected an expression"),
            ({"task.faild": "{}"}, "Did you mean task.failed?"),
        ],
    )
    def test_templates_that_cannot_work_are_refused(self, templates: object, problem: str) -> None:
        with pytest.raises(ValidationError) as caught:
            make_settings(templates=templates)
        assert problem in str(caught.value)

    @pytest.mark.parametrize(
        ("template", "problem"),
        [
            ("{% if %}", "body_template\n  line 1: Expected an expression"),
            ("{}\n{{ data.tsk.name }}", "UndefinedError: 'dict object' has no attribute 'tsk'"),
            ("{{ data.task.nmae | tojson }}", "UndefinedError"),
            ('{"text": {{ headline }}}', "JSONDecodeError"),
            ('{"text": "{{ headline }}"', "JSONDecodeError"),
            ("{{ ''.__class__.__mro__ }}", "SecurityError"),
            ("{{ data.__class__.__init__.__globals__ }}", "SecurityError"),
            ("{{ data.update({'x': 1}) }}", "SecurityError"),
            ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "SecurityError"),
            ("{% for _ in range(10**9) %}x{% endfor %}", "OverflowError"),
            ("{% for _ in range(99999) %}x{% endfor %}", "it makes more than 32768 characters"),
            ("{% include '/etc/passwd' %}", "TypeError"),
        ],
    )
    def test_one_that_cannot_work_is_refused_when_it_is_read(self, template: str, problem: str) -> None:
        with pytest.raises(ValidationError) as caught:
            make_settings(body_template=template)
        assert problem in str(caught.value)


# ---- settings ----


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"url": "ftp://tickets.example.com"}, "must be a URL such as https://host/path"),
            ({"url": "tickets.example.com/hook"}, "must be a URL such as https://host/path"),
            ({"url": "https:///hook"}, "must be a URL such as https://host/path"),
            ({"url": "https://a.example.com:99999/"}, "must be a URL such as https://host/path"),
            ({"url": "https://[::1/"}, "must be a URL such as https://host/path"),
            ({"url": "https://a.example.com/\r\nX: y"}, "has inside it a line end"),
            ({"secret": "fake"}, "a signing secret is whsec_ and 24 to 64 random bytes in base64"),
            ({"secret": "whsec_dG9vIHNob3J0"}, "a signing secret is whsec_ and 24 to 64 random bytes in base64"),
            ({"secret": "whsec_***"}, "a signing secret is whsec_"),
            ({"secrets": [SECRET, "whsk_no"]}, "a signing secret is whsec_"),
            ({"headers": {"X Y": "z"}}, "'X Y' is not a header name"),
            ({"headers": {"Webhook-Id": "1"}}, "the header Webhook-Id is set by the notifier"),
            ({"headers": {"Connection": "close"}}, "the header Connection is set by the notifier"),
            ({"headers": {"Content-Length": "1"}}, "the header Content-Length is set by the notifier"),
            ({"headers": {"X-A": "1\r\nX-B: 2"}}, "has inside it a line end"),
            ({"headers": {"X-A": "值"}}, "the value of the header X-A must be printable ASCII"),
            ({"timeout": "60s"}, "timeout"),
            ({"content_type": "json"}, "content_type"),
        ],
    )
    def test_a_wrong_one_is_refused_with_what_would_be_right(self, changes: dict[str, Any], problem: str) -> None:
        with pytest.raises(ValidationError) as caught:
            make_settings(**changes)
        assert problem in str(caught.value)

    def test_url_secrets_and_header_values_are_not_shown(self) -> None:
        settings = make_settings(secret=SECRET, secrets=[OLD_SECRET], headers={"Authorization": "Bearer fake-token"})
        shown = repr(settings) + str(settings) + settings.model_dump_json()
        assert not [hidden for hidden in (SECRET_PATH, SECRET, OLD_SECRET, "fake-token") if hidden in shown]


# ---- sending ----


class TestSignature:
    async def test_the_receiver_can_verify_it(self, context: ChannelContext, clock: FakeClock) -> None:
        clock.time = datetime.now(UTC)  # the verifier compares with the time of day
        async with HttpServer() as server:
            assert await outcome(context, server, secret=SECRET) == Delivered(reply="HTTP 200: ok")
        request = server.requests[0]
        assert Webhook(SECRET).verify(request.body, dict(request.headers))["type"] == "task.failed"
        with pytest.raises(WebhookVerificationError):
            Webhook(OLD_SECRET).verify(request.body, dict(request.headers))

    async def test_hostile_text_does_not_break_it(self, context: ChannelContext, clock: FakeClock) -> None:
        clock.time = datetime.now(UTC)
        async with HttpServer() as server:
            channel = make_channel(context, url=server.url(), secret=SECRET)
            for text in HOSTILE:
                await channel.send(rendered(channel, hostile_event(text)))
        for text, request in zip(HOSTILE, server.requests, strict=True):
            verified = Webhook(SECRET).verify(request.body, dict(request.headers))
            assert verified["data"]["task"]["fail_reason"] == text

    async def test_during_a_rotation_old_and_new_secret_both_verify(
        self, context: ChannelContext, clock: FakeClock
    ) -> None:
        clock.time = datetime.now(UTC)
        async with HttpServer() as server:
            await outcome(context, server, secret=SECRET, secrets=[OLD_SECRET])
        request = server.requests[0]
        assert len(request.headers["webhook-signature"].split(" ")) == 2
        for secret in (SECRET, OLD_SECRET):
            Webhook(secret).verify(request.body, dict(request.headers))

    async def test_without_a_secret_there_is_none(self, context: ChannelContext) -> None:
        async with HttpServer() as server:
            await outcome(context, server)
        assert "webhook-signature" not in server.requests[0].headers
        assert "webhook-id" in server.requests[0].headers

    async def test_a_repeat_has_the_same_id_and_body_and_its_own_time(
        self, context: ChannelContext, clock: FakeClock
    ) -> None:
        async with HttpServer(reply(503), reply(200)) as server:
            channel = make_channel(context, url=server.url(), secret=SECRET)
            delivery = rendered(channel)
            await channel.send(delivery)
            clock.advance(timedelta(minutes=5))
            await channel.send(replace(delivery, attempt=2))
        first, second = server.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"] == delivery.id
        assert first.body == second.body
        times = [int(request.headers["webhook-timestamp"]) for request in (first, second)]
        assert times == [int(T0.timestamp()), int(T0.timestamp()) + 300]
        assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


class TestSending:
    async def test_own_headers_and_the_content_type_go_along(self, context: ChannelContext) -> None:
        async with HttpServer() as server:
            await outcome(context, server, headers={"X-Team": "dba", "Authorization": "Bearer fake"})
        headers = server.requests[0].headers
        assert (headers["x-team"], headers["authorization"]) == ("dba", "Bearer fake")
        assert headers["content-type"] == "application/json"
        assert server.requests[0].method == "POST"

    async def test_an_answer_cut_after_a_good_status_counts_as_delivered(self, context: ChannelContext) -> None:
        for answer in (cut_short(202), flood(200)):
            async with HttpServer(answer) as server:
                assert isinstance(await outcome(context, server), Delivered)

    async def test_a_body_that_drips_costs_no_more_than_the_deadline(self, context: ChannelContext) -> None:
        async with HttpServer(drip(503)) as server:
            found = await outcome(context, server, timeout=SHORT)
        assert replace(found, reply=None) == Retry("HTTP 503")
        assert (found.reply or "").startswith("HTTP 503")

    async def test_an_outcome_holds_the_receivers_reply_without_secrets(self, context: ChannelContext) -> None:
        said = b'{"error": "Cannot POST it", "key": "fake-header-key", "url": "%s"}'
        async with HttpServer(reply(400, said % SECRET_PATH.encode())) as server:
            got = await outcome(context, server, headers={"X-Mine": "fake-header-key"})
        assert got == GaveUp("HTTP 400", reply='HTTP 400: {"error": "Cannot POST it", "key": "***", "url": "***"}')

    async def test_silence_and_a_cut_connection_leave_the_outcome_open(self, context: ChannelContext) -> None:
        for answer in (silence(), reset()):
            async with HttpServer(answer) as server:
                assert isinstance(await outcome(context, server, timeout=SHORT), Unknown)

    async def test_a_refused_connection_is_tried_again(self, context: ChannelContext) -> None:
        async with HttpServer() as server:
            pass
        assert await outcome(context, server) == Retry(f"connection refused by 127.0.0.1:{server.port}")

    async def test_a_metadata_address_parks_the_channel(self, context: ChannelContext) -> None:
        channel = make_channel(context, url="http://169.254.169.254/latest/meta-data/")
        got = await channel.send(rendered(channel))
        assert isinstance(got, Parked)
        assert "a link-local or metadata address" in got.reason

    async def test_retry_after_is_passed_on(self, context: ChannelContext) -> None:
        async with HttpServer(reply(429, headers={"Retry-After": "120"})) as server:
            assert await outcome(context, server) == Retry("HTTP 429", timedelta(minutes=2), reply="HTTP 429: ok")


class TestCheck:
    async def test_it_asks_without_posting(self, context: ChannelContext) -> None:
        async with HttpServer(reply(405, b"")) as server:
            (finding,) = await make_channel(context, url=server.url(SECRET_PATH)).check()
        assert (finding.ok, finding.detail) == (True, "answers (HTTP 405 to HEAD)")
        assert [request.method for request in server.requests] == ["HEAD"]

    @pytest.mark.parametrize("status", [404, 410, 301, 302, 307, 308, 407])
    async def test_what_is_known_to_be_wrong_fails(self, context: ChannelContext, status: int) -> None:
        async with HttpServer(reply(status, b"", {"Location": "https://elsewhere.example.com/"})) as server:
            finding, *_ = await make_channel(context, url=server.url(SECRET_PATH)).check()
        assert (finding.ok, finding.remedy) == (False, "check the URL")
        assert finding.detail.startswith(f"HTTP {status} to HEAD: ")

    @pytest.mark.parametrize(("status", "proven"), [(200, True), (204, True), (405, True), (501, True)])
    async def test_what_answers_as_webhooks_do_passes(self, context: ChannelContext, status: int, proven: bool) -> None:  # noqa: FBT001 - a table
        async with HttpServer(reply(status, b"")) as server:
            (finding,) = await make_channel(context, url=server.url(SECRET_PATH)).check()
        assert (finding.ok, finding.proven) == (True, proven)

    @pytest.mark.parametrize("status", [400, 401, 403, 415, 429, 500, 503])
    async def test_what_only_sending_would_prove_is_marked(self, context: ChannelContext, status: int) -> None:
        async with HttpServer(reply(status, b"")) as server:
            (finding,) = await make_channel(context, url=server.url(SECRET_PATH)).check()
        assert (finding.ok, finding.proven) == (True, False)
        assert "notifier test-send tickets" in finding.detail

    @pytest.mark.parametrize(("status", "ok"), [(200, True), (405, True), (404, False)])
    async def test_an_answer_to_head_may_have_a_body(self, context: ChannelContext, status: int, ok: bool) -> None:  # noqa: FBT001 - a table
        async with HttpServer(reply(status, b"<html>a body that has no place here</html>")) as server:
            for _ in "12":
                (finding,) = await make_channel(context, url=server.url(SECRET_PATH)).check()
                assert finding.ok is ok
                assert f"HTTP {status}" in finding.detail

    async def test_its_own_headers_go_along(self, context: ChannelContext) -> None:
        async with HttpServer(reply(200, b"")) as server:
            await make_channel(context, url=server.url(), headers={"Authorization": "Bearer fake"}).check()
        assert server.requests[0].headers["authorization"] == "Bearer fake"

    async def test_a_check_reports_a_server_that_is_not_there(self, context: ChannelContext) -> None:
        async with HttpServer() as server:
            pass
        (finding,) = await make_channel(context, url=server.url(SECRET_PATH)).check()
        assert not finding.ok
        assert finding.detail == f"connection refused by 127.0.0.1:{server.port}"
        assert finding.remedy

    @pytest.mark.parametrize(("headers", "ok"), [({}, True), ({"Authorization": "Bearer fake"}, False)])
    async def test_it_warns_of_credentials_in_the_clear(self, headers: dict[str, str], ok: bool) -> None:  # noqa: FBT001 - a table
        # Through a proxy, so that the name needs no address.
        async with HttpServer(reply(405, b"")) as proxy, aclosing(HttpClient(proxy=proxy.url())) as http:
            context = ChannelContext(http=http, clock=FakeClock(), localizer=ENGLISH)
            findings = await make_channel(context, url="http://tickets.invalid/", headers=headers).check()
        assert [finding.ok for finding in findings] == [True, ok]
        assert findings[1].detail == "others can read what is sent"


# ---- what counts as success ----

LOGIN = '<!DOCTYPE html><html><body><form action="/login"><input name=p type="password"></form></body></html>'
SSO = '<html><body onload="f()"><form><input type="hidden" name="SAMLRequest" value="x"/></form></body></html>'


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ('{"errcode":93000,"errmsg":"invalid webhook url"}', Parked),
        ('{"errcode":300005,"errmsg":"token is not exist"}', Parked),
        ('{"errcode":45009,"errmsg":"api freq out of limit"}', Retry),
        ('{"errcode":-1,"errmsg":"system busy"}', Retry),
        ('{"errcode":"40035"}', Parked),
        ('{"code":19021,"msg":"sign match fail or timestamp is not within one hour","data":{}}', Parked),
        ('{"code":11232,"msg":"too many request","data":{}}', Retry),
        ('{"success":false}', Retry),
        ('{"ok":false,"error":"invalid_auth"}', Retry),
        ("Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with x", Retry),
        ("Microsoft Teams endpoint returned HTTP error 400", Retry),
        ("Microsoft Teams endpoint returned HTTP error 413", GaveUp),
        (LOGIN, Parked),
        (SSO, Parked),
        ('{"errcode":0,"errmsg":"ok"}', Delivered),
        ('{"code":0,"msg":"success","data":{}}', Delivered),
        ('{"code":200,"message":"ok"}', Delivered),
        ('{"success":true}', Delivered),
        ('{"success":null}', Delivered),
        ('{"errcode":null}', Delivered),
        ('{"errcode":false}', Retry),
        ("<html><body>Thank you</body></html>", Delivered),
        ("1", Delivered),
        ("", Delivered),
        ("[" * 60_000, Delivered),
        ("\ufeff" + '{"success":false}', Retry),
        ('{"StatusCode":19021,"StatusMessage":"sign match fail"}', Parked),
        ('{"StatusCode":11232,"StatusMessage":"too many request"}', Retry),
        ('{"StatusCode":9499,"StatusMessage":"Bad Request"}', GaveUp),
        ('{"Extra":null,"StatusCode":10208}', Retry),
        ('{"StatusCode":0,"StatusMessage":"success"}', Delivered),
        ('{"status":"error","message":"no"}', Retry),
        ('{"status":"fail"}', Retry),
        ('{"status":"success"}', Delivered),
        ('{"status":"failed","repeated":"the task it was told of"}', Delivered),
        ("<!-- saved -->" + LOGIN, Parked),
        ('<?xml version="1.0"?>' + LOGIN, Parked),
        ("<html><head><title>Sign in to your account</title></head><script></script></html>", Parked),
        ("<html><title>登录</title></html>", Parked),
    ],
)
async def test_a_body_that_is_known_to_mean_failure_is_none_of_success(
    context: ChannelContext, body: str, kind: type[Outcome]
) -> None:
    async with HttpServer(reply(200, body.encode())) as server:
        assert type(await outcome(context, server)) is kind


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate"])
@pytest.mark.parametrize(
    ("body", "kind"), [('{"errcode":93000,"errmsg":"invalid"}', Parked), ('{"errcode":0}', Delivered), (LOGIN, Parked)]
)
async def test_a_compressed_body_is_read(
    context: ChannelContext, encoding: str, body: str, kind: type[Outcome]
) -> None:
    packed = zlib.compress(body.encode()) if encoding == "deflate" else gzip.compress(body.encode())
    async with HttpServer(reply(200, packed, {"Content-Encoding": encoding})) as server:
        found = await outcome(context, server)
    assert type(found) is kind
    assert found.reply is not None
    assert "not text" not in found.reply


async def test_a_body_not_compressed_as_it_claims_is_read_raw(context: ChannelContext) -> None:
    async with HttpServer(reply(400, b"no such field", {"Content-Encoding": "gzip"})) as server:
        assert (await outcome(context, server)).reply == "HTTP 400: no such field"


async def test_each_reply_is_read_by_itself(context: ChannelContext) -> None:
    """Also one that differs from an earlier one in a header alone, and after more of them than are remembered."""
    bad, good, packed = b'{"errcode":93000}', b'{"errcode":0}', gzip.compress(b"ok")
    many = [f"ok {number}".encode() for number in range(40)]
    replies = [
        reply(200, good),
        reply(200, bad),
        reply(200, good),
        reply(500, good),
        reply(200, packed),
        reply(200, packed, {"Content-Encoding": "gzip"}),
        reply(200, b"ok", {"Content-Type": "text/html"}),
        *(reply(200, body) for body in many),
        reply(200, good),
    ]
    async with HttpServer(*replies) as server:
        channel = make_channel(context, url=server.url())
        found = [await channel.send(rendered(channel, make_event())) for _ in replies]
    kinds = [Delivered, Parked, Delivered, Retry, *[Delivered] * (len(replies) - 4)]
    assert [type(one) for one in found] == kinds
    shown = ["HTTP 200: (not text)", "HTTP 200: ok", "HTTP 200: ok", *(f"HTTP 200: {body.decode()}" for body in many)]
    assert [one.reply for one in found[4:-1]] == shown


async def test_a_busy_service_pauses_the_channel_as_long_as_it_asks(context: ChannelContext) -> None:
    busy = b'{"errcode":130101,"errmsg":"send too fast"}'
    async with HttpServer(reply(200, busy), reply(200, busy, {"Retry-After": "30"})) as server:
        found = [replace(await outcome(context, server), reply=None) for _ in "12"]
    assert found == [Retry("HTTP 200: errcode 130101", timedelta(seconds=wait)) for wait in (600, 30)]


SUCCESS = {"status": [200, "201"], "json": {"result.code": ["0", "ok"], "errors": "null", "items.0.taken": "true"}}
GOOD = {"result": {"code": 0}, "items": [{"taken": True}]}


@pytest.mark.parametrize(
    ("success", "status", "body", "expected"),
    [
        (SUCCESS, 200, GOOD, Delivered()),
        (SUCCESS, 201, GOOD | {"result": {"code": "ok"}, "errors": None}, Delivered()),
        (SUCCESS, 202, GOOD, Retry("HTTP 202: no success, by `success.status`")),
        (SUCCESS, 200, GOOD | {"errors": ["no"]}, Retry("HTTP 200: no success, by `success.json.errors`")),
        (
            SUCCESS,
            200,
            GOOD | {"result": {"code": False}},
            Retry("HTTP 200: no success, by `success.json.result.code`"),
        ),
        (SUCCESS, 200, GOOD | {"result": 0}, Retry("HTTP 200: no success, by `success.json.result.code`")),
        (SUCCESS, 200, GOOD | {"items": []}, Retry("HTTP 200: no success, by `success.json.items.0.taken`")),
        (SUCCESS, 200, "not JSON", Retry("HTTP 200: no success, by `success.json.result.code`")),
        (SUCCESS, 503, GOOD, Retry("HTTP 503")),
        (SUCCESS, 400, GOOD, GaveUp("HTTP 400")),
        ({"contains": "queued"}, 299, "it is queued now", Delivered()),
        ({"contains": ["queued", "done"]}, 200, "all done", Delivered()),
        ({"contains": "queued"}, 200, "Queued", Retry("HTTP 200: no success, by `success.contains`")),
        ({"status": "409"}, 409, "there already", Delivered()),
        ({"status": ["2xx", 409]}, 204, "", Delivered()),
        ({}, 200, {"success": False}, Delivered()),
        ({"json": {"errcode": 0}}, 200, {"errcode": 93000}, Parked),
        ({"json": {"errcode": 0}}, 200, {"errcode": 0.0}, Delivered()),
    ],
)
async def test_success_is_what_the_settings_define(
    context: ChannelContext, success: dict[str, Any], status: int, body: object, expected: Outcome | type
) -> None:
    content = b"" if status == 204 else (body if isinstance(body, str) else json.dumps(body)).encode()
    async with HttpServer(reply(status, content)) as server:
        found = await outcome(context, server, success=success)
    assert isinstance(found, expected) if isinstance(expected, type) else replace(found, reply=None) == expected
    assert found.reply is not None


async def test_a_lost_body_proves_nothing_where_success_is_in_the_body(context: ChannelContext) -> None:
    for answer in (flood(200), cut_short(200)):
        async with HttpServer(answer) as server:
            assert isinstance(await outcome(context, server, success={"json": {"errcode": 0}}), Unknown)
            assert isinstance(await outcome(context, server, success={"status": [200]}), Delivered)


@pytest.mark.parametrize(
    ("success", "problem"),
    [
        ({"json": {"errcode": 0}, "accepts": ['{"errcode": 1}']}, "does not count as success: `json.errcode`"),
        ({"json": {"errcode": 0}, "refuses": [LOGIN, '{"errcode": 0}']}, "this reply counts as success"),
        ({"status": [201], "accepts": [{"status": 200, "body": "ok"}]}, "`status` does not fit"),
        ({"status": ["2x"]}, "such as 200, or a class of them such as 2xx"),
        ({"status": []}, "at least 1 entry"),
        ({"jsn": {"errcode": 0}}, "Did you mean json"),
        ({"contains": []}, "at least 1 entry"),
    ],
)
def test_examples_prove_that_success_is_defined_as_meant(success: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        make_settings(success=success)


def test_examples_that_hold_are_taken() -> None:
    examples = {"accepts": ['{"errcode": 0}', {"status": 202, "body": '{"errcode": 0}'}], "refuses": [LOGIN, ""]}
    assert make_settings(success={"json": {"errcode": 0}} | examples).success


# ---- secrets in a template ----

KEY = 'obviously-fake "key" <&> /+é{}'
"""A value that every way of writing it spells otherwise."""


def filled(source: str, **values: str) -> InterpolatedStr:
    text = source
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    return InterpolatedStr(text, source, values)


@pytest.mark.parametrize(
    ("source", "content_type"),
    [
        ("key=${PD_KEY}; {{ headline }}", "text/plain"),
        ("key={{ '${PD_KEY}' }}; {{ headline }}", "text/plain"),
        ("{{ {'key': '${PD_KEY}'} | tojson }}", "text/plain"),
        ("{{ '${PD_KEY}' | urlencode }}", "text/plain"),
        ('{"key": "{{ \'${PD_KEY}\' }}", "text": "{{ headline }}"}', "application/json"),
        ("{\"key\": {{ '${PD_KEY}' | tojson }}}", "application/json"),
        ("<a key='{{ '${PD_KEY}' }}'>{{ headline }}</a>", "application/xml"),
    ],
)
async def test_a_secret_in_a_template_is_put_in_when_it_is_sent(
    context: ChannelContext, source: str, content_type: str
) -> None:
    plain, sealed = (
        {"body_template": template, "content_type": content_type, "secret": SECRET}
        for template in (filled(source, PD_KEY=KEY) + "", filled(source, PD_KEY=KEY))
    )
    async with HttpServer() as server:
        url = server.url(SECRET_PATH)
        await make_channel(context, url=url, **plain).send(rendered(make_channel(context, **plain)))
        channel = make_channel(context, url=url, **sealed)
        delivery = rendered(channel)
        for attempt in (1, 2):
            await channel.send(replace(delivery, attempt=attempt))
    stored = stored_body(delivery).content.decode()
    assert "obviously" not in stored
    assert "${PD_KEY}" in readable(stored)
    as_written, *sent = server.requests
    assert [request.body for request in sent] == [as_written.body] * 2
    assert len({request.headers["webhook-signature"] for request in server.requests}) == 1


def test_a_placeholder_from_outside_reveals_no_secret() -> None:
    placeholders = Placeholders({"PD_KEY": KEY})
    asked = placeholders.hide(f"{KEY} and ${{PD_KEY}} and {placeholders.hide(KEY)}")
    assert placeholders.reveal(asked) == f"{KEY} and ${{PD_KEY}} and \ufffd${{PD_KEY}}\ue001"


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), st.text(min_size=4)), st.text())
def test_what_is_hidden_is_revealed_unchanged(secrets: dict[str, str], text: str) -> None:
    placeholders = Placeholders(secrets)
    whole = "".join([text, *secrets.values(), text]).replace("\ue000", "")
    assert placeholders.reveal(placeholders.hide(whole)) == whole


async def test_a_new_secret_value_is_used_and_a_new_name_renders_again(
    context: ChannelContext,
) -> None:
    source, other = '{"key": "${PD_KEY}"}', '{"token": "${TOKEN}"}'
    old = make_channel(context, body_template=filled(source, PD_KEY="obviously-fake-1"))
    delivery = rendered(old)
    async with HttpServer() as server:
        for template in (filled(source, PD_KEY="obviously-fake-2"), filled(other, TOKEN="obviously-fake-3")):
            await make_channel(context, url=server.url(), body_template=template).send(delivery)
    assert [json.loads(request.body) for request in server.requests] == [
        {"key": "obviously-fake-2"},
        {"token": "obviously-fake-3"},
    ]


def test_short_values_and_environment_templates_are_no_secrets() -> None:
    settings = make_settings(body_template=filled('"${STAGE} ${REST}"', STAGE="dev", REST="{{ headline }}"))
    assert settings.body_template is not None
    assert settings.body_template.secrets == {}


def test_a_template_secret_is_hidden_and_changes_the_digest() -> None:
    one, two = (make_settings(body_template=filled('"${PD_KEY}"', PD_KEY=f"obviously-fake-{n}")) for n in "12")
    assert "obviously" not in repr(one) + one.model_dump_json()
    assert "${PD_KEY}" in one.model_dump_json()
    assert settings_digest(one) != settings_digest(two)


async def test_a_reply_that_repeats_a_secret_of_a_template_is_masked(context: ChannelContext) -> None:
    template = filled('"${PD_KEY}"', PD_KEY="obviously-fake-key")
    async with HttpServer(reply(400, b"unknown routing key obviously-fake-key")) as server:
        found = await outcome(context, server, body_template=template)
    assert found.reply == "HTTP 400: unknown routing key ***"
