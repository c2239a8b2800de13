"""Receivers of webhooks in a process of their own, as lean as they can be: what is measured is the sender.

Each has a port. All count distinct events and note when each arrived first, by the monotonic clock, which on Linux is
the same in every process. From a moment on the last one may hang: it accepts, reads, and never answers.

Started with the number of receivers it writes their ports in one line, then answers commands, a JSON object a line.
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
"""Seconds to wait for repeats after everything has arrived."""


@dataclass(slots=True)
class Received:
    """What came to one port."""

    hangs: bool = False
    arrived: dict[int, int] = field(default_factory=dict)
    """Event number to nanoseconds."""
    duplicates: int = 0
    size: int = 0
    """Bytes of the last body."""

    def note(self, body: bytes) -> None:
        now = time.monotonic_ns()
        found = NUMBER.search(body)
        assert found is not None, body[:2000]
        if self.arrived.setdefault(int(found[1]), now) != now:
            self.duplicates += 1
        self.size = len(body)


class Connection(asyncio.Protocol):
    """Takes POSTs with a Content-Length, one after the other."""

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
    """Wait until every port that answers has `count` events from number `first` on, or the time is over."""
    until = time.monotonic() + seconds

    def missing() -> bool:
        return any(sum(number >= first for number in port.arrived) < count for port in ports if not port.hangs)

    while missing() and time.monotonic() < until:  # noqa: ASYNC110 - a look now and then costs the senders least
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
