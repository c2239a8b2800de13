"""What was recorded about the instance and the operation of a task that needs care."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from factories import T0, make_event, make_task

from notifier.core.events import EventType
from notifier.core.history import (
    FAILURES_WITHIN,
    HistoryFacts,
    HistoryQuery,
    query_for,
    with_history,
)
from notifier.core.model import Event, Task, TaskHistory
from notifier.core.routing import RoutedEvent

ORDERS = make_task("a", instance_id="in-1", ended_at=T0)
USERS = make_task("b", instance_id="in-2", ended_at=T0)
NAMED = make_task("c", instance_id=None, instance_name="orders", ended_at=T0)
NAMELESS = make_task("d", instance_id=None, instance_name=None, ended_at=T0)
OPERATION = ORDERS.name


def routed(*events: Event) -> list[RoutedEvent]:
    return [RoutedEvent(event=event, routes=("all",), channels=("dba",)) for event in events]


def failed(task: Task, job_id: str | None = None) -> Event:
    task = replace(task, job_id=job_id or task.job_id)
    return replace(make_event(task), observed_at=T0, occurred_at=task.ended_at)


def query(*events: Event) -> HistoryQuery:
    found = query_for(routed(*events), T0)
    assert found
    return found


def histories(facts: HistoryFacts, *events: Event) -> list[TaskHistory | None]:
    return [item.event.history for item in with_history(routed(*events), query(*events), facts)]


def test_only_events_that_need_care_ask_for_a_history() -> None:
    quiet = [kind for kind in EventType if not kind.traits.needs_care]
    assert query_for(routed(*(make_event(ORDERS, type=kind) for kind in quiet)), T0) is None
    assert query_for((), T0) is None
    started = make_event(replace(ORDERS, job_id="e"), type=EventType.TASK_STARTED)
    stalled = make_event(USERS, type=EventType.TASK_STALLED)
    found = query(started, failed(ORDERS), stalled, failed(NAMED), failed(NAMELESS))
    assert found == HistoryQuery(
        source="prod",
        since=T0 - FAILURES_WITHIN,
        instances={("in-1", ""), ("in-2", ""), ("", "orders")},
        tried={(("in-1", ""), OPERATION), (("in-2", ""), OPERATION), (("", "orders"), OPERATION)},
        apart_from={"a", "c", "d"},
    )
    (item, other) = with_history(routed(started, stalled), query(stalled), HistoryFacts())
    assert (item.event, item.channels) == (started, ("dba",))
    assert other.event.history == TaskHistory()


def test_failures_of_one_batch_count_in_order() -> None:
    facts = HistoryFacts(failures={("in-1", ""): 2})
    old = replace(ORDERS, ended_at=T0 - timedelta(days=3))
    stalled = make_event(replace(ORDERS, job_id="s"), type=EventType.TASK_STALLED)
    events = (
        failed(ORDERS, "1"),
        failed(USERS),
        failed(old, "2"),
        failed(ORDERS, "3"),
        stalled,
        failed(NAMED),
        failed(NAMELESS),
    )
    counted = [history and history.failures for history in histories(facts, *events)]
    assert counted == [3, 1, 4, 4, 4, 1, 0]


def test_a_recovery_counts_for_the_first_failure_after_it() -> None:
    facts = HistoryFacts(recoveries={(("in-1", ""), OPERATION): 1_800.0, (("in-2", ""), OPERATION): None})
    recovered = [
        history and history.recovered_after
        for history in histories(
            facts,
            failed(ORDERS, "1"),
            failed(ORDERS, "2"),
            failed(USERS),
            failed(replace(ORDERS, name="another"), "3"),
            failed(NAMELESS),
        )
    ]
    assert recovered == [1_800.0, None, None, None, None]
