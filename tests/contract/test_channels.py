"""What every kind of channel keeps to, whoever wrote it.

Kinds are found by their entry points; see `channels_sample` for what one brings along.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from http import HTTPStatus
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import ticket_cases
from channels_sample import HttpService, Sample, SettingsOf
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
)
from fakes import START, FakeClock
from http_cases import (
    LOGIN,
    PAGE,
    STATUSES,
    Case,
    EchoServer,
    ServiceServer,
    body_cases,
    broken_cases,
    request_begins,
    slow_cases,
    status_cases,
    wait_cases,
)
from memory_tickets import Shop
from pydantic import ValidationError
from servers.http import Answer, HttpServer, cut_short, flood, gzip_bomb, raw, reply, reset
from ticket_cases import Desk, every_fault

from notifier import logs
from notifier.channels.base import BaseChannel, ChannelContext
from notifier.channels.kinds import channel_class, installed_kinds, settings_class
from notifier.channels.settings import ChannelSettings
from notifier.channels.tickets import TicketChannel
from notifier.core import storms
from notifier.core.delivery import Delivered, Delivery, GaveUp, Outcome, Parked, ResendPolicy, Retry, Unknown
from notifier.core.events import EventType
from notifier.core.ids import shorten_ids
from notifier.core.model import Event
from notifier.core.pacing import Pace
from notifier.core.tickets import Ticket, operation_of
from notifier.http import HttpClient
from notifier.ports import Channel, CheckResult, RenderRequest
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language

AnyChannel = BaseChannel[ChannelSettings]


def sample_of(kind: str) -> Sample:
    sample: Sample = importlib.import_module(f"channels_{kind}").SAMPLE
    return sample


KINDS = installed_kinds()
REMOTE = [kind for kind in KINDS if sample_of(kind).remote]
HTTP = [kind for kind in KINDS if sample_of(kind).http is not None]

OF_NETWORK = {"aio_pika", "aiohttp", "aiokafka", "aiosmtplib", "apprise", "httpx", "nats", "requests", "slack_sdk"}
"""Libraries that talk to services."""
HEAVY = OF_NETWORK | {"jinja2", "msgspec", "rich", "sqlalchemy", "structlog"}
"""Libraries that only an opened channel, or its store, needs."""

NOWHERE = ("http://127.0.0.1:9", 9)
"""A place that settings may name as long as nothing is sent."""


def make_context(http: HttpClient, language: Language = "en") -> ChannelContext:
    return ChannelContext(
        http=http, clock=FakeClock(), localizer=Localizer(language=language, timezone=ZoneInfo("Asia/Shanghai"))
    )


@cache
def classes_of(kind: str) -> tuple[type[AnyChannel], type[ChannelSettings]]:
    """Return the channel and the settings class of a kind. To read all entry points takes milliseconds."""
    return channel_class(kind), settings_class(kind)


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
    values: dict[str, Any] = {"name": "dba", "kind": kind} | (mode or sample.settings(*place))
    if impatient:
        values |= sample.http or {}
    values |= changes
    channel, settings = classes_of(kind)
    return channel.open(settings.model_validate(values), context)


def in_every_mode(
    kind: str, context: ChannelContext, place: tuple[str, int] = NOWHERE, **changes: Any
) -> Iterator[AnyChannel]:
    """Make a channel of each set of settings that its sample has."""
    sample = sample_of(kind)
    for settings in (sample.settings, *sample.more_modes):
        yield make_channel(kind, context, mode=settings(*place), **changes)


def rendered(channel: AnyChannel, *events: Event) -> Delivery:
    return make_delivery(*events, body=channel.render(make_render_request(*events)))


def lost(channel: AnyChannel, *events: Event) -> Delivery:
    """Return a delivery whose first attempt may have arrived a day ago; a ticket may have been opened by it."""
    delivery = replace(rendered(channel, *events), attempt=2, outcome_unknown=True)
    operation = operation_of(delivery.events[0])
    if not channel.tickets or operation is None:
        return delivery
    since = START - timedelta(days=1)
    ticket = Ticket(channel="dba", operation=operation, wanted_by=delivery.id, failed_at=since, attempted_at=since)
    return replace(delivery, ticket=ticket)


def some_events(channel: AnyChannel, sample: Sample) -> Iterator[Sequence[Event]]:
    """Yield the events of messages: one of a task, one of a source, and a digest where the kind has them."""
    yield (make_event(),)
    yield (make_gap(),)
    if sample.digests:
        yield make_events(min(30, channel.digest_size))


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
        f"    print(end.code, *{OF_NETWORK!r} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", program, "check", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert done.stdout.splitlines()[-1] == "0", done.stdout + done.stderr


@pytest.fixture(scope="module")
def heavy_imports() -> Mapping[str, Sequence[str]]:
    """Return the heavy libraries that the settings of each kind import, when they are read one after the other."""
    values = {kind: {"name": "dba", "kind": kind} | sample_of(kind).settings(*NOWHERE) for kind in KINDS}
    program = (
        "import json, sys; from notifier.channels.kinds import settings_class\n"
        "imported, before = {}, set()\n"
        f"for kind, values in {values!r}.items():\n"
        "    settings_class(kind).model_validate(values)\n"
        f"    found = {HEAVY!r} & {{name.partition('.')[0] for name in sys.modules}}\n"
        "    imported[kind], before = sorted(found - before), found\n"
        "print(json.dumps(imported))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    imported: Mapping[str, Sequence[str]] = json.loads(done.stdout)
    return imported


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

    def test_its_settings_import_no_heavy_library(self, kind: str, heavy_imports: Mapping[str, Sequence[str]]) -> None:
        """Commands that only read a configuration stay quick: what sends is imported when a channel is opened."""
        assert heavy_imports[kind] == []

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
                found = await channel.find_sent(lost(channel))
                assert isinstance(found, Retry | Unknown), "nothing here is an answer that proves anything"
                assert_discreet(kind, found)

    @pytest.mark.parametrize("language", ["en", "zh"])
    async def test_bytes_of_an_equal_key_are_equal_whatever_the_delivery(
        self, kind: str, http: HttpClient, language: Language
    ) -> None:
        context, other = make_context(http, language), make_context(http, "zh" if language == "en" else "en")
        channels = [*in_every_mode(kind, context), *in_every_mode(kind, context, name="b"), *in_every_mode(kind, other)]
        for events in some_events(channels[0], sample_of(kind)):
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
        channels = [make_channel(kind, make_context(http, language)) for _ in "ab"]
        for events in some_events(channels[0], sample_of(kind)):
            bodies = [channel.render(make_render_request(*events)) for channel in channels]
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
        if event.mute:
            named = replace(event, mute=replace(event.mute, covers="of-this-test"))
        elif event.report:
            named = replace(event, report=replace(event.report, name="of-this-test"))
        elif event.handed_over:
            named = replace(event, handed_over=replace(event.handed_over, rota="of-this-test"))
        alone, among_others = make_render_request(named), make_render_request(*make_events(2), named)
        for request in (alone, among_others) if sample_of(kind).digests else (alone,):
            body = make_channel(kind, make_context(http)).render(request)
            assert "of-this-test" in sample_of(kind).text(body)

    async def test_a_task_of_which_little_is_known_has_words(self, kind: str, http: HttpClient) -> None:
        unknown = dict.fromkeys(("instance_id", "instance_name", "instance_status", "created_at", "ended_at"))
        task = make_task("bare", status="unknown", raw_status="", name="", fail_reason=None, **unknown)
        event = make_event(task, occurred_at=None, previous_status=None)
        assert "bare" in sample_of(kind).text(make_channel(kind, make_context(http)).render(make_render_request(event)))

    async def test_hostile_text_is_put_into_words_without_controls(self, kind: str, http: HttpClient) -> None:
        sample, channel = sample_of(kind), make_channel(kind, make_context(http))
        for text in HOSTILE:
            for events in ((hostile_event(text),), (hostile_event(text), make_event()))[: 1 + sample.digests]:
                body = channel.render(make_render_request(*events))
                assert not {0x00, 0x07, 0x1B} & set(body.content)
                shown = sample.text(body)
                assert shown
                assert sample.raw or not CONTROLS.findall(shown), text

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


# Each character that a service may count as more than one, each that combines with the one before it, and each that
# markup gives a meaning to; of each more than any message has room for.
OVERLONG = (
    "\U0001f525",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 ",
    "\u4e2d\u6587\uff0c",
    "e\u0301\u0323",
    "a\u202eb\u2066c\u2069",
    "<&>\"'",
    "\\*_[x](y)`~|#",
    "@all ",
    "{{x}}{%y%}",
    "word ",
    "line\n",
)
"""Texts to repeat until they are too long."""
REPEATED = 16_000
"""Length of a repeated text, in characters."""
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What no reader gets to see: controls other than line feeds and tabs, bidi overrides, halves of characters."""


