"""Requests to a webhook: our one way out, beside httpx and aiohttp bare.

All of them post the same body to the same local receiver, in turn, in one run; what counts is the ratios. The receiver
is a process of its own and answers without a look, so that it is the sender that is measured.

    python benchmarks/exchange.py [--requests 3000] [--in-flight 32] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import NamedTuple, cast

import aiohttp
import httpx
import uvloop

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


class Cost(NamedTuple):
    """Seconds a request."""

    elapsed: float
    cpu: float


async def cost_of(send: Send, requests: int, in_flight: int) -> Cost:
    left = iter(range(requests))

    async def work() -> None:
        for _ in left:
            assert await send() == 200

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return Cost((time.perf_counter() - started) / requests, (time.process_time() - cpu) / requests)


async def measure(url: str, requests: int, in_flight: int, rounds: int) -> Mapping[str, list[Cost]]:
    """Return what a request cost by way, a list over the rounds; in each round every way takes its turn."""
    costs: dict[str, list[Cost]] = {name: [] for name in WAYS}
    for number in range(rounds + 1):
        for name, way in WAYS.items():
            async with way(url) as send:
                await cost_of(send, in_flight, in_flight)  # connects
                # The first round warms up.
                found = await cost_of(send, requests if number else requests // 10, in_flight)
            costs[name] += [found] if number else []
    return costs


def report(loop: str, costs: Mapping[str, list[Cost]]) -> None:
    cpu = {name: statistics.median(cost.cpu for cost in found) for name, found in costs.items()}
    print(f"\n{loop}\n{'':24}{'requests/s':>12}{'µs CPU':>10}{'x bare aiohttp':>16}")
    for name, found in costs.items():
        rate = 1 / statistics.median(cost.elapsed for cost in found)
        print(f"{name:24}{rate:>12,.0f}{cpu[name] * 1e6:>10.0f}{cpu[name] / cpu['bare aiohttp']:>16.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--receive", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.receive:
        uvloop.run(receive())
        return
    for loop, factory in {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}.items():
        with receiver() as url, asyncio.Runner(loop_factory=factory) as runner:
            report(loop, runner.run(measure(url, arguments.requests, arguments.in_flight, arguments.rounds)))


if __name__ == "__main__":
    main()
