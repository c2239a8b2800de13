"""What the program says of itself, on either database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from factories import PROJECT_ID, REGION, T0, make_delivery, make_event, make_task
from fakes import FakeClock, FakeSource

from notifier import people
from notifier.core.delivery import DeliveryState, Parked, Retry
from notifier.core.errors import SourceUnreachable
from notifier.core.events import EventType
from notifier.core.health import FindingKind
from notifier.core.health_facts import ConfiguredSource, Expected
from notifier.core.matchers import parse_matcher
from notifier.core.model import Event
from notifier.core.outbox import settle
from notifier.core.pacing import ChannelHealth
from notifier.core.people import Person
from notifier.core.polling import PollRules
from notifier.core.routing import ChannelPolicy, Route, RoutedEvent, RoutingConfig
from notifier.core.severity import Severity
from notifier.monitor import MonitorReport, MonitorRules, run_monitor
from notifier.poll import poll_once
from notifier.ports import DeliveryFilter, EventFilter
from notifier.store.engine import SqlStore, open_store
from notifier.store.transaction import Transaction

MINUTE = timedelta(minutes=1)
POLLING = PollRules(poll_every=timedelta(seconds=30), lease=timedelta(seconds=60))
CHANNELS = ("dba", "mail")
NOBODY = RoutingConfig(policies={name: ChannelPolicy(name=name) for name in CHANNELS})
EXPECTED = Expected(
    sources=[ConfiguredSource(name="prod", region=REGION, project_id=PROJECT_ID, poll_every=POLLING.poll_every)],
    channels=CHANNELS,
)
RULES = MonitorRules(expected=EXPECTED, fallback=CHANNELS)


@pytest.fixture
async def store(store_url: str, clock: FakeClock) -> AsyncIterator[SqlStore]:
    store = open_store(store_url, now=clock.now)
    yield store
    await store.aclose()


@pytest.fixture
def source(clock: FakeClock) -> FakeSource:
    return FakeSource(clock)


async def poll(store: SqlStore, source: FakeSource, *, introduced: bool = True) -> None:
    """Poll a source, which people know already unless a test says otherwise."""
    await poll_once(source, store, owner="me", rules=POLLING, routing=NOBODY, force=True)
    if introduced:
        await store.transact(lambda tx: tx.polls.introduce(source.name, tx.now()))


async def run_once(store: SqlStore, routing: RoutingConfig = NOBODY, rules: MonitorRules = RULES) -> MonitorReport:
    return await run_monitor(store, rules=rules, routing=routing, polling_since=T0)


async def announced(store: SqlStore) -> list[tuple[EventType, Sequence[str]]]:
    """Return every event and the channels it went to, the oldest first."""
    found = await store.read(lambda q: q.events(EventFilter(limit=100)))
    return [(item.event.type, item.channels) for item in reversed(found)]


def plan(event: Event, tx: Transaction, channel: str = "dba") -> None:
    tx.events.record([RoutedEvent(event=event, routes=(), channels=(channel,))])
    tx.deliveries.record([make_delivery(event, channel=channel, subject=event.subject, attempt=0)])


def end(
    tx: Transaction,
    outcome: Parked | Retry,
    *,
    schedule: Sequence[timedelta] = (MINUTE,),
    clock_ahead: timedelta = timedelta(),
) -> None:
    """Let an attempt at everything that is due on `dba` end like this, on a replica whose clock is this far ahead."""
    now = tx.now()
    claimed = tx.deliveries.claim_due("dba", "me", now, MINUTE, 10)
    at = now + clock_ahead
    ended = [settle(one, outcome, started_at=at, finished_at=at, schedule=schedule, chance=0.5) for one in claimed]
    tx.deliveries.settle(ended, now)


async def test_a_source_failure_and_its_recovery_are_notified_once_each(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    source.error = SourceUnreachable("no answer from example.com within 20 s")
    await poll(store, source)
    assert (await run_once(store)).events == ()
    clock.advance(5 * MINUTE)
    (event,) = (await run_once(store)).events
    assert (event.type, event.detail, event.since) == (EventType.SOURCE_FAILING, str(source.error), T0)
    for _ in range(3):
        clock.advance(5 * MINUTE)
        await poll(store, source)
        assert (await run_once(store)).events == ()
    source.error = None
    await poll(store, source)
    (event,) = (await run_once(store)).events
    assert (event.type, event.since, event.observed_at) == (EventType.SOURCE_RECOVERED, T0, clock.now())
    assert (await run_once(store)).events == ()
    assert await announced(store) == [(EventType.SOURCE_FAILING, CHANNELS), (EventType.SOURCE_RECOVERED, CHANNELS)]


async def test_the_next_episode_is_announced_again(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    for _ in range(2):
        clock.advance(5 * MINUTE)
        await run_once(store)
        await poll(store, source)
        await run_once(store)
    kinds = [kind for kind, _ in await announced(store)]
    assert kinds == [EventType.SOURCE_FAILING, EventType.SOURCE_RECOVERED] * 2


async def test_a_source_nobody_polls_is_notified_without_a_row_of_its_own(store: SqlStore, clock: FakeClock) -> None:
    clock.advance(5 * MINUTE)
    (event,) = (await run_once(store)).events
    assert (event.type, event.detail, event.since) == (EventType.SOURCE_FAILING, None, T0)
    assert (await run_once(store)).events == ()


async def test_a_parked_channel_is_announced_at_once_on_the_others(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    await poll(store, source)
    await store.transact(partial(plan, make_event()))
    await store.transact(lambda tx: end(tx, Parked("no token", MINUTE)))
    report = await run_once(store)
    (event,) = report.events
    assert (event.type, event.channel, event.detail) == (EventType.CHANNEL_FAILING, "dba", "no token")
    assert (report.deliveries, report.undeliverable) == (1, ())
    (delivery,) = await store.read(lambda q: q.deliveries(DeliveryFilter(channel="mail")))
    assert (delivery.events, delivery.subject, delivery.state) == ((event,), "channel:dba", DeliveryState.PENDING)
    # A probe, which parks it again, is neither a recovery nor the next failure.
    clock.advance(MINUTE)
    assert await store.transact(lambda tx: tx.channels.unpark_due(tx.now())) == ["dba"]
    assert (await run_once(store)).events == ()
    await store.transact(lambda tx: end(tx, Parked("no token", MINUTE)))
    assert (await run_once(store)).events == ()
    clock.advance(MINUTE)
    await store.transact(lambda tx: tx.channels.unpark_due(tx.now()))
    await store.transact(lambda tx: tx.channels.save_health("dba", ChannelHealth(good_at=tx.now())))
    assert [event.type for event in (await run_once(store)).events] == [EventType.CHANNEL_RECOVERED]
    ledger = await store.read(lambda q: q.ledger())
    assert ledger.unaccounted == ()


async def test_a_failing_channel_is_notified_with_its_receivers_words(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    await store.transact(partial(plan, make_event()))
    await store.transact(lambda tx: end(tx, Retry("HTTP 503")))
    await store.transact(lambda tx: tx.channels.health("dba"))
    await store.transact(lambda tx: tx.channels.save_health("dba", ChannelHealth(failures=1, failing_since=T0)))
    clock.advance(4 * MINUTE)
    await poll(store, source)
    assert (await run_once(store)).events == ()
    clock.advance(MINUTE)
    (event,) = (await run_once(store)).events
    assert (event.type, event.detail, event.since) == (EventType.CHANNEL_FAILING, "HTTP 503", T0)


async def test_dead_letters_are_notified_together_at_most_once_an_hour(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    for hour in range(2):
        for minute in range(3):
            event = make_event(make_task(f"job-{hour}-{minute}"))
            await store.transact(partial(plan, event))
            await store.transact(lambda tx: end(tx, Retry("HTTP 503"), schedule=()))
            clock.advance(MINUTE)
        await poll(store, source)
        (event,) = (await run_once(store)).events
        assert (event.type, event.channel, event.count) == (EventType.CHANNEL_GAVE_UP, "dba", 3)
        assert event.detail == "gave up after 1 attempts, last: HTTP 503"
        assert (await run_once(store)).events == ()
        clock.advance(60 * MINUTE)
        await poll(store, source)
    assert [channels for _, channels in await announced(store) if channels == ("mail",)] == [("mail",)] * 2


@pytest.mark.parametrize("ahead", [-5 * MINUTE, timedelta(), 5 * MINUTE])
async def test_dead_letters_are_notified_whatever_the_replicas_clocks(
    store: SqlStore, source: FakeSource, clock: FakeClock, ahead: timedelta
) -> None:
    """A replica whose clock is off gives up on one message, later one whose clock is right on another."""
    counts = []
    for job_id, off in (("job-1", ahead), ("job-2", timedelta())):
        await store.transact(partial(plan, make_event(make_task(job_id))))
        await store.transact(partial(end, outcome=Retry("HTTP 503"), schedule=(), clock_ahead=off))
        await poll(store, source)
        counts += [event.count for event in (await run_once(store)).events]
        clock.advance(61 * MINUTE if ahead < timedelta() else 2 * MINUTE)
    clock.advance(60 * MINUTE)
    await poll(store, source)
    counts += [event.count for event in (await run_once(store)).events]
    assert counts == [1, 1]


async def test_a_dead_alert_about_a_channel_makes_no_other(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    await store.transact(partial(plan, make_event(), channel="mail"))
    await store.transact(lambda tx: tx.channels.health("mail"))
    await store.transact(lambda tx: tx.channels.save_health("mail", ChannelHealth(failing_since=T0)))
    clock.advance(5 * MINUTE)
    await poll(store, source)
    assert [event.channel for event in (await run_once(store)).events] == ["mail"]
    await store.transact(lambda tx: end(tx, Retry("HTTP 503"), schedule=()))
    dead = await store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.DEAD)))
    assert [delivery.subject for delivery in dead] == ["channel:mail"]
    assert (await run_once(store)).events == ()


async def test_an_alert_nobody_can_receive_is_recorded_and_reported(store: SqlStore, clock: FakeClock) -> None:
    clock.advance(5 * MINUTE)
    report = await run_once(store, rules=replace(RULES, fallback=()))
    assert (report.undeliverable, report.deliveries) == (report.events, 0)
    assert await announced(store) == [(EventType.SOURCE_FAILING, ())]


async def test_a_route_takes_an_alert_like_any_event(store: SqlStore, clock: FakeClock) -> None:
    clock.advance(5 * MINUTE)
    await run_once(store, replace(NOBODY, routes=[Route(name="all", channels=("mail",))]))
    assert await announced(store) == [(EventType.SOURCE_FAILING, ("mail",))]


async def test_a_removed_channel_is_notified_once_while_messages_wait(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    await store.transact(partial(plan, make_event(), channel="old"))
    said = []
    for _ in range(24):
        clock.advance(60 * MINUTE)
        await poll(store, source)
        report = await run_once(store)
        said += [(event.type, event.channel) for event in report.events]
        assert report.health.of("old", FindingKind.CHANNEL_REMOVED)
    assert said == [(EventType.CHANNEL_FAILING, "old")]
    waiting = await store.read(lambda q: q.delivery_ids(DeliveryFilter(channel="old")))
    await store.transact(lambda tx: people.dismiss(tx, waiting, "old", Person(id="U1", name="bob")))
    report = await run_once(store)
    assert (report.events, report.health.of("old", *FindingKind)) == ((), None)


async def test_a_source_is_introduced_once_when_it_has_a_baseline(store: SqlStore, source: FakeSource) -> None:
    day = timedelta(days=1)
    failures = [
        make_task(f"failed-{n}", ended_at=T0 - age) for n, age in enumerate((MINUTE, day - MINUTE, day + MINUTE))
    ]
    source.tasks = [make_task("running", status="running"), make_task("done", status="completed"), *failures]
    source.error = SourceUnreachable("no answer")
    await poll(store, source, introduced=False)
    assert (await run_once(store)).events == ()
    source.error = None
    await poll(store, source, introduced=False)
    report = await run_once(store)
    (event,) = report.events
    assert (event.type, event.subject, event.detail, event.since) == (EventType.SOURCE_MONITORED, "prod/", None, None)
    assert event.counts == (("failed", 2), ("listed", 5), ("running", 1))
    assert (event.region, event.project_id, event.severity) == (REGION, PROJECT_ID, Severity.INFO)
    assert (report.deliveries, report.undeliverable) == (2, ())
    await poll(store, source, introduced=False)
    assert (await run_once(store)).events == ()
    assert await announced(store) == [(EventType.SOURCE_MONITORED, CHANNELS)]


async def test_a_route_takes_or_stops_an_introduction(store: SqlStore, source: FakeSource) -> None:
    await poll(store, source, introduced=False)
    quiet = Route(name="known", match=(parse_matcher("type=source.monitored"),), channels=("mail",), stop=True)
    await run_once(store, replace(NOBODY, routes=[quiet, Route(name="all", channels=CHANNELS)]))
    assert await announced(store) == [(EventType.SOURCE_MONITORED, ("mail",))]


async def test_a_renamed_source_is_known_and_another_list_is_new(store: SqlStore, source: FakeSource) -> None:
    def under(name: str) -> MonitorRules:
        return replace(RULES, expected=replace(EXPECTED, sources=[replace(EXPECTED.sources[0], name=name)]))

    await poll(store, source)
    source.name = "production"
    await poll(store, source, introduced=False)
    assert (await run_once(store, rules=under("production"))).events == ()
    source.project_id = "another"
    await poll(store, source, introduced=False)
    (event,) = (await run_once(store, rules=under("production"))).events
    assert (event.type, event.source) == (EventType.SOURCE_MONITORED, "production")


async def test_of_simultaneous_replicas_one_introduces(postgres_url: str, clock: FakeClock) -> None:
    replicas = [open_store(postgres_url, now=clock.now) for _ in range(4)]
    await poll(replicas[0], FakeSource(clock), introduced=False)
    reports = await asyncio.gather(*(run_once(store) for store in replicas for _ in range(4)))
    assert [event.type for report in reports for event in report.events] == [EventType.SOURCE_MONITORED]
    for store in replicas:
        await store.aclose()


async def test_of_simultaneous_replicas_one_announces(postgres_url: str, clock: FakeClock) -> None:
    replicas = [open_store(postgres_url, now=clock.now) for _ in range(4)]
    clock.advance(5 * MINUTE)
    reports = await asyncio.gather(*(run_once(store) for store in replicas for _ in range(4)))
    assert sum(len(report.events) for report in reports) == 1
    ledger = await replicas[0].read(lambda q: q.ledger())
    assert (ledger.events, ledger.pairs, ledger.unaccounted) == (1, 2, ())
    for store in replicas:
        await store.aclose()
