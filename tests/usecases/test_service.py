"""The service's own decisions. Its run as a process is in the acceptance tests."""

from __future__ import annotations

import asyncio
import io
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from factories import T0, make_delivery, make_event, make_task
from fakes import FakeChannel, FakeClock, FakeSource
from pydantic import SecretStr
from servers.http import HttpServer, reply
from timeouts import HANG_TIMEOUT

from notifier import people
from notifier.clock import SystemClock
from notifier.config.loading import loads
from notifier.core.delivery import Delivered, Delivery, DeliveryState, GaveUp, Outcome, Parked, Retry
from notifier.core.errors import SourceUnreachable, StoreUnreachable
from notifier.core.events import EventType
from notifier.core.expectations import ExpectedRuns
from notifier.core.people import Person
from notifier.core.routing import RoutedEvent
from notifier.http import HttpClient
from notifier.ports import ChatTransport, Clock, DeliveryFilter
from notifier.service import service as service_module
from notifier.service.reporting import MAX_LOGGED_NAMES, ErrorThrottle
from notifier.service.roles import Role
from notifier.service.scheduler import MAX_POLLS_STARTED, RESTART_DELAY, START_SPREAD, DueSources
from notifier.service.service import Service, poll_and_deliver, serve
from notifier.store.engine import SqlStore, open_store
from notifier.store.transaction import Transaction
from notifier.telemetry.ports import Telemetry
from notifier.telemetry.process import ProcessStage
from notifier.telemetry.prometheus import PrometheusMeters
from notifier.wiring.app import App, open_app

# ---- health and heartbeats ----

CONFIGURATION = """
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}, poll_every: 100ms}
channels: [{name: dba, kind: console}, {name: mail, kind: console}]
routes: [{name: everything, channels: [dba]}]
alerts: {channels: [mail]}
heartbeat_url: ${HEARTBEAT}
"""


class Harness:
    """A service with one source, a channel that all events go to, and one for alerts."""

    def __init__(self, store: SqlStore, clock: Clock, http: HttpClient, heartbeat: str) -> None:
        self.source = FakeSource(clock)
        self.dba, self.mail = FakeChannel("dba"), FakeChannel("mail")
        self.app = App(
            config=loads(CONFIGURATION, {"HEARTBEAT": heartbeat}),
            store=store,
            file=store,
            sources={"prod": self.source},
            channels={"dba": self.dba, "mail": self.mail},
            clock=clock,
            rng=random.Random(1),
            http=http,
        )

    def notified(self, channel: FakeChannel) -> list[EventType]:
        return [event.type for delivery in channel.sent for event in delivery.events]


def with_fail_url(app: App, server: HttpServer) -> App:
    url = SecretStr(server.url("/ping/fail"))
    return replace(app, config=app.config.model_copy(update={"heartbeat_fail_url": url}))


@pytest.fixture
async def heartbeats() -> AsyncIterator[HttpServer]:
    async with HttpServer(reply(200)) as server:
        yield server


@pytest.fixture
async def harness(sqlite_url: str, clock: FakeClock, heartbeats: HttpServer) -> AsyncIterator[Harness]:
    async with (
        aclosing(open_store(sqlite_url, now=clock.now)) as store,
        aclosing(HttpClient()) as http,
    ):
        yield Harness(store, clock, http, heartbeats.url("/ping"))


async def test_every_good_poll_gives_a_sign_of_life_and_no_other_does(harness: Harness, heartbeats: HttpServer) -> None:
    await poll_and_deliver(harness.app)
    await poll_and_deliver(harness.app)
    harness.source.error = SourceUnreachable("no answer")
    await poll_and_deliver(harness.app)
    assert [request.target for request in heartbeats.requests] == ["/ping"] * 2


