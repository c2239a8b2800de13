"""Calls that are no polls: charged to the same budget, held by the same pauses, never in the way of polls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest
from fakes import FakeClock, FakeSource

from notifier.call_budget import Postponed, spend
from notifier.core.credentials import (
    BURST,
    REFUSAL_PAUSES,
    THROTTLE_PAUSE,
    TRIALS_BY_POLLS,
    Credential,
    CredentialState,
    calls_left,
)
from notifier.core.errors import CredentialsRejected, PermissionDenied, SourceError, SourceThrottled
from notifier.core.polling import PollRules
from notifier.core.routing import RoutingConfig
from notifier.poll import PollReport, poll_once
from notifier.store.engine import SqlStore, open_store

MINUTE = timedelta(minutes=1)
KEY = Credential(key="k", calls_per_minute=20, version=lambda: "one")
CORRECTED = Credential(key="k", calls_per_minute=20, version=lambda: "two")
NAMES = ("tasks", "alarms")
RULES = PollRules(
    poll_every=timedelta(seconds=30),
    lease=timedelta(seconds=60),
    calls_per_minute=10,
    credential=KEY,
    configured=frozenset(NAMES),
)
REFUSED = CredentialsRejected("source tasks: credentials rejected")


@dataclass
class Client:
    """A list that is read with the key: it counts its calls, and may fail."""

    calls: int = 0
    error: SourceError | None = None

    def work(self, calls: int = 1) -> Callable[[], Awaitable[str]]:
        async def read() -> str:
            self.calls += calls
            if self.error:
                raise self.error
            return "read"

        return read


@dataclass
class Replicas:
    """Two processes with one database: the first polls, the second does what is no poll."""

    polling: SqlStore
    other: SqlStore
    clock: FakeClock
    client: Client

    async def poll(self, name: str = "tasks", error: SourceError | None = None, *, force: bool = False) -> PollReport:
        source = FakeSource(self.clock, name=name)
        source.error = error
        return await poll_once(source, self.polling, owner="a", rules=RULES, routing=RoutingConfig(), force=force)

    async def spend(self, calls: int = 1, *, key: Credential = KEY, made: int | None = None) -> str | Postponed:
        work = self.client.work(calls if made is None else made)
        return await spend(self.other, key, calls, work, counter=lambda: self.client.calls)

    async def state(self) -> CredentialState:
        return await self.other.transact(lambda tx: tx.credentials.state(KEY.key))

    async def left(self) -> int:
        return calls_left(await self.state(), KEY, self.clock.now())

    def later(self, time: timedelta) -> None:
        self.clock.advance(time)


@asynccontextmanager
async def replicas_at(url: str, clock: FakeClock) -> AsyncIterator[Replicas]:
    stores = [open_store(url, now=clock.now) for _ in range(2)]
    try:
        yield Replicas(stores[0], stores[1], clock, Client())
    finally:
        for store in stores:
            await store.aclose()


@pytest.fixture
async def replicas(store_url: str, clock: FakeClock) -> AsyncIterator[Replicas]:
    async with replicas_at(store_url, clock) as both:
        yield both


async def test_what_can_wait_leaves_half_of_the_burst_to_polls(replicas: Replicas) -> None:
    done = 0
    while not isinstance(waiting := await replicas.spend(), Postponed):
        done += 1
    assert (done, replicas.client.calls, await replicas.left()) == (BURST // 2, BURST // 2, BURST // 2)
    assert waiting == Postponed(until=replicas.clock.now() + MINUTE / 20)
    assert (await replicas.poll()).succeeded
    assert (await replicas.poll("alarms")).succeeded
    replicas.later(MINUTE / 20 * 3)  # two calls for the polls, and one
    assert await replicas.spend() == "read"


async def test_more_calls_than_half_of_the_burst_wait_until_it_is_full(replicas: Replicas) -> None:
    assert await replicas.spend(BURST) == "read"
    waiting = await replicas.spend(BURST)
    assert waiting == Postponed(until=replicas.clock.now() + BURST * MINUTE / 20)
    replicas.later(BURST * MINUTE / 20)
    assert await replicas.spend(BURST) == "read"


async def test_polls_wait_for_what_was_spent_before(replicas: Replicas) -> None:
    assert await replicas.spend(BURST) == "read"
    assert not (await replicas.poll()).polled
    replicas.later(MINUTE / 20)
    assert (await replicas.poll()).succeeded


@pytest.mark.parametrize(("expected", "made"), [(10, 2), (2, 10), (3, 3)])
async def test_a_charge_is_corrected_to_the_calls_that_were_made(replicas: Replicas, expected: int, made: int) -> None:
    assert await replicas.spend(expected, made=made) == "read"
    assert await replicas.left() == BURST - made
    replicas.client.error = PermissionDenied("not allowed")
    with pytest.raises(PermissionDenied):
        await replicas.spend(expected, made=made)
    assert await replicas.left() == BURST - 2 * made


async def test_calls_are_charged_before_they_are_made_and_after_a_kill(replicas: Replicas) -> None:
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(spend(replicas.other, KEY, 7, hang, counter=lambda: 0))
    await begun.wait()
    assert await replicas.left() == BURST - 7
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await replicas.left() == BURST - 7


async def test_a_refusal_on_any_list_pauses_all_and_polls_alone_try_again(replicas: Replicas) -> None:
    replicas.client.error = REFUSED
    with pytest.raises(CredentialsRejected):
        await replicas.spend()
    for name in NAMES:
        report = await replicas.poll(name, force=True)
        assert isinstance(report.error, CredentialsRejected)
        assert "its credential is paused" in str(report.error)
    replicas.client.error, calls = None, replicas.client.calls
    until = replicas.clock.now() + REFUSAL_PAUSES[0]
    assert await replicas.spend() == Postponed(until=until, refusal=str(REFUSED))
    replicas.later(REFUSAL_PAUSES[0])
    assert await replicas.spend() == Postponed(until=until + TRIALS_BY_POLLS, refusal=str(REFUSED))
    assert replicas.client.calls == calls
    assert (await replicas.poll()).succeeded
    assert await replicas.spend() == "read"


async def test_a_refused_credential_without_polls_is_tried_by_other_calls_later(replicas: Replicas) -> None:
    replicas.client.error = REFUSED
    with pytest.raises(CredentialsRejected):
        await replicas.spend()
    replicas.client.error = None
    replicas.later(REFUSAL_PAUSES[0] + TRIALS_BY_POLLS)
    assert await replicas.spend() == "read"
    assert (await replicas.state()).refusal is None


async def test_a_corrected_secret_ends_the_pause_for_all_calls(replicas: Replicas) -> None:
    assert isinstance((await replicas.poll(error=REFUSED)).error, CredentialsRejected)
    assert await replicas.spend(key=CORRECTED) == "read"
    assert await replicas.state() == CredentialState(rate_at=(await replicas.state()).rate_at)


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (SourceThrottled("slow down", retry_after=5 * MINUTE), 5 * MINUTE),
        (SourceThrottled("slow down"), THROTTLE_PAUSE),
    ],
)
@pytest.mark.parametrize("met_by", ["poll", "other call"])
async def test_a_throttle_on_one_list_pauses_every_list_of_the_key(
    replicas: Replicas, error: SourceError, pause: timedelta, met_by: str
) -> None:
    if met_by == "poll":
        assert (await replicas.poll("tasks", error)).error is error
    else:
        replicas.client.error = error
        with pytest.raises(SourceThrottled):
            await replicas.spend()
        replicas.client.error = None
    until = replicas.clock.now() + pause
    assert await replicas.spend() == Postponed(until=until)
    assert not (await replicas.poll("alarms")).polled
    replicas.later(pause)
    assert await replicas.spend() == "read"
    assert (await replicas.poll("alarms")).succeeded


async def test_a_missing_right_pauses_nothing_else(replicas: Replicas) -> None:
    replicas.client.error = PermissionDenied("not allowed to read traces")
    with pytest.raises(PermissionDenied):
        await replicas.spend()
    assert (await replicas.poll()).succeeded


async def test_without_a_credential_nothing_is_charged(replicas: Replicas) -> None:
    work = replicas.client.work(1000)
    assert await spend(replicas.other, None, 1000, work, counter=lambda: replicas.client.calls) == "read"
    assert await replicas.left() == BURST


async def test_calls_of_both_kinds_of_two_replicas_stay_within_one_budget(replicas: Replicas) -> None:
    calls, minutes = 0, 5
    for _ in range(minutes * 30):
        for name in NAMES:
            calls += (await replicas.poll(name)).calls
        await replicas.spend(3)
        replicas.later(timedelta(seconds=2))
    assert calls == len(NAMES) * minutes * 2, "no poll was late"
    total = calls + replicas.client.calls
    assert BURST // 2 + 20 * minutes - 3 <= total <= BURST + 20 * minutes
