"""Reminders and escalations: none lost and none twice, whoever dies, however many replicas, whatever clocks do."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

import pytest
from factories import make_task
from fakes import FakeClock, FakeSource
from generators.happenings import CloudMove, Poll, Wait
from generators.hours import CHANGES, Change
from hypothesis import given, settings
from hypothesis import strategies as st
from stage import Stage

from notifier.core.calendars import CalendarEntry
from notifier.core.escalations import Escalation, EscalationStep
from notifier.core.failures import HistoryKind, OpenFailure, due_after
from notifier.core.matchers import parse_matcher
from notifier.core.model import Event
from notifier.core.polling import PollRules
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig
from notifier.core.windows import parse_window
from notifier.failures import remind
from notifier.planning import Announced
from notifier.poll import poll_once
from notifier.store.engine import SqlStore, open_store
from notifier.store.transaction import Transaction

T = TypeVar("T")

HALF_AN_HOUR = timedelta(minutes=30)
STEPS = (EscalationStep(after=timedelta(minutes=45), channels=("duty",)),)
ROUTING = RoutingConfig(
    routes=(
        Route(
            name="failures",
            match=(parse_matcher("type=task.failed"),),
            channels=("dba",),
            remind=(HALF_AN_HOUR,),
            escalate="night",
        ),
    ),
    policies={name: ChannelPolicy(name=name) for name in ("dba", "duty")},
    escalations={"night": Escalation(name="night", steps=STEPS, repeat=timedelta(hours=1))},
)
POLLING = PollRules(poll_every=timedelta(seconds=30), lease=timedelta(seconds=60), quiet_baseline=False)


async def fail(store: SqlStore, clock: FakeClock, routing: RoutingConfig = ROUTING) -> None:
    """Let a task fail in front of a service."""
    source = FakeSource(clock)
    await poll_once(source, store, owner="me", rules=POLLING, routing=routing, force=True)
    clock.advance(timedelta(seconds=30))
    source.tasks = [make_task("job-1", ended_at=clock.now())]
    await poll_once(source, store, owner="me", rules=POLLING, routing=routing, force=True)


def numbers(events: Sequence[Event]) -> dict[str, list[int]]:
    """Return the numbers of reminders and of steps, by type, in the order in which they were sent."""
    found: dict[str, list[int]] = {}
    for event in events:
        assert event.follow_up is not None
        found.setdefault(str(event.type), []).append(event.follow_up.number)
    return found


async def test_two_replicas_send_each_once(postgres_url: str, clock: FakeClock) -> None:
    rng = random.Random(3)
    async with (
        aclosing(open_store(postgres_url, now=clock.now)) as one,
        aclosing(open_store(postgres_url, now=clock.now)) as other,
    ):
        await fail(one, clock)
        sent: list[Event] = []
        for _ in range(60):
            clock.advance(timedelta(minutes=rng.randint(1, 12)))
            reports: Sequence[Announced] = await asyncio.gather(
                *(remind(store, routing=ROUTING) for store in (one, other, one, other))
            )
            sent += [event for report in reports for event in report.events]
        found = numbers(sent)
        assert {kind: sorted(each) for kind, each in found.items()} == {
            kind: list(range(1, len(each) + 1)) for kind, each in found.items()
        }
        assert len(found["task.reminded"]) >= 8
        assert len(found["task.escalated"]) >= 4
        ledger = await one.read(lambda q: q.ledger())
        assert ledger.unaccounted == ()


@pytest.mark.parametrize("holiday", [False, True])
async def test_a_step_waits_over_the_days_of_a_recorded_calendar(
    store: SqlStore, clock: FakeClock, *, holiday: bool
) -> None:
    """No route has a window: the calendar is read for the escalation alone."""
    window = parse_window("daily", calendar="office")
    routing = replace(ROUTING, escalations={"night": Escalation(name="night", steps=STEPS, active=window)})
    day = clock.now().date() - timedelta(days=0 if holiday else 9)

    def record_office(tx: Transaction) -> None:
        tx.calendars.claim_due({"office": "1"}, tx.now(), tx.now())
        tx.calendars.save_copy("office", "1", [CalendarEntry(first_day=day, last_day=day)], tx.now(), tx.now())

    await store.transact(record_office)
    began = clock.now()
    await fail(store, clock, routing)
    ((due_at,),) = [
        [clock.due_at for clock in one.clocks if clock.name == "night"]
        for one in await store.read(lambda q: q.open_failures())
    ]
    midnight = began.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert due_at == (midnight if holiday else clock.now()) + timedelta(minutes=45)
    clock.advance(timedelta(hours=1))
    sent = await remind(store, routing=routing)
    assert ("task.escalated" in {event.type for event in sent.events}) is not holiday


class _Died(Exception):
    pass


@pytest.mark.parametrize("committed", [False, True])
async def test_a_kill_loses_and_repeats_nothing(store: SqlStore, clock: FakeClock, *, committed: bool) -> None:
    """Every second process dies just before its commit, or just after it, before it can say what it has done."""
    await fail(store, clock)
    for _ in range(40):
        clock.advance(timedelta(minutes=5))
        try:
            await remind(_Mortal(store, committed=committed), routing=ROUTING)
        except _Died:
            await remind(store, routing=ROUTING)
    found = await store.read(lambda q: q.unresolved_failures())
    assert counted(found) == {(HistoryKind.REMINDED, n): 1 for n in range(1, 7)} | {
        (HistoryKind.ESCALATED, n): 1 for n in range(1, 4)
    }
    assert (await store.read(lambda q: q.ledger())).unaccounted == ()


class _Mortal:
    """A store whose process dies in a transaction."""

    def __init__(self, store: SqlStore, *, committed: bool) -> None:
        self._store = store
        self._committed = committed
        self.read = store.read

    async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:
        if self._committed:
            await self._store.transact(fn, short=short)
            raise _Died

        def dying(tx: Transaction) -> T:
            fn(tx)
            raise _Died

        return await self._store.transact(dying, short=short)


def counted(found: Sequence[OpenFailure]) -> Counter[tuple[HistoryKind, int]]:
    kinds = (HistoryKind.REMINDED, HistoryKind.ESCALATED)
    return Counter((entry.kind, entry.number) for one in found for entry in one.history if entry.kind in kinds)


@settings(max_examples=settings().max_examples // 5)
@given(st.sampled_from(CHANGES), st.integers(0, 240), st.sampled_from(("daily 00:00-05:00", "daily 01:30-03:15")))
def test_waits_are_elapsed_time_whatever_clocks_do(change: Change, minutes: int, hours: str) -> None:
    """Reminders come every half hour that passes, and the steps of an escalation in the hours of its window."""
    window = parse_window(f"{hours} {change.zone}")
    escalation = Escalation(name="night", steps=STEPS, active=window)
    stage = Stage(change.at - timedelta(minutes=minutes), _with(escalation))
    try:
        stage.happen(Poll((CloudMove("fail", 1),)))
        begun = stage.time.at
        stage.happen(Wait(timedelta(hours=30)))
        (failure,) = stage.failures()
        reminded = [entry.at for entry in failure.history if entry.kind is HistoryKind.REMINDED]
        assert reminded == [begun + HALF_AN_HOUR * number for number in range(1, 25)]
        escalated = [entry.at for entry in failure.history if entry.kind is HistoryKind.ESCALATED]
        assert escalated == [_expected(begun, escalation)]
        assert window.is_open(escalated[0])
    finally:
        stage.close()


def _expected(begun: datetime, escalation: Escalation) -> datetime:
    at = due_after(begun, STEPS[0].after, escalation.active)
    assert at is not None
    return at


def _with(escalation: Escalation) -> RoutingConfig:
    return RoutingConfig(routes=ROUTING.routes, policies=ROUTING.policies, escalations={"night": escalation})
