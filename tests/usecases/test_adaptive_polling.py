"""Sources that are polled more often while something happens: in the database, by several replicas, in one budget."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from factories import make_task
from fakes import FakeClock, FakeSource

from notifier.core.credentials import BURST, EARLY_RESERVE, Credential, CredentialState, Urgency, admit
from notifier.core.errors import CredentialsRejected, SourceUnreachable
from notifier.core.model import Scope, SourceState
from notifier.core.polling import PollRules
from notifier.core.routing import RoutingConfig
from notifier.poll import PollReport, poll_once
from notifier.store.engine import SqlStore

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
BUSY, LONGEST = 5 * SECOND, 5 * MINUTE
RULES = PollRules(poll_every=LONGEST, poll_busy_every=BUSY, lease=MINUTE, stalled_after=None)
RUNNING = make_task("a", status="running")
DONE = make_task("a", status="completed")


@dataclass
class Polled:
    """Sources that replicas poll in turn when the database says that they are due."""

    store: SqlStore
    clock: FakeClock
    rules: PollRules
    sources: Sequence[FakeSource]
    rules_of: Mapping[str, PollRules] = field(default_factory=dict)
    at: dict[str, list[datetime]] = field(default_factory=dict)
    calls: int = 0
    tried: int = 0

    async def run(self, length: timedelta, step: timedelta = SECOND) -> None:
        """Let time pass."""
        end = self.clock.now() + length
        while self.clock.now() < end:
            due = await self.store.read(lambda q: q.due_sources())
            known = await self.store.read(lambda q: q.source_names())
            ranks = {name: rank for rank, name in enumerate(due)}
            wanted = [source for source in self.sources if source.name in ranks or source.name not in known]
            for source in sorted(wanted, key=lambda each: ranks.get(each.name, 0)):
                await self.poll(source)
            self.clock.advance(step)

    async def poll(self, source: FakeSource, *, force: bool = False) -> PollReport:
        self.tried += 1
        owner = f"replica {self.tried % 2}"
        rules = self.rules_of.get(source.name, self.rules)
        report = await poll_once(source, self.store, owner=owner, rules=rules, routing=RoutingConfig(), force=force)
        if report.polled:
            self.at.setdefault(source.name, []).append(self.clock.now())
            self.calls += report.calls
        return report

    def intervals(self, name: str = "prod") -> list[timedelta]:
        times = self.at[name]
        return [after - before for before, after in itertools.pairwise(times)]

    async def state(self) -> SourceState:
        (state,) = await self.store.read(lambda q: q.sources())
        return state


@pytest.fixture
def polled(store: SqlStore, clock: FakeClock) -> Polled:
    return Polled(store, clock, RULES, [FakeSource(clock)])


async def test_a_quiet_source_is_polled_as_often_as_promised(polled: Polled) -> None:
    polled.sources[0].tasks = [DONE]
    await polled.run(16 * MINUTE)
    assert polled.intervals() == [LONGEST] * 3


async def test_a_running_task_and_a_change_bring_polls_until_it_is_quiet_again(polled: Polled) -> None:
    (source,) = polled.sources
    source.tasks = [RUNNING]
    await polled.run(MINUTE)
    assert set(polled.intervals()) == {BUSY}
    source.tasks = [DONE]
    polled.at.clear()
    await polled.run(25 * MINUTE)
    found = polled.intervals()
    assert found == sorted(found)
    assert (found[0], found[-1]) == (BUSY, LONGEST)
    assert found.count(BUSY) == pytest.approx(3 * MINUTE / BUSY, abs=1)
    assert {10 * SECOND, 20 * SECOND, 40 * SECOND, 80 * SECOND}.issuperset(set(found) - {BUSY, LONGEST, 160 * SECOND})


async def test_rows_that_cannot_be_recorded_keep_no_source_busy(polled: Polled) -> None:
    (source,) = polled.sources
    source.tasks = [DONE, replace(make_task("c"), raw_status="")]
    await polled.run(11 * MINUTE)
    assert polled.intervals() == [LONGEST] * 2


async def test_a_clock_that_is_set_back_leaves_no_source_unpolled_and_none_busy(polled: Polled) -> None:
    (source,) = polled.sources
    await polled.run(SECOND)
    source.tasks = [DONE]
    await polled.poll(source, force=True)
    polled.clock.advance(-timedelta(days=3))
    before = polled.clock.now()
    assert (await polled.poll(source)).polled, "a process asks at least every two intervals"
    await polled.run(20 * MINUTE)
    assert polled.intervals()[-1] == LONGEST
    assert (await polled.state()).active_at == before


async def test_a_failure_of_a_busy_source_is_followed_by_a_poll_soon(polled: Polled) -> None:
    (source,) = polled.sources
    source.tasks = [RUNNING]
    await polled.run(2 * BUSY)
    source.error = SourceUnreachable("down")
    await polled.run(BUSY)
    source.error = None
    polled.at.clear()
    await polled.run(3 * BUSY)
    assert len(polled.at["prod"]) >= 2


async def test_a_list_of_many_pages_is_scanned_in_full_only_as_often_as_promised(polled: Polled) -> None:
    (source,) = polled.sources
    source.calls, source.tasks = 8, [RUNNING]
    await polled.run(10 * MINUTE + SECOND)
    assert source.scopes.count(Scope.FULL) == 3
    assert source.scopes.count(Scope.ACTIVE) == pytest.approx(10 * MINUTE / BUSY, abs=4)


# ---- in one budget ----

KEY = Credential(key="k", calls_per_minute=20, promised_per_minute=10 * MINUTE / LONGEST, version=lambda: "one")
NAMES = [f"s{number}" for number in range(10)]


@pytest.fixture
def sharing(store: SqlStore, clock: FakeClock) -> Polled:
    """Ten sources of one credential that want 120 calls a minute while they are busy; the budget is 20."""
    rules = replace(RULES, credential=KEY, calls_per_minute=2, configured=frozenset(NAMES))
    sources = [FakeSource(clock, replace(RUNNING, source=name), name=name) for name in NAMES]
    return Polled(store, clock, rules, sources)


async def test_busy_sources_share_what_is_left_and_none_is_polled_later_than_promised(sharing: Polled) -> None:
    for quiet in sharing.sources[5:]:
        quiet.tasks = []
    await sharing.run(20 * MINUTE, 2 * SECOND)
    polls = [len(sharing.at[name]) for name in NAMES]
    assert max(max(sharing.intervals(name)) for name in NAMES) <= LONGEST + 2 * SECOND
    assert set(polls[5:]) == {4, 5} or set(polls[5:]) == {4}
    assert max(polls[:5]) - min(polls[:5]) <= 0.1 * min(polls[:5])
    assert 0.85 * 20 * 20 < sharing.calls <= BURST + 20 * 20
    assert sharing.tried - sum(polls) < 0.2 * sum(polls), "hardly any poll is begun in vain"


async def test_an_early_poll_leaves_most_of_the_burst_and_waits_no_longer_than_promised(sharing: Polled) -> None:
    source = sharing.sources[0]
    first = await sharing.poll(source)
    now = sharing.clock.now()

    def use(left: int) -> CredentialState:
        return admit(CredentialState(), KEY, now, BURST - left, urgency=Urgency.DUE).state

    await sharing.store.transact(lambda tx: tx.credentials.save(KEY.key, use(EARLY_RESERVE - 10)))
    sharing.clock.advance(BUSY)
    assert (await sharing.poll(source)).polled is False
    (state, *_) = await sharing.store.read(lambda q: q.sources())
    assert state.next_poll_at is not None
    assert state.promised_at is not None
    assert sharing.clock.now() < state.next_poll_at <= state.promised_at == now + LONGEST - SECOND / 2
    await sharing.store.transact(lambda tx: tx.credentials.save(KEY.key, use(1)))
    sharing.clock.time = now + LONGEST
    assert (first.polled, (await sharing.poll(source)).polled) == (True, True)


async def test_an_early_poll_does_not_try_a_refused_credential(sharing: Polled) -> None:
    one, other, *_ = sharing.sources
    await sharing.poll(other)
    one.error = CredentialsRejected("no")
    await sharing.poll(one)
    sharing.clock.advance(MINUTE)
    report = await sharing.poll(other)
    assert isinstance(report.error, CredentialsRejected)
    assert len(other.scopes) == 1


# ---- more promised polls than the budget allows ----


def lists_of_projects(polled: Polled, *names: str) -> Sequence[FakeSource]:
    sources = [FakeSource(polled.clock, name=name) for name in names]
    for source in sources:
        source.project_id = f"project-{source.name}"
    return sources


async def test_polls_of_many_calls_delay_those_of_a_task_list_little(polled: Polled) -> None:
    """A source of alarms that takes up to 14 calls of 20 a minute, beside a list that wants 12 of them."""
    key = Credential(key="k", calls_per_minute=20)
    tasks = PollRules(poll_every=5 * SECOND, lease=MINUTE, credential=key)
    alarms = replace(tasks, feeds=("cloud_eye",), calls_per_poll=5)
    polled.sources = lists_of_projects(polled, "alarms", "tasks")
    polled.rules_of = {"alarms": alarms, "tasks": tasks}
    polled.sources[0].calls = 14
    await polled.run(3 * MINUTE)
    polled.at.clear()
    await polled.run(7 * MINUTE)
    intervals = sorted(polled.intervals("tasks"))
    assert intervals[len(intervals) // 2] <= 7 * SECOND
    assert intervals[-1] <= 46 * SECOND, "a poll of 14 calls that has waited for a minute"
    assert max(polled.intervals("alarms")) <= 2 * MINUTE + 20 * SECOND


async def test_sources_that_want_more_than_the_budget_are_polled_in_turn(polled: Polled) -> None:
    polled.rules = PollRules(poll_every=SECOND, lease=MINUTE, credential=Credential(key="k", calls_per_minute=20))
    polled.sources = lists_of_projects(polled, "a", "b", "c", "d")
    await polled.run(MINUTE)
    polled.at.clear()
    await polled.run(4 * MINUTE)
    polls = {source.name: len(polled.at.get(source.name, ())) for source in polled.sources}
    assert polled.calls == pytest.approx(BURST + 5 * 20, abs=3), "the budget is used"
    assert max(polls.values()) - min(polls.values()) <= 1, polls
