"""Storms: when one begins, grows and ends, what is known of it, and the deliveries that report it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from factories import HOSTILE, T0, make_event, make_task
from hypothesis import given
from hypothesis import strategies as st

from notifier.core import storms
from notifier.core.delivery import FAILURE_RANK, Delivery, DeliveryState
from notifier.core.identity import Subject
from notifier.core.model import Event
from notifier.core.mutes import Mute
from notifier.core.people import Acknowledgement
from notifier.core.polling import DeliveryPlan, PlannedEvents, plan_deliveries
from notifier.core.routing import ChannelPolicy, DeliveryRouting, Route, RoutedEvent, RoutingConfig, route_events
from notifier.core.rulings import mute_rule
from notifier.core.storm_plan import StormContext, UnsentPart, split_listed
from notifier.core.storms import MAX_GROUPS, MAX_INSTANCES, MAX_STORM_INSTANCE, MAX_STORM_REASON, Storm
from notifier.ports import RenderRequest
from notifier.wording.sanitize import ID_LIMIT, NAME_LIMIT

MINUTE = timedelta(minutes=1)
AWAY = timedelta(minutes=5)


def failures(count: int, at: datetime = T0, *, first: int = 0, **changes: object) -> tuple[Event, ...]:
    """Return failures of different tasks on ten instances, found at one time."""
    numbers = range(first, first + count)
    changes = {"fail_reason": "Service unavailable. Error code: OBS.0503."} | changes
    return tuple(
        make_event(make_task(f"job-{n:05d}", instance_name=f"prod-{n % 10}", **changes), observed_at=at)
        for n in numbers
    )


def routing(*, above: int | None = 4, threads: bool = False, size: int = 3, channel: str = "dba") -> RoutingConfig:
    policy = ChannelPolicy(name=channel, digest_above=above, digest_size=2, threads=threads, storm_size=size)
    return RoutingConfig(
        routes=(Route(name="all", channels=(channel,), mention=("@oncall",)),), policies={channel: policy}
    )


def plan(
    events: Sequence[Event],
    config: RoutingConfig,
    *lasting: Storm,
    before: PlannedEvents | None = None,
    last: bool = True,
    parked: Sequence[str] = (),
    mutes: Sequence[Mute] = (),
    now: datetime | None = None,
    unsent: Mapping[str, UnsentPart] | None = None,
) -> DeliveryPlan:
    at = now or max((event.observed_at for event in events), default=T0)
    return plan_deliveries(
        route_events(events, config.routes),
        config,
        parked=parked,
        rules=[mute_rule(mutes, at)],
        now=at,
        before=before,
        storms=StormContext(open=lasting, unsent=unsent or {}, last=last, away_after=AWAY),
    )


def sizes(planned: DeliveryPlan) -> list[int]:
    return [len(delivery.events) for delivery in planned.deliveries if delivery.digest]


def named(deliveries: Sequence[Delivery]) -> list[str]:
    return sorted(event.id for delivery in deliveries for event in delivery.events)


# ---- what is known of a storm ----


def test_a_storm_begins_with_what_is_known_of_its_failures() -> None:
    early = make_event(make_task("early", ended_at=T0 - 9 * MINUTE), environment="production")
    storm = storms.begin("dba", [*failures(7), early])
    assert (storm.total, storm.latest, storm.channel, storm.source) == (8, 8, "dba", "prod")
    assert (storm.started_at, storm.updated_at, storm.ended_at) == (T0 - 9 * MINUTE, T0, None)
    assert (storm.region, storm.environment) == ("cn-north-4", "production")
    assert storm.id == storms.begin("dba", [early]).id != storms.begin("mail", [early]).id


def test_a_failure_without_an_end_happened_when_it_was_detected() -> None:
    (event,) = failures(1)
    assert storms.begin("dba", [replace(event, occurred_at=None)]).started_at == T0


def test_a_storm_grows_by_polls_and_not_by_batches() -> None:
    storm = storms.begin("dba", failures(5))
    same_poll = storms.grow(storm, failures(3, first=5))
    assert (same_poll.total, same_poll.latest, same_poll.updated_at) == (8, 8, T0)
    next_poll = storms.grow(same_poll, failures(2, T0 + MINUTE, first=8))
    assert (next_poll.total, next_poll.latest, next_poll.updated_at) == (10, 2, T0 + MINUTE)
    assert (next_poll.id, next_poll.started_at) == (storm.id, storm.started_at)
    assert storms.grow(next_poll, ()) == next_poll


def test_who_took_charge_of_fewer_failures_has_not_of_more() -> None:
    alice = Acknowledgement(event_id="e", by="U0", name="alice", at=T0)
    storm = replace(storms.begin("dba", failures(5)), acknowledged=alice)
    assert storms.end(storm, T0 + MINUTE) == replace(storm, ended_at=T0 + MINUTE)
    assert storms.grow(storm, failures(1, T0 + MINUTE, first=5)).acknowledged is None


def test_failures_are_grouped_by_code_and_operation() -> None:
    many = failures(3, fail_reason="Backup 1 failed. Error code: OBS.0503. The bucket is full.")
    other_words = failures(1, first=3, fail_reason="OBS.0503: try again later")
    elsewhere = failures(2, first=4, fail_reason="OBS.0503", name="CreateManualBackup")
    storm = storms.begin("dba", [*elsewhere, *other_words, *many])
    assert [(group.code, group.operation, group.count) for group in storm.groups] == [
        ("OBS.0503", "CreateGaussDBV5Instance", 4),
        ("OBS.0503", "CreateManualBackup", 2),
    ]
    assert storm.groups[0].reason == "OBS.0503: try again later"


def test_reasons_without_a_code_are_grouped_by_what_they_share() -> None:
    reasons = [
        "Node 3 of fe2bd7a6d5e34ec8a2d0f0ae3b4d3bcain14 did not start within 600 s",
        "node 12 of  0611f1bd8b00d5d32f17c017f15b599fin14 did not start within 30 s",
        "Volume def160ec-c3ad-4647-8520-de0a8f84474c is gone",
        "Volume 31b8ae23-c687-4d80-b7b4-42a66c9bb886 is gone",
    ]
    events = [failures(1, first=n, fail_reason=reason)[0] for n, reason in enumerate(reasons)]
    nameless = failures(1, first=9, fail_reason=None)
    storm = storms.begin("dba", [*events, *nameless])
    assert [(group.code, group.count, group.reason) for group in storm.groups] == [
        ("", 2, reasons[0]),
        ("", 2, reasons[2]),
        ("", 1, ""),
    ]


def test_a_code_behind_a_long_text_is_found_and_the_stored_reason_is_cut() -> None:
    storm = storms.begin("dba", failures(1, fail_reason="x " * 500 + "Error code: OBS.0503."))
    assert [(group.code, len(group.reason)) for group in storm.groups] == [("OBS.0503", MAX_STORM_REASON)]


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_makes_a_group_that_is_found_again(text: str) -> None:
    storm = storms.begin("dba", failures(1, fail_reason=text, name=text))
    again = storms.grow(storm, failures(1, T0 + MINUTE, first=1, fail_reason=text, name=text))
    assert [group.count for group in again.groups] == [2]


def test_what_is_stored_of_a_storm_is_bounded() -> None:
    count = MAX_INSTANCES + 500
    events = [
        make_event(make_task(f"job-{n}", name=f"Operation {n}", instance_name=f"{n:05d}" + "x" * 200))
        for n in range(count)
    ]
    storm = storms.grow(storms.begin("dba", events), events)
    assert (len(storm.groups), len(storm.instances), storm.total) == (MAX_GROUPS, MAX_INSTANCES, 2 * count)
    assert {len(name) for name, _ in storm.instances} == {MAX_STORM_INSTANCE}
    assert {n for _, n in storm.instances} == {2}
    assert {group.count for group in storm.groups} == {2}


def test_instances_are_counted_the_most_frequent_first() -> None:
    unnamed = make_event(make_task("x", instance_name=None, instance_id=None))
    by_id = make_event(make_task("y", instance_name=None, instance_id="in14"))
    storm = storms.begin("dba", [by_id, *failures(21), unnamed])
    assert storm.instances[:2] == (("prod-0", 3), ("prod-1", 2))
    assert ("in14", 1) in storm.instances
    assert sum(n for _, n in storm.instances) == storm.total - 1


# ---- when it begins and ends ----


def test_as_many_failures_as_allowed_are_messages_of_their_own() -> None:
    planned = plan(failures(4), routing(above=4))
    assert (planned.storms, [len(delivery.events) for delivery in planned.deliveries]) == ((), [1] * 4)


def test_more_failures_are_a_storm_and_other_events_are_planned_as_ever() -> None:
    done = [make_event(make_task(f"done-{n}", status="completed")) for n in range(5)]
    planned = plan([*done, *failures(5)], routing(above=4))
    (storm,) = planned.storms
    about = [delivery for delivery in planned.deliveries if delivery.subject == str(Subject(storm=storm.id))]
    assert (storm.total, [len(delivery.events) for delivery in about]) == (5, [3, 2])
    others = [delivery for delivery in planned.deliveries if delivery not in about]
    assert [(len(delivery.events), delivery.rank) for delivery in others] == [(2, 1), (2, 1), (1, 1)]
    assert planned.planned == PlannedEvents(apart={"dba": 5}, failures={"dba": 5})


def test_a_channel_without_digests_gets_no_storm() -> None:
    assert plan(failures(9), routing(above=None, channel="hook")).storms == ()


def test_half_as_many_failures_let_a_storm_go_on() -> None:
    (storm,) = plan(failures(5), routing(above=4)).storms
    planned = plan(failures(3, T0 + MINUTE, first=5), routing(above=4), storm)
    (grown,) = planned.storms
    assert (grown.id, grown.total, grown.latest, grown.opened_by) == (storm.id, 8, 3, storm.opened_by)
    assert [delivery.subject for delivery in planned.deliveries] == [str(Subject(storm=storm.id))]


@pytest.mark.parametrize("count", [0, 2])
def test_a_storm_ends_with_the_first_poll_that_brings_few_failures(count: int) -> None:
    (storm,) = plan(failures(5), routing(above=4)).storms
    now = T0 + MINUTE
    planned = plan(failures(count, now, first=5), routing(above=4), storm, now=now)
    assert planned.storms == (replace(storm, ended_at=now),)
    assert [(len(delivery.events), delivery.digest) for delivery in planned.deliveries] == [(1, False)] * count


@pytest.mark.parametrize("count", [0, 3, 5])
def test_an_absence_ends_a_storm_whatever_comes_after_it(count: int) -> None:
    (storm,) = plan(failures(5), routing(above=4)).storms
    now = T0 + AWAY + MINUTE
    planned = plan(failures(count, now, first=5), routing(above=4), storm, now=now)
    ended, *others = planned.storms
    assert ended == replace(storm, ended_at=now)
    assert [other.total for other in others] == ([5] if count == 5 else [])


def test_a_storm_ends_when_its_channel_is_gone_or_has_no_digests_any_more() -> None:
    (storm,) = plan(failures(5), routing(above=4)).storms
    for config in (routing(channel="other"), routing(above=None)):
        planned = plan(failures(3, T0 + MINUTE, first=5), config, storm)
        assert replace(storm, ended_at=T0 + MINUTE) in planned.storms


def test_batches_of_one_poll_count_together() -> None:
    first = plan(failures(3), routing(above=4), last=False)
    assert (first.storms, sizes(first), len(first.deliveries)) == ((), [], 3)
    second = plan(failures(2, first=3), routing(above=4), before=first.planned, last=False)
    (storm,) = second.storms
    assert (storm.total, sizes(second)) == (2, [2])
    third = plan(failures(1, first=5), routing(above=4), storm, before=first.planned + second.planned)
    (grown,) = third.storms
    assert (grown.total, grown.latest, grown.ended_at, sizes(third)) == (3, 3, None, [1])


def test_only_the_last_batch_ends_a_storm() -> None:
    (storm,) = plan(failures(5), routing(above=4)).storms
    now = T0 + MINUTE
    first = plan(failures(2, now, first=5), routing(above=4), storm, last=False)
    assert (first.storms, sizes(first), len(first.deliveries)) == ((), [], 2)
    goes_on = plan(failures(1, now, first=7), routing(above=4), storm, before=first.planned)
    assert [(one.total, one.ended_at) for one in goes_on.storms] == [(6, None)]
    stays = plan((), routing(above=4), *goes_on.storms, before=first.planned + goes_on.planned, now=now)
    assert stays.storms == ()
    ends = plan((), routing(above=4), storm, before=first.planned, now=now)
    assert ends.storms == (replace(storm, ended_at=now),)


def test_muted_failures_are_no_part_of_a_storm() -> None:
    mute = Mute(id="7k2m", since=T0, instance="prod-0", until=T0 + MINUTE, by="U0", name="bob", created_at=T0)
    planned = plan(failures(11), routing(above=9), mutes=[mute])
    assert planned.storms == ()
    assert Counter(delivery.state for delivery in planned.deliveries) == {
        DeliveryState.PENDING: 9,
        DeliveryState.SUPPRESSED: 2,
    }
    assert planned.planned.failures == {"dba": 9}


# ---- its deliveries ----


def test_with_threads_the_first_message_has_one_event_and_the_thread_lists_the_others() -> None:
    early = make_event(make_task("early", ended_at=T0 - 9 * MINUTE, instance_name="zz"))
    planned = plan([*failures(9), early], routing(threads=True, size=4))
    (storm,) = planned.storms
    first, *others = planned.deliveries
    assert (first.events, first.digest, storm.opened_by) == ((early,), True, first.id)
    assert [len(delivery.events) for delivery in others] == [4, 4, 1]
    listed = [event for delivery in others for event in delivery.events]
    assert listed == sorted(listed, key=lambda event: (storms.instance_of(event), event.job_id))


def test_without_threads_each_message_lists_as_many_as_fit() -> None:
    planned = plan(failures(10), routing(size=4))
    (storm,) = planned.storms
    assert sizes(planned) == [4, 4, 2]
    assert storm.opened_by == planned.deliveries[0].id


def unsent(delivery: Delivery, **changes: Any) -> dict[str, UnsentPart]:
    part = UnsentPart(delivery_id=delivery.id, events=delivery.events, routing=delivery.routing)
    storm_id = Subject.parse(delivery.subject).storm
    assert storm_id is not None
    return {storm_id: replace(part, **changes)}


@pytest.mark.parametrize(("more", "taken", "others"), [(3, 3, []), (4, 4, []), (15, 4, [10, 1])])
def test_a_message_that_nobody_has_begun_to_send_takes_more_failures(
    more: int, taken: int, others: Sequence[int]
) -> None:
    config = routing(size=10)
    first = plan(failures(6), config)
    (storm,), (part,) = first.storms, first.deliveries
    second = plan(failures(more, T0 + MINUTE, first=6), config, storm, unsent=unsent(part))
    ((extended, extra),) = second.extending.items()
    assert (extended, len(extra.events), sizes(second)) == (part.id, taken, others)
    assert named([part, extra, *second.deliveries]) == sorted(event.id for event in failures(6 + more))
    (grown,) = second.storms
    assert (grown.opened_by, grown.total) == (part.id, 6 + more)


@pytest.mark.parametrize(
    "changes",
    [
        {"events": failures(10, first=50)},
        {"events": failures(11, first=50)},
        {"routing": DeliveryRouting(routes=("other",))},
    ],
)
def test_a_message_that_is_full_or_routed_otherwise_takes_none(changes: Mapping[str, Any]) -> None:
    config = routing(size=10)
    first = plan(failures(6), config)
    (storm,), (part,) = first.storms, first.deliveries
    second = plan(failures(3, T0 + MINUTE, first=6), config, storm, unsent=unsent(part, **changes))
    assert (second.extending, sizes(second)) == ({}, [3])


def test_the_message_that_opens_a_storm_with_a_thread_takes_none() -> None:
    config = routing(threads=True, size=10)
    (storm,), (opening, listed) = (first := plan(failures(6), config)).storms, first.deliveries
    more = failures(3, T0 + MINUTE, first=6)
    assert plan(more, config, storm, unsent=unsent(opening)).extending == {}
    ((extended, extra),) = plan(more, config, storm, unsent=unsent(listed)).extending.items()
    assert (extended, len(extra.events)) == (listed.id, 3)


def test_messages_of_a_storm_are_urgent_and_go_out_in_order() -> None:
    planned = plan(failures(10), routing(size=4), parked=["dba"])
    assert {delivery.rank for delivery in planned.deliveries} == {FAILURE_RANK}
    assert {delivery.state for delivery in planned.deliveries} == {DeliveryState.PARKED}
    assert len({delivery.subject for delivery in planned.deliveries}) == 1


def test_only_the_first_message_of_a_storm_mentions_people() -> None:
    planned = plan(failures(10), routing(size=4))
    (storm,) = planned.storms
    mentions = [RenderRequest.of(replace(one, storm=storm)).mention for one in planned.deliveries]
    assert mentions == [("@oncall",), (), ()]


def test_planning_a_poll_again_gives_the_same_storm() -> None:
    one, two = (plan(failures(10), routing(threads=True)) for _ in range(2))
    assert one == two


POLLS = st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=3), min_size=1, max_size=6)


@given(polls=POLLS, above=st.integers(1, 8), threads=st.booleans(), size=st.integers(1, 5))
def test_each_failure_is_in_exactly_one_delivery_of_any_polls(
    *, polls: Sequence[Sequence[int]], above: int, threads: bool, size: int
) -> None:
    config = routing(above=above, threads=threads, size=size)
    known: dict[str, Storm] = {}
    deliveries: list[Delivery] = []
    born = 0
    for number, batches in enumerate(polls):
        now = T0 + number * MINUTE
        before = PlannedEvents()
        for index, count in enumerate(batches):
            lasting = [storm for storm in known.values() if storm.ended_at is None]
            planned = plan(
                failures(count, now, first=born),
                config,
                *lasting,
                before=before,
                last=index == len(batches) - 1,
                now=now,
            )
            born += count
            before += planned.planned
            known |= {storm.id: storm for storm in planned.storms}
            deliveries += planned.deliveries
        _check_after_poll(known, sum(batches), above)
    assert named(deliveries) == sorted(event.id for event in failures(born))
    _check_totals(known, deliveries)


def _check_after_poll(known: Mapping[str, Storm], count: int, above: int) -> None:
    lasting = [storm for storm in known.values() if storm.ended_at is None]
    assert len(lasting) <= 1
    if lasting:
        assert count > above // 2
    else:
        assert count <= above


def _check_totals(known: Mapping[str, Storm], deliveries: Sequence[Delivery]) -> None:
    for storm in known.values():
        mine = [one for one in deliveries if one.subject == str(Subject(storm=storm.id))]
        assert sum(len(one.events) for one in mine) == storm.total
        assert sum(group.count for group in storm.groups) == storm.total
        assert mine[0].id == storm.opened_by


# ---- lists ----


@given(
    st.lists(st.tuples(st.text(max_size=200), st.text(min_size=1, max_size=200)), min_size=1, unique_by=lambda x: x[1]),
    st.integers(1, 10),
    st.integers(1, 500),
)
def test_lists_hold_everything_in_order_and_no_more_than_fits(
    rows: list[tuple[str, str]], size: int, room: int
) -> None:
    items = [
        RoutedEvent(event=make_event(make_task(job_id, instance_name=name)), routes=(), channels=("dba",))
        for name, job_id in sorted(rows)
    ]
    parts = list(split_listed(items, ChannelPolicy(name="dba", storm_size=size, storm_room=room)))
    assert [item for part in parts for item in part] == items
    assert all(0 < len(part) <= size for part in parts)
    for part in parts:
        names = {storms.instance_of(item.event) for item in part}
        ids = sum(storms.listed_length(item.event.job_id, "") for item in part)
        named = sum(storms.listed_length("", name) - storms.listed_length("", "") for name in names)
        assert len(part) == 1 or ids + named <= room


def test_ids_that_share_their_beginning_take_their_whole_length() -> None:
    ids = [f"0198f3c1-7a2b-7000-8000-{n:012}" for n in range(20)]
    items = [
        RoutedEvent(event=make_event(make_task(one, instance_name="pg")), routes=(), channels=("dba",)) for one in ids
    ]
    assert len(list(split_listed(items, ChannelPolicy(name="dba", storm_room=420)))) > 1


def test_a_list_counts_names_and_ids_as_long_as_they_are_shown() -> None:
    assert (storms.LISTED_NAME, storms.LISTED_ID) == (NAME_LIMIT, ID_LIMIT)
