"""The service's own decisions; its life as a process is in the acceptance tests."""

from __future__ import annotations

import asyncio
import io
import json
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from factories import make_task
from fakes import FakeChannel, FakeClock, FakeSource
from patience import HANG
from servers.http import HttpServer, reply

from notifier import service as service_module
from notifier.clock import SystemClock
from notifier.config import loads
from notifier.core.errors import SourceUnreachable, StoreUnreachable
from notifier.core.model import Delivered, Delivery, EventType, GaveUp, Outcome, Parked
from notifier.http import HttpClient
from notifier.ports import Clock
from notifier.service import Service, Trouble, poll_and_deliver
from notifier.store.engine import SqlStore, open_store
from notifier.wiring import App


class SteppedClock(FakeClock):
    """A system clock that is set by `step` while the service sleeps; then the watch ends."""

    def __init__(self, step: timedelta) -> None:
        super().__init__()
        self.step = step

    async def sleep(self, seconds: float) -> None:
        if self.slept:
            raise asyncio.CancelledError
        await super().sleep(seconds)
        self.time += self.step


@pytest.mark.parametrize(
    ("step", "anew"), [(timedelta(hours=-1), True), (timedelta(seconds=-1), False), (timedelta(hours=1), False)]
)
async def test_a_clock_that_is_set_back_makes_every_tick_due_anew(step: timedelta, *, anew: bool) -> None:
    clock = SteppedClock(step)
    service = Service(cast("App", SimpleNamespace(clock=clock, channels={})))
    ticks = AsyncIOScheduler(timezone=UTC)
    far = datetime(2099, 1, 1, tzinfo=UTC)
    ticks.add_job(lambda: None, "interval", hours=1, next_run_time=far)
    ticks.start(paused=True)
    with pytest.raises(asyncio.CancelledError):
        await service.watch_clock(ticks)
    (job,) = ticks.get_jobs()
    assert (job.next_run_time < far) is anew
    ticks.shutdown(wait=False)


# ---- blind, mute, alive ----

CONFIGURATION = """
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}, poll_every: 100ms}
channels: [{name: dba, kind: console}, {name: mail, kind: console}]
routes: [{name: everything, channels: [dba]}]
alerts: {channels: [mail]}
heartbeat_url: ${HEARTBEAT}
"""


class House:
    """A service with one source, a channel that all events go to, and one for alerts."""

    def __init__(self, store: SqlStore, clock: Clock, http: HttpClient, heartbeat: str) -> None:
        self.source = FakeSource(clock)
        self.dba, self.mail = FakeChannel("dba"), FakeChannel("mail")
        self.app = App(
            config=loads(CONFIGURATION, {"HEARTBEAT": heartbeat}),
            store=store,
            sources={"prod": self.source},
            channels={"dba": self.dba, "mail": self.mail},
            clock=clock,
            rng=random.Random(1),
            http=http,
        )

    def told(self, channel: FakeChannel) -> list[EventType]:
        return [event.type for delivery in channel.sent for event in delivery.events]


@pytest.fixture
async def heartbeats() -> AsyncIterator[HttpServer]:
    async with HttpServer(reply(200)) as server:
        yield server


@pytest.fixture
async def house(sqlite_url: str, clock: FakeClock, heartbeats: HttpServer) -> AsyncIterator[House]:
    async with (
        aclosing(open_store(sqlite_url, now=clock.now)) as store,
        aclosing(HttpClient()) as http,
    ):
        yield House(store, clock, http, heartbeats.url("/ping"))


async def test_every_good_poll_gives_a_sign_of_life_and_no_other_does(house: House, heartbeats: HttpServer) -> None:
    await poll_and_deliver(house.app)
    await poll_and_deliver(house.app)
    house.source.error = SourceUnreachable("no answer")
    await poll_and_deliver(house.app)
    assert [request.target for request in heartbeats.requests] == ["/ping"] * 2


async def test_a_heartbeat_that_is_not_taken_is_a_warning(
    house: House, heartbeats: HttpServer, records: io.StringIO
) -> None:
    heartbeats.answers = [reply(500)]
    summary = await poll_and_deliver(house.app)
    (line,) = map(json.loads, records.getvalue().splitlines()[-1:])
    assert (summary.failures, line["level"], line["reason"]) == (0, "warning", "HTTP 500")


async def test_the_log_of_an_attempt_that_failed_has_the_receivers_words(house: House, records: io.StringIO) -> None:
    await poll_and_deliver(house.app)
    house.dba.answer = lambda _: GaveUp("HTTP 400", reply="HTTP 400: no such priority")
    house.source.tasks = [make_task()]
    await poll_and_deliver(house.app)
    assert '"reply": "HTTP 400: no such priority"' in records.getvalue()


async def test_a_channel_that_is_misconfigured_is_told_on_another(house: House, records: io.StringIO) -> None:
    await poll_and_deliver(house.app)
    house.dba.answer = lambda _: Parked("Slack: invalid_auth")
    house.source.tasks = [make_task()]
    await poll_and_deliver(house.app)
    await poll_and_deliver(house.app)
    await poll_and_deliver(house.app)
    assert house.told(house.mail) == [EventType.CHANNEL_FAILING]
    assert house.told(house.dba) == [EventType.TASK_FAILED]
    assert '"event": "channel.failing"' in records.getvalue()


async def test_a_source_that_cannot_be_polled_is_told_where_routes_lead(house: House, clock: FakeClock) -> None:
    house.source.error = SourceUnreachable("no answer")
    await poll_and_deliver(house.app)
    clock.advance(timedelta(minutes=5))
    await poll_and_deliver(house.app)
    house.source.error = None
    await poll_and_deliver(house.app)
    assert house.told(house.dba) == [EventType.SOURCE_FAILING, EventType.SOURCE_RECOVERED]


async def test_a_service_that_runs_watches_and_gives_signs_of_life(
    sqlite_url: str, heartbeats: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "HOUSEKEEPING_EVERY", 0.05)
    told, stop = asyncio.Event(), asyncio.Event()

    def take(_: Delivery) -> Outcome:
        told.set()
        return Delivered()

    async with aclosing(open_store(sqlite_url)) as store, aclosing(HttpClient()) as http, asyncio.timeout(HANG):
        house = House(store, SystemClock(), http, heartbeats.url())
        await poll_and_deliver(house.app)
        house.source.tasks = [make_task()]
        house.dba.answer, house.mail.answer = (lambda _: Parked("Slack: invalid_auth")), take
        async with asyncio.TaskGroup() as group:
            group.create_task(Service(house.app).run(stop))
            await told.wait()
            stop.set()
    assert house.told(house.mail) == [EventType.CHANNEL_FAILING]
    assert len(heartbeats.requests) >= 2


# ---- troubles ----


def test_a_trouble_that_lasts_is_said_once_a_minute_and_when_it_is_over(records: io.StringIO) -> None:
    seconds = iter([0.0, 1.0, 59.9, 60.0, 61.0])
    trouble = Trouble("deliveries wait", lambda: next(seconds), channel="dba")
    for _ in range(5):
        trouble.goes_on(StoreUnreachable("no answer"))
    trouble.is_over()
    trouble.is_over()
    said = [json.loads(line) for line in records.getvalue().splitlines()]
    assert [line["event"] for line in said] == ["deliveries wait", "deliveries wait", "works again"]
    assert [line["channel"] for line in said] == ["dba"] * 3
