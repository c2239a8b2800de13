"""The task list of GaussDB over HTTP, `GET /v3/{project_id}/tasks`, with faults; each program has its own port."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from chaos.oracle import Oracle, Task
from chaos.wire import Request, Wakeup, listen

PROJECT = "0611f1bd8b00d5d32f17c017f15b599f"
RETRY_AFTER = 1
"""Seconds that a throttled client is asked to wait."""
EARLY = 0.05
"""Tolerance for a retry that is too early, in seconds: both sides read clocks."""
ON_THE_WAY = 0.2
"""Time after a 429 in which requests sent before it may still arrive, in seconds."""

FAULTS: Mapping[str, float] = {
    "throttle": 0.3,
    "error": 0.2,
    "reset": 0.1,
    "cut": 0.1,
    "stall": 0.1,
    "short": 0.1,
    "empty": 0.1,
}
"""Share of each fault among the spoiled answers."""


@dataclass(slots=True)
class ClientEndpoint:
    """The endpoint of one program."""

    index: int
    life: int = 0
    """Number of kills of the program: requests of an earlier process are ignored."""
    requests_seen: int = 0
    """Requests since the last start."""
    quiet: tuple[float, float] = (0.0, 0.0)
    """Start and end of the wait that a 429 demanded."""
    url: str = ""


class Cloud:
    """Serves the list of the oracle. `faults` is the share of spoiled answers."""

    def __init__(self, oracle: Oracle, wakeup: Wakeup, seed: int, *, faults: float, stall: float = 2.0) -> None:
        self.oracle = oracle
        self.wakeup = wakeup
        self.faults = faults
        self.endpoints: list[ClientEndpoint] = []
        self.requests = 0
        self.impatient = 0
        """Requests before the end of the wait that a 429 demanded."""
        self.spoiled: dict[str, int] = {}
        self._stall = stall
        self._rng = random.Random(f"cloud {seed}")
        self._servers: list[asyncio.Server] = []

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def open(self, programs: int) -> None:
        for index in range(programs):
            endpoint = ClientEndpoint(index)
            server, port = await listen(partial(self._answer, endpoint), lambda endpoint=endpoint: endpoint.life)  # type: ignore[misc] # a default that mypy cannot type
            endpoint.url = f"http://127.0.0.1:{port}"
            self.endpoints.append(endpoint)
            self._servers.append(server)

    def close(self) -> None:
        for server in self._servers:
            server.close()
            server.close_clients() if hasattr(server, "close_clients") else None

    def disturb(self, index: int | None, *, life_ends: bool = False) -> None:
        """Record that a program (None: all) was killed, stopped or cut off."""
        for endpoint in self.endpoints if index is None else [self.endpoints[index]]:
            if life_ends:
                endpoint.life, endpoint.requests_seen, endpoint.quiet = endpoint.life + 1, 0, (0.0, 0.0)
        self.oracle.disturb(index, self.now())

    def _answer(self, endpoint: ClientEndpoint, request: Request) -> None:
        if request.connection.mark != endpoint.life:
            request.reset()
            return
        now = self.now()
        self.requests += 1
        endpoint.requests_seen += 1
        self.impatient += endpoint.quiet[0] <= now < endpoint.quiet[1]
        self.wakeup.notify(f"asked {endpoint.index}")
        query = dict(parse_qsl(urlsplit(request.target).query))
        if self._rng.random() < self.faults:
            self._spoil(endpoint, request, query)
        else:
            self._show(endpoint, request, query)

    def _show(self, endpoint: ClientEndpoint, request: Request, query: Mapping[str, str]) -> None:
        now, offset = self.now(), int(query.get("offset", 0))
        listing = offset, query.keys() - {"offset", "limit"}
        if listing == (0, set()):
            self.oracle.start_sweep(endpoint.index, now)
        page = self._page(query)
        request.reply(200, self._body(page, query), Content_Type="application/json")
        if self.oracle.show_rows(endpoint.index, [task.job_id for task in page], now):
            self.wakeup.notify("whole")

    def _page(self, query: Mapping[str, str]) -> list[Task]:
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 100))
        return list(islice(self._wanted(query), offset, offset + limit))

    def _wanted(self, query: Mapping[str, str]) -> list[Task]:
        return [task for task in self.oracle.listed.values() if _fits(task, query)]

    def _body(self, page: list[Task], query: Mapping[str, str]) -> bytes:
        return b'{"tasks":[%b],"total_count":%d}' % (b",".join(task.row for task in page), len(self._wanted(query)))

    def _spoil(self, endpoint: ClientEndpoint, request: Request, query: Mapping[str, str]) -> None:
        (fault,) = self._rng.choices(list(FAULTS), list(FAULTS.values()))
        self.spoiled[fault] = self.spoiled.get(fault, 0) + 1
        self.oracle.exempt(self.now() + self._stall)
        page = self._page(query)
        spoils: dict[str, Callable[[], Any]] = {
            "throttle": partial(self._throttle, endpoint, request),
            "error": partial(request.reply, 500, b'{"error_code":"DBS.200005","error_msg":"Internal error."}'),
            "reset": request.reset,
            "cut": lambda: request.cut(self._body(page, query)),
            "stall": lambda: asyncio.get_running_loop().call_later(self._stall, request.reset),
            "short": lambda: request.reply(200, self._body(page[: len(page) // 2], query)),
            "empty": lambda: request.reply(200, b'{"tasks":[],"total_count":0}'),
        }
        if fault == "short":
            for task in page[: len(page) // 2]:
                task.now.shown = True
        spoils[fault]()

    def _throttle(self, endpoint: ClientEndpoint, request: Request) -> None:
        endpoint.quiet = (self.now() + ON_THE_WAY, self.now() + RETRY_AFTER - EARLY)
        request.reply(429, b'{"error_code":"APIGW.0308","error_msg":"Throttled."}', Retry_After=str(RETRY_AFTER))


def _fits(task: Task, query: Mapping[str, str]) -> bool:
    if query.get("status", task.now.status) != task.now.status:
        return False
    since = query.get("start_time")
    return since is None or datetime.fromisoformat(task.created_at).timestamp() * 1000 >= int(since)
