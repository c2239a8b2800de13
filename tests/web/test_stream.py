"""The stream of events: in order, without loss or repeat, through kills, slow readers and revoked access."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from api_story import EXPECTED, HOSTILE, ROUTES, later, seed
from factories import make_event, make_task
from fakes import START, FakeClock
from sqlalchemy import create_engine, text
from starlette.applications import Starlette
from starlette.routing import Mount
from web_site import FixedAccess, make_rules, viewer

from notifier.core.errors import StoreUnreachable
from notifier.core.model import Event
from notifier.core.routing import RoutedEvent, RoutingConfig
from notifier.logs import RejectionLog
from notifier.store.engine import SqlStore, open_store
from notifier.web.access.viewer import AccessRole
from notifier.web.api.application import build_api
from notifier.web.api.stream import EVENTS_KEPT, StreamLimits
from notifier.web.parts import WebParts
from notifier.web.server import Server, ServerLimits

STREAM = "/api/v1/stream"
LIMITS = StreamLimits(lasts=20.0, heartbeat=0.05, ask=0.02, wait_for_writers=0.01)


@dataclass
class Wakeups:
    """Calls whoever listens."""

    heard: list[Any] = field(default_factory=list)

    async def listen(self, hear: Any) -> None:
        self.heard.append(hear)
        await asyncio.Event().wait()

    def call(self) -> None:
        for hear in self.heard:
            hear()


@dataclass
class Served:
    """A server with the API."""

    url: str
    access: FixedAccess
    store: SqlStore

    @asynccontextmanager
    async def stream(self, after: int | None = None, **query: str) -> AsyncIterator[Reader]:
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=10) as client,
            client.stream("GET", STREAM, params=query, headers=headers) as response,
        ):
            yield Reader(response)

    async def record(self, *events: Event) -> None:
        routed = [RoutedEvent(event=event, routes=(), channels=()) for event in events]
        await self.store.transact(lambda tx: tx.events.record(routed))


class Reader:
    """Reads a stream as a browser does: it keeps the last id, and comes back with it."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.last = 0
        self.comments = 0
        self._lines = response.aiter_lines()

    async def next(self) -> dict[str, Any] | None:
        """Return the next event; None at the end of the stream."""
        data, kind = "", ""
        while (line := await self.line()) is not None:
            name, _, value = line.partition(": ")
            if name == "data":
                data = value
            elif name == "event":
                kind = value
            elif not line and data:
                found: dict[str, Any] = json.loads(data)
                return found | {"event": kind}
        return None

    async def line(self) -> str | None:
        """Return the next line; None at the end of the stream."""
        line = await anext(self._lines, None)
        if line is not None:
            self.comments += line.startswith(":")
            self.last = int(line.removeprefix("id: ")) if line.startswith("id: ") else self.last
        return line

    async def several(self, count: int) -> list[dict[str, Any]]:
        found = [await self.next() for _ in range(count)]
        return [one for one in found if one is not None]


@asynccontextmanager
async def serve(
    store: SqlStore,
    limits: StreamLimits = LIMITS,
    *,
    wakeups: Wakeups | None = None,
    limits_of_server: ServerLimits | None = None,
) -> AsyncIterator[Served]:
    access, wakeups = FixedAccess(), wakeups or Wakeups()
    rules = make_rules(expected=EXPECTED, routing=RoutingConfig(routes=ROUTES, policies={}))
    parts = WebParts(
        rules=rules, store=store, clock=FakeClock(), access=access, wake=lambda: None, listen=wakeups.listen
    )
    app = Starlette(routes=[Mount("/api/v1", build_api(parts, limits))])
    rejections = RejectionLog("x.y", logger="notifier.test", seconds=lambda: 0.0)
    async with Server(app, "127.0.0.1", 0, limits_of_server, rejections=rejections) as server:
        yield Served(server.url, access, store)


@pytest.fixture
async def lite(sqlite_url: str) -> AsyncIterator[SqlStore]:
    store = open_store(sqlite_url, now=lambda: START)
    await seed(store)
    yield store
    await store.aclose()


async def test_events_come_as_they_are_recorded_in_order(store: SqlStore) -> None:
    await seed(store)
    async with serve(store) as served, served.stream() as reader:
        assert reader.response.headers["Content-Type"].startswith("text/event-stream")
        many = [later(number) for number in range(20)]
        for one in many:
            await served.record(one)
        assert [one["event_id"] for one in await reader.several(20)] == [one.id for one in many]


