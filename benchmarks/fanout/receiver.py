"""Receivers of webhooks, a process of their own with little work for each request.

Each receiver has a port. It records when each event arrived first, by the monotonic clock, which on Linux is the same
in every process. The last receiver can be made to hang: then it accepts and reads requests and never answers.

The argument is the number of receivers. The process writes their ports in one line, then it reads commands and writes
answers, each a JSON object in a line.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

NUMBER = re.compile(rb"bench-(\d{8})")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"

AFTERMATH = 0.5
"""Time to wait for repeats after everything has arrived, in seconds."""


@dataclass(slots=True)
class Received:
    """The events of one port."""

    hangs: bool = False
    arrived: dict[int, int] = field(default_factory=dict)
    """Time of the first arrival by event number, in nanoseconds."""
    duplicates: int = 0
    size: int = 0
    """Size of the last body, in bytes."""

    def note(self, body: bytes) -> None:
        now = time.monotonic_ns()
        found = NUMBER.search(body)
        assert found is not None, body[:2000]
        if self.arrived.setdefault(int(found[1]), now) != now:
            self.duplicates += 1
        self.size = len(body)


class Connection(asyncio.Protocol):
    """Receives POST requests that have a Content-Length."""

    def __init__(self, received: Received) -> None:
        self.received = received
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n") + 4) > 3:
            length = LENGTH.search(self.buffer, 0, end)
            assert length is not None, self.buffer[:end]
            whole = end + int(length[1])
            if len(self.buffer) < whole:
                return
            self.received.note(self.buffer[end:whole])
            self.buffer = self.buffer[whole:]
            if not self.received.hangs:
                self.transport.write(OK)


async def collect(ports: list[Received], first: int, count: int, seconds: float) -> dict[str, Any]:
    """Wait until every port that answers has `count` events from number `first` on, for at most `seconds`."""
    until = time.monotonic() + seconds

    def missing() -> bool:
        return any(sum(number >= first for number in port.arrived) < count for port in ports if not port.hangs)

    while missing() and time.monotonic() < until:  # noqa: ASYNC110 - a check at every arrival would cost more
        await asyncio.sleep(0.2)
    await asyncio.sleep(AFTERMATH)
    return {
        "arrived": [{n: when for n, when in port.arrived.items() if n >= first} for port in ports],
        "duplicates": sum(port.duplicates for port in ports if not port.hangs),
        "size": ports[0].size,
    }


async def main(count: int) -> None:
    loop = asyncio.get_running_loop()
    ports = [Received() for _ in range(count)]
    servers = [await loop.create_server(partial(Connection, port), "127.0.0.1", 0, backlog=1024) for port in ports]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        if command.pop("hang", False):
            ports[-1].hangs = True
            print("{}", flush=True)
        else:
            print(json.dumps(await collect(ports, **command)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
