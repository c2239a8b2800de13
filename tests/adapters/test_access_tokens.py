"""Access tokens: kept until shortly before their end, fetched one at a time, dropped when refused."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from fakes import FakeClock

from notifier.channels.access_tokens import AccessToken, AccessTokens, NoAccessToken, use_period
from notifier.core.delivery import Delivered, GaveUp, Parked, Retry, Unknown

HOUR = timedelta(hours=1)


class Issuer:
    """Issues numbered tokens; those who ask wait until `open` is set."""

    def __init__(self) -> None:
        self.issued = 0
        self.lifetime = HOUR
        self.failure: NoAccessToken | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self) -> AccessToken:
        self.issued += 1
        value = f"token-{self.issued}"
        await self.open.wait()
        if self.failure:
            raise self.failure
        return AccessToken(value, self.lifetime)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def tokens(issuer: Issuer, clock: FakeClock) -> AccessTokens:
    return AccessTokens(issuer.fetch, clock)


async def wait_until_all_wait(*tasks: asyncio.Task[str]) -> None:
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def test_a_token_is_kept_until_shortly_before_its_end(tokens: AccessTokens, clock: FakeClock) -> None:
    assert await tokens.get() == "token-1"
    clock.advance(timedelta(minutes=54, seconds=59))
    assert await tokens.get() == "token-1"
    clock.advance(timedelta(seconds=1))
    assert await tokens.get() == "token-2"


async def test_the_time_of_a_slow_fetch_counts(tokens: AccessTokens, issuer: Issuer, clock: FakeClock) -> None:
    issuer.open.clear()
    first = asyncio.create_task(tokens.get())
    await wait_until_all_wait(first)
    clock.advance(timedelta(minutes=10))
    issuer.open.set()
    assert await first == "token-1"
    clock.advance(timedelta(minutes=45))
    assert await tokens.get() == "token-2"


@pytest.mark.parametrize(
    ("lifetime", "used"),
    [(7200, 6900), (3600, 3300), (3000, 2700), (600, 540), (10, 9), (0, 0), (-5, 0)],
)
def test_the_margin_is_a_tenth_and_at_most_five_minutes(lifetime: int, used: int) -> None:
    assert use_period(timedelta(seconds=lifetime)) == timedelta(seconds=used)


async def test_a_token_that_has_ended_already_is_used_once(tokens: AccessTokens, issuer: Issuer) -> None:
    issuer.lifetime = timedelta()
    assert [await tokens.get(), await tokens.get()] == ["token-1", "token-2"]


async def test_callers_share_one_fetch(tokens: AccessTokens, issuer: Issuer) -> None:
    issuer.open.clear()
    callers = [asyncio.create_task(tokens.get()) for _ in range(5)]
    await wait_until_all_wait(*callers)
    issuer.open.set()
    assert {await caller for caller in callers} == {"token-1"}
    assert issuer.issued == 1


async def test_callers_share_a_failure_and_the_next_one_fetches(tokens: AccessTokens, issuer: Issuer) -> None:
    issuer.failure = NoAccessToken(Retry("HTTP 503"))
    issuer.open.clear()
    callers = [asyncio.create_task(tokens.get()) for _ in range(5)]
    await wait_until_all_wait(*callers)
    issuer.open.set()
    failures = await asyncio.gather(*callers, return_exceptions=True)
    assert [failure.outcome for failure in failures if isinstance(failure, NoAccessToken)] == [Retry("HTTP 503")] * 5
    assert issuer.issued == 1
    issuer.failure = None
    assert await tokens.get() == "token-2"


async def test_a_cancelled_caller_takes_the_fetch_of_nobody_else(tokens: AccessTokens, issuer: Issuer) -> None:
    issuer.open.clear()
    first, second = (asyncio.create_task(tokens.get()) for _ in range(2))
    await wait_until_all_wait(first, second)
    first.cancel()
    issuer.open.set()
    assert await second == "token-2"
    assert first.cancelled()


async def test_a_refused_token_is_fetched_again(tokens: AccessTokens) -> None:
    tokens.forget(await tokens.get())
    assert await tokens.get() == "token-2"


async def test_a_late_refusal_drops_no_later_token(tokens: AccessTokens, issuer: Issuer) -> None:
    old = await tokens.get()
    tokens.forget(old)
    new = await tokens.get()
    tokens.forget(old)
    assert await tokens.get() == new
    assert issuer.issued == 2


@pytest.mark.parametrize(
    ("of_the_request", "of_the_message"),
    [
        (Unknown("no answer"), Retry("no answer")),
        (Delivered(reply="HTTP 200: welcome"), Retry("the reply has no token", reply="HTTP 200: welcome")),
        (GaveUp("HTTP 400", reply="HTTP 400: bad"), Parked("HTTP 400", timedelta(minutes=15), reply="HTTP 400: bad")),
        (Parked("HTTP 401"), Parked("HTTP 401")),
        (Retry("HTTP 429", timedelta(seconds=7)), Retry("HTTP 429", timedelta(seconds=7))),
    ],
    ids=repr,
)
def test_a_failed_fetch_is_no_judgement_of_the_message(
    of_the_request: Delivered | Retry | Unknown | GaveUp | Parked, of_the_message: Retry | Parked
) -> None:
    assert NoAccessToken(of_the_request).outcome == of_the_message


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(AccessToken("secret", HOUR))
