"""Polls that find alarms, on both databases: what is open, what ends it, what is no task, and what happens twice."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Any

from factories import make_task
from fakes import FakeClock, FakeSource

from notifier.core.alarms import AlarmFacts, AlarmFeed, AlarmLevel
from notifier.core.diff import LIST_WINDOW
from notifier.core.events import EventType
from notifier.core.model import Snapshot, Task
from notifier.core.polling import PollRules
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig
from notifier.failures import remind
from notifier.poll import PollReport, poll_once
from notifier.ports import DeliveryFilter, EventFilter, TaskFilter
from notifier.store.engine import SqlStore, open_store

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TASKS = PollRules(poll_every=MINUTE, lease=MINUTE)
ALARMS = replace(TASKS, feeds=("cloud_eye", "alarm_history"), list_window=7 * DAY)
ROUTING = RoutingConfig(
    routes=(Route(name="all", channels=("dba",), remind=(HOUR,)),),
    policies={"dba": ChannelPolicy(name="dba")},
)


def alarm(job: str, clock: FakeClock, name: str = "GaussDBV5FaultyDBNode", **changes: Any) -> Task:
    facts = AlarmFacts(
        feed=changes.pop("feed", AlarmFeed.CLOUD_EYE), level=AlarmLevel.MAJOR, node_id=changes.pop("node", "node-1")
    )
    values = {"status": "raised", "created_at": clock.now(), "ended_at": None, "progress": None, "fail_reason": "why"}
    return make_task(job, name=name, alarm=facts, **values | changes)


class AlarmSource(FakeSource):
    """A list of alarms in memory, of which a part may be denied."""

    lacking: tuple[str, ...] = ()

    async def fetch(self, scope: Any) -> Snapshot:
        return replace(await super().fetch(scope), lacking=self.lacking)


async def poll(source: FakeSource, store: SqlStore, rules: PollRules = ALARMS, owner: str = "me") -> PollReport:
    return await poll_once(source, store, owner=owner, rules=rules, routing=ROUTING, force=True)


async def operations(store: SqlStore) -> Mapping[str, int]:
    """Return how often what is open was reported, by job id of its latest alarm."""
    return {one.latest.job_id: one.count for one in await store.read(lambda q: q.open_failures())}


async def test_a_baseline_notifies_nobody_and_knows_what_is_open(store: SqlStore, clock: FakeClock) -> None:
    source = AlarmSource(clock, alarm("a", clock), alarm("b", clock, node="node-2", ended_at=clock.now()))
    assert [one.type for one in (await poll(source, store)).events] == [EventType.ALARM_RAISED]
    assert [one.event.quiet for one in await store.read(lambda q: q.events(EventFilter()))] == [True]
    assert await operations(store) == {"a": 1}
    assert await store.read(lambda q: q.deliveries(DeliveryFilter())) == []
    clock.advance(3 * HOUR)
    assert (await remind(store, routing=ROUTING)).events == ()
    found = await store.read(lambda q: q.tasks(TaskFilter()))
    assert {one.task.job_id: one.task for one in found}["a"] == source.tasks[0]


async def test_an_alarm_without_an_end_lapses_although_somebody_has_it(store: SqlStore, clock: FakeClock) -> None:
    source = AlarmSource(clock)
    await poll(source, store)
    source.tasks = [alarm("a", clock, "StateTransitionAlarm"), alarm("b", clock)]
    await poll(source, store)
    clock.advance(DAY - MINUTE)
    await remind(store, routing=ROUTING)
    assert set(await operations(store)) == {"a", "b"}
    clock.advance(MINUTE)
    await remind(store, routing=ROUTING)
    assert set(await operations(store)) == {"b"}


async def test_two_replicas_let_an_alarm_lapse_once(postgres_url: str, clock: FakeClock) -> None:
    async with (
        aclosing(open_store(postgres_url, now=clock.now)) as one,
        aclosing(open_store(postgres_url, now=clock.now)) as other,
    ):
        source = AlarmSource(clock)
        await poll(source, one)
        source.tasks = [alarm(f"a{n}", clock, "StateTransitionAlarm", node=f"n{n}") for n in range(20)]
        await poll(source, one)
        clock.advance(DAY + MINUTE)
        await asyncio.gather(*(remind(store, routing=ROUTING) for store in (one, other, one, other)))
        assert await operations(one) == {}
        assert (await one.read(lambda q: q.ledger())).unaccounted == ()


async def test_what_a_missing_right_had_hidden_is_open_and_quiet(store: SqlStore, clock: FakeClock) -> None:
    source = AlarmSource(clock)
    source.lacking = ("ces:events:list",)
    await poll(source, store)
    lacking = (await store.read(lambda q: q.health_facts())).missing_rights
    assert [(one.source, one.action) for one in lacking] == [("prod", "ces:events:list")]
    hidden = alarm("hidden", clock)
    clock.advance(HOUR)
    await poll(source, store)
    clock.advance(HOUR)
    source.lacking, source.tasks = (), [hidden, alarm("new", clock, node="node-2")]
    await poll(source, store)
    assert set(await operations(store)) == {"hidden", "new"}
    sent = await store.read(lambda q: q.deliveries(DeliveryFilter()))
    assert [one.events[0].job_id for one in sent] == ["new"]
    recorded = await store.read(lambda q: q.events(EventFilter()))
    assert {one.event.job_id: one.event.quiet for one in recorded} == {"hidden": True, "new": False}
    assert not (await store.read(lambda q: q.health_facts())).missing_rights


async def test_alarms_are_no_runs_no_results_and_no_backups(store: SqlStore, clock: FakeClock) -> None:
    source = AlarmSource(clock)
    await poll(source, store)
    for n in range(5):
        clock.advance(DAY)
        source.tasks = [*source.tasks, alarm(f"a{n}", clock, "GaussDBV5FullBackupFailed")]
        await poll(source, store)
    since = clock.now() - LIST_WINDOW
    assert await store.read(lambda q: q.seen_runs("prod", since)) == []
    assert await store.read(lambda q: q.statistics(since)) == []
    assert await store.read(lambda q: q.statistics()) == []
    assert await store.read(lambda q: q.last_successes()) == []
    assert await store.transact(lambda tx: tx.polls.task_counts("prod", since)) == {"alarms": 5}


async def test_a_new_source_of_alarms_takes_no_history_of_a_removed_task_list(
    store: SqlStore, clock: FakeClock
) -> None:
    await poll(FakeSource(clock, make_task("task")), store, TASKS)
    clock.advance(MINUTE)
    report = await poll(AlarmSource(clock, name="alarms"), store)
    assert (report.renamed_from, report.baseline) == (None, True)
    clock.advance(MINUTE)
    assert (await poll(FakeSource(clock, make_task("task"), name="renamed"), store, TASKS)).renamed_from == "prod"


async def test_other_feeds_are_another_list_with_a_baseline_of_its_own(store: SqlStore, clock: FakeClock) -> None:
    source = AlarmSource(clock, alarm("a", clock))
    await poll(source, store, replace(ALARMS, feeds=("cloud_eye",)))
    clock.advance(MINUTE)
    source.tasks = [*source.tasks, alarm("b", clock, "disk usage", feed=AlarmFeed.ALARM_HISTORY, node=None)]
    report = await poll(source, store)
    assert report.baseline
    assert set(await operations(store)) == {"a", "b"}
    assert await store.read(lambda q: q.deliveries(DeliveryFilter())) == []


async def test_a_week_without_a_poll_is_a_gap(store: SqlStore, clock: FakeClock) -> None:
    source = AlarmSource(clock)
    await poll(source, store)
    clock.advance(8 * DAY)
    await poll(source, store)
    found = await store.read(lambda q: q.events(EventFilter(limit=10)))
    assert [one.event.type for one in found] == [EventType.SOURCE_GAP]