async def test_a_reader_that_comes_back_misses_and_repeats_nothing(lite: SqlStore) -> None:
    many = [later(number) for number in range(30)]
    found: list[str] = []
    async with serve(lite) as served:
        async with served.stream(after=0) as reader:
            found += [one["event_id"] for one in await reader.several(3)]
            last = reader.last
        await served.record(*many[:15])
        async with served.stream(after=last) as reader:  # broken off in the middle, as by a kill of the client
            found += [one["event_id"] for one in await reader.several(7)]
            last = reader.last
    # A new server, as after a kill of the process.
    async with serve(lite) as served, served.stream(after=last) as reader:
        task = asyncio.create_task(reader.several(5 + 15 - 10 + 15))
        await served.record(*many[15:])
        found += [one["event_id"] for one in await task]
    recorded = await lite.read(lambda q: q.event_stream.events(0, 1_000, 1_000))
    assert found == [item.event.id for _, item in recorded]


async def test_a_stream_ends_by_itself_and_names_the_place_to_go_on_from(lite: SqlStore) -> None:
    async with serve(lite, replace(LIMITS, lasts=0.0)) as served, served.stream(after=2, match="completed") as reader:
        assert (await reader.next() or {})["type"] == "task.completed"
        assert await reader.next() is None
        assert reader.last == 5


async def test_a_comment_and_the_place_come_while_nothing_happens(lite: SqlStore) -> None:
    async with serve(lite) as served, served.stream(match="type=task.missing") as reader:
        await served.record(later(1))
        while reader.comments < 2 or reader.last < 6:
            await reader.line()


def test_streams_end_before_the_server_ends_them() -> None:
    assert StreamLimits().lasts + StreamLimits().heartbeat <= ServerLimits().answer


MATCHERS_CHOOSE_THE_EVENTS: list[tuple[str, set[str]]] = [
    ("failed", {"task.failed"}),
    ("type in [task.failed, task.missing]", {"task.failed", "task.missing"}),
    ("source=lab", {"task.completed"}),
    ("severity=error prod*", set()),
]


async def test_matchers_choose_the_events(lite: SqlStore) -> None:
    for match, kinds in MATCHERS_CHOOSE_THE_EVENTS:
        async with serve(lite, replace(LIMITS, lasts=0.0)) as served, served.stream(after=0, match=match) as reader:
            found = set()
            while one := await reader.next():
                found.add(one["type"])
        assert found == kinds


async def test_a_wakeup_brings_an_event_at_once(lite: SqlStore) -> None:
    """Without one, nothing would ask for an hour."""
    wakeups = Wakeups()
    async with serve(lite, replace(LIMITS, ask=3_600.0), wakeups=wakeups) as served, served.stream() as reader:
        await served.record(later(1))
        wakeups.call()
        assert (await reader.next() or {})["type"] == "task.progressed"


async def test_the_stream_ends_when_access_is_taken_away(lite: SqlStore) -> None:
    async with serve(lite) as served, served.stream() as reader:
        served.access.who = viewer(AccessRole.NONE)
        assert await reader.next() is None


WHAT_A_STREAM_CANNOT_DO_IS_SAID: list[dict[str, str]] = [
    {"match": "nonsense ="},
    {"after": "-1"},
    {"after": "x"},
    {"after": str(2**63)},
]


async def test_what_a_stream_cannot_do_is_said(lite: SqlStore) -> None:
    for query in WHAT_A_STREAM_CANNOT_DO_IS_SAID:
        async with serve(lite) as served, httpx.AsyncClient(base_url=served.url) as client:
            found = await client.get(STREAM, params=query)
            assert (found.status_code, found.headers["Content-Type"]) == (422, "application/problem+json")


async def test_the_number_of_streams_is_bounded(lite: SqlStore) -> None:
    async with serve(lite, replace(LIMITS, of_one=2)) as served, httpx.AsyncClient(base_url=served.url) as client:
        async with served.stream(), served.stream():
            found = await client.get(STREAM)
            assert (found.status_code, found.headers["Retry-After"]) == (429, "10")
            served.access.who = viewer(name="Li Wei")
            async with served.stream() as reader:
                assert reader.response.status_code == 200
        served.access.who = viewer()
        for _ in range(3):  # the closed ones count no more, however they ended
            async with served.stream() as reader:
                assert reader.response.status_code == 200
                await reader.response.aclose()
            await until_closed(served)


