"""Mutes from the act that makes one to the sum at its end, on either database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from factories import PROJECT_ID, REGION, T0, make_task
from fakes import FakeClock, FakeSource
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifier import mutes
from notifier.core.cron import Cron
from notifier.core.delivery import Delivery, DeliveryState, ThreadUpdate
from notifier.core.events import EventType
from notifier.core.matchers import parse_matchers
from notifier.core.model import Event, SourceOrigin
from notifier.core.mutes import MAX_MUTE, Mute, MuteScope, MuteTimes, WrongMute
from notifier.core.people import Person, Verb
from notifier.core.polling import PollRules
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig
from notifier.mutes import ConfiguredMute, MuteRequest, MuteRouting, run_mutes
from notifier.planning import Announced
from notifier.poll import poll_once
from notifier.ports import DeliveryFilter, EventFilter
from notifier.retention import PruneRules, prune
from notifier.store.engine import SqlStore, open_store
from notifier.store.session import Session
from notifier.store.transaction import Transaction

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
BOB, ANN = Person(id="U1", name="bob"), Person(id="cli:ann", name="ann")
POLLING = PollRules(poll_every=timedelta(seconds=30), lease=timedelta(seconds=60))
ROUTING = RoutingConfig(
    routes=(
        Route(name="failures", match=parse_matchers("failed"), channels=("dba",)),
        Route(name="all", channels=("mail",)),
        Route(name="tickets", channels=("jira",)),
    ),
    policies={
        "dba": ChannelPolicy(name="dba", digest_above=None),
        "mail": ChannelPolicy(name="mail", digest_above=None),
        "jira": ChannelPolicy(name="jira", tickets=True),
    },
)
ORIGIN = SourceOrigin(source="prod", region=REGION, project_id=PROJECT_ID)
RULES = MuteRouting(routing=ROUTING, origins=(ORIGIN,))


class Killed(BaseException):
    """The process dies."""


class World:
    """A source whose tasks end, and the mutes that cover them."""

    def __init__(self, store: SqlStore, clock: FakeClock, name: str = "prod") -> None:
        self.store, self.clock = store, clock
        self.source = FakeSource(clock, name=name)
        self._born = 0

    async def poll(self, *tasks: tuple[str, str]) -> None:
        """Poll when tasks, given by instance and status, have ended."""
        for instance, status in tasks:
            self._born += 1
            ended = make_task(
                f"job-{self._born:04d}",
                source=self.source.name,
                status=status,
                instance_id=f"id-{instance}",
                instance_name=instance,
                created_at=self.clock.now() - MINUTE,
                ended_at=self.clock.now(),
            )
            self.source.tasks.append(ended)
        await poll_once(self.source, self.store, owner="me", rules=POLLING, routing=ROUTING, force=True)

    async def mute(self, covers: str, by: Person = BOB, **more: Any) -> Mute:
        """Make a mute of what the words cover, for two hours."""
        scope = MuteScope.parse(covers.split())
        times = more.pop("times", MuteTimes(length=2 * HOUR))
        request = MuteRequest(scope=scope, times=times, **more)
        made = await self.store.transact(lambda tx: mutes.create(tx, request, by))
        assert isinstance(made, Mute), made
        return made

    async def act(self, act: Callable[[Transaction], Any]) -> Any:
        return await self.store.transact(act)

    async def steps(self) -> Announced:
        return await run_mutes(self.store, RULES)

    async def announced(self) -> Sequence[Event]:
        """Return the events of mutes, the oldest first."""
        found = await self.store.read(lambda q: q.events(EventFilter(limit=1000)))
        return [item.event for item in reversed(found) if item.event.mute]

    async def channels_of(self, event: Event) -> set[str]:
        found = await self.deliveries()
        return {one.channel for one in found if event.id in {carried.id for carried in one.events}}

    async def deliveries(self, state: DeliveryState | None = None) -> Sequence[Delivery]:
        return await self.store.read(lambda q: q.deliveries(DeliveryFilter(state=state, limit=10_000)))


@pytest.fixture
async def world(store: SqlStore, clock: FakeClock) -> World:
    world = World(store, clock)
    await world.poll()
    return world


# ---- one window ----


async def test_what_a_mute_holds_back_is_summed_up_at_its_end(world: World) -> None:
    mute = await world.mute("prod-*", reason="patching")
    begun = await world.steps()
    assert [event.type for event in begun.events] == [EventType.MUTE_STARTED]
    assert await world.channels_of(begun.events[0]) == {"dba", "mail"}
    await world.poll(("prod-1", "completed"), ("prod-2", "completed"), ("prod-1", "failed"), ("lab-1", "failed"))
    suppressed = await world.deliveries(DeliveryState.SUPPRESSED)
    until = mute.until.isoformat(timespec="minutes")
    assert {one.rule for one in suppressed} == {mute.rule}
    assert {one.reason for one in suppressed} == {f"prod-* is muted until {until} by bob: patching"}
    assert (await world.steps()).events == ()
    world.clock.advance(2 * HOUR)
    (ended,) = (await world.steps()).events
    assert ended.mute
    assert ended.mute.held == (("task.completed", 2), ("task.failed", 1))
    assert ended.mute.named == (("CreateGaussDBV5Instance", "prod-1"),)
    assert await world.channels_of(ended) == {"dba", "mail"}
    assert (await world.steps()).events == ()
    listed = await world.store.read(lambda q: q.events(EventFilter(rule=mute.rule)))
    assert sorted(item.event.type for item in listed) == ["task.completed", "task.completed", "task.failed"]


async def test_a_mute_but_failures_lets_what_needs_somebody_pass(world: World) -> None:
    await world.mute("prod-*", except_failures=True)
    await world.poll(("prod-1", "completed"), ("prod-1", "failed"))
    suppressed = await world.deliveries(DeliveryState.SUPPRESSED)
    assert {event.type for one in suppressed if one.rule for event in one.events} == {EventType.TASK_COMPLETED}


async def test_a_route_that_names_the_type_gets_announcements_too(world: World) -> None:
    await world.mute("completed")
    log = Route(name="log", match=parse_matchers("type=mute.*"), channels=("dba",))
    rules = replace(RULES, routing=replace(ROUTING, routes=(*ROUTING.routes, log)))
    (begun,) = (await run_mutes(world.store, rules)).events
    assert await world.channels_of(begun) == {"dba", "mail"}


async def test_the_sum_goes_to_channels_that_lack_something(world: World) -> None:
    await world.mute("completed", announce=None, times=MuteTimes(length=HOUR))
    (begun,) = (await world.steps()).events
    assert await world.channels_of(begun) == {"mail"}  # no route for failures takes what has completed
    await world.poll(("prod-1", "completed"))
    world.clock.advance(HOUR)
    (ended,) = (await world.steps()).events
    assert await world.channels_of(ended) == {"mail"}


async def test_a_mute_of_an_instance_ends_quietly_where_it_held_back_nothing(world: World) -> None:
    await world.poll(("prod-1", "completed"))
    await world.mute("prod-1")
    assert (await world.steps()).events == ()
    world.clock.advance(2 * HOUR)
    assert (await world.steps()).events == ()
    assert await world.store.read(lambda q: q.known_mutes()) == []


@pytest.mark.parametrize(
    ("announce", "types"),
    [(True, [EventType.MUTE_STARTED, EventType.MUTE_ENDED]), (False, []), (None, [EventType.MUTE_ENDED])],
)
async def test_announcements_can_be_chosen(
    world: World,
    *,
    announce: bool | None,
    types: list[EventType],
) -> None:
    await world.poll(("prod-1", "completed"))
    await world.mute("prod-1", announce=announce)
    await world.steps()
    await world.poll(("prod-1", "failed"))
    world.clock.advance(2 * HOUR)
    await world.steps()
    assert [event.type for event in await world.announced()] == types


async def test_a_planned_window_begins_and_ends_when_it_was_planned(world: World) -> None:
    await world.mute("prod-*", times=MuteTimes(length=HOUR, since=T0 + HOUR))
    await world.poll(("prod-1", "failed"))
    assert (await world.steps()).events == ()
    assert [one for one in await world.deliveries(DeliveryState.SUPPRESSED) if one.rule] == []
    world.clock.advance(HOUR)
    await world.poll(("prod-1", "failed"))
    assert [event.type for event in (await world.steps()).events] == [EventType.MUTE_STARTED]
    world.clock.advance(HOUR)
    (ended,) = (await world.steps()).events
    assert ended.mute
    assert ended.mute.held == (("task.failed", 1),)


async def test_an_early_end_sums_up_and_names_who_ended_it(world: World) -> None:
    mute = await world.mute("prod-*")
    await world.steps()
    await world.poll(("prod-1", "failed"))
    world.clock.advance(HOUR)
    found = await world.act(lambda tx: mutes.end(tx, mute.id, ANN))
    assert [one.held.counts for one in found.ended] == [((EventType.TASK_FAILED, 1),)]
    await world.poll(("prod-1", "failed"))
    (ended,) = (await world.steps()).events
    assert ended.mute
    assert (ended.mute.ended_by, ended.mute.held) == ("ann", (("task.failed", 1),))
    assert (await world.act(lambda tx: mutes.end(tx, mute.id, ANN))).ended == ()


async def test_a_mute_made_again_goes_on_and_is_summed_up_once(world: World) -> None:
    await world.poll(("prod-1", "completed"))
    first = await world.mute("prod-1")
    await world.poll(("prod-1", "failed"))
    world.clock.advance(HOUR)
    again = await world.mute("prod-1", by=ANN, reason="longer")
    assert (again.id, again.since, again.until) == (first.id, first.since, world.clock.now() + 2 * HOUR)
    await world.poll(("prod-1", "failed"))
    world.clock.advance(2 * HOUR)
    (ended,) = (await world.steps()).events
    assert ended.mute
    assert (ended.mute.name, ended.mute.held) == ("ann", (("task.failed", 2),))


async def test_a_mute_can_be_extended_within_bounds(world: World) -> None:
    mute = await world.mute("prod-*")
    await world.steps()
    (longer,) = await world.act(lambda tx: mutes.extend(tx, "prod-*", HOUR, ANN))
    assert longer.until == mute.until + HOUR
    world.clock.advance(2 * HOUR)
    assert (await world.steps()).events == ()
    with pytest.raises(WrongMute):
        await world.act(lambda tx: mutes.extend(tx, mute.id, MAX_MUTE, ANN))
    world.clock.advance(HOUR)
    assert len((await world.steps()).events) == 1
    assert await world.act(lambda tx: mutes.extend(tx, mute.id, HOUR, ANN)) == []


async def test_the_end_of_a_mute_can_be_moved_within_bounds(world: World) -> None:
    mute = await world.mute("prod-*")
    now = world.clock.now()
    for until in (now + 5 * HOUR, now + HOUR):
        moved = await world.act(partial(mutes.move_end, mute_id=mute.id, until=until, by=ANN))
        assert (moved.until, moved.since) == (until, mute.since)
    for wrong in (now, now - HOUR, now + MAX_MUTE + HOUR):
        with pytest.raises(WrongMute):
            await world.act(partial(mutes.move_end, mute_id=mute.id, until=wrong, by=ANN))
    assert await world.act(partial(mutes.move_end, mute_id="none", until=now + HOUR, by=ANN)) is None
    world.clock.advance(HOUR)
    await world.steps()
    assert await world.act(partial(mutes.move_end, mute_id=mute.id, until=now + 9 * HOUR, by=ANN)) is None


async def test_a_preview_names_the_channels_of_what_it_would_hold_back(world: World) -> None:
    await world.poll(("prod-1", "completed"), ("other-1", "completed"))
    request = MuteRequest(scope=MuteScope.parse(["prod-*"]), times=MuteTimes(length=HOUR))
    found = await world.store.read(lambda q: mutes.preview(q, request, world.clock.now()))
    events = await world.store.read(lambda q: q.events(EventFilter(type="task.completed")))
    (channels,) = [item.channels for item in events if item.event.task and item.event.task.instance_name == "prod-1"]
    assert found.channels == tuple((name, 1) for name in sorted(channels))
    assert (found.counts, found.whole) == ((("task.completed", 1),), True)


async def test_every_act_is_recorded(world: World) -> None:
    mute = await world.mute("prod-*", reason="patching")
    await world.act(lambda tx: mutes.extend(tx, mute.id, HOUR, ANN))
    await world.poll(("prod-1", "failed"))
    await world.act(lambda tx: mutes.end(tx, mute.id, ANN))
    actions = await world.store.read(lambda q: q.actions(10))
    assert [(one.verb, one.by, one.target) for one in reversed(actions)] == [
        (verb, by, f"{mute.id} (prod-*)")
        for verb, by in ((Verb.MUTE, "U1"), (Verb.EXTEND, "cli:ann"), (Verb.UNMUTE, "cli:ann"))
    ]
    assert actions[0].detail == "1 event held back"
    assert "patching" in (actions[-1].detail or "")


async def test_a_message_shows_a_window_until_it_has_ended(world: World) -> None:
    await world.poll(("prod-1", "failed"))
    (found,) = await world.store.read(lambda q: q.events(EventFilter(type="task.failed")))
    told = ThreadUpdate(subject=found.event.subject, event_id=found.event.id, thread="C:1")
    await world.act(lambda tx: tx.threads.update("dba", [told], tx.now()))

    async def shown() -> list[str | None]:
        """Return the mutes that messages show which are to change, and let them show it."""

        def edit(tx: Transaction) -> list[str | None]:
            due = tx.threads.claim_edits("dba", tx.now(), HOUR, 10)
            for thread in due:
                tx.threads.mark_rendered(thread, tx.now())
            return [thread.mute.id if thread.mute else None for thread in due]

        return await world.store.transact(edit)

    mute = await world.mute("prod-*", times=MuteTimes(length=HOUR, since=T0 + HOUR))
    await world.steps()
    await shown()
    world.clock.advance(HOUR)
    await world.steps()
    assert await shown() == [mute.id]
    world.clock.advance(HOUR)
    await world.steps()
    assert await shown() == [None]
    assert await shown() == []


# ---- recurring ----

NIGHTLY = MuteTimes(length=4 * HOUR, cron=Cron.parse("0 22 * * *", "Asia/Shanghai"))
TEN_PM = datetime(2026, 1, 15, 14, tzinfo=UTC)


async def test_a_recurring_mute_sums_up_each_window_by_itself(world: World) -> None:
    mute = await world.mute("prod-*", times=NIGHTLY)
    for night in range(2):
        world.clock.advance(TEN_PM + timedelta(days=night) - world.clock.now())
        await world.poll(*[("prod-1", "completed")] * (night + 1))
        assert (await world.steps()).events == ()  # that it begins every night is no news
        world.clock.advance(4 * HOUR)
        (ended,) = (await world.steps()).events
        assert ended.mute
        assert ended.mute.held == (("task.completed", night + 1),)
        assert ended.mute.next_at == TEN_PM + timedelta(days=night + 1)
        await world.poll(("prod-1", "completed"))
    (known,) = await world.store.read(lambda q: q.known_mutes())
    assert (known.id, known.since) == (mute.id, TEN_PM + timedelta(days=2))
    await world.act(lambda tx: mutes.end(tx, mute.id, ANN))
    assert await world.store.read(lambda q: q.known_mutes()) == []


async def test_windows_that_passed_while_nothing_ran_are_not_announced(world: World) -> None:
    await world.mute("prod-*", times=NIGHTLY, announce=True)
    world.clock.advance(TEN_PM + timedelta(days=9) + HOUR - world.clock.now())
    (begun,) = (await world.steps()).events
    assert begun.mute
    assert begun.mute.since == TEN_PM + timedelta(days=9)


# ---- the configuration ----

WEEKLY = ConfiguredMute(name="patch-day", match=parse_matchers("prod-*"), times=NIGHTLY, reason="patches")


async def sync(world: World, *configured: ConfiguredMute) -> None:
    await world.store.transact(partial(mutes.sync, configured=configured))


async def test_a_configured_mute_is_recorded_once_and_ends_with_its_entry(world: World) -> None:
    await sync(world, WEEKLY)
    await sync(world, WEEKLY)
    (known,) = await world.store.read(lambda q: q.known_mutes())
    assert (known.id, known.configured, known.since) == ("patch-day", True, TEN_PM)
    actions = await world.store.read(lambda q: q.actions(10))
    assert [(one.verb, one.by) for one in actions] == [(Verb.MUTE, "configuration")]
    world.clock.advance(TEN_PM - world.clock.now())
    await world.poll(("prod-1", "failed"))
    await sync(world)
    (ended,) = (await world.steps()).events
    assert ended.mute
    assert (ended.mute.held, ended.mute.next_at, ended.mute.name) == ((("task.failed", 1),), None, "")
    assert await world.store.read(lambda q: q.known_mutes()) == []
    assert (await world.steps()).events == ()


async def test_only_the_window_in_force_of_a_configured_mute_can_be_ended(world: World) -> None:
    await sync(world, WEEKLY)
    early = await world.act(lambda tx: mutes.end(tx, "patch-day", BOB))
    assert (early.ended, [mute.id for mute in early.kept]) == ((), ["patch-day"])
    world.clock.advance(TEN_PM - world.clock.now())
    await world.steps()
    found = await world.act(lambda tx: mutes.end(tx, "patch-day", BOB))
    assert [one.next_at for one in found.ended] == [TEN_PM + timedelta(days=1)]
    await sync(world, WEEKLY)  # a restart does not bring the window back
    await world.poll(("prod-1", "failed"))
    assert [one for one in await world.deliveries(DeliveryState.SUPPRESSED) if one.rule] == []
    await world.steps()
    (known,) = await world.store.read(lambda q: q.known_mutes())
    assert known.since == TEN_PM + timedelta(days=1)


async def test_a_changed_definition_moves_the_window(world: World) -> None:
    await sync(world, WEEKLY)
    later = replace(WEEKLY, times=replace(NIGHTLY, cron=Cron.parse("0 23 * * *", "Asia/Shanghai")))
    await sync(world, later)
    (known,) = await world.store.read(lambda q: q.known_mutes())
    assert known.since == TEN_PM + HOUR


# ---- what it would do ----


async def test_a_preview_counts_what_it_would_have_held_back(world: World) -> None:
    await world.poll(("prod-1", "completed"), ("prod-1", "failed"), ("lab-1", "failed"))
    request = MuteRequest(scope=MuteScope.parse(["prod-*"]), times=MuteTimes(length=HOUR))
    found = await world.store.read(lambda q: mutes.preview(q, request, world.clock.now()))
    assert dict(found.counts) == {EventType.TASK_COMPLETED: 1, EventType.TASK_FAILED: 1}
    assert found.named == (("CreateGaussDBV5Instance", "prod-1"),)
    nightly = replace(request, times=NIGHTLY)
    found = await world.store.read(lambda q: mutes.preview(q, nightly, world.clock.now()))
    assert (found.counts, len(found.windows)) == ((), 3)


# ---- replicas, kills, retention ----


async def test_two_replicas_announce_each_window_once(postgres_url: str, clock: FakeClock) -> None:
    async with AsyncExitStack() as stack:
        replicas = [open_store(postgres_url, now=clock.now) for _ in range(2)]
        for store in replicas:
            stack.push_async_callback(store.aclose)
        world = World(replicas[0], clock)
        await world.poll()
        for number in range(5):
            await world.mute(f"prod-{number}* source=prod")
        await asyncio.gather(*(run_mutes(store, RULES) for store in replicas for _ in range(3)))
        await world.poll(*((f"prod-{number}", "failed") for number in range(5)))
        clock.advance(2 * HOUR)
        await asyncio.gather(*(run_mutes(store, RULES) for store in replicas for _ in range(3)))
        types = [event.type for event in await world.announced()]
        assert types == [EventType.MUTE_STARTED] * 5 + [EventType.MUTE_ENDED] * 5
        assert {event.mute.held for event in await world.announced() if event.mute} == {(), (("task.failed", 1),)}


async def test_a_poll_that_is_recorded_while_its_mute_ends_is_summed_up(postgres_url: str, clock: FakeClock) -> None:
    """The end of the mute waits for the poll that suppresses by it."""
    async with AsyncExitStack() as stack:
        polling, stepping = (open_store(postgres_url, now=clock.now) for _ in range(2))
        stack.push_async_callback(polling.aclose)
        stack.push_async_callback(stepping.aclose)
        world = World(polling, clock)
        await world.poll()
        mute = await world.mute("prod-*")
        await world.steps()
        holding, go_on = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def hold(tx: Transaction) -> None:
            assert [one.id for one in tx.mutes.hold([mute], T0)] == [mute.id]
            loop.call_soon_threadsafe(holding.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(30)

        poll = asyncio.create_task(polling.transact(hold))
        await holding.wait()
        clock.advance(2 * HOUR)
        end = asyncio.create_task(run_mutes(stepping, RULES))
        done, _ = await asyncio.wait({end}, timeout=0.2)
        assert not done
        go_on.set()
        await poll
        assert [event.type for event in (await end).events] == [EventType.MUTE_ENDED]
        assert await polling.transact(lambda tx: tx.mutes.hold([mute], clock.now())) == []


async def test_a_kill_at_any_statement_loses_and_repeats_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.mute("prod-*")
    real = Session.execute
    left = [0]

    def execute(self: Session, *args: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return real(self, *args)

    async def killed_at_each_statement() -> int:
        for number in range(1, 100):
            left[0] = number
            try:
                await world.steps()
            except Killed:
                continue
            left[0] = 0
            return number
        raise AssertionError("it never ended")

    monkeypatch.setattr(Session, "execute", execute)
    assert await killed_at_each_statement() > 5
    left[0] = 0
    await world.poll(("prod-1", "failed"))
    world.clock.advance(2 * HOUR)
    assert await killed_at_each_statement() > 5
    left[0] = 0
    announced = await world.announced()
    assert [event.type for event in announced] == [EventType.MUTE_STARTED, EventType.MUTE_ENDED]
    assert announced[1].mute
    assert announced[1].mute.held == (("task.failed", 1),)
    ledger = await world.store.read(lambda q: q.ledger())
    assert ledger.unaccounted == ()


async def test_what_is_suppressed_stays_until_it_is_summed_up(world: World) -> None:
    mute = await world.mute("prod-*", times=MuteTimes(length=MAX_MUTE))
    await world.poll(("prod-1", "failed"))
    # However short events are kept, and however long the mute is extended.
    rules = PruneRules(events=timedelta(days=1), tasks=timedelta(days=1))
    world.clock.advance(timedelta(days=20))
    await world.poll()
    await prune(world.store, world.clock, rules)
    held = await world.store.read(lambda q: q.held_back(mute))
    assert held.counts == ((EventType.TASK_FAILED, 1),)
    world.clock.advance(timedelta(days=10))
    (ended,) = (await world.steps()).events
    assert ended.mute
    assert ended.mute.held == (("task.failed", 1),)
    world.clock.advance(timedelta(days=2))
    await world.poll()
    await prune(world.store, world.clock, rules)
    assert await world.store.read(lambda q: q.held_back(mute)) == type(held)()
    assert await world.store.transact(lambda tx: tx.mutes.ids()) == set()


# ---- any mutes, any events, any hours ----


class Hours:
    """A store in memory for one example, and its clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()


