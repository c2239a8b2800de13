"""Sends the messages of the simulated SMN to subscribers, and rings them when tasks change."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from notifier.core.errors import ConfigurationError
from notifier.http import HttpClient, HttpError
from notifier.ports import Clock
from notifier.simulator.options import Options
from notifier.simulator.smn import (
    ANSWER_WITHIN,
    TRIES,
    SmnPush,
    SmnSender,
    SmnSubscription,
    SmnText,
    SmnTopic,
    task_text,
)
from notifier.simulator.world import AnyRow, World

if TYPE_CHECKING:
    from notifier.simulator.signing import SigningKey

MAX_LOGGED_PUSHES = 10_000
WAKE_EVERY = 0.2
"""Real time from one advance of the world to the next while changes ring, in seconds."""
ASK_AGAIN = timedelta(seconds=5)
"""Time after which a subscriber that does not confirm is asked again while changes ring."""
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PushAttempt:
    """One request to a subscriber."""

    endpoint: str
    message_id: str
    status: int
    """0 where there was no answer."""


class Publisher:
    """Publishes to the subscribers of the topic. Messages go out in the background, each up to seven times."""

    def __init__(self, options: Options, clock: Clock, world: World) -> None:
        self.topic = SmnTopic.of(options)
        self.log: deque[PushAttempt] = deque(maxlen=MAX_LOGGED_PUSHES)
        self.origin = ""
        """Address of the simulator, where subscribers find the certificate."""
        self._options = options
        self._clock = clock
        self._world = world
        self._tasks: set[asyncio.Task[None]] = set()

    @cached_property
    def _http(self) -> HttpClient:
        return HttpClient(user_agent="SMN")

    @cached_property
    def key(self) -> "SigningKey":
        """The key that signs. Raises ConfigurationError without the library that it needs."""
        try:
            from notifier.simulator.signing import SigningKey  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ConfigurationError(
                "simulator: SMN signs with the library cryptography; install the extras: make extras"
            ) from error
        return SigningKey(self._options.region, self._clock.now())

    def subscribe(self, endpoint: str) -> SmnSubscription:
        """Add a subscriber, and ask it to confirm. Raises SimulatedError 400 for an address that is not HTTP."""
        subscription = self.topic.subscribe(endpoint, self._clock.now())
        if not subscription.confirmed:
            push = self.topic.invitation(subscription, self._sender())
            self._start(self._deliver(push))
        return subscription

    def publish(self, text: SmnText, times: int = 1) -> str:
        """Send a message to the confirmed subscribers, each as often as chosen, and return the id of the last one."""
        message_id = ""
        for subscription in self.topic.confirmed():
            push = self.topic.notification(subscription, text, self._sender())
            message_id = push.message_id
            for _ in range(times):
                self._start(self._deliver(push))
        return message_id

    def _sender(self) -> SmnSender:
        return SmnSender(origin=self.origin, now=self._clock.now(), sign=self.key.sign)

    def ring(self, now: Callable[[], Any]) -> None:
        """Publish from now on whenever the status of a task changes. `now` returns virtual time."""
        if self._world.on_status is None:
            self._world.on_status = self._changed
            self._start(self._wake(now))

    def _changed(self, row: AnyRow) -> None:
        self.publish(task_text(row))

    async def _wake(self, now: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(WAKE_EVERY)  # in real time: a subscriber lives in it
            self._world.advance(now())
            for subscription in tuple(self.topic.subscriptions.values()):
                if not subscription.confirmed and self._clock.now() - subscription.asked_at >= ASK_AGAIN:
                    self.subscribe(subscription.endpoint)

    async def _deliver(self, push: SmnPush) -> None:
        for attempt in range(TRIES):
            if attempt:
                await self._clock.sleep(self._options.smn_retry.total_seconds())
            status = await self._send(push)
            self.log.append(PushAttempt(endpoint=push.endpoint, message_id=push.message_id, status=status))
            if status < _SERVER_ERROR:
                return

    async def _send(self, push: SmnPush) -> int:
        try:
            reply = await self._http.exchange(
                "POST",
                push.endpoint,
                headers=push.headers,
                content=push.body,
                deadline=ANSWER_WITHIN,
                max_bytes=64 * 1024,
            )
        except HttpError:
            return 0
        return reply.status

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def sent(self) -> None:
        """Wait until every message that was published has been delivered or dropped, unless changes ring."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Drop what has not been delivered."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if "_http" in vars(self):
            await self._http.aclose()
