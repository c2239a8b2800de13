"""When an operation flaps, and what waits then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from factories import T0, make_event, make_task
from hypothesis import given
from hypothesis import strategies as st

from notifier.core import flapping
from notifier.core.flapping import TaskResult
from notifier.core.holds import LastingHold
from notifier.core.model import Event
from notifier.core.routing import FlappingLimit, RoutedEvent
from notifier.core.rulings import Hold

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
LIMIT = FlappingLimit(changes=3, within=HOUR)


def ended(number: int, *, failed: bool, at: datetime = T0) -> Event:
    task = make_task(f"job-{number}", status="failed" if failed else "completed", ended_at=at)
    return make_event(task, occurred_at=at, observed_at=at)


def routed(*events: Event) -> Sequence[RoutedEvent]:
    return [RoutedEvent(event=event, routes=("all",), channels=("dba", "ops")) for event in events]


KEY = flapping.result_key(ended(1, failed=True))
assert KEY is not None


def results(ends: str, every: timedelta = MINUTE) -> dict[flapping.ResultKey, list[TaskResult]]:
    """Return recorded results before now: F for a failure, C for a completion."""
    assert KEY is not None
    times = [T0 - (len(ends) - number) * every for number in range(len(ends))]
    return {
        KEY: [
            TaskResult(at, f"old-{number}", failed=end == "F")
            for number, (at, end) in enumerate(zip(times, ends, strict=True))
        ]
    }


def test_the_event_that_makes_it_flap_says_so_and_later_ones_wait() -> None:
    items = routed(ended(1, failed=True), ended(2, failed=False), ended(3, failed=False), ended(4, failed=True))
    found = [item.event.flapping for item in flapping.with_flapping(items, results("FC"), LIMIT, T0)]
    assert found[0] is None  # two changes
    assert found[1] is not None
    assert (found[1].changes, found[1].began) == (3, True)
    assert found[2] is not None
    assert (found[2].changes, found[2].began) == (3, False)
    assert found[3] is not None
    assert (found[3].changes, found[3].began) == (4, False)


def test_a_task_that_starts_does_not_change_the_result() -> None:
    started = make_event(make_task("job-9", status="running"))
    (calm,) = flapping.with_flapping(routed(started), results("FCF"), LIMIT, T0)
    assert calm.event.flapping is None
    (unsteady,) = flapping.with_flapping(routed(started), results("FCFC"), LIMIT, T0)
    assert unsteady.event.flapping is not None
    assert not unsteady.event.flapping.began


def test_only_results_within_the_time_count() -> None:
    old = results("FCFC", every=25 * MINUTE)
    (item,) = flapping.with_flapping(routed(ended(1, failed=True)), old, LIMIT, T0)
    assert item.event.flapping is None


def test_what_is_recorded_of_the_batch_itself_counts_once() -> None:
    assert KEY is not None
    again = {KEY: [*results("FC")[KEY], TaskResult(T0, "job-1", failed=True)]}
    (item,) = flapping.with_flapping(routed(ended(1, failed=True)), again, LIMIT, T0)
    assert item.event.flapping is None


def test_a_task_without_an_instance_is_not_judged() -> None:
    nowhere = make_event(make_task(instance_id=None))
    assert flapping.result_key(nowhere) is None
    assert flapping.with_flapping(routed(nowhere), {}, LIMIT, T0)[0].event.flapping is None


def held_until(*, since: datetime | None, now: datetime) -> datetime:
    items = flapping.with_flapping(routed(ended(1, failed=True)), results("FCFC"), LIMIT, T0)
    name = flapping.flapping_rule_name(items[0].event)
    assert list(flapping.held_rules(items)) == [name]
    lasting = [LastingHold("dba", name, since, now)] if since else []
    rule = flapping.flapping_rule(lasting, ["ops"], now)
    ruling = rule(items[0], "dba")
    assert isinstance(ruling, Hold)
    assert ruling.rule == name
    assert ruling.reason == "the result of this operation has changed 4 times within 1h"
    assert rule(items[0], "ops") is None
    return ruling.until


def test_what_flaps_waits_until_it_is_calm_but_not_for_ever() -> None:
    assert held_until(since=None, now=T0) == T0 + HOUR
    assert held_until(since=T0 - HOUR, now=T0) == T0 + HOUR
    assert held_until(since=T0 - 330 * MINUTE, now=T0) == T0 + 30 * MINUTE
    assert held_until(since=T0 - 10 * HOUR, now=T0) == T0


def test_the_event_that_begins_it_is_sent() -> None:
    (item,) = flapping.with_flapping(routed(ended(1, failed=False)), results("FCF"), LIMIT, T0)
    assert item.event.flapping is not None
    assert item.event.flapping.began
    assert not flapping.held_rules([item])
    assert flapping.flapping_rule([], (), T0)(item, "dba") is None


@given(st.lists(st.booleans(), max_size=12))
def test_exactly_one_event_of_a_run_of_changes_says_so(failed: list[bool]) -> None:
    items = routed(*(ended(n, failed=one, at=T0 + n * timedelta(seconds=1)) for n, one in enumerate(failed)))
    found = [item.event.flapping for item in flapping.with_flapping(items, {}, LIMIT, T0 + MINUTE)]
    changes = sum(one != other for one, other in pairwise(failed))
    assert sum(one is not None and one.began for one in found) == (changes >= LIMIT.changes)
    first = next((n for n, one in enumerate(found) if one is not None), len(found))
    assert all(one is not None for one in found[first:])
