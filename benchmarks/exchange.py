"""Requests to a webhook: our HTTP client beside bare aiohttp and bare httpx.

All of them post the same body to the same local receiver, in turn, in every round; what counts is the CPU time of a
request and its ratio. The receiver is a process of its own, so the time is the sender's.

    python benchmarks/exchange.py [--requests 3000] [--in-flight 32] [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import cast

import aiohttp
import httpx
import uvloop
from figures import Measure, Report, add_arguments

from notifier.http import HttpClient

BODY = b'{"type":"task.failed","data":"' + b"x" * 668 + b'"}'
HEADERS = {
    "content-type": "application/json",
    "webhook-id": "dlv_0123456789abcdef",
    "webhook-timestamp": "1768465800",
    "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
}
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"

Send = Callable[[], Awaitable[int]]
"""Sends one request and returns the status."""


# ---- the receiver ----


class Receiver(asyncio.Protocol):
    """Takes a request to be a head and a body as long as the one that is sent."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0 and len(self.buffer) >= end + 4 + len(BODY):
            self.buffer = self.buffer[end + 4 + len(BODY) :]
            self.transport.write(OK)


async def receive() -> None:
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the parent closes the pipe
    server.close()


@contextmanager
def receiver() -> Iterator[str]:
    command = [sys.executable, __file__, "--receive"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/hooks/gaussdb"
        process.communicate()


# ---- what is measured ----


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Send]:
    async with aclosing(HttpClient()) as http:

        async def send() -> int:
            reply = await http.exchange("POST", url, headers=HEADERS, content=BODY, deadline=20, max_bytes=65_536)
            return reply.status

        yield send


@asynccontextmanager
async def bare_httpx(url: str) -> AsyncIterator[Send]:
    async with httpx.AsyncClient(trust_env=False) as client:

        async def send() -> int:
            return (await client.post(url, headers=HEADERS, content=BODY)).status_code

        yield send


@asynccontextmanager
async def bare_aiohttp(url: str) -> AsyncIterator[Send]:
    async with aiohttp.ClientSession() as session:

        async def send() -> int:
            async with session.post(url, headers=HEADERS, data=BODY) as response:
                await response.read()
            return response.status

        yield send


WAYS = {"bare aiohttp": bare_aiohttp, "HttpClient.exchange": ours, "bare httpx": bare_httpx}
SLOWEST = "bare httpx"
"""Gets a tenth of the requests, or it would take most of the time."""
MEASURES = [
    Measure(name="µs CPU", digits=1, peers=["bare aiohttp"]),
    Measure(name="requests/s", peers=["bare aiohttp"]),
]

Costs = dict[str, dict[str, list[float]]]


async def measure_way(send: Send, requests: int, in_flight: int) -> tuple[float, float]:
    """Return the CPU time of a request in microseconds, and the requests in a second."""
    left = iter(range(requests))

    async def work() -> None:
        for _ in left:
            assert await send() == 200

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    return cpu / requests * 1e6, requests / elapsed


async def measure(url: str, requests: int, in_flight: int, rounds: int) -> Costs:
    """Measure every way in every round; a round before them warms up."""
    costs: Costs = {name: {measure.name: [] for measure in MEASURES} for name in WAYS}
    for number in range(rounds + 1):
        for name, way in WAYS.items():
            share = requests if number and name != SLOWEST else requests // 10
            async with way(url) as send:
                await measure_way(send, in_flight, in_flight)  # connects
                found = await measure_way(send, share, in_flight)
            if number:
                for values, value in zip(costs[name].values(), found, strict=True):
                    values.append(value)
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--receive", action="store_true", help=argparse.SUPPRESS)
    add_arguments(parser, rounds=5)
    arguments = parser.parse_args()
    if arguments.receive:
        uvloop.run(receive())
        return
    report = Report("exchange", arguments.json)
    for loop, factory in {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}.items():
        with receiver() as url, asyncio.Runner(loop_factory=factory) as runner:
            costs = runner.run(measure(url, arguments.requests, arguments.in_flight, arguments.rounds))
        report.table(f"{loop}: a request, {arguments.in_flight} in flight", costs, MEASURES)


if __name__ == "__main__":
    main()