def overlong_requests(channel: AnyChannel, *, digests: bool) -> Iterator[RenderRequest]:
    """Yield requests whose texts have no room: one event, a whole digest of such and a storm of such."""
    for text in OVERLONG:
        whole = text * (REPEATED // len(text))
        yield make_render_request(hostile_event(whole))
        if digests:
            yield make_render_request(*(hostile_event(f"{n} {whole}") for n in range(4)))
    if digests:
        yield make_render_request(*real_events(channel.digest_size, reason="reason " * 60))
        yield storm_request(channel, reason="reason " * 60)


def real_events(count: int, *, reason: str = "VM not active in time", status: str = "failed") -> list[Event]:
    """Return events with ids and names as long as those of the cloud."""
    return [
        make_event(
            make_task(
                str(UUID(int=n << 97 | n)), status=status, instance_name=f"orders-prod-cn-{n:04d}", fail_reason=reason
            )
        )
        for n in range(1, count + 1)
    ]


def storm_request(channel: AnyChannel, *, reason: str = "VM not active in time") -> RenderRequest:
    """Return the message that begins a storm with as many tasks as the channel lists in one."""
    events = real_events(channel.storm_size, reason=reason)
    listed = events[: storms.fitting(events, channel.storm_size, channel.storm_room)]
    request = make_render_request(*listed)
    storm = replace(storms.begin("dba", listed), opened_by=request.delivery_id)
    return replace(request, storm=storm, opens_storm=True)


@pytest.mark.parametrize("kind", KINDS)
class TestRoom:
    async def test_a_long_text_is_cut_in_the_unit_of_the_service(self, kind: str, http: HttpClient) -> None:
        """And no character, escape or tag is cut in two."""
        sample = sample_of(kind)
        for channel in in_every_mode(kind, make_context(http)):
            for request in overlong_requests(channel, digests=sample.digests):
                body = channel.render(request)
                for room in sample.rooms:
                    texts = list(room.texts(body))
                    assert texts, "the room is of some text"
                    assert [room.size(text) for text in texts if room.size(text) > room.limit] == []
                    assert [text[-80:] for text in texts if not room.whole(text)] == []
                assert sample.raw or not CONTROLS.findall(sample.text(body))
                assert "\ufffd" not in body.content.decode()

    async def test_a_digest_names_every_job(self, kind: str, http: HttpClient) -> None:
        if not sample_of(kind).digests:
            return
        channel = make_channel(kind, make_context(http))
        for count in sorted({2, 3, channel.digest_size // 2, channel.digest_size}):
            events = real_events(count)
            assert self.unnamed(kind, channel, make_render_request(*events)) == []

    async def test_the_first_message_of_a_storm_names_every_job(self, kind: str, http: HttpClient) -> None:
        if not sample_of(kind).digests:
            return
        for channel in in_every_mode(kind, make_context(http)):
            assert self.unnamed(kind, channel, storm_request(channel)) == []

    def unnamed(self, kind: str, channel: AnyChannel, request: RenderRequest) -> list[str]:
        said = sample_of(kind).text(channel.render(request))
        short = shorten_ids({event.job_id for event in request.events})
        return [event.job_id for event in request.events if short[event.job_id] not in said]


@pytest.mark.parametrize("kind", REMOTE)
class TestNobodyThere:
    async def test_what_was_not_sent_is_tried_again(self, kind: str, http: HttpClient) -> None:
        async with HttpServer() as server:
            place = place_of(server)
        channel = make_channel(kind, make_context(http), place)
        outcome = await channel.send(rendered(channel))
        await channel.aclose()
        assert isinstance(outcome, Retry)
        assert outcome.reason.startswith(sample_of(kind).unreachable)
        assert_discreet(kind, outcome)

    async def test_the_check_reports_it_with_a_remedy(self, kind: str, http: HttpClient) -> None:
        async with HttpServer() as server:
            place = place_of(server)
        channel = make_channel(kind, make_context(http), place)
        findings = await channel.check()
        await channel.aclose()
        failed = [finding for finding in findings if not finding.ok]
        assert failed or not (sample_of(kind).can_ask or any(finding.proven for finding in findings))
        assert all(finding.detail and finding.remedy for finding in failed)
        assert_discreet(kind, findings)


def assert_discreet(kind: str, told: object) -> None:
    assert [secret for secret in sample_of(kind).secrets if secret in repr(told)] == []


def modes(having: Callable[[HttpService], object] = lambda _service: True) -> list[object]:
    """Return every kind over HTTP, in each mode whose service answers in a way of its own and has something."""
    return [
        pytest.param((kind, settings, service), id=f"{kind}-{number}" if number else kind)
        for kind in HTTP
        for number, (settings, service) in enumerate(sample_of(kind).services)
        if having(service)
    ]


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One mode of a kind, to talk to a server."""

    kind: str
    settings: SettingsOf
    service: HttpService
    http: HttpClient

    def channel(self, place: tuple[str, int], *, impatient: bool = False, **changes: Any) -> AnyChannel:
        mode = self.settings(*place)
        return make_channel(self.kind, make_context(self.http), impatient=impatient, mode=mode, **changes)

    async def deviation(
        self, server: ServiceServer, case: Case, *, impatient: bool = False, **changes: Any
    ) -> str | None:
        """Send a message to a server that answers as the case has it; return what is wrong with the outcome."""
        server.answers, before = [case.answer], len(server.messages)
        outcome = await self.outcome(place_of(server), impatient=impatient, **changes)
        if len(server.messages) == before:
            return f"{case.name}: no request carried the message, {outcome!r}"
        return case.deviation(outcome)

    @asynccontextmanager
    async def desk(self, clock: FakeClock) -> AsyncIterator[Desk]:
        """Open the channel to a new server of tickets."""
        assert self.service.tickets
        async with self.service.tickets(clock.now) as server:
            values = {"name": "ops", "kind": self.kind} | self.settings(*place_of(server))
            channel, settings = classes_of(self.kind)
            context = replace(make_context(self.http), clock=clock)
            opened = channel.open(settings.model_validate(values), context)
            assert isinstance(opened, TicketChannel)
            yield Desk(shop=Shop(opened, clock), server=server)

    async def outcome(self, place: tuple[str, int], *, impatient: bool = False, **changes: Any) -> Outcome:
        """Send a message and return the outcome, which shows no secret."""
        channel = self.channel(place, impatient=impatient, **changes)
        outcome = await channel.send(rendered(channel))
        await channel.aclose()
        assert_discreet(self.kind, outcome)
        return outcome

    async def check(self, place: tuple[str, int]) -> Sequence[CheckResult]:
        """Check the channel and return the results: what fails has a remedy, and no secret is shown."""
        channel = self.channel(place, impatient=True)
        results = await channel.check()
        await channel.aclose()
        assert [one for one in results if not one.ok and not (one.detail and one.remedy)] == []
        assert_discreet(self.kind, results)
        return results

    async def deviations(self, cases: Iterable[Case]) -> list[str]:
        """Put cases to the channel, one after the other, and return what is wrong."""
        async with ServiceServer(self.service) as server:
            found = [await self.deviation(server, case) for case in cases]
        return [deviation for deviation in found if deviation]

    async def deviations_at_once(self, cases: Iterable[Case]) -> list[str]:
        """Put cases that take their time to an impatient channel, all at once, and return what is wrong.

        On a busy machine its time may pass before the message is on its way: then it gets more of it.
        """

        async def alone(case: Case) -> str | None:
            found = None
            for more in ({}, {"timeout": "1s"}, {"timeout": "10s"}):
                async with ServiceServer(self.service) as server:
                    found = await self.deviation(server, case, impatient=True, **more)
                    if server.messages:
                        break
            return found

        return [deviation for deviation in await asyncio.gather(*map(alone, cases)) if deviation]


@pytest.fixture
def talk(request: pytest.FixtureRequest, http: HttpClient, records: io.StringIO) -> Iterator[Conversation]:
    """Return a mode of a kind; whatever happens, no secret of it is in the log."""
    kind, settings, service = request.param
    logs.configure("debug", "json", records)
    yield Conversation(kind=kind, settings=settings, service=service, http=http)
    assert_discreet(kind, records.getvalue())


@pytest.mark.parametrize("talk", modes(), indirect=True)
class TestOverHttp:
    async def test_each_status_has_its_meaning(self, talk: Conversation) -> None:
        assert await talk.deviations(status_cases(talk.service)) == []

    async def test_a_wait_that_is_asked_for_is_passed_on(self, talk: Conversation) -> None:
        assert await talk.deviations(wait_cases(talk.service)) == []

    async def test_each_body_has_its_meaning(self, talk: Conversation) -> None:
        assert await talk.deviations(body_cases(talk.service)) == []

    async def test_a_broken_reply_never_costs_a_message(self, talk: Conversation) -> None:
        assert await talk.deviations(broken_cases(talk.service)) == []

    async def test_the_deadline_holds(self, talk: Conversation) -> None:
        assert await talk.deviations_at_once(slow_cases(talk.service)) == []

    async def test_what_was_not_sent_is_tried_again(self, talk: Conversation) -> None:
        """The connection ends, or the time, before anything is sent: while TLS is agreed on."""
        for answer, impatient in ((hang_up, False), (hold_the_line, True)):
            async with listening(answer) as port:
                outcome = await talk.outcome((f"https://127.0.0.1:{port}", port), impatient=impatient)
                assert isinstance(outcome, Retry)

    async def test_a_request_before_the_message_that_fails_costs_no_message(self, talk: Conversation) -> None:
        for begin, known in talk.service.around.items():
            for status in (400, 401, 403, 404, 429, 500, 302):
                around = {**talk.service.around, begin: replace(known, status=status, body=b"no")}
                async with ServiceServer(replace(talk.service, around=around), success_of(talk.service)) as server:
                    outcome = await talk.outcome(place_of(server))
                    assert not (isinstance(outcome, GaveUp) and not server.messages), (begin, status)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_no_redirect_is_followed(self, talk: Conversation, status: int) -> None:
        async with HttpServer() as canary:
            answer = reply(status, headers={"Location": canary.url("/steal")})
            case = Case(name=f"to {status}", answer=answer, allowed=(Retry, Parked))
            assert await talk.deviations([case]) == []
        assert canary.connections == 0

    async def test_no_secret_that_is_repeated_is_kept(self, talk: Conversation) -> None:
        for status in (200, 202, 400, 401, 403, 404, 422, 429, 500):
            async with EchoServer(talk.service, status) as server:
                await talk.outcome(place_of(server))
        async with EchoServer(replace(talk.service, around={}), 400) as server:
            await talk.outcome(place_of(server))

    async def test_a_reply_is_kept_as_one_readable_line(self, talk: Conversation) -> None:
        html = {"Content-Type": "text/html"}
        page = b"<html><h1>No\x1b[31m\r\nway\x00\xe2\x80\xae</h1><script>alert(1)</script></html>" + b"x" * 5_000
        async with ServiceServer(talk.service, reply(403, page, html)) as server:
            kept = (await talk.outcome(place_of(server))).reply or ""
        assert len(kept) <= 330
        assert kept.isprintable()
        assert "<" not in kept

    async def test_a_repeat_sends_the_identical_body(self, talk: Conversation) -> None:
        async with ServiceServer(talk.service, reply(503), cut_short(500), success_of(talk.service)) as server:
            channel = talk.channel(place_of(server))
            delivery = rendered(channel)
            outcomes = [await channel.send(replace(delivery, attempt=attempt)) for attempt in (1, 2, 3)]
            await channel.aclose()
        assert len({request.body for request in server.messages}) == 1
        assert isinstance(outcomes[-1], Delivered)

    async def test_its_sample_states_how_lost_answers_are_resolved(self, talk: Conversation) -> None:
        channel = talk.channel(NOWHERE)
        policy = channel.resend_policy
        assert (talk.service.tickets is not None) == channel.tickets
        assert sample_of(talk.kind).digests != channel.tickets
        if channel.tickets:
            return
        assert (talk.service.repeat_key is not None) == (policy is ResendPolicy.IDEMPOTENT), policy
        assert (talk.service.found is not None) == (policy is ResendPolicy.RECONCILABLE), policy

    async def test_hostile_text_changes_no_header_and_no_address(self, talk: Conversation) -> None:
        async with ServiceServer(talk.service, success_of(talk.service)) as server:
            channel = talk.channel(place_of(server))
            deliveries = [rendered(channel, hostile_event(text)) for text in ("harmless", *HOSTILE)]
            for delivery in deliveries:
                await channel.send(delivery)
            await channel.aclose()
        key = talk.service.repeat_key or (lambda _request: "")
        addresses = {without(request.target, key(request)) for request in server.messages}
        ids = re.compile("|".join(re.escape(delivery.id) for delivery in deliveries))
        assert len({tuple(sorted(request.headers)) for request in server.messages}) == 1
        assert len({ids.sub("ID", address) for address in addresses}) == 1

    async def test_the_check_sends_no_message_and_shows_no_secret(self, talk: Conversation) -> None:
        """Whatever answers: a check that fails has a remedy, and one request with an effect would be too many."""
        reading, harmless = ("GET ", "HEAD ", *talk.service.around), talk.service.harmless
        html = {"Content-Type": "text/html"}
        for answer in (
            *(reply(status, b"no") for status in (200, 204, 301, 400, 401, 403, 404, 405, 407, 410, 429, 500)),
            *(reply(status, body, html) for status in (200, 403) for body in (PAGE, LOGIN)),
            *(reset(), cut_short(200), raw(b"SSH-2.0\r\n"), flood(200), reply(200, b"[" * 10_000)),
        ):
            async with ServiceServer(replace(talk.service, around={}), answer) as server:
                await talk.check(place_of(server))
            async with ServiceServer(talk.service, answer) as other:
                await talk.check(place_of(other))
            asked = (*server.requests, *other.requests)
            others = [request for request in asked if not request_begins(request, *reading)]
            assert [request for request in others if not (harmless and harmless(request))] == []


@pytest.mark.parametrize("talk", modes(lambda service: service.lacking), indirect=True)
class TestRights:
    async def test_the_check_names_the_right_that_is_missing(self, talk: Conversation) -> None:
        for right, replies in talk.service.lacking.items():
            around = {**replies, **talk.service.around}
            async with ServiceServer(replace(talk.service, around=around), reply(404, b"{}")) as server:
                results = await talk.check(place_of(server))
            failed = [f"{one.detail}; {one.remedy}" for one in results if not one.ok]
            assert [text for text in failed if right in text] != [], (right, results)


@pytest.mark.parametrize("talk", modes(lambda service: service.repeat_key), indirect=True)
class TestRecognisedRepeats:
    async def test_the_service_knows_a_repeat_by_its_key(self, talk: Conversation) -> None:
        async with ServiceServer(talk.service, success_of(talk.service)) as server:
            channel = talk.channel(place_of(server))
            for delivery in (rendered(channel), rendered(channel, make_gap())):
                for attempt in (1, 2):
                    await channel.send(replace(delivery, attempt=attempt, outcome_unknown=attempt > 1))
            await channel.aclose()
        assert talk.service.repeat_key
        first, again, other, other_again = map(talk.service.repeat_key, server.messages)
        assert first == again != other == other_again
        assert first


@pytest.mark.parametrize("talk", modes(lambda service: service.found), indirect=True)
class TestSearches:
    async def test_a_search_finds_what_arrived_and_nothing_else(self, talk: Conversation) -> None:
        async with ServiceServer(talk.service) as server:
            channel = talk.channel(place_of(server))
            assert talk.service.found
            assert talk.service.absent
            delivery, other = lost(channel), lost(channel, make_gap())
            server.answers = [talk.service.found(delivery).answer]
            assert isinstance(await channel.find_sent(delivery), Delivered)
            assert not isinstance(await channel.find_sent(other), Delivered)
            server.answers = [talk.service.absent.answer]
            assert await channel.find_sent(delivery) is None
            await channel.aclose()


@pytest.mark.parametrize("talk", modes(lambda service: service.tickets), indirect=True)
class TestTickets:
    async def test_one_operation_has_one_ticket_whatever_is_lost(self, talk: Conversation) -> None:
        wrong = []
        for number, fault in every_fault(await ticket_cases.follows_one_operation(talk.desk)):
            try:
                await ticket_cases.survives(talk.desk, number, fault)
            except AssertionError as error:
                wrong.append(str(error))
        assert wrong == []

    async def test_a_ticket_of_somebody_else_is_left_alone(self, talk: Conversation) -> None:
        await ticket_cases.leaves_others_alone(talk.desk)

    async def test_a_ticket_that_another_kind_of_channel_opened_is_followed_by_a_new_one(
        self, talk: Conversation
    ) -> None:
        await ticket_cases.replaces_what_another_kind_opened(talk.desk)

    async def test_a_failure_after_its_end_opens_it_again_or_the_next(self, talk: Conversation) -> None:
        await ticket_cases.opens_again(talk.desk)

    async def test_what_a_person_closed_stays_closed(self, talk: Conversation) -> None:
        await ticket_cases.respects_a_person(talk.desk)

    async def test_a_test_ticket_is_opened_and_closed(self, talk: Conversation) -> None:
        await ticket_cases.is_tried_with_a_test_ticket(talk.desk)

    async def test_a_success_without_a_ticket_asks_nothing(self, talk: Conversation) -> None:
        await ticket_cases.leaves_successes_alone(talk.desk)


def success_of(service: HttpService) -> Answer:
    """Return the answer to a message that was taken."""
    return service.success.answer if service.success else reply()


def without(text: str, key: str) -> str:
    return text.replace(key, "KEY").replace(quote(key, safe=""), "KEY") if key else text


Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Cut the connection once something arrives."""
    await reader.read(1)
    writer.transport.abort()


async def hold_the_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take what arrives, in silence, until the other side hangs up."""
    while await reader.read(4096):
        pass
    writer.close()


@asynccontextmanager
async def listening(connected: Connected) -> AsyncIterator[int]:
    """Listen on a port of loopback, whose number is returned."""
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def test_every_installed_kind_is_put_to_the_test() -> None:
    assert set(KINDS) >= {"console", "email", "mattermost", "rocketchat", "slack", "webhook"}


def test_the_table_of_statuses_has_unheard_of_ones_too() -> None:
    assert len(STATUSES) >= 59
    assert len([status for status in STATUSES if status not in set(HTTPStatus)]) >= 5