async def test_a_run_that_does_not_begin_is_notified(harness: Harness, clock: FakeClock, records: io.StringIO) -> None:
    expected = ExpectedRuns(text="a rule", name=make_task().name, every=timedelta(hours=26))
    app = replace(harness.app, config=harness.app.config.model_copy(update={"expect": (expected,)}))
    harness.source.tasks = [make_task(status="completed", created_at=T0 - timedelta(hours=25))]
    await poll_and_deliver(app)
    assert harness.notified(harness.dba) == [EventType.SOURCE_MONITORED]
    clock.advance(timedelta(hours=2))
    for _ in range(2):
        await poll_and_deliver(app)
    assert harness.notified(harness.dba)[1:] == [EventType.TASK_MISSING]
    assert records.getvalue().count("task.missing") == 1


async def test_a_fault_is_signalled_at_once_instead_of_a_heartbeat(harness: Harness, heartbeats: HttpServer) -> None:
    """With one channel nobody else can be notified."""
    app = with_fail_url(harness.app, heartbeats)
    await poll_and_deliver(app)
    harness.dba.answer = lambda _: GaveUp("HTTP 400")
    harness.source.tasks = [make_task()]
    for _ in range(2):
        await poll_and_deliver(app)
    dead = await app.store.read(lambda q: q.delivery_ids(DeliveryFilter(state=DeliveryState.DEAD)))
    await app.store.transact(lambda tx: people.dismiss(tx, dead, "dba", Person(id="U1", name="bob")))
    await poll_and_deliver(app)
    assert [request.target for request in heartbeats.requests] == ["/ping", "/ping/fail", "/ping/fail", "/ping"]


async def test_a_lasting_fault_is_signalled_and_a_heartbeat_when_it_ends(
    harness: Harness, heartbeats: HttpServer, clock: FakeClock
) -> None:
    app = with_fail_url(harness.app, heartbeats)
    service = Service(app)
    await service.start()
    await service.polling.poll(harness.source, force=True)
    await service.jobs.join()
    harness.source.error = SourceUnreachable("no answer")
    clock.advance(timedelta(hours=1))
    for _ in range(8):  # forty seconds
        await service.polling.poll(harness.source, force=True)
        await service.monitoring.run()
        await service.jobs.join()
        clock.advance(timedelta(seconds=5))
    assert [request.target for request in heartbeats.requests] == ["/ping", "/ping/fail"]
    harness.source.error = None
    for _ in range(2):
        await service.polling.poll(harness.source, force=True)
        await service.delivering.drain()
        await service.report()
        await service.monitoring.run()
        await service.jobs.join()
        clock.advance(timedelta(minutes=1))
    assert [request.target for request in heartbeats.requests][2:] == ["/ping/fail", "/ping"]


async def test_a_heartbeat_that_is_not_taken_is_a_warning(
    harness: Harness, heartbeats: HttpServer, records: io.StringIO
) -> None:
    heartbeats.answers = [reply(500)]
    summary = await poll_and_deliver(harness.app)
    (line,) = map(json.loads, records.getvalue().splitlines()[-1:])
    assert (summary.failures, line["level"], line["reason"]) == (0, "warning", "HTTP 500")


async def test_the_log_of_a_failed_attempt_has_the_receivers_words(harness: Harness, records: io.StringIO) -> None:
    await poll_and_deliver(harness.app)
    harness.dba.answer = lambda _: GaveUp("HTTP 400", reply="HTTP 400: no such priority")
    harness.source.tasks = [make_task()]
    await poll_and_deliver(harness.app)
    assert '"reply": "HTTP 400: no such priority"' in records.getvalue()


async def test_a_misconfigured_channel_is_announced_on_another(harness: Harness, records: io.StringIO) -> None:
    await poll_and_deliver(harness.app)
    harness.dba.answer = lambda _: Parked("Slack: invalid_auth")
    harness.source.tasks = [make_task()]
    await poll_and_deliver(harness.app)
    await poll_and_deliver(harness.app)
    await poll_and_deliver(harness.app)
    assert harness.notified(harness.mail) == [EventType.CHANNEL_FAILING]
    assert harness.notified(harness.dba) == [EventType.SOURCE_MONITORED, EventType.TASK_FAILED]
    assert '"event": "channel.failing"' in records.getvalue()