async def until_closed(served: Served) -> None:
    while True:
        async with served.stream() as reader:
            if reader.response.status_code == 200:
                return


async def test_a_reader_that_does_not_read_is_closed_and_others_go_on(lite: SqlStore) -> None:
    large = make_event(make_task("large", fail_reason="x" * 500_000))
    many = [replace(large, id=f"large-{n}", occurrence=f"large {n}") for n in range(20)]
    async with serve(lite, limits_of_server=ServerLimits(answer=0.5)) as served:
        host, port = served.url.removeprefix("http://").split(":")
        slow, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(f"GET {STREAM} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b"200" in await slow.readline()
        await served.record(*many)
        async with served.stream(match="type=task.progressed") as other:
            await served.record(later(1))
            assert (await other.next() or {})["type"] == "task.progressed"
        with suppress(ConnectionError):  # it was not allowed to finish
            while await slow.read(65_536):
                pass
        writer.close()


async def test_a_database_that_was_replaced_begins_the_numbers_again(lite: SqlStore) -> None:
    async with serve(lite) as served, served.stream(after=4_711) as reader:
        first = await reader.next()
        assert first == {"event": "reset"}
        await served.record(later(1))
        assert (await reader.next() or {})["type"] == "task.progressed"


async def test_a_reader_may_come_from_a_replica_that_has_read_further(lite: SqlStore) -> None:
    """This process asks for nothing new by itself."""
    async with serve(lite, replace(LIMITS, ask=3_600.0)) as served, served.stream():
        await served.record(later(1), later(2))
        async with served.stream(after=7) as reader:
            await reader.line()
            await reader.line()
            assert reader.last == 7
            assert reader.comments == 0


async def test_more_events_than_are_kept_in_memory_are_read(lite: SqlStore) -> None:
    count = EVENTS_KEPT + 300
    async with serve(lite) as served, served.stream(after=0) as reader:
        await served.record(*(later(number) for number in range(count)))
        assert len(await reader.several(count + 5)) == count + 5
        async with served.stream(after=0) as second:  # begins before what is kept
            assert len(await second.several(count + 5)) == count + 5


async def test_an_event_that_commits_late_is_not_lost(postgres_url: str) -> None:
    """PostgreSQL numbers events before they are committed."""
    store, engine = (
        open_store(postgres_url, now=lambda: START),
        create_engine(postgres_url.replace("://", "+psycopg://")),
    )
    await seed(store)
    insert = text(
        "INSERT INTO events (id, type, source, job_id, occurrence, observed_at, facts, routes, channels, channel_count)"
        " SELECT 'slow', type, source, job_id, 'slow', observed_at, facts, routes, channels, 0 FROM events LIMIT 1"
    )
    async with serve(store) as served, served.stream() as reader:
        with engine.connect() as slow:
            slow.execute(insert)
            await served.record(later(1))
            waiting = asyncio.create_task(reader.next())
            done, _ = await asyncio.wait([waiting], timeout=0.2)
            assert not done
            slow.commit()
        await waiting
        numbers = [reader.last]
        await reader.next()
        assert [*numbers, reader.last] == [6, 7]
    engine.dispose()
    await store.aclose()


async def test_a_database_that_is_away_pauses_the_stream(lite: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def fails(*_given: object) -> None:
        asked.set()
        raise StoreUnreachable

    async with serve(lite) as served:
        async with served.stream() as reader, served.stream(after=0) as second:
            await second.several(5)
            with monkeypatch.context() as broken:
                broken.setattr(lite, "read", fails)
                await asked.wait()
            await served.record(later(1))
            for one in (reader, second):
                assert (await one.next() or {})["type"] == "task.progressed"
        monkeypatch.setattr(lite, "read", fails)
        async with served.stream() as reader:
            assert (reader.response.status_code, reader.response.headers["Retry-After"]) == (503, "5")


async def test_hostile_texts_stay_within_their_event(lite: SqlStore) -> None:
    async with serve(lite) as served, served.stream(after=0, match="failed") as reader:
        found = await reader.several(2)
    assert [one["task"]["name"] for one in found][-1] == HOSTILE
