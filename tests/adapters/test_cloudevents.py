"""CloudEvents 1.0: the event that webhooks and streams share, and the two modes over HTTP."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import pytest
from factories import (
    HOSTILE,
    hostile_event,
    make_alert,
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
from servers.http import HttpServer, Request, reply
from standardwebhooks import Webhook

from notifier.channels.base import ChannelContext
from notifier.channels.cloudevents import STRUCTURED, CloudEvent, cloud_event, header_value
from notifier.channels.envelope import envelope
from notifier.core.delivery import Body, Delivered, Delivery, Outcome, Parked, Retry
from notifier.core.model import Event
from notifier.http import HttpClient
from notifier.wording.localizer import Localizer

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"


@pytest.fixture
def context(http: HttpClient) -> ChannelContext:
    localizer = Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
    return ChannelContext(http=http, clock=FakeClock(), localizer=localizer)


def event_of(context: ChannelContext, *events: Event, channel: str = "bus") -> dict[str, Any]:
    body = cloud_event(make_render_request(*events, channel=channel), context)
    assert body.content_type == STRUCTURED == "application/cloudevents+json"
    made: dict[str, Any] = json.loads(body.content)
    return made


class TestEvent:
    def test_its_attributes_are_the_contract(self, context: ChannelContext) -> None:
        event = make_event()
        made = event_of(context, event)
        assert made | {"data": None} == {
            "specversion": "1.0",
            "id": event.id,
            "source": "/gaussdb-notifier/sources/prod",
            "type": "gaussdb.notifier.task.failed",
            "subject": f"prod/{event.job_id}",
            "time": "2026-01-15T08:29:20Z",
            "severity": "error",
            "datacontenttype": "application/json",
            "data": None,
        }

    def test_its_data_is_that_of_the_standard_body(self, context: ChannelContext) -> None:
        request = make_render_request(make_event())
        assert event_of(context, make_event())["data"]["summary"] == envelope(request, context)["data"]["summary"]

    def test_one_about_a_channel_has_the_channel_as_its_source(self, context: ChannelContext) -> None:
        assert event_of(context, make_alert())["source"].startswith("/gaussdb-notifier/channels/")

    def test_a_digest_has_an_id_that_its_events_make(self, context: ChannelContext) -> None:
        events = make_events(3)
        one, other = event_of(context, *events), event_of(context, *events, channel="other")
        assert one == other
        assert one["id"] not in {event.id for event in events}
        assert one["id"] != event_of(context, *events[:2])["id"]
        assert one["type"] == "gaussdb.notifier.digest"
        assert "subject" not in one

    def test_a_digest_of_several_sources_names_none(self, context: ChannelContext) -> None:
        made = event_of(context, make_event(), make_event(source="test"))
        assert made["source"] == "/gaussdb-notifier"

    @pytest.mark.parametrize("text", HOSTILE)
    def test_taken_apart_it_keeps_the_bytes_of_its_data(self, context: ChannelContext, text: str) -> None:
        body = cloud_event(make_render_request(hostile_event(text)), context)
        event = CloudEvent.read(body)
        assert event.data in body.content
        assert json.loads(event.data) == json.loads(body.content)["data"]
        assert event.attributes["id"] == event.id
        assert event.content_type == "application/json"
        assert "data" not in event.attributes


class TestHeaderValue:
    @pytest.mark.parametrize(
        ("text", "written"),
        [
            ("prod/0123", "prod/0123"),
            ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ('a "b" 5%', "a%20%22b%22%205%25"),
            ("订单", "%E8%AE%A2%E5%8D%95"),
            ("a\r\nX-Injected: 1", "a%0D%0AX-Injected:%201"),
            ("~!#$&'()*+,-./:;<=>?@[\\]^_`{|}", "~!#$&'()*+,-./:;<=>?@[\\]^_`{|}"),
            ("\x7f", "%7F"),
        ],
    )
    def test_it_is_encoded_as_the_binding_says(self, text: str, written: str) -> None:
        assert header_value(text) == written

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_it_is_printable_ascii_and_decodes_to_the_text(self, text: str) -> None:
        written = header_value(text)
        assert all("!" <= character <= "~" and character != '"' for character in written)
        assert unquote(written) == text


async def post(
    context: ChannelContext, *answers: Any, events: tuple[Event, ...] = (), attempts: int = 1, **changes: Any
) -> tuple[list[Request], list[Outcome]]:
    async with HttpServer(*answers) as server:
        channel = open_channel(
            "webhook", {"name": "bus", "kind": "webhook", "url": server.url("/e")} | changes, context
        )
        request = make_render_request(*(events or (make_event(),)), channel="bus")
        delivery = make_delivery(*request.events, channel="bus", body=channel.render(request))
        outcomes = [await channel.send(delivery) for _ in range(attempts)]
    return server.requests, outcomes


class TestBinary:
    async def test_attributes_are_headers_and_data_is_the_body(self, context: ChannelContext) -> None:
        event = make_event(make_task(instance_name="订单"))
        (request,), (outcome,) = await post(context, events=(event,), format="cloudevents-binary")
        assert isinstance(outcome, Delivered)
        attributes = {name: value for name, value in request.headers.items() if name.startswith("ce-")}
        assert attributes == {
            "ce-specversion": "1.0",
            "ce-id": event.id,
            "ce-source": "/gaussdb-notifier/sources/prod",
            "ce-type": "gaussdb.notifier.task.failed",
            "ce-subject": f"prod/{event.job_id}",
            "ce-time": "2026-01-15T08:29:20Z",
            "ce-severity": "error",
        }
        assert request.headers["content-type"] == "application/json"
        assert json.loads(request.body)["task"]["instance"]["name"] == "订单"

    async def test_a_repeat_has_the_same_attributes_and_bytes(self, context: ChannelContext) -> None:
        requests, outcomes = await post(context, reply(503), reply(), attempts=2, format="cloudevents-binary")
        assert [type(outcome) for outcome in outcomes] == [Retry, Delivered]
        first, second = ({name: value for name, value in one.headers.items() if "ce-" in name} for one in requests)
        assert first == second
        assert requests[0].body == requests[1].body

    async def test_it_is_signed_like_any_webhook(self, context: ChannelContext) -> None:
        (request,), _ = await post(context, format="cloudevents-binary", secret=SECRET)
        signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
        assert request.headers["webhook-signature"] == Webhook(SECRET).sign(
            request.headers["webhook-id"], context.clock.now(), signed.split(b".", 2)[2].decode()
        )

    async def test_a_body_of_another_format_is_rendered_again(self, context: ChannelContext) -> None:
        async with HttpServer() as server:
            values = {"name": "bus", "kind": "webhook", "url": server.url(), "format": "cloudevents-binary"}
            channel = open_channel("webhook", values, context)
            stored = Body(content=b'{"type": "task.failed"}', content_type="application/json")
            delivery: Delivery = make_delivery(make_event(), channel="bus", body=stored)
            assert isinstance(await channel.send(delivery), Delivered)
        assert server.requests[0].headers["ce-id"] == make_event().id


class TestStructured:
    async def test_the_body_is_the_whole_event(self, context: ChannelContext) -> None:
        (request,), (outcome,) = await post(context, format="cloudevents-structured")
        assert isinstance(outcome, Delivered)
        assert request.headers["content-type"] == STRUCTURED
        assert json.loads(request.body) == event_of(context, make_event())
        assert not [name for name in request.headers if name.startswith("ce-")]


@pytest.mark.parametrize("mode", ["cloudevents-binary", "cloudevents-structured"])
class TestAnswers:
    async def test_gone_stops_the_channel_without_probes(self, context: ChannelContext, mode: str) -> None:
        _, (outcome,) = await post(context, reply(410), format=mode)
        assert isinstance(outcome, Parked)
        assert outcome.probe_after is None

    async def test_a_mode_that_is_not_taken_parks_with_the_other_one(self, context: ChannelContext, mode: str) -> None:
        _, (outcome,) = await post(context, reply(415), format=mode)
        assert isinstance(outcome, Parked)
        other = {"cloudevents-binary": "structured", "cloudevents-structured": "binary"}[mode]
        assert (
            outcome.reason
            == f"HTTP 415: the receiver does not take this mode of CloudEvents: try format: cloudevents-{other}"
        )

    async def test_too_many_requests_waits_as_long_as_asked(self, context: ChannelContext, mode: str) -> None:
        _, (outcome,) = await post(context, reply(429, headers={"Retry-After": "90"}), format=mode)
        assert isinstance(outcome, Retry)
        assert outcome.after == timedelta(seconds=90)

    async def test_accepted_for_later_counts_as_delivered(self, context: ChannelContext, mode: str) -> None:
        _, (outcome,) = await post(context, reply(202), format=mode)
        assert isinstance(outcome, Delivered)


class TestHandshake:
    @pytest.mark.parametrize(
        ("headers", "changes", "found"),
        [
            ({}, {}, []),
            ({"WebHook-Allowed-Origin": "*"}, {}, [(True, True, "")]),
            ({"WebHook-Allowed-Origin": "gaussdb-notifier", "WebHook-Allowed-Rate": "*"}, {}, [(True, True, "")]),
            ({"WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "60"}, {}, [(True, False, "set rate: 60/m")]),
            ({"WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "60"}, {"rate": "1/s"}, [(True, True, "")]),
            (
                {"WebHook-Allowed-Origin": "other.example.com"},
                {},
                [(False, True, "let it permit the origin gaussdb-notifier")],
            ),
        ],
    )
    async def test_the_check_asks_for_permission(
        self,
        context: ChannelContext,
        headers: dict[str, str],
        changes: dict[str, str],
        found: list[tuple[bool, bool, str]],
    ) -> None:
        async with HttpServer(reply(200), reply(200, headers=headers)) as server:
            values = {"name": "bus", "kind": "webhook", "url": server.url(), "format": "cloudevents-structured"}
            results = await open_channel("webhook", values | changes, context).check()
        assert [(one.ok, one.proven, one.remedy) for one in results[1:]] == found
        assert [request.method for request in server.requests] == ["HEAD", "OPTIONS"]
        assert server.requests[1].headers["webhook-request-origin"] == "gaussdb-notifier"

    async def test_a_receiver_that_is_not_there_is_asked_nothing_more(self, context: ChannelContext) -> None:
        async with HttpServer(reply(404)) as server:
            values = {"name": "bus", "kind": "webhook", "url": server.url(), "format": "cloudevents-binary"}
            await open_channel("webhook", values, context).check()
        assert [request.method for request in server.requests] == ["HEAD"]
