"""The stream of events: Server-Sent Events in the order in which they were recorded.

One task reads for all streams of a process while there are any, and keeps the newest events in memory. It is woken
where something is recorded, and asks once a second besides. Streams that begin further back read by themselves.

A stream ends by itself before the server's deadline for an answer, which is absolute: no peer can hold a connection for
longer than that, whether it reads or not. The client comes back with the number of the last event that it has, so that
nothing is lost or sent twice; to it, a stream that ends and one that breaks are the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from notifier.core.causes import CauseCatalogue
from notifier.core.errors import StoreError
from notifier.core.fields import FIELDS, fields_of
from notifier.core.matchers import Matcher, first_misfit
from notifier.core.routing import RoutedEvent
from notifier.ports import EventHorizon, Store
from notifier.web.api.ports import StreamReads
from notifier.web.api.problems import ApiProblem
from notifier.wording import documents

log = structlog.get_logger("notifier.web")

Listen = Callable[[Callable[[], None]], Awaitable[None]]
"""Calls a function after something was recorded, until cancelled."""

EVENTS_KEPT: Final = 1_000
"""Number of the newest events that are kept in memory."""
READ_AT_ONCE: Final = 200
"""Maximum number of events that one read returns."""
RETRY_MILLISECONDS: Final = 1_000
"""Time after which a client is to come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """How long streams last and how many there may be. Times are in seconds."""

    lasts: float = 25.0
    """Less than `ServerLimits.answer`."""
    heartbeat: float = 5.0
    """Time without an event after which a comment is sent. At each, it is asked whether the reader is still let in."""
    ask: float = 1.0
    """Time between two questions for new events where nothing woke the reader."""
    wait_for_writers: float = 0.02
    """Time between two questions whether the transactions are over that may commit a smaller number."""
    streams: int = 32
    """Maximum number of streams of a process."""
    of_one: int = 6
    """Maximum number of streams of one reader, as many as a browser keeps to one server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedEvents:
    """Which events a stream has."""

    matchers: tuple[Matcher, ...]
    """All of which they fit; none for all events."""
    causes: CauseCatalogue

    def includes(self, item: RoutedEvent) -> bool:
        """Return whether the stream has an event."""
        named = {matcher.field for matcher in self.matchers}.intersection(FIELDS)
        return first_misfit(self.matchers, fields_of(item.event, named, self.causes)) is None


class EventBroadcast:
    """Events of one process for all of its streams."""

    def __init__(self, store: Store[object, StreamReads], listen: Listen, limits: StreamLimits) -> None:
        self.limits = limits
        self._store = store
        self._listen = listen
        self._kept: deque[tuple[int, RoutedEvent]] = deque(maxlen=EVENTS_KEPT)
        self._first = 0
        """Every event with a larger number, up to `_known`, is in memory."""
        self._known = 0
        """No event with this or a smaller number can appear any more."""
        self._news = asyncio.Condition()
        self._woken = asyncio.Event()
        self._readers: dict[str, int] = {}
        """Number of streams of each reader."""
        self._work: Sequence[asyncio.Task[None]] = ()

    @asynccontextmanager
    async def open(self, reader: str) -> AsyncIterator[int]:
        """Read while the context lasts; yield the number of the latest event that was read.

        Raises ApiProblem and StoreError.
        """
        mine = self._readers.get(reader, 0)
        if mine >= self.limits.of_one or sum(self._readers.values()) >= self.limits.streams:
            why = "too many streams are open; close one, or ask for events page by page"
            raise ApiProblem(429, "too-many-streams", why, headers={"Retry-After": "10"})
        self._readers[reader] = mine + 1
        try:
            if any(task.done() for task in self._work):  # by a mistake, which the log has
                await self._end()
            if not self._work:
                await self._begin()
            yield self._known
        finally:
            self._readers[reader] -= 1
            if not self._readers[reader]:
                del self._readers[reader]
            if not self._readers:
                await self._end()

    async def _begin(self) -> None:
        horizon = await self._settled_horizon()
        if not self._work:  # and nobody else began meanwhile
            self._news, self._woken = asyncio.Condition(), asyncio.Event()  # of the loop that runs now
            self._kept.clear()
            self._first = self._known = horizon.number
            self._work = tuple(map(asyncio.create_task, (self._follow(), self._hear())))

    async def _end(self) -> None:
        work, self._work = self._work, ()
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)

    async def is_unknown(self, number: int) -> bool:
        """Return whether no event can have had a number: another replica may have read further. Raises StoreError."""
        if number <= self._known:
            return False
        return number > (await self._store.read(lambda q: q.event_stream.horizon())).number

    async def after(self, number: int) -> tuple[Sequence[tuple[int, RoutedEvent]], int]:
        """Return the next events after a number, and the number up to which they are all there is. Raises StoreError.

        Nothing where there are none yet.
        """
        known = self._known
        if number >= self._first:
            found = [item for item in self._kept if number < item[0] <= known][:READ_AT_ONCE]
        else:
            found = list(await self._store.read(lambda q: q.event_stream.events(number, known, READ_AT_ONCE)))
        return found, found[-1][0] if len(found) == READ_AT_ONCE else max(known, number)

    async def wait(self, number: int, seconds: float) -> None:
        """Wait until there are events after a number, at most this long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(lambda: self._known > number)

    # -- reading --

    async def _hear(self) -> None:
        await self._listen(self._woken.set)

    async def _follow(self) -> None:
        failing = False
        while True:
            try:
                await self._read()
                failing = False
            except StoreError as error:
                if not failing:
                    log.warning("stream.paused", error=str(error))
                failing = True
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.limits.ask):
                    await self._woken.wait()

    async def _read(self) -> None:
        horizon = await self._settled_horizon()
        while self._known < horizon.number:
            after = self._known
            found = await self._store.read(
                lambda q, after=after: q.event_stream.events(after, horizon.number, READ_AT_ONCE)  # type: ignore[misc]
            )
            await self._keep(found, found[-1][0] if len(found) == READ_AT_ONCE else horizon.number)

    async def _keep(self, found: Sequence[tuple[int, RoutedEvent]], known: int) -> None:
        for item in found:
            if len(self._kept) == EVENTS_KEPT:
                self._first = self._kept[0][0]
            self._kept.append(item)
        async with self._news:
            self._known = known
            self._news.notify_all()

    async def _settled_horizon(self) -> EventHorizon:
        """Return how far events can be read, once no transaction can commit a smaller number any more."""
        horizon = await self._store.read(lambda q: q.event_stream.horizon())
        left = set(horizon.writers)
        while left:
            await asyncio.sleep(self.limits.wait_for_writers)
            left &= set(await self._store.read(lambda q: q.event_stream.writers()))
        return horizon


