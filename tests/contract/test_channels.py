"""What every kind of channel keeps to, whoever wrote it.

Kinds are found by their entry points; see `channels_sample` for what one brings along.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from itertools import combinations
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from channels_sample import Sample
from factories import (
    HOSTILE,
    OWN_TYPES,
    TASK_TYPES,
    hostile_event,
    make_delivery,
    make_event,
    make_event_of,
    make_events,
    make_gap,
    make_render_request,
    make_task,
    open_channel,
)
from fakes import FakeClock
from pydantic import ValidationError
from servers.http import Answer, HttpServer, cut_short, drip, flood, gzip_bomb, raw, reply, reset, silence

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.channels.kinds import channel_class, installed_kinds, settings_class
from notifier.channels.settings import ChannelSettings
from notifier.core.delivery import Delivered, Delivery, GaveUp, Outcome, Parked, ResendPolicy, Retry, Unknown
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.pacing import Pace
from notifier.http import HttpClient
from notifier.ports import Channel
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language

AnyChannel = BaseChannel[ChannelSettings]


def sample_of(kind: str) -> Sample:
    sample: Sample = importlib.import_module(f"channels_{kind}").SAMPLE
    return sample


KINDS = installed_kinds()
REMOTE = [kind for kind in KINDS if sample_of(kind).remote]
HTTP = [kind for kind in KINDS if sample_of(kind).http is not None]

HEAVY = {"aiohttp", "aiosmtplib", "httpx", "jinja2", "msgspec", "rich", "slack_sdk", "sqlalchemy", "structlog"}
"""Libraries that only an opened channel, or its store, needs."""

NOWHERE = ("http://127.0.0.1:9", 9)
"""A place that settings may name as long as nothing is sent."""


def make_context(http: HttpClient, language: Language = "en") -> ChannelContext:
    return ChannelContext(
        http=http, clock=FakeClock(), localizer=Localizer(language=language, timezone=ZoneInfo("Asia/Shanghai"))
    )


def make_channel(
    kind: str,
    context: ChannelContext,
    place: tuple[str, int] = NOWHERE,
    *,
    impatient: bool = False,
    mode: dict[str, Any] | None = None,
    **changes: Any,
) -> AnyChannel:
    sample = sample_of(kind)
    values: dict[str, Any] = {"name": "dba", "kind": kind} | (mode or sample.settings(*place)) | changes
    if impatient:
        values |= sample.http or {}
    return open_channel(kind, values, context)


def in_every_mode(
    kind: str, context: ChannelContext, place: tuple[str, int] = NOWHERE, **changes: Any
) -> Iterator[AnyChannel]:
    """Make a channel of each set of settings that its sample has."""
    sample = sample_of(kind)
    for settings in (sample.settings, *sample.more_modes):
        yield make_channel(kind, context, mode=settings(*place), **changes)


def rendered(channel: AnyChannel, *events: Event) -> Delivery:
    return make_delivery(*events, body=channel.render(make_render_request(*events)))


def place_of(server: HttpServer) -> tuple[str, int]:
    return server.url("").rstrip("/"), server.port


def test_checking_a_configuration_imports_no_network_library(tmp_path: Path) -> None:
    channels = [{"name": kind, "kind": kind} | sample_of(kind).settings(*NOWHERE) for kind in KINDS]
    auth = {"kind": "aksk", "access_key": "a", "secret_key": "s"}
    source = {"name": "prod", "kind": "gaussdb", "region": "cn-north-4", "project_id": "p", "auth": auth}
    path = tmp_path / "notifier.yaml"
    path.write_text(
        json.dumps({"sources": [source], "channels": channels, "routes": [{"name": "all", "channels": KINDS}]})
    )
    program = (
        "import sys; from notifier.cli import main\n"
        "try: main()\n"
        "except SystemExit as end:\n"
        "    print(end.code, *{'aiohttp', 'aiosmtplib', 'httpx', 'slack_sdk'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", program, "check", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert done.stdout.splitlines()[-1] == "0", done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_its_class_is_the_one_its_entry_point_names(self, kind: str) -> None:
        assert channel_class(kind).kind == kind
        assert issubclass(settings_class(kind), ChannelSettings)

    async def test_it_has_what_delivery_needs(self, kind: str, http: HttpClient) -> None:
        channel: Channel = make_channel(kind, make_context(http))
        assert (channel.name, channel.kind) == ("dba", kind)
        assert channel.concurrency >= 1
        assert 2 <= channel.digest_size <= 100
        assert channel.digest_above is None or channel.digest_above >= 1

    def test_its_settings_refuse_unknown_keys_and_strange_names(self, kind: str) -> None:
        settings = settings_class(kind)
        values = {"name": "dba", "kind": kind} | sample_of(kind).settings(*NOWHERE)
        assert settings.model_validate(values).name == "dba"
        for wrong in ({"no_such_key": 1}, {"name": "DBA team"}, {"name": ""}, {"concurrency": 0}, {"kind": "other"}):
            with pytest.raises(ValidationError):
                settings.model_validate(values | wrong)

    def test_its_settings_import_no_heavy_library(self, kind: str) -> None:
        """Commands that only read a configuration stay quick: what sends is imported when a channel is opened."""
        values = {"name": "dba", "kind": kind} | sample_of(kind).settings(*NOWHERE)
        program = (
            "import sys; from notifier.channels.kinds import settings_class;"
            f"settings_class({kind!r}).model_validate({values!r});"
            f"print(*{HEAVY!r} & {{name.partition('.')[0] for name in sys.modules}})"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603 - ours
        assert done.stdout.split() == []

    @pytest.mark.parametrize(
        ("rate", "per_second"), [("2/s", 2.0), ("30/m", 0.5), ("900/h", 0.25), (None, None)], ids=str
    )
    async def test_it_is_paced_as_configured(
        self, kind: str, http: HttpClient, rate: str | None, per_second: float | None
    ) -> None:
        breaker = {"opens_after": 2, "probes": ["5s"]}
        for channel in in_every_mode(kind, make_context(http), rate=rate, burst=7, breaker=breaker):
            probes = (timedelta(seconds=5),)
            assert channel.pace == Pace(per_second=per_second, burst=7, opens_after=2, probes=probes)

    async def test_it_declares_what_to_do_about_a_lost_answer(self, kind: str, http: HttpClient) -> None:
        for on_unknown in ("resend", "hold"):
            for channel in in_every_mode(kind, make_context(http), on_unknown=on_unknown):
                assert channel.on_unknown == on_unknown
                assert channel.resend_policy in ResendPolicy

    async def test_a_channel_that_cannot_be_asked_answers_without_asking(self, kind: str, http: HttpClient) -> None:
        async with HttpServer() as server:
            for channel in in_every_mode(kind, make_context(http), place_of(server)):
                if channel.resend_policy is not ResendPolicy.RECONCILABLE:
                    assert isinstance(await channel.find_sent(rendered(channel)), Unknown)
        assert server.connections == 0

    @pytest.mark.parametrize("answer", [reply(200), reply(403), reply(429), reply(503), reset(), gzip_bomb()])
    async def test_find_sent_returns_only_outcomes_of_the_contract(
        self, kind: str, http: HttpClient, answer: Answer
    ) -> None:
        async with HttpServer(answer) as server:
            for channel in in_every_mode(kind, make_context(http), place_of(server)):
                found = await channel.find_sent(rendered(channel))
                assert isinstance(found, Retry | Unknown), "nothing here is an answer that proves anything"
                assert_discreet(kind, found)

    @pytest.mark.parametrize("language", ["en", "zh"])
    async def test_bytes_of_an_equal_key_are_equal_whatever_the_delivery(
        self, kind: str, http: HttpClient, language: Language
    ) -> None:
        context, other = make_context(http, language), make_context(http, "zh" if language == "en" else "en")
        channels = [*in_every_mode(kind, context), *in_every_mode(kind, context, name="b"), *in_every_mode(kind, other)]
        for events in ((make_event(),), (make_gap(),), make_events(30)):
            notices = [make_render_request(*events, channel=name) for name in ("dba", "ops")]
            assert notices[0].delivery_id != notices[1].delivery_id
            made = [(channel.body_key, channel.render(request)) for channel in channels for request in notices]
            shared = [(key, body) for key, body in made if key is not None]
            assert all(one[1] == two[1] for one, two in combinations(shared, 2) if one[0] == two[0])
            assert len({key for key, _ in shared}) >= len({body.content for _, body in shared})

    async def test_its_settings_do_not_change(self, kind: str, http: HttpClient) -> None:
        with pytest.raises(ValidationError):
            make_channel(kind, make_context(http)).settings.name = "other"

    @pytest.mark.parametrize("language", ["en", "zh"])
    async def test_the_same_notice_gives_the_same_bytes(self, kind: str, http: HttpClient, language: Language) -> None:
        for events in ((make_event(),), (make_gap(),), make_events(30)):
            bodies = [
                make_channel(kind, make_context(http, language)).render(make_render_request(*events)) for _ in "ab"
            ]
            assert bodies[0] == bodies[1]
            assert bodies[0].content_type

    @pytest.mark.parametrize("type_", TASK_TYPES)
    async def test_every_type_of_event_names_its_job(self, kind: str, http: HttpClient, type_: EventType) -> None:
        event = make_event(make_task("job-of-this-test"), type=type_)
        body = make_channel(kind, make_context(http)).render(make_render_request(event))
        assert "job-of-this-test" in sample_of(kind).text(body)

    @pytest.mark.parametrize("type_", OWN_TYPES)
    async def test_every_type_of_event_about_us_names_it(self, kind: str, http: HttpClient, type_: EventType) -> None:
        event = make_event_of(type_)
        named = replace(event, channel="of-this-test") if event.channel else replace(event, source="of-this-test")
        for request in (make_render_request(named), make_render_request(*make_events(2), named)):
            body = make_channel(kind, make_context(http)).render(request)
            assert "of-this-test" in sample_of(kind).text(body)

    @pytest.mark.parametrize("count", [2, 3, 20, 21, 50, 99, 100])
    async def test_a_digest_names_every_job(self, kind: str, http: HttpClient, count: int) -> None:
        events = make_events(count)
        said = sample_of(kind).text(make_channel(kind, make_context(http)).render(make_render_request(*events)))
        assert [event.job_id for event in events if event.job_id not in said] == []

    async def test_a_task_of_which_little_is_known_has_words(self, kind: str, http: HttpClient) -> None:
        unknown = dict.fromkeys(("instance_id", "instance_name", "instance_status", "created_at", "ended_at"))
        task = make_task("bare", status="unknown", raw_status="", name="", fail_reason=None, **unknown)
        event = make_event(task, occurred_at=None, previous_status=None)
        assert "bare" in sample_of(kind).text(make_channel(kind, make_context(http)).render(make_render_request(event)))

    @pytest.mark.parametrize("text", HOSTILE)
    async def test_hostile_text_is_put_into_words_without_controls(
        self, kind: str, http: HttpClient, text: str
    ) -> None:
        channel = make_channel(kind, make_context(http))
        for events in ((hostile_event(text),), (hostile_event(text), make_event())):
            body = channel.render(make_render_request(*events))
            assert not {0x00, 0x07, 0x1B} & set(body.content)
            assert sample_of(kind).text(body)

    async def test_no_secret_is_shown_or_written(self, kind: str, http: HttpClient) -> None:
        channel = make_channel(kind, make_context(http))
        shown = repr(channel) + repr(channel.settings) + str(channel.settings) + channel.settings.model_dump_json()
        written = channel.render(make_render_request()).content.decode()
        assert [secret for secret in sample_of(kind).secrets if secret in shown + written] == []

    async def test_closing_it_leaves_what_it_shares_open(self, kind: str, http: HttpClient) -> None:
        channel = make_channel(kind, make_context(http))
        await channel.aclose()
        async with HttpServer() as server:
            assert (await http.exchange("GET", server.url(), deadline=5, max_bytes=100)).status == 200


@pytest.mark.parametrize("kind", REMOTE)
class TestNobodyThere:
    async def test_what_was_not_sent_is_tried_again(self, kind: str, http: HttpClient) -> None:
        async with HttpServer() as server:
            place = place_of(server)
        channel = make_channel(kind, make_context(http), place)
        outcome = await channel.send(rendered(channel))
        await channel.aclose()
        assert isinstance(outcome, Retry)
        assert outcome.reason.startswith("connection refused by 127.0.0.1")
        assert_discreet(kind, outcome)

    async def test_the_check_reports_it_with_a_remedy(self, kind: str, http: HttpClient) -> None:
        async with HttpServer() as server:
            place = place_of(server)
        channel = make_channel(kind, make_context(http), place)
        findings = await channel.check()
        await channel.aclose()
        failed = [finding for finding in findings if not finding.ok]
        assert failed
        assert all(finding.detail and finding.remedy for finding in failed)
        assert_discreet(kind, findings)


def assert_discreet(kind: str, told: object) -> None:
    assert [secret for secret in sample_of(kind).secrets if secret in repr(told)] == []


def expected(status: int) -> tuple[type, ...]:
    """Return what an HTTP status may come to; a kind may want more than a 2xx to believe that it was delivered."""
    if 200 <= status < 300:
        return (Delivered, Unknown)
    if status == HTTPStatus.GONE:
        return (Parked,)
    if status in (408, 425, 429) or status >= 500:
        return (Retry, Unknown)
    if status in (400, 413, 422):
        return (GaveUp, Retry)
    if 300 <= status < 400:
        return (Retry,)
    return (Retry, Parked)


STATUSES = sorted({int(status) for status in HTTPStatus if status >= 200} | {299, 399, 444, 499, 520, 530, 599})


@pytest.mark.parametrize("kind", HTTP)
class TestOverHttp:
    @pytest.mark.parametrize("status", STATUSES)
    async def test_a_status_means(self, kind: str, http: HttpClient, status: int) -> None:
        answer = raw(f"HTTP/1.1 {status} As told\r\nContent-Length: 0\r\n\r\n".encode())
        if status not in (204, 205, 304):
            answer = reply(status)
        outcome = await self.outcome(kind, http, answer)
        assert isinstance(outcome, expected(status))
        assert_discreet(kind, outcome)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_no_redirect_is_followed(self, kind: str, http: HttpClient, status: int) -> None:
        async with HttpServer() as canary:
            outcome = await self.outcome(kind, http, reply(status, headers={"Location": canary.url("/steal")}))
        assert canary.connections == 0
        assert not isinstance(outcome, Delivered)

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("120", 120),
            ("0", 0),
            ("-5", 0),
            ("1e99", 3600),
            ("999999", 3600),
            ("Thu, 15 Jan 2026 08:35:00 GMT", 300),
            ("Thu, 15 Jan 2026 08:00:00 GMT", 0),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
            ("soon", None),
            ("", None),
        ],
    )
    async def test_a_wait_that_is_asked_for_is_passed_on(
        self, kind: str, http: HttpClient, header: str, seconds: int | None
    ) -> None:
        outcome = await self.outcome(kind, http, reply(429, headers={"Retry-After": header}))
        assert isinstance(outcome, Retry)
        if seconds is not None:
            assert outcome.after == timedelta(seconds=seconds)

    @pytest.mark.parametrize("answer", [silence(), drip(500), drip(200)])
    async def test_the_deadline_holds(self, kind: str, http: HttpClient, answer: Answer) -> None:
        outcome = await self.outcome(kind, http, answer, impatient=True)
        assert not isinstance(outcome, GaveUp | Parked)
        assert_discreet(kind, outcome)

    @pytest.mark.parametrize("answer", [flood(500), flood(200), gzip_bomb()])
    async def test_no_more_is_read_than_the_cap(self, kind: str, http: HttpClient, answer: Answer) -> None:
        assert not isinstance(await self.outcome(kind, http, answer), GaveUp | Parked)

    @pytest.mark.parametrize("answer", [reset(), silence(), raw(b"SSH-2.0-OpenSSH_9.2p1\r\n")])
    async def test_what_was_sent_and_not_answered_is_unknown(self, kind: str, http: HttpClient, answer: Answer) -> None:
        outcome = await self.outcome(kind, http, answer, impatient=True)
        assert isinstance(outcome, Unknown)
        assert_discreet(kind, outcome)

    async def test_a_repeat_sends_the_identical_body(self, kind: str, http: HttpClient) -> None:
        async with HttpServer(reply(503), cut_short(500), reply(200)) as server:
            channel = make_channel(kind, make_context(http), place_of(server))
            delivery = rendered(channel)
            for attempt in (1, 2, 3):
                await channel.send(replace(delivery, attempt=attempt))
            await channel.aclose()
        assert len({request.body for request in server.requests}) == 1

    async def test_hostile_text_changes_no_header(self, kind: str, http: HttpClient) -> None:
        async with HttpServer() as server:
            channel = make_channel(kind, make_context(http), place_of(server))
            for text in ("harmless", *HOSTILE):
                await channel.send(rendered(channel, hostile_event(text)))
            await channel.aclose()
        assert len({tuple(sorted(request.headers)) for request in server.requests}) == 1
        assert len({request.target for request in server.requests}) == 1

    async def outcome(self, kind: str, http: HttpClient, answer: Answer, *, impatient: bool = False) -> Outcome:
        async with HttpServer(answer) as server:
            channel = make_channel(kind, make_context(http), place_of(server), impatient=impatient)
            outcome = await channel.send(rendered(channel))
            await channel.aclose()
        return outcome


def test_every_installed_kind_is_put_to_the_test() -> None:
    assert set(KINDS) >= {"console", "email", "mattermost", "rocketchat", "slack", "webhook"}


def test_the_table_of_statuses_has_unheard_of_ones_too() -> None:
    assert len(STATUSES) >= 59
    assert len([status for status in STATUSES if status not in set(HTTPStatus)]) >= 5