scopes = st.sampled_from(["a*", "*", "source=prod", "failed", "b*", "source=lab", "completed a*"])
ended_tasks = st.lists(
    st.tuples(st.sampled_from(["a1", "a2", "b1"]), st.sampled_from(["failed", "completed"])), max_size=3
)
made = st.one_of(
    st.tuples(st.just("mute"), scopes, st.integers(1, 3), st.booleans()),
    st.tuples(st.just("end"), scopes),
    st.tuples(st.just("extend"), scopes),
    st.tuples(st.just("poll"), ended_tasks),
    st.tuples(st.just("steps")),
    st.tuples(st.just("hour")),
)


async def perform(world: World, act: tuple[Any, ...]) -> None:
    match act:
        case ("mute", covers, hours, but):
            await world.mute(covers, times=MuteTimes(length=hours * HOUR), except_failures=but)
        case ("end", name):
            await world.act(lambda tx: mutes.end(tx, name, ANN))
        case ("extend", name):
            await world.act(lambda tx: mutes.extend(tx, name, HOUR, ANN))
        case ("poll", tasks):
            await world.poll(*tasks)
        case ("steps",):
            await world.steps()
        case ("hour",):
            world.clock.advance(HOUR)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(made, min_size=4, max_size=14))
async def test_the_sums_equal_what_was_suppressed(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[Any, ...]]
) -> None:
    clock = FakeClock()
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('any') / 'n.db'}", now=clock.now)
    try:
        world = World(store, clock)
        await world.poll()
        for act in acts:
            await perform(world, act)
        clock.advance(timedelta(days=40))
        await world.steps()
        suppressed = [one for one in await world.deliveries(DeliveryState.SUPPRESSED) if one.rule]
        held = {event.id for one in suppressed for event in one.events}
        summed = sum(count for event in await world.announced() if event.mute for _, count in event.mute.held)
        assert summed == len(held)
        assert (await store.read(lambda q: q.ledger())).unaccounted == ()
        assert await store.read(lambda q: q.known_mutes()) == []
    finally:
        await store.aclose()


