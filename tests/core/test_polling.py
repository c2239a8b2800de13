"""What one poll decides, without a database: changes, absences, late and repeated states, scans and pauses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest
from factories import T0, make_event, make_task
from fakes import snapshot_of

from notifier.core.delivery import DeliveryState
from notifier.core.diff import EMPTY_BEFORE_UNLISTED, RecordedTask
from notifier.core.errors import CredentialsRejected, SourceError, SourceThrottled, SourceUnreachable
from notifier.core.events import EventType
from notifier.core.model import Event, Scope, SourceState, Task
from notifier.core.mutes import Mute
from notifier.core.polling import (
    KnownTasks,
    PollBatch,
    PolledSource,
    PollRules,
    decide_poll,
    may_have_events,
    next_scope,
    pause_after,
    plan_deliveries,
    split_batches,
    unchanged_since,
)
from notifier.core.routing import ChannelPolicy, RoutedEvent, RoutingConfig
from notifier.core.rulings import mute_rule

RULES = PollRules(poll_every=timedelta(seconds=30), lease=timedelta(seconds=60))
RUNNING = make_task("a", status="running")
FAILED = make_task("a", status="failed")
DONE = make_task("a", status="completed")
CANCELED = make_task("a", status="unknown", raw_status="Canceled", ended_at=T0)
BLANK = make_task("a", status="unknown", raw_status="")
OTHER = make_task("other", status="completed")


class PolledList:
    """A task list that is polled, and what is recorded of it, in memory."""

    def __init__(self, *first: Task, rules: PollRules = RULES) -> None:
        self.rules = rules
        self.now = T0
        self.state = SourceState(name="prod")
        self.tasks: dict[str, RecordedTask] = {}
        self.fingerprints: dict[str, bytes] = {}
        self.events: list[Event] = []
        self.baseline = self.poll(*first)

    def poll(
        self, *tasks: Task, complete: bool = True, skew: timedelta | None = None, unreadable: int = 0
    ) -> list[Event]:
        """Poll the list as it is now and record it; return the events that are new."""
        snapshot = snapshot_of(tasks, self.now, complete=complete)
        snapshot = replace(snapshot, skew=skew, unreadable=unreadable)
        source = PolledSource(
            name="prod", region="r", project_id="p", state=self.state, snapshot=snapshot, rules=self.rules
        )
        before = len(self.events)
        for batch in split_batches(snapshot, self.fingerprints):
            self._apply(batch, source)
        whole = complete and not tasks
        self.state = replace(
            self.state,
            last_poll_at=self.now,
            last_full_at=self.now if complete else self.state.last_full_at,
            baseline_at=self.state.baseline_at or (self.now if complete else None),
            empty_since=(self.state.empty_since or self.now) if whole else None if complete else self.state.empty_since,
        )
        return self.events[before:]

    def poll_each(self, *states: Task, skew: timedelta | None = None, unreadable: int = 0) -> list[list[Event]]:
        """Poll once for each of these states of one task, an interval apart."""
        return [self.after(self.rules.poll_every, state, skew=skew, unreadable=unreadable) for state in states]

    def after(
        self, wait: timedelta, *tasks: Task, complete: bool = True, skew: timedelta | None = None, unreadable: int = 0
    ) -> list[Event]:
        """Poll after a while."""
        self.now += wait
        return self.poll(*tasks, complete=complete, skew=skew, unreadable=unreadable)

    @property
    def notified(self) -> list[tuple[EventType, str]]:
        """Type and job of every event."""
        return [(event.type, event.job_id) for event in self.events]

    def _apply(self, batch: PollBatch, source: PolledSource) -> None:
        changed = {id_: self.tasks[id_] for id_ in batch.changed if id_ in self.tasks}
        running = {id_: row for id_, row in self.tasks.items() if not row.task.status.terminal}
        stalled_after = self.rules.stalled_after
        unchanged = unchanged_since(running, self.now - stalled_after) if stalled_after else {}
        concerned = may_have_events(batch, changed, running, unchanged, quiet=source.reading.quiet_new)
        known = KnownTasks(
            changed=changed,
            running=running,
            unchanged_since=unchanged,
            occurrences={id_: {e.occurrence for e in self.events if e.job_id == id_} for id_ in concerned},
        )
        decision = decide_poll(batch, known, source, RoutingConfig())
        assert {item.event.job_id for item in decision.events} <= concerned | {""}
        self.events += [item.event for item in decision.events if item.event.id not in {e.id for e in self.events}]
        for update in decision.updates_without(()):
            row = update.recorded
            over = row.task.status.terminal
            changed_at = row.changed_at or (row.task.ended_at if over else None) or self.now
            self.tasks[row.task.job_id] = replace(row, changed_at=changed_at)
            self.fingerprints[row.task.job_id] = update.fingerprint
        for id_, count in decision.missing.items():
            self.tasks[id_] = replace(self.tasks[id_], missing=count, unlisted=id_ in decision.unlisted)


def types(polls: Iterable[Iterable[Event]]) -> list[list[EventType]]:
    return [[event.type for event in events] for events in polls]


# ---- what is news ----


def test_a_first_poll_can_notify_instead() -> None:
    assert PolledList(FAILED).notified == []
    assert PolledList(FAILED, rules=replace(RULES, quiet_baseline=False)).notified == [(EventType.TASK_FAILED, "a")]


def test_events_carry_the_environment_and_the_labels_of_their_source() -> None:
    rules = replace(RULES, environment="production", labels=(("team", "payments"),))
    listed = PolledList(RUNNING, rules=rules)
    found = listed.poll(FAILED)
    listed.now += timedelta(days=60)
    found += listed.poll(FAILED)
    assert [event.type for event in found] == [EventType.TASK_FAILED, EventType.SOURCE_GAP]
    assert {(event.environment, event.labels) for event in found} == {("production", (("team", "payments"),))}


def test_every_step_of_a_task_is_notified() -> None:
    polled = PolledList()
    life = [
        replace(RUNNING, progress=10.0),
        replace(RUNNING, progress=60.0),
        FAILED,
        replace(RUNNING, progress=None),
        replace(FAILED, ended_at=T0 + timedelta(hours=1)),
    ]
    assert types(polled.poll_each(*life)) == [
        [EventType.TASK_STARTED],
        [EventType.TASK_PROGRESSED],
        [EventType.TASK_FAILED],
        [EventType.TASK_RESTARTED],
        [EventType.TASK_FAILED],
    ]


@pytest.mark.parametrize("every", [timedelta(seconds=1), RULES.poll_every, timedelta(minutes=5)])
def test_an_empty_list_is_no_proof_before_it_has_lasted(every: timedelta) -> None:
    """A service that has lost its way answers every poll with an empty list."""
    both = (RUNNING, replace(RUNNING, job_id="b"))
    polled = PolledList(*both)
    for _ in range(2):
        began = polled.now
        while polled.now + every - began < EMPTY_BEFORE_UNLISTED:
            polled.after(every)
        polled.after(every, *both)
    assert polled.notified == []
    polled.after(every, OTHER)
    assert polled.notified == [(EventType.TASK_COMPLETED, "other")]


def test_tasks_of_a_persistently_empty_list_are_unlisted_once() -> None:
    polled = PolledList(RUNNING)
    for _ in range(60):
        polled.after(RULES.poll_every)
    assert polled.notified == [(EventType.TASK_UNLISTED, "a")]


def test_one_snapshot_twice_is_not_two_without_a_task() -> None:
    polled = PolledList(RUNNING, OTHER)
    for _ in range(4):
        polled.poll(OTHER)
    assert polled.notified == []


def test_a_cut_list_makes_no_event_and_loses_nothing() -> None:
    running = make_task("b", status="running")
    polled = PolledList(RUNNING, running)
    for _ in range(3):
        polled.after(RULES.poll_every, complete=False)
    polled.after(RULES.poll_every, FAILED, running)
    assert polled.notified == [(EventType.TASK_FAILED, "a")]


def test_a_task_with_constant_progress_is_notified_once_as_stuck() -> None:
    half, without = replace(RUNNING, progress=50.0), replace(RUNNING, job_id="without", progress=None)
    polled = PolledList(half, without, rules=replace(RULES, stalled_after=timedelta(hours=1), progress_step=0))
    for _ in range(5):
        polled.after(timedelta(minutes=20), half, without)
    (stuck,) = polled.events
    assert stuck.since is not None
    assert (stuck.type, stuck.job_id, stuck.observed_at - stuck.since) == (
        EventType.TASK_STALLED,
        "a",
        timedelta(hours=1),
    )
    for _ in range(5):
        polled.after(timedelta(minutes=20), replace(half, progress=60.0), without)
    assert [event.task.progress for event in polled.events if event.task] == [50.0, 60.0]


# ---- the last word on a task ----


@pytest.mark.parametrize(
    "end", [DONE, FAILED, CANCELED, replace(DONE, ended_at=None)], ids=lambda task: task.raw_status
)
@pytest.mark.parametrize("times", [1, 3])
def test_an_end_shown_again_after_a_stale_row_is_the_last_word(end: Task, times: int) -> None:
    polled = PolledList()
    found = polled.poll_each(RUNNING, *[end, RUNNING] * times, end)
    ids = [event.id for event in polled.events]
    assert len(ids) == len(set(ids)) == len(found)
    assert types(found)[1::2] == [types(found)[1]] * (times + 1)


@pytest.mark.parametrize(
    "open_", [RUNNING, make_task("a", status="unknown", raw_status="Pending")], ids=["run", "wait"]
)
def test_a_task_that_returns_and_vanishes_is_notified_again(open_: Task) -> None:
    polled = PolledList()
    polled.poll_each(open_, OTHER, OTHER, OTHER, open_, OTHER, OTHER, OTHER)
    assert [type_ for type_, job_id in polled.notified if job_id == "a"][1:] == [EventType.TASK_UNLISTED] * 2


def test_a_canceled_task_that_ages_out_of_the_list_is_no_news() -> None:
    polled = PolledList()
    polled.poll_each(replace(CANCELED, ended_at=None))
    polled.now += timedelta(days=29, hours=12)
    polled.poll_each(OTHER, OTHER, OTHER)
    assert [type_ for type_, job_id in polled.notified if job_id == "a"] == [EventType.TASK_CHANGED]


# ---- rows that tell less, or otherwise, than before ----

FRACTION = timedelta(milliseconds=783)


def test_an_end_with_another_precision_is_the_same_end() -> None:
    end = T0.replace(microsecond=0)
    precise = [end, end + FRACTION, end, end + FRACTION + timedelta(microseconds=7), end + timedelta(seconds=1), end]
    polled = PolledList()
    polled.poll_each(*(replace(FAILED, ended_at=at) for at in precise))
    assert polled.notified == [(EventType.TASK_FAILED, "a")]


@pytest.mark.parametrize(
    ("skew", "later", "again"),
    [
        (timedelta(), timedelta(seconds=3), True),
        (timedelta(), timedelta(seconds=1), False),
        (timedelta(hours=1), timedelta(minutes=-59), True),
        (timedelta(hours=-1), timedelta(minutes=59), False),
        (None, timedelta(minutes=11), True),
        (None, timedelta(minutes=9), False),
    ],
)
def test_an_end_later_than_the_first_sight_of_one_is_another(
    skew: timedelta | None,
    later: timedelta,
    again: bool,  # noqa: FBT001 - a column of a table
) -> None:
    """A failure is shown without its time; a time that is shown later may be that of the next failure."""
    polled, without = PolledList(), replace(FAILED, ended_at=None)
    polled.poll_each(without, skew=skew)
    seen = polled.now
    polled.poll_each(replace(without, fail_reason="reworded"), skew=skew)
    (found,) = polled.poll_each(replace(FAILED, ended_at=seen + later), skew=skew)
    assert [event.type for event in found] == [EventType.TASK_FAILED] * again


@pytest.mark.parametrize("apart", [timedelta(milliseconds=1), timedelta(milliseconds=900), timedelta(seconds=1)])
def test_two_ends_within_a_second_are_two(apart: timedelta) -> None:
    end = T0.replace(microsecond=0) + FRACTION
    found = PolledList().poll_each(*(replace(FAILED, ended_at=at) for at in (end, end + apart)))
    assert [len(events) for events in found] == [1, 1]


@pytest.mark.parametrize("state", [RUNNING, DONE, FAILED, CANCELED], ids=lambda task: task.raw_status)
def test_a_new_row_without_a_status_is_news_once_it_has_one(state: Task) -> None:
    found = PolledList().poll_each(BLANK, BLANK, state, BLANK, state)
    assert [len(events) for events in found] == [0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("state", "news"),
    [
        (RUNNING, 0),
        (FAILED, 0),
        (CANCELED, 0),
        (replace(FAILED, ended_at=T0 + timedelta(seconds=1)), 1),
        (replace(FAILED, ended_at=None), 1),
    ],
)
def test_a_row_without_a_status_in_a_baseline_makes_no_flood(state: Task, news: int) -> None:
    polled = PolledList(BLANK)
    found = polled.poll_each(state, BLANK, DONE if state is RUNNING else state)
    assert sum(len(events) for events in found) == news + (state is RUNNING)


def test_a_row_without_an_id_may_be_the_missing_task() -> None:
    polled = PolledList()
    polled.poll_each(RUNNING)
    polled.poll_each(OTHER, OTHER, OTHER, unreadable=1)
    assert EventType.TASK_UNLISTED not in [type_ for type_, _ in polled.notified]


def test_only_differing_scans_of_a_poll_are_kept() -> None:
    first, second = snapshot_of([RUNNING, OTHER], T0), snapshot_of([DONE, OTHER], T0)
    (shown,) = second.after(first).earlier
    assert (list(shown.fingerprints), shown.parse("a"), shown.complete) == (["a"], RUNNING, False)
    assert second.after(second).earlier == ()
    assert second.after(first.after(second)).earlier[-1].fingerprints.keys() == {"a"}


# ---- when to poll again ----


@pytest.mark.parametrize(
    ("error", "failures", "wait"),
    [
        (SourceUnreachable(), 1, timedelta(seconds=24)),
        (SourceUnreachable(), 9, timedelta(minutes=2)),
        (SourceThrottled(retry_after=timedelta(minutes=10)), 1, timedelta(minutes=10)),
        (CredentialsRejected(), 1, timedelta(minutes=1)),
        (CredentialsRejected(), 3, timedelta(minutes=4)),
        (CredentialsRejected(), 99, timedelta(minutes=5)),
    ],
)
def test_faults_that_a_person_must_fix_are_retried_slowly(error: SourceError, failures: int, wait: timedelta) -> None:
    assert pause_after(error, failures, RULES) == wait


@pytest.mark.parametrize(
    ("calls", "since_full", "scope"),
    [
        (1, timedelta(seconds=30), Scope.FULL),
        (10, timedelta(seconds=30), Scope.FULL),
        (11, timedelta(seconds=30), Scope.ACTIVE),
        (100, timedelta(minutes=6), Scope.ACTIVE),
        (100, timedelta(minutes=6, seconds=15), Scope.FULL),
    ],
)
def test_a_long_list_is_swept_as_often_as_the_budget_allows(calls: int, since_full: timedelta, scope: Scope) -> None:
    state = SourceState(name="prod", baseline_at=T0, last_full_at=T0 - since_full, last_full_calls=calls)
    assert next_scope(state, T0, RULES) is scope


@pytest.mark.parametrize("poll_every", [15, 30, 60, 300])
@pytest.mark.parametrize("calls", [1, 5, 20, 100, 1000])
def test_steady_state_stays_within_twenty_calls_a_minute(poll_every: int, calls: int) -> None:
    rules = replace(RULES, poll_every=timedelta(seconds=poll_every))
    now, made = T0, 0
    state = SourceState(name="prod", baseline_at=now, last_full_at=now, last_full_calls=calls)
    while now < T0 + timedelta(hours=24):
        now += rules.poll_every
        full = next_scope(state, now, rules) is Scope.FULL
        made += calls if full else 2
        state = replace(state, last_full_at=now) if full else state
    assert made / (24 * 60) <= 20


# ---- what to send ----

EVENT = make_event(FAILED)
ROUTED = RoutedEvent(event=EVENT, routes=("all",), channels=("live", "mail"))
ROUTING = RoutingConfig(
    policies={"live": ChannelPolicy(name="live", coalesces=True), "mail": ChannelPolicy(name="mail")}
)
MUTE = Mute(
    id="7k2m",
    since=T0,
    instance=FAILED.instance_id or "",
    until=T0 + timedelta(days=1),
    by="cli:ops",
    name="ops",
    created_at=T0,
)


def test_an_end_supersedes_progress_on_channels_that_coalesce() -> None:
    plan = plan_deliveries([ROUTED], ROUTING, parked=(), rules=(), now=T0)
    assert plan.superseding == {"live": {EVENT.subject: EVENT.id}}
    assert (plan.shown, plan.ended) == ({EVENT: ("live", "mail")}, ["a"])


def test_a_muted_event_is_shown_by_threads_and_delivered_nowhere() -> None:
    plan = plan_deliveries([ROUTED], ROUTING, parked=(), rules=[mute_rule([MUTE], T0)], now=T0)
    assert {delivery.state for delivery in plan.deliveries} == {DeliveryState.SUPPRESSED}
    assert plan.shown == {EVENT: ()}


def test_threads_are_left_alone_where_no_channel_has_any() -> None:
    routing = RoutingConfig(policies={"mail": ChannelPolicy(name="mail")})
    plan = plan_deliveries([ROUTED], routing, parked=["mail"], rules=(), now=T0)
    assert (plan.shown, plan.superseding) == ({}, {})
    assert {delivery.channel: delivery.state for delivery in plan.deliveries} == {
        "live": DeliveryState.PENDING,
        "mail": DeliveryState.PARKED,
    }
