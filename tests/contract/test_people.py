"""What people do about tasks, and the live messages that show it: one suite for both databases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from factories import T0, make_delivery, make_event, make_task
from fakes import FakeClock

from notifier import people
from notifier.core.delivery import DeliveryState, Thread, ThreadUpdate
from notifier.core.events import EventType
from notifier.core.identity import DirectChannel
from notifier.core.matchers import parse_matchers
from notifier.core.model import Event
from notifier.core.mutes import Mute
from notifier.core.people import Acknowledgement, EventSubscription, Person, TaskSubscription, Verb
from notifier.core.routing import DeliveryRouting, RoutedEvent
from notifier.core.severity import Severity
from notifier.core.subscriptions import MAX_SUBSCRIPTIONS
from notifier.ports import DeliveryFilter
from notifier.store.engine import SqlStore
from notifier.store.people import REPLAYABLE
from notifier.store.threads import PROGRESS_EVERY

LEASE = timedelta(seconds=60)
STARTED = make_event(make_task(status="running", ended_at=None), type=EventType.TASK_STARTED, occurrence="1")
HALF = make_event(
    make_task(status="running", ended_at=None, progress=50.0), type=EventType.TASK_PROGRESSED, occurrence="2"
)
FAILED = make_event(occurrence="3")
SUBJECT = FAILED.subject
ALICE = Acknowledgement(event_id=FAILED.id, by="U0ALICE", name="alice", at=T0)
WINDOW = Mute(
    id="7k2m",
    since=T0,
    instance="gauss-6568-zzh",
    until=T0 + timedelta(hours=2),
    by="U0BOB",
    name="bob",
    created_at=T0,
    due_at=T0,
)


async def record(store: SqlStore, *events: Event) -> None:
    routed = [RoutedEvent(event=event, routes=(), channels=()) for event in events]
    await store.transact(lambda tx: tx.events.record(routed))


async def tell(store: SqlStore, event: Event, ref: str | None = None, channel: str = "dba", **more: Any) -> None:
    """Record an event, and that a channel was told of it."""
    await record(store, event)
    told = [ThreadUpdate(subject=event.subject, event_id=event.id, thread=ref)]
    await store.transact(lambda tx: tx.threads.update(channel, told, more.get("at", T0)))


async def claim(store: SqlStore, at: timedelta = timedelta(), limit: int = 10) -> Sequence[Thread]:
    return await store.transact(lambda tx: tx.threads.claim_edits("dba", T0 + at, LEASE, limit))


# ---- subscriptions to events ----


def subscription(id_: str, channel: str = "dm:U0ALICE", matchers: str = "failed") -> EventSubscription:
    return EventSubscription(id=id_, channel=channel, matchers=matchers, by="U0ALICE", name="alice", created_at=T0)


async def test_subscriptions_are_recorded_once_and_ended_by_their_ids(store: SqlStore) -> None:
    hostile = subscription("b", matchers="instance=%_' OR 1=1 -- *")
    for one in (subscription("a"), hostile, subscription("c", "dm:C0OTHER")):
        assert await store.transact(lambda tx, one=one: tx.people.subscribe_to_events(one))  # type: ignore[misc]
        assert not await store.transact(lambda tx, one=one: tx.people.subscribe_to_events(one))  # type: ignore[misc]
    every = await store.transact(lambda tx: tx.people.event_subscriptions())
    assert list(every) == [subscription("a"), hostile, subscription("c", "dm:C0OTHER")]
    assert await store.read(lambda q: q.event_subscriptions()) == every
    assert await store.transact(lambda tx: tx.people.end_subscriptions(["b", "c", "unknown"])) == every[1:]
    assert await store.transact(lambda tx: tx.people.end_subscriptions([])) == []
    assert await store.transact(lambda tx: tx.people.event_subscriptions()) == every[:1]


async def test_nobody_has_more_subscriptions_than_the_limit(store: SqlStore) -> None:
    receiver, alice = DirectChannel("U0ALICE"), Person(id="U0ALICE", name="alice")
    for number in range(MAX_SUBSCRIPTIONS):
        made = await store.transact(lambda tx, n=number: people.subscribe_to_events(tx, receiver, f"a-{n}", alice))  # type: ignore[misc]
        assert made is not None
        assert made.new
    again = await store.transact(lambda tx: people.subscribe_to_events(tx, receiver, "a-1", alice))
    assert again is not None
    assert not again.new
    assert await store.transact(lambda tx: people.subscribe_to_events(tx, receiver, "one-more", alice)) is None
    assert await store.transact(lambda tx: people.subscribe_to_events(tx, DirectChannel("U0BOB"), "a-1", alice))
    ended = await store.transact(lambda tx: people.unsubscribe_all(tx, receiver, alice))
    assert len(ended) == MAX_SUBSCRIPTIONS
    actions = await store.read(lambda q: q.actions(100))
    verbs = [one.verb for one in actions]
    assert (verbs.count(Verb.SUBSCRIBE), verbs.count(Verb.UNSUBSCRIBE)) == (MAX_SUBSCRIPTIONS + 1, MAX_SUBSCRIPTIONS)
    assert (actions[0].target[:2], actions[0].detail) == ("a-", "dm:U0ALICE")


# ---- threads ----


async def test_a_thread_that_has_just_begun_shows_its_event_already(store: SqlStore) -> None:
    await tell(store, FAILED, "C:1")
    assert await store.read(lambda q: q.thread_refs("dba", [SUBJECT, "prod/other"])) == {SUBJECT: "C:1"}
    assert await store.read(lambda q: q.thread_refs("other", [SUBJECT])) == {}
    assert await claim(store) == []


async def test_a_later_event_is_to_be_shown_and_is_claimed_once(store: SqlStore) -> None:
    await tell(store, STARTED, "C:1")
    await tell(store, FAILED)
    (thread,) = await claim(store)
    assert (thread.ref, thread.event, thread.acknowledged, thread.mute) == ("C:1", FAILED, None, None)
    assert await claim(store, timedelta(seconds=59)) == []
    (again,) = await claim(store, LEASE)
    await store.transact(lambda tx: tx.threads.mark_rendered(again, T0 + LEASE))
    assert await claim(store, timedelta(days=1)) == []


async def test_an_event_without_a_thread_message_begins_no_thread(store: SqlStore) -> None:
    await tell(store, FAILED)
    assert await store.read(lambda q: q.thread_refs("dba", [SUBJECT])) == {}


async def test_a_thread_shows_no_older_event_than_before(store: SqlStore) -> None:
    await record(store, STARTED)
    await tell(store, FAILED, "C:1")
    await tell(store, STARTED)
    assert await claim(store) == []


async def test_what_comes_while_a_message_changes_changes_it_again(store: SqlStore) -> None:
    await tell(store, STARTED, "C:1")
    await tell(store, HALF, at=T0 + PROGRESS_EVERY)
    (thread,) = await claim(store, PROGRESS_EVERY)
    await tell(store, FAILED, at=T0 + PROGRESS_EVERY)
    await store.transact(lambda tx: tx.threads.mark_rendered(thread, T0 + PROGRESS_EVERY))
    (again,) = await claim(store, PROGRESS_EVERY)
    assert again.event == FAILED


async def test_an_older_edit_that_arrives_late_is_corrected(store: SqlStore) -> None:
    await tell(store, STARTED, "C:1")
    await tell(store, FAILED)
    (slow,) = await claim(store)
    await store.transact(lambda tx: tx.people.acknowledge(ALICE))
    (quick,) = await claim(store, LEASE)
    await store.transact(lambda tx: tx.threads.mark_rendered(quick, T0 + LEASE))
    await store.transact(lambda tx: tx.threads.mark_rendered(slow, T0 + LEASE))
    (thread,) = await claim(store, LEASE)
    assert thread.acknowledged == ALICE


async def test_what_is_taken_back_is_shown_and_can_be_acknowledged_again(store: SqlStore) -> None:
    await tell(store, FAILED, "C:1")
    assert await store.transact(lambda tx: tx.people.unacknowledge(FAILED.id, T0)) is None
    assert await claim(store) == []
    await store.transact(lambda tx: tx.people.acknowledge(ALICE))
    assert await store.transact(lambda tx: tx.people.unacknowledge(FAILED.id, T0)) == ALICE
    (thread,) = await claim(store)
    assert thread.acknowledged is None
    bob = replace(ALICE, by="U0BOB", name="bob")
    assert await store.transact(lambda tx: tx.people.acknowledge(bob)) == bob


async def test_copies_are_kept_for_the_latest_and_change_with_all_but_progress(store: SqlStore) -> None:
    await tell(store, STARTED, "C:1")
    for ref in ("C:2", "C:3", "C:4", "C:3", "C:5"):
        copied = [ThreadUpdate(subject=SUBJECT, event_id=STARTED.id, copy=ref)]
        await store.transact(lambda tx, copied=copied: tx.threads.update("dba", copied, T0))  # type: ignore[misc]  # a default
    (thread,) = await claim(store)
    assert (thread.copies, thread.edits) == (("C:4", "C:3", "C:5"), 4)
    await store.transact(lambda tx: tx.threads.mark_rendered(thread, T0))
    await tell(store, HALF, at=T0 + PROGRESS_EVERY)
    (progressed,) = await claim(store, PROGRESS_EVERY)
    assert (progressed.event, progressed.copies) == (HALF, ())
    await store.transact(lambda tx: tx.threads.drop_copies(thread, ["C:3"]))
    await tell(store, FAILED, at=T0 + PROGRESS_EVERY)
    await store.transact(lambda tx: tx.threads.mark_rendered(progressed, T0 + PROGRESS_EVERY))
    (failed,) = await claim(store, PROGRESS_EVERY)
    assert (failed.event, failed.copies) == (FAILED, ("C:4", "C:5"))


@pytest.mark.parametrize("event", [HALF, FAILED], ids=["progress", "failure"])
async def test_copies_change_where_a_new_message_begins_the_thread_again(store: SqlStore, event: Event) -> None:
    await tell(store, STARTED, "C:1")
    copied = [ThreadUpdate(subject=SUBJECT, event_id=STARTED.id, copy="C:2")]
    await store.transact(lambda tx: tx.threads.update("dba", copied, T0))
    await tell(store, event, "C:3")  # the first message was gone
    (thread,) = await claim(store)
    assert (thread.ref, thread.event, thread.copies) == ("C:3", event, ("C:2",))
    await store.transact(lambda tx: tx.threads.mark_rendered(thread, T0))
    assert await claim(store, timedelta(days=1)) == []


async def test_a_copy_is_a_live_message_while_its_event_is_shown(store: SqlStore) -> None:
    await tell(store, STARTED, "C:1")
    await record(store, FAILED)
    copied = [ThreadUpdate(subject=SUBJECT, event_id=FAILED.id, copy="C:2")]
    await store.transact(lambda tx: tx.threads.update("dba", copied, T0))
    live = [
        await store.read(lambda q, ref=ref: q.is_live_message(ref, FAILED.id, ["dba"]))  # type: ignore[misc]  # a default
        for ref in ("C:1", "C:2", "C:3", "")
    ]
    assert live == [True, True, False, False]
    assert not await store.read(lambda q: q.is_live_message("C:2", "another", ["dba"]))
    assert not await store.read(lambda q: q.is_live_message("C:2", FAILED.id, ["other"]))


async def test_a_thread_is_loud_from_trouble_to_its_good_end(store: SqlStore) -> None:
    async def loud() -> bool:
        return SUBJECT in await store.read(lambda q: q.loud_threads("dba", [SUBJECT, "prod/other"]))

    async def told(*, is_loud: bool | None, thread: str | None = None) -> None:
        one = ThreadUpdate(subject=SUBJECT, event_id=FAILED.id, thread=thread, loud=is_loud)
        await store.transact(lambda tx: tx.threads.update("dba", [one], T0))

    await record(store, FAILED)
    await told(is_loud=True)  # there is no thread: nothing to record
    assert not await loud()
    for is_loud, expected in ((True, True), (None, True), (False, False), (None, False), (True, True)):
        await told(is_loud=is_loud, thread="C:1")
        assert await loud() is expected
    assert await store.read(lambda q: q.loud_threads("other", [SUBJECT])) == set()


async def test_a_thread_has_the_routing_of_its_latest_delivery(store: SqlStore) -> None:
    quiet = DeliveryRouting(routes=("all",))
    bad = DeliveryRouting(routes=("failures",), severity=Severity.CRITICAL, mention=("@dba",))
    await record(store, STARTED, FAILED)
    began = ThreadUpdate(subject=SUBJECT, event_id=STARTED.id, thread="C:1", routing=quiet)
    failed = ThreadUpdate(subject=SUBJECT, event_id=FAILED.id, routing=bad)
    await store.transact(lambda tx: tx.threads.update("dba", [began], T0))
    await store.transact(lambda tx: tx.threads.update("dba", [failed], T0))
    (thread,) = await claim(store)
    assert thread.routing == bad
    await store.transact(lambda tx: tx.threads.mark_rendered(thread, T0))
    await store.transact(lambda tx: tx.people.acknowledge(ALICE))
    (thread,) = await claim(store)
    assert thread.routing == bad


async def test_copies_of_a_message_that_is_gone_show_what_its_successor_shows(store: SqlStore) -> None:
    await record(store, STARTED, FAILED)
    for one in (
        ThreadUpdate(subject=SUBJECT, event_id=STARTED.id, thread="C:1"),
        ThreadUpdate(subject=SUBJECT, event_id=STARTED.id, copy="C:2"),
    ):
        await store.transact(lambda tx, one=one: tx.threads.update("dba", [one], T0))  # type: ignore[misc]  # a default
    for thread in await claim(store):
        await store.transact(lambda tx, thread=thread: tx.threads.mark_rendered(thread, T0))  # type: ignore[misc]  # a default
    assert await claim(store, LEASE) == []
    successor = ThreadUpdate(subject=SUBJECT, event_id=FAILED.id, thread="C:3")
    await store.transact(lambda tx: tx.threads.update("dba", [successor], T0))
    (thread,) = await claim(store, LEASE)
    assert (thread.ref, thread.event, thread.copies) == ("C:3", FAILED, ("C:2",))


async def test_mere_progress_changes_a_message_now_and_then_only(store: SqlStore) -> None:
    await tell(store, STARTED, "C:1")
    await tell(store, HALF)
    assert await claim(store, PROGRESS_EVERY - timedelta(seconds=1)) == []
    assert len(await claim(store, PROGRESS_EVERY)) == 1


async def test_the_most_urgent_is_shown_first(store: SqlStore) -> None:
    kinds = (EventType.TASK_PROGRESSED, EventType.TASK_COMPLETED, EventType.TASK_RESTARTED, EventType.TASK_FAILED)
    for number, kind in enumerate(kinds):
        task = make_task(f"job-{number}")
        first, second = (make_event(task, type=kind, occurrence=f"{number}-{n}") for n in "ab")
        await tell(store, first, f"C:{number}")
        await tell(store, second)
    claimed = await claim(store, PROGRESS_EVERY)
    assert [thread.event.type for thread in claimed] == [
        EventType.TASK_FAILED,
        EventType.TASK_COMPLETED,
        EventType.TASK_RESTARTED,
        EventType.TASK_PROGRESSED,
    ]
    assert len(await claim(store, PROGRESS_EVERY + LEASE, limit=2)) == 2


async def test_a_reposted_message_is_the_one_from_then_on(store: SqlStore) -> None:
    await tell(store, STARTED, "C:1")
    await tell(store, FAILED)
    (thread,) = await claim(store)
    await store.transact(lambda tx: tx.threads.mark_rendered(thread, T0, "C:2"))
    assert await store.read(lambda q: q.thread_refs("dba", [SUBJECT])) == {SUBJECT: "C:2"}


async def test_what_failed_waits(store: SqlStore) -> None:
    await tell(store, STARTED, "C:1")
    await tell(store, FAILED)
    (thread,) = await claim(store)
    await store.transact(lambda tx: tx.threads.postpone_edit(thread, T0 + timedelta(seconds=15)))
    assert await claim(store, timedelta(seconds=14)) == []
    assert len(await claim(store, timedelta(seconds=15))) == 1


async def test_an_event_no_route_takes_is_shown_on_every_channel(store: SqlStore) -> None:
    await tell(store, STARTED, "C:1")
    await tell(store, STARTED, "D:1", channel="other")
    await record(store, FAILED)
    await store.transact(lambda tx: tx.threads.refresh({FAILED: ["third"]}, T0))
    (thread,) = await claim(store)
    assert thread.event == FAILED
    assert len(await store.transact(lambda tx: tx.threads.claim_edits("other", T0, LEASE, 10))) == 1


async def test_a_channel_shows_an_event_once_it_was_delivered(store: SqlStore) -> None:
    await tell(store, STARTED, "C:1")
    await record(store, FAILED)
    await store.transact(lambda tx: tx.threads.refresh({FAILED: ["dba"]}, T0))
    assert await claim(store) == []


async def test_events_during_the_first_message_are_shown_in_it_too(store: SqlStore) -> None:
    await record(store, STARTED, FAILED)
    await store.transact(lambda tx: tx.threads.refresh({FAILED: []}, T0))
    await tell(store, STARTED, "C:1")
    (thread,) = await claim(store)
    assert (thread.ref, thread.event) == ("C:1", FAILED)


# ---- acknowledgements ----


async def test_the_first_acknowledgement_counts_and_the_message_shows_it(store: SqlStore) -> None:
    await tell(store, FAILED, "C:1")
    assert await store.transact(lambda tx: tx.people.acknowledge(ALICE)) == ALICE
    bob = replace(ALICE, by="U0BOB", name="bob", at=T0 + timedelta(minutes=1))
    assert await store.transact(lambda tx: tx.people.acknowledge(bob)) == ALICE
    (thread,) = await claim(store)
    assert thread.acknowledged == ALICE


# ---- mutes ----


async def test_a_mute_is_in_force_until_it_ends_and_the_message_shows_it(store: SqlStore) -> None:
    await tell(store, FAILED, "C:1")
    await store.transact(lambda tx: tx.mutes.save(WINDOW, T0))
    assert await store.read(lambda q: q.mutes(T0)) == [WINDOW]
    (thread,) = await claim(store)
    assert thread.mute == WINDOW
    longer = replace(WINDOW, until=T0 + timedelta(days=1), by="U0ALICE", name="alice")
    await store.transact(lambda tx: tx.mutes.save(longer, T0))
    assert await store.read(lambda q: q.mutes(T0 + timedelta(hours=3))) == [longer]
    assert await store.transact(lambda tx: tx.mutes.lock(WINDOW.id)) == longer
    await store.transact(lambda tx: tx.mutes.save(replace(longer, until=T0), T0))
    assert await store.read(lambda q: q.mutes(T0)) == []


async def test_a_message_shows_a_mute_of_what_its_event_matches(store: SqlStore) -> None:
    await tell(store, FAILED, "C:1")
    wide = replace(WINDOW, instance=None, match=parse_matchers("source=prod failed"))
    await store.transact(lambda tx: tx.mutes.save(wide, T0))
    (thread,) = await claim(store)
    assert thread.mute == wide


# ---- subscriptions ----


async def test_a_wish_is_taken_once(store: SqlStore) -> None:
    subscription = TaskSubscription(source="prod", job_id="job-1", person="U0ALICE", created_at=T0)
    assert await store.transact(lambda tx: tx.people.subscribe(subscription)) is True
    assert await store.transact(lambda tx: tx.people.subscribe(subscription)) is False
    assert await store.transact(lambda tx: tx.people.subscribe(replace(subscription, person="U0BOB"))) is True
    taken = await store.transact(lambda tx: tx.people.pop_subscribers("prod", ["job-1", "job-2"]))
    assert taken == {"job-1": ["U0ALICE", "U0BOB"]}
    assert await store.transact(lambda tx: tx.people.pop_subscribers("prod", ["job-1"])) == {}


async def test_a_person_with_a_message_to_come_is_found(store: SqlStore) -> None:
    await record(store, FAILED)
    person = replace(make_delivery(FAILED), channel="dm:U0ALICE", id="d1")
    await store.transact(lambda tx: tx.deliveries.record([person]))
    assert await store.transact(lambda tx: tx.queries.direct_channels()) == ["dm:U0ALICE"]


# ---- progress that gives way ----


async def test_progress_that_has_not_been_tried_gives_way(store: SqlStore) -> None:
    await record(store, HALF, FAILED)
    half = make_delivery(HALF, attempt=0)
    failed = make_delivery(FAILED, attempt=0)
    await store.transact(lambda tx: tx.deliveries.record([half, failed]))
    given_way = await store.transact(lambda tx: tx.deliveries.supersede_progress("dba", {SUBJECT: FAILED.id}))
    assert given_way == [HALF.id]
    found = await store.read(lambda q: q.deliveries(DeliveryFilter(id=half.id)))
    assert [(one.state, one.reason) for one in found] == [(DeliveryState.SUPERSEDED, f"superseded by {FAILED.id}")]


async def test_progress_that_has_been_tried_does_not(store: SqlStore) -> None:
    await record(store, HALF)
    await store.transact(lambda tx: tx.deliveries.record([make_delivery(HALF, attempt=0)]))
    await store.transact(lambda tx: tx.deliveries.claim_due("dba", "me", T0 + LEASE, LEASE, 1))
    assert await store.transact(lambda tx: tx.deliveries.supersede_progress("dba", {SUBJECT: FAILED.id})) == []


@pytest.mark.parametrize("event", [STARTED, FAILED])
async def test_nothing_but_progress_gives_way(store: SqlStore, event: Event) -> None:
    await record(store, event)
    await store.transact(lambda tx: tx.deliveries.record([make_delivery(event, attempt=0)]))
    assert await store.transact(lambda tx: tx.deliveries.supersede_progress("dba", {SUBJECT: "later"})) == []


# ---- requests ----


async def test_a_request_is_taken_once_within_ten_minutes(store: SqlStore) -> None:
    assert await store.transact(lambda tx: tx.people.record_request("k", T0)) is True
    assert await store.transact(lambda tx: tx.people.record_request("k", T0 + REPLAYABLE)) is False
    assert (
        await store.transact(lambda tx: tx.people.record_request("k", T0 + REPLAYABLE + timedelta(seconds=1))) is True
    )


# ---- what is forgotten ----


async def test_unneeded_records_of_people_are_pruned(store: SqlStore, clock: FakeClock) -> None:
    await tell(store, FAILED, "C:1")
    await store.transact(lambda tx: tx.mutes.save(replace(WINDOW, due_at=None), T0))
    await store.transact(
        lambda tx: tx.people.subscribe(TaskSubscription(source="prod", job_id="job-1", person="U0ALICE", created_at=T0))
    )
    (thread,) = await claim(store)
    await store.transact(lambda tx: tx.threads.mark_rendered(thread, T0))
    keep = timedelta(days=90)
    assert await store.transact(lambda tx: tx.retention.prune_people(T0 + timedelta(hours=1), keep)) == 0
    assert await store.transact(lambda tx: tx.retention.prune_people(T0 + keep + timedelta(hours=3), keep)) == 3
    assert clock.now() >= T0