async def test_a_source_that_cannot_be_polled_is_notified_along_routes(harness: Harness, clock: FakeClock) -> None:
    harness.source.error = SourceUnreachable("no answer")
    await poll_and_deliver(harness.app)
    clock.advance(timedelta(minutes=5))
    await poll_and_deliver(harness.app)
    harness.source.error = None
    await poll_and_deliver(harness.app)
    kinds = [EventType.SOURCE_FAILING, EventType.SOURCE_RECOVERED, EventType.SOURCE_MONITORED]
    assert harness.notified(harness.dba) == kinds


def delete(path: Path) -> None:
    path.unlink()


def swap(path: Path) -> None:
    open_store(f"sqlite:///{path}.other").close()
    Path(f"{path}.other").rename(path)


def rescued(folder: Path) -> list[Path]:
    return sorted(folder.glob("notifier.db.rescued-*"))


@pytest.mark.parametrize("take", [delete, swap])
async def test_a_database_file_that_is_lost_is_reported_once_and_saved(
    tmp_path: Path, clock: FakeClock, records: io.StringIO, take: Callable[[Path], None]
) -> None:
    async with (
        aclosing(open_store(f"sqlite:///{tmp_path}/notifier.db", exclusive=True, now=clock.now)) as store,
        aclosing(HttpClient()) as http,
    ):
        harness = Harness(store, clock, http, "")
        await poll_and_deliver(harness.app)
        service = Service(harness.app)
        await service.start()
        harness.dba.answer = lambda _: Retry("HTTP 503")
        harness.source.tasks = [make_task()]
        await service.polling.poll(harness.source, force=True)
        take(tmp_path / "notifier.db")
        for _ in range(3):
            await service.monitoring.run()
        await service.delivering.drain()
        assert [*harness.notified(harness.dba), *harness.notified(harness.mail)].count(EventType.STORE_REPLACED) == 1
        assert records.getvalue().count('"event": "store.replaced"') == 2  # the finding, and the event for people
        await service.release()
    saved = rescued(tmp_path)
    assert len(saved) == 2, "when it was noticed, and at the end"
    async with aclosing(open_store(f"sqlite:///{saved[-1]}", create=False, now=clock.now)) as copy:
        pending = await copy.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.PENDING)))
    assert EventType.TASK_FAILED in {event.type for delivery in pending for event in delivery.events}


async def test_a_service_that_runs_watches_and_gives_signs_of_life(
    sqlite_url: str, heartbeats: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "HOUSEKEEPING_INTERVAL", 0.05)
    notified, stop = asyncio.Event(), asyncio.Event()

    def take(_: Delivery) -> Outcome:
        notified.set()
        return Delivered()

    async with aclosing(open_store(sqlite_url)) as store, aclosing(HttpClient()) as http, asyncio.timeout(HANG_TIMEOUT):
        harness = Harness(store, SystemClock(), http, heartbeats.url())
        await poll_and_deliver(harness.app)
        harness.source.tasks = [make_task()]
        harness.dba.answer, harness.mail.answer = (lambda _: Parked("Slack: invalid_auth")), take
        service = Service(harness.app)
        stages = [service.process.stage]
        async with asyncio.TaskGroup() as group:
            group.create_task(service.run(stop))
            await notified.wait()
            stages.append(service.process.stage)
            stop.set()
        stages.append(service.process.stage)
    assert stages == [ProcessStage.STARTING, ProcessStage.SERVING, ProcessStage.STOPPING]
    assert harness.notified(harness.mail) == [EventType.CHANNEL_FAILING]
    assert len(heartbeats.requests) >= 2


class BrokenTransport:
    """A transport that cannot connect to its chat."""

    trouble = "invalid_auth"

    def __init__(self) -> None:
        self.runs = asyncio.Event()

    async def run(self) -> None:
        self.runs.set()
        await asyncio.Event().wait()


