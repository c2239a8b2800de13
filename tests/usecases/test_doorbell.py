"""A ring leads to one poll that begins after it, on either database and by whichever replica polls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import pytest
from fakes import FakeClock, FakeSource

from notifier.core.credentials import BURST, Credential, CredentialState
from notifier.core.doorbell import MAX_AGE, MIN_INTERVAL, RingEffect, TopicSubscription
from notifier.core.errors import CredentialsRejected, SourceUnreachable, StoreUnreachable
from notifier.core.model import Scope, Snapshot
from notifier.core.polling import PollRules
from notifier.core.routing import RoutingConfig
from notifier.doorbell import CallerKind, Knock, KnockKind, Refusal, RingRefused, RingReport, confirm, end, ring
from notifier.poll import PollReport, poll_once
from notifier.store.engine import SqlStore, open_store
from notifier.store.transaction import Transaction
from notifier.web.doorbell import TokenCaller

T = TypeVar("T")

RULES = PollRules(poll_every=timedelta(minutes=10), lease=timedelta(seconds=15))
SECOND = timedelta(seconds=1)
TOPIC = "urn:smn:cn-north-4:0611f1bd8b00d5d32f17c017f15b599f:gaussdb"
KNOCK = Knock(caller=CallerKind.TOKEN, identity="token:0")


@pytest.fixture
def source(clock: FakeClock) -> FakeSource:
    return FakeSource(clock)


async def poll(source: FakeSource, store: SqlStore, owner: str = "me", rules: PollRules = RULES) -> PollReport:
    """Poll as the service does: only what is due."""
    return await poll_once(source, store, owner=owner, rules=rules, routing=RoutingConfig())


async def effects(store: SqlStore, *names: str) -> list[RingEffect]:
    report = await ring(store, KNOCK, names or ["prod"], MIN_INTERVAL)
    return [one.effect for one in report.rings]


async def due(store: SqlStore) -> Sequence[str]:
    return await store.read(lambda q: q.due_sources())


class Ringing(FakeSource):
    """A source whose list takes so long to read that the doorbell is rung `times` times meanwhile."""

    def __init__(self, clock: FakeClock, store: SqlStore, times: int) -> None:
        super().__init__(clock)
        self.store, self.times = store, times
        self.effects: list[RingEffect] = []

    async def fetch(self, scope: Scope) -> Snapshot:
        for _ in range(self.times):
            self.effects += await effects(self.store)
        self.times = 0
        return await super().fetch(scope)


async def test_a_ring_makes_a_source_due_for_one_poll(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    assert (await poll(source, store)).polled
    clock.advance(timedelta(minutes=1))
    assert (await due(store), (await poll(source, store)).polled) == ([], False)
    assert await effects(store) == [RingEffect.DUE]
    assert await due(store) == ["prod"]
    assert await effects(store) == [RingEffect.JOINED]
    assert (await poll(source, store)).polled
    assert (await due(store), (await poll(source, store)).polled) == ([], False)
    (state,) = await store.read(lambda q: q.source_states())
    assert (state.rung_at, state.next_poll_at) == (clock.now(), clock.now() + RULES.poll_every - SECOND / 2)


async def test_rings_shortly_after_a_poll_wait_and_are_one(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    await poll(source, store)
    clock.advance(SECOND / 2)
    assert [await effects(store) for _ in range(3)] == [[RingEffect.DUE], [RingEffect.JOINED], [RingEffect.JOINED]]
    assert not (await poll(source, store)).polled
    clock.advance(MIN_INTERVAL - SECOND / 2)
    assert [(await poll(source, store)).polled for _ in range(2)] == [True, False]


async def test_rings_during_a_poll_lead_to_one_more(store: SqlStore, clock: FakeClock) -> None:
    """What the caller knows of may have happened after the list was read."""
    source = Ringing(clock, store, times=3)
    await poll(source, store)
    assert source.effects == [RingEffect.AFTER, RingEffect.JOINED, RingEffect.JOINED]
    assert await due(store) == []
    clock.advance(MIN_INTERVAL)
    assert await due(store) == ["prod"]
    assert [(await poll(source, store)).polled for _ in range(2)] == [True, False]


async def test_a_ring_during_a_poll_outlives_its_process(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    await poll(source, store)
    clock.advance(timedelta(minutes=1))
    lost = await store.transact(
        lambda tx: tx.polls.claim("prod", "gone", tx.now(), RULES.lease, poll_every=RULES.poll_every, force=True)
    )
    assert lost is not None
    assert await effects(store) == [RingEffect.AFTER]
    clock.advance(RULES.lease)
    assert await due(store) == ["prod"]
    assert (await poll(source, store, owner="another")).polled


async def test_of_two_replicas_one_polls_what_was_rung_for(
    store_url: str, store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    """The process that was rung need not poll, nor the one that polls be rung."""
    await poll(source, store)
    clock.advance(timedelta(minutes=1))
    rung = open_store(store_url, now=clock.now)
    try:
        assert await effects(rung) == [RingEffect.DUE]
        reports = await asyncio.gather(poll(source, store, "one"), poll(source, rung, "two"))
    finally:
        await rung.aclose()
    assert sorted(report.polled for report in reports) == [False, True]
    assert len(source.scopes) == 2


async def test_a_ring_does_not_shorten_the_pause_of_a_source_that_fails(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    source.error = SourceUnreachable("no answer")
    await poll(source, store)
    clock.advance(SECOND)
    assert await effects(store) == [RingEffect.WAITS]
    assert await due(store) == []


async def test_a_ring_waits_for_the_budget_and_is_not_lost(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    rules = replace(RULES, credential=Credential(key="k", calls_per_minute=60), calls_per_minute=60)
    await poll(source, store, rules=rules)
    clock.advance(MIN_INTERVAL)
    spent = CredentialState(rate_at=clock.now() + (BURST + 10) * SECOND)
    await store.transact(lambda tx: tx.credentials.save("k", spent))
    assert await effects(store) == [RingEffect.DUE]
    assert not (await poll(source, store, rules=rules)).polled
    assert (await due(store), len(source.scopes)) == ([], 1)
    assert await effects(store) == [RingEffect.JOINED]
    assert await due(store) == [], "a second ring is not admitted before the first"
    clock.advance(timedelta(minutes=1))
    assert await due(store) == ["prod"]
    assert (await poll(source, store, rules=rules)).polled
    assert len(source.scopes) == 2


async def test_a_refused_credential_is_not_tried_because_of_a_ring(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    rules = replace(RULES, credential=Credential(key="k", calls_per_minute=60))
    source.error = CredentialsRejected("no")
    await poll(source, store, rules=rules)
    for _ in range(3):
        clock.advance(SECOND)
        assert await effects(store) == [RingEffect.WAITS]
        await poll(source, store, rules=rules)
    assert len(source.scopes) == 1


async def test_many_sources_are_rung_for_at_once(store: SqlStore, clock: FakeClock) -> None:
    sources = [FakeSource(clock, name=f"source-{n:03}") for n in range(30)]
    for source in sources:
        source.project_id = source.name
        await poll(source, store)
    clock.advance(timedelta(minutes=1))
    names = [source.name for source in sources]
    found = await asyncio.gather(effects(store, *names), effects(store, *reversed(names)), effects(store, "new"))
    assert sorted(map(str, {*found[0], *found[1]})) == ["due", "joined"]
    assert found[2] == [RingEffect.JOINED]
    assert await due(store) == names


async def test_a_repeated_or_old_request_rings_nothing(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    await poll(source, store)
    clock.advance(timedelta(minutes=1))
    knock = replace(KNOCK, at=clock.now(), replay_key="one")
    assert (await ring(store, knock, ["prod"], MIN_INTERVAL)).count(RingEffect.DUE) == 1
    await poll(source, store)
    clock.advance(MAX_AGE)
    assert await ring(store, knock, ["prod"], MIN_INTERVAL) == RingReport(repeated=True)
    assert await due(store) == []
    clock.advance(SECOND)
    with pytest.raises(RingRefused, match="too old") as refused:
        await ring(store, replace(knock, replay_key="two"), ["prod"], MIN_INTERVAL)
    assert refused.value.refusal is Refusal.EXPIRED


async def test_a_ring_that_is_not_committed_leaves_nothing(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    """The caller gets no 2xx then, and sends the same request again."""

    class Dying:
        async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:
            def die(tx: Transaction) -> T:
                fn(tx)
                raise StoreUnreachable("the connection was lost")

            return await store.transact(die, short=short)

        read = store.read

    await poll(source, store)
    clock.advance(timedelta(minutes=1))
    knock = replace(KNOCK, at=clock.now(), replay_key="one")
    with pytest.raises(StoreUnreachable):
        await ring(Dying(), knock, ["prod"], MIN_INTERVAL)
    assert await due(store) == []
    assert (await ring(store, knock, ["prod"], MIN_INTERVAL)).count(RingEffect.DUE) == 1


async def test_what_is_known_of_a_subscription_follows_its_messages(store: SqlStore, clock: FakeClock) -> None:
    class Confirming(TokenCaller):
        answers = True

        async def confirm(self, knock: Knock) -> None:
            await super().confirm(knock)
            if not self.answers:
                raise RingRefused(Refusal.UNAVAILABLE, "HTTP 302")

    async def known() -> TopicSubscription:
        (found,) = await store.read(lambda q: q.health_facts().topics)
        return found

    caller, first = Confirming([]), clock.now()
    knock = Knock(caller=CallerKind.SMN, identity=TOPIC, topic=TOPIC, at=first, kind=KnockKind.CONFIRM)
    caller.answers = False
    with pytest.raises(RingRefused):
        await confirm(store, knock, caller)
    assert await known() == TopicSubscription(urn=TOPIC, failed_at=first, error="HTTP 302")
    caller.answers = True
    await confirm(store, knock, caller)
    assert await known() == TopicSubscription(urn=TOPIC, confirmed_at=first)
    ended = clock.advance(SECOND)
    await end(store, replace(knock, at=ended))
    assert (await known()).ended_at == ended
    await ring(store, replace(knock, replay_key="older"), ["prod"], MIN_INTERVAL)
    assert (await known()).ended_at == ended
    again = clock.advance(SECOND)
    await ring(store, replace(knock, at=again, replay_key="newer"), ["prod"], MIN_INTERVAL)
    assert await known() == TopicSubscription(urn=TOPIC, confirmed_at=again)
    late = replace(knock, at=again - MAX_AGE - SECOND)
    for refused in (confirm(store, late, caller), end(store, late)):
        with pytest.raises(RingRefused, match="too old"):
            await refused
