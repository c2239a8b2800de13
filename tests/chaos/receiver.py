"""A receiver of signed webhooks with several channels, healthy and faulty, that records every arrival."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from standardwebhooks import Webhook

from chaos.ledger import Arrival, ReportedEvent
from chaos.oracle import SINGLES, Key
from chaos.wire import Request, Wakeup, listen

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
"""Obviously fake: the bytes 0 to 23."""
RETRY_AFTER = 1
EARLY = 0.05

Fault = Literal["throttle", "error", "reset", "hang", "slow", "cut"]
ReceiverProfile = Mapping[Fault, float]
"""The share of the requests that meet each fault."""

BOOK, STEADY, FLAKY, HANGING = "book", "steady", "flaky", "hanging"
PROFILES: Mapping[str, ReceiverProfile] = {
    BOOK: {"error": 0.01, "reset": 0.01},
    STEADY: {},
    FLAKY: {"throttle": 0.1, "error": 0.1, "reset": 0.05, "cut": 0.05, "slow": 0.1},
    HANGING: {"hang": 0.1, "slow": 0.1},
}
"""The channels: the first gets every event, in digests; the others the single tasks, one by one."""


class Receiver:
    """Listens on one port; a channel is a path."""

    def __init__(self, wakeup: Wakeup, seed: int, profiles: Mapping[str, ReceiverProfile]) -> None:
        self.arrivals: list[Arrival] = []
        self.forged: list[str] = []
        self.impatient: list[str] = []
        """Deliveries that were sent again before the end of the wait that a 429 demanded."""
        self.profiles = dict(profiles)
        self.acknowledged: dict[str, set[Key]] = {name: set() for name in profiles}
        self.wakeup = wakeup
        self._rng = random.Random(f"receiver {seed}")
        self._hook = Webhook(SECRET)
        self._reported: dict[tuple[str, str], tuple[ReportedEvent, ...]] = {}
        self._quiet: dict[tuple[str, str], float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server, self.port = await listen(self._take, lambda: 0)

    async def close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, channel: str) -> str:
        return f"http://127.0.0.1:{self.port}/{channel}"

    def heal(self) -> None:
        """Accept everything from now on."""
        self.profiles = {name: {} for name in self.profiles}

    def forget_waits(self) -> None:
        """Drop the demanded waits: the process that got them may be dead."""
        self._quiet.clear()

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def _take(self, request: Request) -> None:
        channel = request.target.removeprefix("/")
        if not self._genuine(request):
            self.forged.append(f"a message with a wrong signature on {channel}")
            request.reply(401)
            return
        arrival = self._record(channel, request.headers["webhook-id"], request.body)
        self.wakeup.notify("request")
        fault = self._fault(channel)
        if fault in ("hang", "slow"):
            task = asyncio.create_task(self._answer_late(request, arrival, fault))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._answer(request, arrival, fault)

    def _genuine(self, request: Request) -> bool:
        """Verify the signature, but not the sender's clock: some runs change it."""
        at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
        signature = self._hook.sign(request.headers["webhook-id"], at, request.body.decode())
        return hmac.compare_digest(signature, request.headers["webhook-signature"])

    def _record(self, channel: str, id_: str, body: bytes) -> Arrival:
        now, digest = self.now(), hashlib.sha256(body).hexdigest()
        reported = self._reported.get((id_, digest))
        if reported is None:
            reported = self._reported[id_, digest] = read_events(body)
        arrival = Arrival(channel=channel, id=id_, digest=digest, reported=reported, at=now)
        self.arrivals.append(arrival)
        if now < self._quiet.pop((channel, id_), 0.0) - EARLY:
            self.impatient.append(f"{id_} on {channel}")
        return arrival

    def _fault(self, channel: str) -> Fault | None:
        chance = self._rng.random()
        for fault, share in self.profiles[channel].items():
            chance -= share
            if chance < 0:
                return fault
        return None

    def _answer(self, request: Request, arrival: Arrival, fault: Fault | None) -> None:
        arrival.done = self.now()
        match fault:
            case "throttle":
                arrival.outcome = "refused"
                self._quiet[arrival.channel, arrival.id] = self.now() + RETRY_AFTER
                request.reply(429, Retry_After=str(RETRY_AFTER))
            case "error":
                arrival.outcome = "refused"
                request.reply(503)
            case "reset":
                request.reset()
            case "cut":
                request.connection.transport.write(b"HTTP/1.1 2")
                request.connection.transport.close()
            case _ if not request.gone:
                arrival.outcome = "acknowledged"
                self.acknowledged[arrival.channel].update(reported.key for reported in arrival.reported if reported.key)
                request.reply(200)

    async def _answer_late(self, request: Request, arrival: Arrival, fault: Fault) -> None:
        if fault == "hang":
            await request.connection.closed.wait()
        else:
            await asyncio.sleep(self._rng.uniform(0.1, 0.6))
            self._answer(request, arrival, None)


def read_events(body: bytes) -> tuple[ReportedEvent, ...]:
    """Return the events of a message or digest."""
    message = json.loads(body)
    events = message["data"]["events"] if message["type"] == "digest" else [message]
    return tuple(map(_reported, events))


def _reported(event: Mapping[str, Any]) -> ReportedEvent:
    task = event["data"]["task"]
    if task is None:
        return ReportedEvent(key=None, type=event["type"], single=False)
    version = int(task["instance"]["status"].removeprefix("v"))
    unlisted = event["type"] == "task.unlisted"
    key = Key(task["job_id"], version, unlisted=unlisted)
    return ReportedEvent(key=key, type=event["type"], single=task["name"] == SINGLES)
