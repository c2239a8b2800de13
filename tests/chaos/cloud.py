"""The task list of GaussDB over HTTP, `GET /v3/{project_id}/tasks`, with faults; each program has a port of its own."""

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

from chaos.truth import Task, Truth
from chaos.wire import Bell, Request, listen

PROJECT = "0611f1bd8b00d5d32f17c017f15b599f"
RETRY_AFTER = 1
"""Seconds that a throttled client is asked to wait."""
EARLY = 0.05
"""Seconds by which it may come back too soon: clocks are read on both sides."""
ON_THE_WAY = 0.2
"""Seconds after a 429 in which requests may arrive that were sent before it was read."""

FAULTS: Mapping[str, float] = {
    "throttle": 0.3,
    "error": 0.2,
    "reset": 0.1,
    "cut": 0.1,
    "stall": 0.1,
    "short": 0.1,
    "empty": 0.1,
}
"""Their shares among the answers that are spoiled."""


@dataclass(slots=True)
class Door:
    """Where one program asks."""

    who: int
    life: int = 0
    """How often it was killed: what an earlier life still asks for counts no more."""
    asked: int = 0
    """Requests in this life."""
    quiet: tuple[float, float] = (0.0, 0.0)
    """From when to when it was asked to wait."""
    url: str = ""


class Cloud:
    """Shows the truth. `faults` is the share of answers that are spoiled."""

    def __init__(self, truth: Truth, bell: Bell, seed: int, *, faults: float, stall: float = 2.0) -> None:
        self.truth = truth
        self.bell = bell
        self.faults = faults
        self.doors: list[Door] = []
        self.requests = 0
        self.impatient = 0
        """Requests before the end of the wait that a 429 asked for."""
        self.spoiled: dict[str, int] = {}
        self._stall = stall
        self._rng = random.Random(f"cloud {seed}")
        self._servers: list[asyncio.Server] = []

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def open(self, programs: int) -> None:
        for who in range(programs):
            door = Door(who)
            server, port = await listen(partial(self._answer, door), lambda door=door: door.life)  # type: ignore[misc] # a default that mypy cannot type
            door.url = f"http://127.0.0.1:{port}"
            self.doors.append(door)
            self._servers.append(server)

    def close(self) -> None:
        for server in self._servers:
            server.close()
            server.close_clients() if hasattr(server, "close_clients") else None

    def disturb(self, who: int | None, *, life_ends: bool = False) -> None:
        """Note that a program (None: all of them) was killed, stopped or cut off."""
        for door in self.doors if who is None else [self.doors[who]]:
            if life_ends:
                door.life, door.asked, door.quiet = door.life + 1, 0, (0.0, 0.0)
        self.truth.disturb(who, self.now())

    def _answer(self, door: Door, request: Request) -> None:
        if request.connection.mark != door.life:
            request.reset()
            return
        now = self.now()
        self.requests += 1
        door.asked += 1
        self.impatient += door.quiet[0] <= now < door.quiet[1]
        self.bell.ring(f"asked {door.who}")
        query = dict(parse_qsl(urlsplit(request.target).query))
        if self._rng.random() < self.faults:
            self._spoil(door, request, query)
        else:
            self._show(door, request, query)

    def _show(self, door: Door, request: Request, query: Mapping[str, str]) -> None:
        now, offset = self.now(), int(query.get("offset", 0))
        listing = offset, query.keys() - {"offset", "limit"}
        if listing == (0, set()):
            self.truth.begin(door.who, now)
        page = self._page(query)
        request.reply(200, self._body(page, query), Content_Type="application/json")
        if self.truth.give(door.who, [task.job_id for task in page], now):
            self.bell.ring("whole")

    def _page(self, query: Mapping[str, str]) -> list[Task]:
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 100))
        return list(islice(self._wanted(query), offset, offset + limit))

    def _wanted(self, query: Mapping[str, str]) -> list[Task]:
        return [task for task in self.truth.listed.values() if _fits(task, query)]

    def _body(self, page: list[Task], query: Mapping[str, str]) -> bytes:
        return b'{"tasks":[%b],"total_count":%d}' % (b",".join(task.row for task in page), len(self._wanted(query)))

    def _spoil(self, door: Door, request: Request, query: Mapping[str, str]) -> None:
        (fault,) = self._rng.choices(list(FAULTS), list(FAULTS.values()))
        self.spoiled[fault] = self.spoiled.get(fault, 0) + 1
        self.truth.excuse(self.now() + self._stall)
        page = self._page(query)
        spoils: dict[str, Callable[[], Any]] = {
            "throttle": partial(self._throttle, door, request),
            "error": partial(request.reply, 500, b'{"error_code":"DBS.200412","error_msg":"Internal error."}'),
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

    def _throttle(self, door: Door, request: Request) -> None:
        door.quiet = (self.now() + ON_THE_WAY, self.now() + RETRY_AFTER - EARLY)
        request.reply(429, b'{"error_code":"APIGW.0308","error_msg":"Throttled."}', Retry_After=str(RETRY_AFTER))


def _fits(task: Task, query: Mapping[str, str]) -> bool:
    if query.get("status", task.now.status) != task.now.status:
        return False
    since = query.get("start_time")
    return since is None or datetime.fromisoformat(task.created_at).timestamp() * 1000 >= int(since)
