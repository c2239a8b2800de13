"""Which failures are counted instead of sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from factories import T0, make_event, make_task

from notifier.core import failures, repeats
from notifier.core.causes import CauseCatalogue
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig, route_events
from notifier.core.rulings import Suppress
from notifier.wording.causes import builtin_catalogue

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
COUNTING = Route(name="all", channels=("dba", "live", "ops"), repeats=6 * HOUR)
POLICIES = {
    "dba": ChannelPolicy(name="dba"),
    "live": ChannelPolicy(name="live", threads=True),
    "ops": ChannelPolicy(name="ops", tickets=True),
}


def routing_of(*routes: Route) -> RoutingConfig:
    return RoutingConfig(routes=routes or (COUNTING,), policies=POLICIES, catalogue=builtin_catalogue())


def failed(number: int, at: datetime = T0, reason: str = "disk 12 is full", **changes: Any) -> Event:
    task = make_task(f"job-{number}", fail_reason=reason, ended_at=at)
    return make_event(task, occurred_at=at, observed_at=at, **changes)


def completed(number: int, at: datetime) -> Event:
    task = make_task(f"job-{number}", status="completed", ended_at=at)
    return make_event(task, occurred_at=at, observed_at=at)


def open_after(events: Sequence[Event], routing: RoutingConfig) -> failures.OpenFailures:
    """Return the open failures after events that each channel was notified of, one poll for each."""
    known: dict[failures.FailureKey, failures.OpenFailure] = {}
    for event in events:
        routed = route_events([event], routing.routes)
        changed = failures.after_events(routed, known, {event.id: routed[0].channels}, routing, event.observed_at)
        known |= {(one.operation, one.job_id): one for one in changed}
        known = {key: one for key, one in known.items() if not one.over}
    return known


def suppressed(before: Sequence[Event], event: Event, *routes: Route) -> dict[str, str]:
    """Return why each channel is not notified of an event after others."""
    routing = routing_of(*routes)
    (item,) = route_events([event], routing.routes)
    rule = repeats.repeat_rule(repeats.repeats_of([item], open_after(before, routing)), routing, event.observed_at)
    found = {channel: rule(item, channel) for channel in item.channels}
    return {channel: one.reason for channel, one in found.items() if isinstance(one, Suppress)}


def test_the_same_failure_is_counted_while_it_is_open() -> None:
    first = failed(1)
    again = suppressed([first, failed(2, T0 + HOUR)], failed(3, T0 + 2 * HOUR))
    reason = f"number 3 of the failures that began with event {first.id[:8]} at 2026-01-15T08:30+00:00"
    assert again == {"dba": reason, "live": reason}  # tickets get every failure


def test_the_first_failure_is_sent() -> None:
    assert suppressed([], failed(1)) == {}
    assert suppressed([failed(1), completed(2, T0 + MINUTE)], failed(3, T0 + HOUR)) == {}


@pytest.mark.parametrize(
    ("reason", "same"),
    [
        ("disk 7 is full", True),
        ("DISK 12  is full", True),
        ("the disk is broken", False),
        ("", False),
    ],
)
def test_another_reason_is_news(reason: str, *, same: bool) -> None:
    assert bool(suppressed([failed(1)], failed(2, T0 + HOUR, reason))) is same


def test_an_error_code_decides_before_the_words() -> None:
    one, other = "no quota. Error code: DBS.280005.", "the quota is used up (DBS.280005)"
    assert suppressed([failed(1, reason=one)], failed(2, T0 + HOUR, other))
    assert not suppressed([failed(1, reason=one)], failed(2, T0 + HOUR, one.replace("280005", "280006")))


def test_a_known_cause_decides_before_the_words() -> None:
    words = ("The quota of vCPUs is not enough.", "The instance quota is insufficient in this region.")
    one, other = (failed(number, reason=text) for number, text in enumerate(words))
    catalogue = builtin_catalogue()
    same = catalogue.explain(words[0]).cause == catalogue.explain(words[1]).cause
    assert repeats.is_same_failure(one, other, catalogue) is same
    assert not repeats.is_same_failure(one, other, None)
    assert isinstance(catalogue, CauseCatalogue)


def test_a_channel_is_notified_again_in_the_next_period() -> None:
    before = [failed(1), failed(2, T0 + 5 * HOUR)]
    assert suppressed(before, failed(3, T0 + 6 * HOUR - MINUTE))
    assert not suppressed(before, failed(3, T0 + 6 * HOUR))
    assert suppressed([*before, failed(3, T0 + 6 * HOUR)], failed(4, T0 + 7 * HOUR))


def test_a_channel_that_was_not_notified_is_notified() -> None:
    first = failed(1)
    elsewhere = replace(COUNTING, channels=("dba",))
    routing = routing_of(COUNTING)
    known = open_after([first], routing_of(elsewhere))
    (item,) = route_events([failed(2, T0 + HOUR)], routing.routes)
    rule = repeats.repeat_rule(repeats.repeats_of([item], known), routing, T0 + HOUR)
    assert isinstance(rule(item, "dba"), Suppress)
    assert rule(item, "live") is None


def test_a_route_that_does_not_count_sends_each_failure() -> None:
    plain = Route(name="plain", channels=("dba",))
    assert "dba" not in suppressed([failed(1)], failed(2, T0 + HOUR), COUNTING, plain)
    assert "live" in suppressed([failed(1)], failed(2, T0 + HOUR), COUNTING, plain)


@pytest.mark.parametrize(("count", "sent"), [(2, False), (9, False), (10, True), (11, False), (20, False), (100, True)])
def test_the_tenth_and_hundredth_failure_are_sent_where_messages_stay(count: int, *, sent: bool) -> None:
    before = [failed(number, T0 + number * timedelta(seconds=30)) for number in range(1, count)]
    found = suppressed(before, failed(count, T0 + count * timedelta(seconds=30)))
    assert ("dba" not in found) is sent
    assert "live" in found


def test_failures_of_one_batch_are_counted_too() -> None:
    routing = routing_of()
    items = route_events(
        [failed(1), failed(2, T0 + MINUTE), completed(3, T0 + HOUR), failed(4, T0 + 2 * HOUR)], routing.routes
    )
    found = repeats.repeats_of(items, {})
    assert {id_: one.count for id_, one in found.items()} == {items[1].event.id: 2}
    rule = repeats.repeat_rule(found, routing, T0 + MINUTE)
    assert [rule(item, "dba") is not None for item in items] == [False, True, False, False]


def test_a_stalled_task_is_no_repeat() -> None:
    stalled = make_event(make_task("job-2"), type=EventType.TASK_STALLED, occurrence="s")
    assert suppressed([failed(1)], stalled) == {}


def test_an_event_carries_how_often_its_operation_has_failed() -> None:
    routing = routing_of()
    known = open_after([failed(1), failed(2, T0 + HOUR)], routing)
    elsewhere = make_event(make_task("job-9", instance_id="another"))
    items = route_events([failed(3, T0 + 2 * HOUR), elsewhere], routing.routes)
    first, other = repeats.with_repeats(items, known)
    assert first.event.repeats is not None
    assert (first.event.repeats.since, first.event.repeats.failures, first.event.repeats.last) == (T0, 3, None)
    assert other.event.repeats is None


@pytest.mark.parametrize(
    ("count", "is_one"), [(1, False), (10, True), (100, True), (1000, True), (110, False), (200, False)]
)
def test_milestones(count: int, *, is_one: bool) -> None:
    assert repeats.is_milestone(count) is is_one
