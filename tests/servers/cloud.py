"""A simulated cloud behind a gateway that knows when a page is asked for and when it has been given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from notifier.simulator import Options, Simulator
from servers.moments import Moments


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedCloud:
    """`page asked` happens before the simulator sees a request, `page given` when its answer has been passed on."""

    simulator: Simulator
    moments: Moments
    port: int

    def source(self, **more: Any) -> dict[str, Any]:
        """Return the entry of `sources` that reads it, ten times a second."""
        found = self.simulator.source_config()
        paced = {"poll_every": "100ms", "calls_per_minute": 100_000, "endpoint": f"http://127.0.0.1:{self.port}"}
        return found | paced | more

    def show(self, statuses: Mapping[str, str]) -> None:
        """Let these tasks have these statuses from now on."""
        for job_id, status in statuses.items():
            self.simulator.cloud.world.put(row(job_id, status))

    async def tell(self, story: Iterable[Mapping[str, str]]) -> None:
        """Show one thing after the other, each until it has been recorded."""
        for statuses in story:
            self.show(statuses)
            await self.recorded()

    async def recorded(self) -> None:
        """Wait until the program has recorded what is shown now.

        It polls one page at a time: when it asks again after a page that shows it, that page has been recorded,
        unless a `kill` has come between.
        """
        kills = -1
        while kills != self.moments.count["kill"]:
            kills = self.moments.count["kill"]
            await self.moments.times("page asked", 2)


def row(job_id: str, status: str) -> dict[str, Any]:
    """Return a task as the API writes it."""
    return {
        "job_id": job_id,
        "name": "CreateGaussDBV5Instance",
        "status": status,
        "instance_info": {"instance_id": f"id-{job_id}", "instance_name": f"gauss-{job_id}"},
        "created_at": "2026-01-15T08:00:00+0000",
        "ended_at": None if status == "Running" else "2026-01-15T08:30:00+0000",
    }


@asynccontextmanager
async def watched_cloud(moments: Moments, static: int = 3) -> AsyncIterator[WatchedCloud]:
    """Open a cloud that lists so many tasks which never change by themselves."""
    async with Simulator(Options(static=static)) as simulator, _Gateway(simulator.url, moments) as port:
        yield WatchedCloud(simulator=simulator, moments=moments, port=port)


class _Gateway:
    """Passes requests without a body on, one at a time for each connection, and answers with a known length back."""

    def __init__(self, url: str, moments: Moments) -> None:
        self._target = urlsplit(url)
        self._moments = moments
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._pass_on(reader, writer)
        writer.close()
        with suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection(self._target.hostname, self._target.port)
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                await self._moments.happen("page asked")
                downstream.write(request)
                writer.write(await _answer(upstream))
                await writer.drain()
                await self._moments.happen("page given")
        finally:
            downstream.close()
            with suppress(ConnectionError):
                await downstream.wait_closed()


async def _answer(upstream: asyncio.StreamReader) -> bytes:
    head = await upstream.readuntil(b"\r\n\r\n")
    lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    (size,) = (int(value) for name, _, value in lines if name == b"content-length")
    return head + await upstream.readexactly(size)