async def test_a_disconnected_chat_is_reported_with_its_reason(
    sqlite_url: str, heartbeats: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def transports(_app: App, _wake: object, _process: object) -> AsyncIterator[Sequence[ChatTransport]]:
        yield [transport]

    transport, stop = BrokenTransport(), asyncio.Event()
    monkeypatch.setattr(service_module, "open_endpoints", transports)
    async with aclosing(open_store(sqlite_url)) as store, aclosing(HttpClient()) as http, asyncio.timeout(HANG_TIMEOUT):
        harness = Harness(store, SystemClock(), http, heartbeats.url())
        async with asyncio.TaskGroup() as group:
            group.create_task(Service(harness.app).run(stop))
            await transport.runs.wait()
            stop.set()
        (reported,) = (await store.read(lambda q: q.health_facts())).replicas
    assert (reported.chat_error, Role.WEB in reported.roles) == ("invalid_auth", True)
    assert reported.chat_down_since is not None
    assert reported.stopped_at is not None


async def test_a_service_counts_what_it_does(harness: Harness, clock: FakeClock) -> None:
    meters = PrometheusMeters(sources=["prod"], channels=["dba", "mail"])
    app = replace(harness.app, telemetry=Telemetry(meters=meters))

    def counted(name: str, **labels: str) -> float:
        return meters.registry.get_sample_value(f"gaussdb_notifier_{name}", labels) or 0.0

    await poll_and_deliver(app)
    harness.source.tasks = [make_task(status="failed")]
    await poll_and_deliver(app)
    harness.source.error = SourceUnreachable("no answer")
    for _ in range(2):
        clock.advance(timedelta(hours=1))
        await poll_and_deliver(app)
    assert [counted("polls_total", source="prod", outcome=one) for one in ("complete", "active")] == [1, 1]
    assert counted("polls_total", source="prod", outcome="unreachable") == 2
    assert counted("events_total", type="task.failed") == 1
    assert counted("events_total", type="source.failing") == 1, "what the monitor announces counts too"
    assert counted("deliveries_total", channel="dba", state="delivered") == len(harness.dba.sent)
    assert counted("notification_latency_seconds_count", channel="dba") == len(harness.notified(harness.dba))


# ---- lasting errors ----


def test_a_lasting_error_is_logged_once_a_minute_and_at_its_end(records: io.StringIO) -> None:
    throttle = ErrorThrottle("delivery.paused", "delivery.recovered")
    for now in (0.0, 1.0, 59.9, 60.0, 61.0):
        throttle.failed(StoreUnreachable("no answer"), now, channel="dba")
    throttle.recovered(channel="dba")
    throttle.recovered(channel="dba")
    lines = [json.loads(line) for line in records.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["delivery.paused", "delivery.paused", "delivery.recovered"]
    assert [line["channel"] for line in lines] == ["dba"] * 3


# ---- impossible recipients ----

CHAT = """
chat: {slack: {bot_token: xoxb-fake, app_token: xapp-fake, api_url: "http://127.0.0.1:9/api/"}}
"""
IMPOSSIBLE_PEOPLE = ("U 1", "", "x" * 300)


async def test_an_impossible_recipient_costs_only_their_own_message(
    sqlite_url: str, clock: FakeClock, heartbeats: HttpServer
) -> None:
    """The message is a dead letter with its reason, whatever wrote the row, and the run succeeds."""
    async with open_app(
        loads(f"store: {{url: {sqlite_url}}}" + CONFIGURATION + CHAT, {"HEARTBEAT": heartbeats.url()}), clock=clock
    ) as opened:
        reached = FakeChannel("dm:U1")
        app = replace(opened, direct=lambda name: reached if name == "dm:U1" else opened.direct(name))
        await app.store.transact(
            lambda tx: put_direct(tx, ["dm:U1", *(f"dm:{person}" for person in IMPOSSIBLE_PEOPLE)], clock)
        )
        service = Service(app)
        await service.delivering.drain()
        found = await app.store.read(lambda q: q.deliveries(DeliveryFilter()))
    states = {delivery.channel: (delivery.state, delivery.reason) for delivery in found}
    assert states.pop("dm:U1") == (DeliveryState.DELIVERED, None)
    assert {state for state, _ in states.values()} == {DeliveryState.DEAD}
    assert states["dm:U 1"][1] == "'U 1' is not the id of a person in Slack"


def put_direct(tx: Transaction, channels: list[str], clock: FakeClock) -> None:
    for number, channel in enumerate(channels):
        event = make_event(make_task(f"job-{number}"))
        tx.events.record([RoutedEvent(event=event, routes=(), channels=(channel,))])
        tx.deliveries.record([make_delivery(event, channel=channel, attempt=0, available_at=clock.now())])


# ---- which sources are polled ----


def due_sources(count: int, every: timedelta = timedelta(seconds=60)) -> DueSources:
    return DueSources({f"s{number}": every for number in range(count)})


def test_sources_that_are_due_come_first_in_database_order() -> None:
    sources = due_sources(4)
    assert sources.next(["s3", "removed", "s1"], 0.0) == ["s3", "s1", "s0", "s2"]
    assert sources.next([], 119.9) == []
    assert sources.next(["s2"], 119.9) == ["s2"]


def test_a_source_never_called_due_is_polled_after_two_intervals() -> None:
    sources = due_sources(2)
    sources.next([], 0.0)
    assert sources.next([], 120.0) == ["s0", "s1"]


@pytest.mark.parametrize(("every", "within"), [(10, 10), (60, 60), (86_400, START_SPREAD)])
def test_the_first_polls_of_a_process_are_spread(every: int, within: float) -> None:
    sources = due_sources(100, timedelta(seconds=every))
    sources.spread(1000.0)
    due = [f"s{number}" for number in range(100)]
    begun = [len(sources.next(due, 1000.0 + within * n / 10)) for n in range(10)]
    assert begun[0] == 1
    assert len(sources.next(due, 1000.0 + within)) == 100


def test_one_tick_begins_a_bounded_number_of_polls() -> None:
    sources = due_sources(MAX_POLLS_STARTED * 2 + 1)
    due = [f"s{number}" for number in range(MAX_POLLS_STARTED * 2 + 1)]
    first = sources.next(due, 0.0)
    second = sources.next(due[MAX_POLLS_STARTED:], 1.0)
    assert (len(first), len(second)) == (MAX_POLLS_STARTED, MAX_POLLS_STARTED)
    assert not set(first) & set(second)


async def test_one_good_poll_of_many_gives_the_intervals_heartbeat(
    harness: Harness, heartbeats: HttpServer, clock: FakeClock
) -> None:
    service = Service(harness.app)
    for _ in range(5):
        await service.heartbeat.beat()
    clock.advance(timedelta(seconds=0.1))
    await service.heartbeat.beat()
    assert len(heartbeats.requests) == 2


async def test_a_lasting_job_that_ends_or_crashes_is_started_again(harness: Harness, clock: FakeClock) -> None:
    service, runs, enough = Service(harness.app), 0, asyncio.Event()

    async def listen() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise RuntimeError("it broke")
        if runs == 3:
            enough.set()
            await asyncio.Event().wait()

    service.jobs.keep_running("listen", listen)
    await enough.wait()
    (job,) = service.jobs._tasks.values()
    job.cancel()
    assert clock.slept == [RESTART_DELAY] * 2


async def test_the_record_of_a_start_names_some_of_thousands_of_sources(harness: Harness, records: io.StringIO) -> None:
    stop = asyncio.Event()
    stop.set()
    names = ["prod", *(f"source-{number}" for number in range(MAX_LOGGED_NAMES + 9))]
    await serve(replace(harness.app, sources=dict.fromkeys(names, harness.source)), stop=stop)
    (started,) = (found for found in map(json.loads, records.getvalue().splitlines()) if "roles" in found)
    assert started["sources"] == [*names[:MAX_LOGGED_NAMES], "and 10 more"]
    assert started["channels"] == ["dba", "mail"]