async def test_replicas_that_poll_mute_and_end_at_once_agree_on_the_sums(postgres_url: str, clock: FakeClock) -> None:
    """Whatever waits for whom, each suppressed event is in one sum, and nothing deadlocks."""
    rng = random.Random(20261129)
    async with AsyncExitStack() as stack:
        replicas = [open_store(postgres_url, now=clock.now) for _ in range(2)]
        for store in replicas:
            stack.push_async_callback(store.aclose)
        worlds = [World(store, clock, name) for store, name in zip(replicas, ("prod", "lab"), strict=True)]
        for world in worlds:
            await world.poll()
        covers = ("a*", "*", "source=prod", "source=lab failed", "b1 completed")
        for _ in range(12):
            acts: list[Awaitable[object]] = []
            for world in worlds:
                ended = [(rng.choice(("a1", "a2", "b1")), rng.choice(("failed", "completed"))) for _ in range(3)]
                acts += [world.poll(*ended), run_mutes(world.store, RULES), run_mutes(world.store, RULES)]
                what = rng.choice(covers)
                if rng.random() < 0.5:
                    acts.append(world.mute(what, times=MuteTimes(length=rng.randint(1, 3) * HOUR)))
                else:
                    acts.append(world.act(partial(mutes.end, name=what, by=ANN)))
            await asyncio.gather(*acts)
            if rng.random() < 0.4:
                clock.advance(HOUR)
        clock.advance(timedelta(days=1))
        await asyncio.gather(*(run_mutes(store, RULES) for store in replicas))
        world = worlds[0]
        suppressed = {event.id for one in await world.deliveries() if one.rule for event in one.events}
        announced = [event.mute for event in await world.announced() if event.mute]
        assert sum(count for window in announced for _, count in window.held) == len(suppressed) > 0
        assert (await world.store.read(lambda q: q.ledger())).unaccounted == ()