async def stream_events(
    broadcast: EventBroadcast,
    reader: str,
    after: int | None,
    wanted: WantedEvents,
    is_admitted: Callable[[], Awaitable[bool]],
) -> AsyncGenerator[bytes]:
    """Yield the text of a stream: events after a number, or from now on.

    Raises ApiProblem and StoreError before the first text.
    """
    limits, time = broadcast.limits, asyncio.get_running_loop().time
    ends = time() + limits.lasts
    async with broadcast.open(reader) as latest:
        place = latest if after is None else after
        if await broadcast.is_unknown(place):  # the database was replaced by an older one
            place = latest
            yield _block("event: reset", f"id: {place}", "data: {}")
        # An id without data is no event, but the client comes back with it.
        yield _block(f"retry: {RETRY_MILLISECONDS}", f"id: {place}")
        asked = time()
        while True:  # once at least, so that every connection brings a reader on
            found, place = await _next(broadcast, place)
            for number, item in found:
                if wanted.includes(item):
                    yield event_block(number, item)
            left = ends - time()
            if left <= 0:
                break
            if time() - asked >= limits.heartbeat:
                if not await is_admitted():
                    return
                asked = time()
                yield _block(":", f"id: {place}")
            if not found:
                await broadcast.wait(place, min(left, limits.heartbeat))
        yield _block(f"id: {place}")


async def _next(broadcast: EventBroadcast, place: int) -> tuple[Sequence[tuple[int, RoutedEvent]], int]:
    """Return what `EventBroadcast.after` does; nothing for a while where the database is unreachable."""
    try:
        return await broadcast.after(place)
    except StoreError:  # as the task that reads for all streams has logged
        await asyncio.sleep(broadcast.limits.ask)
        return (), place


def event_block(number: int, item: RoutedEvent) -> bytes:
    """Return an event as a block of the stream. JSON has no line break in it."""
    return f"id: {number}\ndata: ".encode() + msgspec.json.encode(documents.routed_event(item)) + b"\n\n"


def _block(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in (*lines, "")).encode()


class EventStreamResponse(StreamingResponse):
    """Sends a stream, and closes it however that ends."""

    media_type = "text/event-stream"

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes]) -> None:
        """`first` was taken from the stream, to prove that it could be opened."""
        super().__init__(_joined(first, rest), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._rest.aclose()


async def _joined(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for text in rest:
        yield text
