"""One suite for both databases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from factories import HOSTILE, T0, make_delivery, make_event, make_events, make_gap, make_task
from fakes import snapshot_of

from notifier.core.delivery import Attempt, Body, Delivery, DeliveryState
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.model import Event, Scope, Snapshot, TaskStatus
from notifier.core.outbox import Settlement
from notifier.core.pacing import ChannelHealth
from notifier.core.people import TaskSubscription
from notifier.core.routing import RoutedEvent
from notifier.ports import DeliveryFilter, EventFilter, PollClaim, TaskFilter
from notifier.store import rows
from notifier.store.engine import SqlStore, open_store
from notifier.store.lookups import MAX_NAMES
from notifier.store.transaction import Transaction

LEASE = timedelta(seconds=60)


def routed(*events: Event, channels: Sequence[str] = ("dba",)) -> list[RoutedEvent]:
    return [RoutedEvent(event=event, routes=("all",), channels=tuple(channels)) for event in events]


def update(job_id: str, fingerprint: bytes = b"1", **changes: object) -> TaskWrite:
    task = make_task(job_id, **changes)
    return TaskWrite(recorded=RecordedTask(task=task, occurrence=f"o-{task.status}"), fingerprint=fingerprint)


def settlement(delivery: Delivery, state: DeliveryState, at: datetime = T0, **changes: Any) -> Settlement:
    attempt = Attempt(
        delivery_id=delivery.id,
        number=delivery.attempt,
        started_at=at,
        finished_at=at,
        outcome="x",
        reason="why",
        reply=f"HTTP 50{delivery.attempt}",
    )
    return Settlement(delivery_id=delivery.id, state=state, attempt=attempt, **{"wait": None} | changes)


async def claim_poll(store: SqlStore, source: str = "prod") -> PollClaim:
    found = await store.transact(lambda tx: tx.polls.claim(source, "me", T0, LEASE, force=True))
    assert found is not None
    return found


async def record(store: SqlStore, *updates: TaskWrite, at: datetime = T0) -> Sequence[str]:
    """Record tasks as a poll does, and return what the database refused."""
    polled = await claim_poll(store)

    def write(tx: Transaction) -> Sequence[str]:
        tx.polls.fingerprints(polled)
        return tx.polls.record_tasks(polled, updates, at)

    return await store.transact(write)


async def fingerprints(store: SqlStore, source: str = "prod") -> dict[str, bytes]:
    polled = await claim_poll(store, source)
    return dict(await store.transact(lambda tx: tx.polls.fingerprints(polled)))


async def put(store: SqlStore, *deliveries: Delivery) -> None:
    """Record deliveries with the events they carry."""
    for delivery in deliveries:
        await store.transact(partial(_put_events, delivery))
    await store.transact(lambda tx: tx.deliveries.record(deliveries))


def _put_events(delivery: Delivery, tx: Transaction) -> None:
    tx.events.record(routed(*delivery.events, channels=[delivery.channel]))


async def claim(store: SqlStore, at: datetime = T0, limit: int = 10, channel: str = "dba") -> list[Delivery]:
    return list(await store.transact(lambda tx: tx.deliveries.claim_due(channel, "me", at, LEASE, limit)))


async def states(store: SqlStore) -> dict[str, DeliveryState]:
    found = await store.read(lambda q: q.deliveries(DeliveryFilter(limit=1000)))
    return {delivery.id: delivery.state for delivery in found}


# ---- polls ----


async def test_a_source_is_polled_by_one_owner_at_a_time(store: SqlStore) -> None:
    first = await store.transact(lambda tx: tx.polls.claim("prod", "a", T0, LEASE))
    second = await store.transact(lambda tx: tx.polls.claim("prod", "b", T0, LEASE))
    assert first is not None
    assert second is None


async def test_a_claim_passes_on_when_its_lease_ends_and_the_old_is_fenced(store: SqlStore) -> None:
    first = await store.transact(lambda tx: tx.polls.claim("prod", "a", T0, LEASE))
    second = await store.transact(lambda tx: tx.polls.claim("prod", "b", T0 + LEASE, LEASE))
    assert first is not None
    assert second is not None
    assert not await store.transact(lambda tx: tx.polls.claim_is_current(first))
    assert await store.transact(lambda tx: tx.polls.claim_is_current(second))


async def test_a_source_that_is_not_due_is_not_claimed_unless_forced(store: SqlStore) -> None:
    claim = await store.transact(lambda tx: tx.polls.claim("prod", "a", T0, LEASE))
    assert claim is not None
    snapshot = Snapshot(source="prod", taken_at=T0, fingerprints={}, complete=True)
    await store.transact(lambda tx: tx.polls.record(claim, snapshot, T0, T0 + timedelta(seconds=24)))
    assert await store.transact(lambda tx: tx.polls.claim("prod", "b", T0, LEASE)) is None
    assert await store.transact(lambda tx: tx.polls.claim("prod", "b", T0, LEASE, force=True)) is not None


@pytest.mark.parametrize(
    ("scope", "complete", "baseline"),
    [(Scope.FULL, True, True), (Scope.FULL, False, False), (Scope.ACTIVE, False, False)],
)
async def test_only_a_complete_full_poll_makes_the_baseline(
    store: SqlStore, *, scope: Scope, complete: bool, baseline: bool
) -> None:
    claim = await store.transact(lambda tx: tx.polls.claim("prod", "a", T0, LEASE))
    assert claim is not None
    snapshot = Snapshot(source="prod", taken_at=T0, fingerprints={}, complete=complete, scope=scope, calls=7)
    await store.transact(lambda tx: tx.polls.record(claim, snapshot, T0, T0))
    (state,) = await store.read(lambda q: q.sources())
    assert (state.baseline_at is not None) is baseline
    assert state.last_poll_at == T0


async def test_a_time_from_a_clock_that_was_set_back_delays_nothing(store: SqlStore) -> None:
    tomorrow = T0 + timedelta(days=1)
    assert await store.transact(lambda tx: tx.polls.claim("prod", "a", tomorrow, LEASE)) is not None
    claim = await store.transact(lambda tx: tx.polls.claim("prod", "b", T0, LEASE))
    assert claim is not None
    snapshot = Snapshot(source="prod", taken_at=tomorrow, fingerprints={}, complete=True)
    await store.transact(lambda tx: tx.polls.record(claim, snapshot, tomorrow, tomorrow + LEASE))
    assert await store.transact(lambda tx: tx.polls.claim("prod", "b", T0, LEASE)) is not None


async def test_a_source_with_another_project_starts_afresh(store: SqlStore) -> None:
    async def polled(project_id: str) -> PollClaim:
        found = await claim_poll(store)
        return await store.transact(lambda tx: tx.polls.bind_source(found, "cn-north-4", project_id))

    first = await polled("project")
    snapshot = Snapshot(source="prod", taken_at=T0, fingerprints={}, complete=True)
    await store.transact(lambda tx: tx.polls.record(first, snapshot, T0, T0))
    await record(store, update("a"))
    assert (await polled("project")).state.baseline_at == T0
    other = await polled("another")
    assert (other.state.baseline_at, other.state.last_poll_at) == (None, None)
    assert await fingerprints(store) == {}


async def test_a_failed_poll_is_recorded_and_a_good_one_clears_it(store: SqlStore) -> None:
    began = await store.transact(lambda tx: tx.now())
    claim = await store.transact(lambda tx: tx.polls.claim("prod", "a", T0, LEASE))
    assert claim is not None
    await store.transact(lambda tx: tx.polls.record_failure(claim, "no answer", T0 + LEASE))
    (state,) = await store.read(lambda q: q.sources())
    assert (state.last_error, state.last_poll_at, state.failures) == ("no answer", None, 1)
    assert state.failing_since is not None
    assert state.failing_since >= began
    again = await store.transact(lambda tx: tx.polls.claim("prod", "a", T0 + LEASE, LEASE))
    assert again is not None
    snapshot = Snapshot(source="prod", taken_at=T0 + LEASE, fingerprints={}, complete=True)
    await store.transact(lambda tx: tx.polls.record(again, snapshot, T0, T0))
    (state,) = await store.read(lambda q: q.sources())
    assert (state.last_error, state.failing_since, state.failures) == (None, None, 0)


async def test_a_recorded_task_comes_back_as_it_was(store: SqlStore) -> None:
    change = update("a", fingerprint=b"\x00\xff")
    await record(store, change)
    assert await fingerprints(store) == {"a": b"\x00\xff"}
    assert await store.transact(lambda tx: tx.polls.recorded_tasks("prod", ["a", "b"])) == {"a": change.recorded}
    assert await fingerprints(store, "other") == {}


async def test_what_is_remembered_of_a_poll_is_what_the_database_holds(store: SqlStore, store_url: str) -> None:
    await record(store, update("a", b"1"), update("b", b"1"))
    await record(store, update("b", b"2"))
    other = open_store(store_url)
    assert await fingerprints(store) == await fingerprints(other) == {"a": b"1", "b": b"2"}
    await record(other, update("a", b"3"))
    assert await fingerprints(store) == {"a": b"3", "b": b"2"}
    await other.aclose()


async def test_what_was_not_committed_is_not_remembered(store: SqlStore) -> None:
    await record(store, update("a", b"1"))
    polled = await claim_poll(store)

    def fail(tx: Transaction) -> None:
        tx.polls.fingerprints(polled)
        tx.polls.record_tasks(polled, [update("a", b"2"), update("b", b"2")], T0)
        raise RuntimeError("killed here")

    with pytest.raises(RuntimeError, match="killed here"):
        await store.transact(fail)
    assert await fingerprints(store) == {"a": b"1"}
    assert await store.transact(lambda tx: tx.polls.fingerprints(polled)) == {"a": b"1"}


async def test_recording_a_task_again_keeps_when_it_was_first_seen(store: SqlStore) -> None:
    later = T0 + timedelta(hours=1)
    await record(store, update("a", status="running"), at=T0)
    await record(store, update("a", status="failed", ended_at=None), at=later)
    (found,) = await store.read(lambda q: q.tasks(TaskFilter()))
    assert (found.first_seen_at, found.changed_at, found.task.status) == (T0, later, TaskStatus.FAILED)


async def test_what_ended_long_ago_is_no_news_when_it_is_first_seen(store: SqlStore) -> None:
    ended = T0 - timedelta(days=20)
    await record(store, update("a", created_at=ended, ended_at=ended))
    assert await store.read(lambda q: q.tasks(TaskFilter(since=T0 - timedelta(days=1)))) == []
    (found,) = await store.read(lambda q: q.tasks(TaskFilter(since=ended)))
    assert found.changed_at == ended


async def test_live_tasks_are_the_running_ones_with_their_absences(store: SqlStore) -> None:
    rows = [update("a", status="running"), update("b", status="running"), update("c", status="failed")]
    await record(store, *rows)
    await store.transact(lambda tx: tx.polls.record_missing("prod", {"a": 2, "b": 1}, {"a"}))
    live = await store.transact(lambda tx: tx.queries.running_tasks("prod"))
    assert {job_id: (row.missing, row.unlisted) for job_id, row in live.items()} == {"a": (2, True), "b": (1, False)}


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_is_kept_or_refused_and_blocks_no_other_row(store: SqlStore, text: str) -> None:
    rows = [update("a"), update(f"job-{text}", fail_reason=text, instance_name=text, name=text), update("z")]
    await record(store, *rows)
    kept = await fingerprints(store)
    assert {"a", "z"} <= set(kept)


@pytest.mark.parametrize("text", ["\x00", "\ud83d", "x" * 100_000])
async def test_a_row_that_a_database_cannot_hold_costs_only_itself(store: SqlStore, text: str) -> None:
    rows = [update("a"), update(text), update("z")]
    refused = await record(store, *rows)
    kept = await fingerprints(store)
    assert set(kept) | set(refused) == {"a", text, "z"}
    assert {"a", "z"} <= set(kept)


@pytest.mark.parametrize("edge", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)])
async def test_a_time_at_the_edge_of_the_calendar_comes_back(store: SqlStore, edge: datetime) -> None:
    await record(store, update("a", status="running", created_at=edge))
    live = await store.transact(lambda tx: tx.queries.running_tasks("prod"))
    assert live["a"].task.created_at == edge


async def test_an_event_is_recorded_once(store: SqlStore) -> None:
    event = make_event()
    assert (await store.transact(lambda tx: tx.events.record(routed(event)))).new == tuple(routed(event))
    assert (await store.transact(lambda tx: tx.events.record(routed(event)))).new == ()
    assert [found.event for found in await store.read(lambda q: q.events(EventFilter()))] == [event]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (EventFilter(job_id="aa"), {"aa", "aab"}),
        (EventFilter(job_id="aa", exact=True), {"aa"}),
        (EventFilter(job_id="a", exact=True), set()),
    ],
)
async def test_events_are_found_by_a_job_id_or_its_beginning(
    store: SqlStore, wanted: EventFilter, found: set[str]
) -> None:
    events = [make_event(make_task(job_id=job_id)) for job_id in ("aa", "aab", "b")]
    await store.transact(lambda tx: tx.events.record(routed(*events)))
    assert {item.event.job_id for item in await store.read(lambda q: q.events(wanted))} == found


async def test_an_event_without_a_task_comes_back_as_it_was(store: SqlStore) -> None:
    event = make_gap()
    await store.transact(lambda tx: tx.events.record(routed(event)))
    (found,) = await store.read(lambda q: q.events(EventFilter()))
    assert found == RoutedEvent(event=event, routes=("all",), channels=("dba",))


async def test_a_transaction_that_fails_leaves_nothing_behind(store: SqlStore) -> None:
    def fail(tx: Transaction) -> None:
        tx.events.record(routed(make_event()))
        raise RuntimeError("killed here")

    with pytest.raises(RuntimeError, match="killed here"):
        await store.transact(fail)
    assert (await store.read(lambda q: q.ledger())).events == 0


# ---- deliveries ----


async def test_a_claim_counts_the_attempt_and_hides_it_for_the_lease(store: SqlStore) -> None:
    await put(store, make_delivery(attempt=0))
    (claimed,) = await claim(store)
    assert (claimed.attempt, claimed.available_at, claimed.state) == (1, T0 + LEASE, DeliveryState.PENDING)
    assert await claim(store) == []
    (again,) = await claim(store, at=T0 + LEASE)
    assert again.attempt == 2


async def test_only_the_oldest_unsettled_delivery_of_a_subject_is_due(store: SqlStore) -> None:
    started = make_delivery(make_event(make_task("a", status="running")), attempt=0)
    failed = make_delivery(make_event(make_task("a", status="failed")), attempt=0)
    other = make_delivery(make_event(make_task("b")), attempt=0)
    await put(store, started, failed, other)
    first = await claim(store)
    assert [delivery.id for delivery in first] == [started.id, other.id]
    await store.transact(lambda tx: tx.deliveries.settle([settlement(first[0], DeliveryState.DELIVERED)], T0))
    assert [delivery.id for delivery in await claim(store)] == [failed.id]


async def test_a_dead_delivery_no_longer_holds_its_subject_back(store: SqlStore) -> None:
    started = make_delivery(make_event(make_task("a", status="running")), attempt=0)
    failed = make_delivery(make_event(make_task("a", status="failed")), attempt=0)
    await put(store, started, failed)
    (first,) = await claim(store)
    await store.transact(lambda tx: tx.deliveries.settle([settlement(first, DeliveryState.DEAD)], T0))
    assert [delivery.id for delivery in await claim(store)] == [failed.id]


async def test_a_digest_waits_for_older_and_holds_back_newer_deliveries(store: SqlStore) -> None:
    before = make_delivery(make_event(make_task("a", status="running")), attempt=0)
    digest = make_delivery(make_event(make_task("a")), make_event(make_task("b")), attempt=0)
    after = make_delivery(make_event(make_task("b", status="running"), occurrence="again"), attempt=0)
    free = make_delivery(make_event(make_task("c")), attempt=0)
    await put(store, before, digest, after, free)
    first = await claim(store)
    assert [delivery.id for delivery in first] == [before.id, free.id]
    await store.transact(lambda tx: tx.deliveries.settle([settlement(first[0], DeliveryState.DELIVERED)], T0))
    (second,) = await claim(store)
    assert second.id == digest.id
    assert second.events == digest.events
    await store.transact(lambda tx: tx.deliveries.settle([settlement(second, DeliveryState.DELIVERED)], T0))
    assert [delivery.id for delivery in await claim(store)] == [after.id]


async def test_subjects_on_different_channels_do_not_wait_for_each_other(store: SqlStore) -> None:
    event = make_event()
    await store.transact(lambda tx: tx.events.record(routed(event, channels=["dba", "mail"])))
    both = [make_delivery(event, channel=channel, attempt=0) for channel in ("dba", "mail")]
    await store.transact(lambda tx: tx.deliveries.record(both))
    assert len(await claim(store, channel="dba")) == len(await claim(store, channel="mail")) == 1


async def test_a_late_worker_cannot_overwrite_the_next_attempt(store: SqlStore) -> None:
    await put(store, make_delivery(attempt=0))
    (slow,) = await claim(store)
    (next_,) = await claim(store, at=T0 + LEASE)
    assert await store.transact(lambda tx: tx.deliveries.settle([settlement(slow, DeliveryState.DEAD)], T0)) == 0
    assert await store.transact(lambda tx: tx.deliveries.settle([settlement(next_, DeliveryState.DELIVERED)], T0)) == 1
    assert list((await states(store)).values()) == [DeliveryState.DELIVERED]
    assert [attempt.number for attempt in await store.read(lambda q: q.attempts(slow.id))] == [1, 2]


async def test_a_queried_delivery_has_its_last_attempts_reply(store: SqlStore) -> None:
    await put(store, make_delivery(attempt=0))
    (first,) = await claim(store)
    (last,) = await claim(store, at=T0 + LEASE)
    ended = [settlement(claimed, DeliveryState.PENDING) for claimed in (last, first)]
    await store.transact(lambda tx: tx.deliveries.settle(ended, T0))
    (found,) = await store.read(lambda q: q.deliveries(DeliveryFilter()))
    assert found.reply == "HTTP 502"


async def test_a_stored_body_comes_back_byte_for_byte(store: SqlStore) -> None:
    delivery = make_delivery(attempt=0)
    body = Body(content=b"\x00\xff{}", content_type="application/json")
    await put(store, delivery)
    await store.transact(lambda tx: tx.deliveries.save_bodies({delivery.id: body}))
    (claimed,) = await claim(store)
    assert claimed.body == body


async def test_the_first_body_of_a_delivery_stays(store: SqlStore) -> None:
    first, second = (Body(content=content, content_type="text/plain") for content in (b"first", b"second"))
    delivery, other = (make_delivery(event, attempt=0) for event in make_events(2))
    await put(store, delivery, other)
    assert await store.transact(lambda tx: tx.deliveries.save_bodies({delivery.id: first})) == {delivery.id: first}
    both = {delivery.id: second, other.id: second}
    assert await store.transact(lambda tx: tx.deliveries.save_bodies(both)) == {delivery.id: first, other.id: second}


@pytest.mark.parametrize("rendered", [True, False])
async def test_a_queued_claim_has_not_begun(store: SqlStore, *, rendered: bool) -> None:
    delivery = make_delivery(attempt=0)
    await put(store, delivery)
    (claimed,) = await claim(store)
    bodies = {delivery.id: Body(content=b"{}", content_type="text/plain")} if rendered else {}
    queued = [(delivery.id, claimed.attempt)]
    assert await store.transact(lambda tx: tx.deliveries.save_bodies(bodies, queued)) == bodies
    (again,) = await claim(store, at=T0 + LEASE)
    assert not again.outcome_unknown
    assert again.earlier_attempts == 1


async def test_a_body_that_comes_late_leaves_a_newer_claim_as_it_is(store: SqlStore) -> None:
    delivery = make_delivery(attempt=0)
    body = Body(content=b"{}", content_type="text/plain")
    await put(store, delivery)
    (late,) = await claim(store)
    (last,) = await claim(store, at=T0 + LEASE)
    assert await store.transact(lambda tx: tx.deliveries.mark_begun([(last.id, last.attempt)], begun=True)) == {last.id}
    await store.transact(lambda tx: tx.deliveries.save_bodies({delivery.id: body}, [(late.id, late.attempt)]))
    (again,) = await claim(store, at=T0 + 2 * LEASE)
    assert again.outcome_unknown
    assert again.earlier_attempts == 0


async def test_claims_of_several_numbers_begin_together(store: SqlStore) -> None:
    deliveries = [make_delivery(event, attempt=0) for event in make_events(2)]
    await put(store, deliveries[0])
    await claim(store)
    await put(store, deliveries[1])
    claims = [(one.id, one.attempt) for one in await claim(store, at=T0 + LEASE)]
    assert {number for _, number in claims} == {1, 2}
    late = [(id_, number + 1) for id_, number in claims]
    assert await store.transact(lambda tx: tx.deliveries.mark_begun(late, begun=True)) == set()
    assert await store.transact(lambda tx: tx.deliveries.mark_begun(claims, begun=True)) == {id_ for id_, _ in claims}


async def test_parking_parks_the_channel_and_unparking_keeps_the_order(store: SqlStore) -> None:
    deliveries = [make_delivery(event, attempt=0) for event in make_events(3)]
    elsewhere = make_delivery(make_event(make_task("x")), channel="mail", attempt=0)
    await put(store, *deliveries, elsewhere)
    (first,) = await claim(store, limit=1)
    parked = settlement(first, DeliveryState.PARKED, wait=timedelta(minutes=15), reason="no token")
    await store.transact(lambda tx: tx.deliveries.settle([parked], T0))
    assert {states_ for id_, states_ in (await states(store)).items() if id_ != elsewhere.id} == {DeliveryState.PARKED}
    assert set(await store.transact(lambda tx: tx.channels.parked())) == {"dba"}
    assert await claim(store) == []
    assert await store.transact(lambda tx: tx.channels.unpark_due(T0)) == []
    assert list(await store.transact(lambda tx: tx.channels.unpark_due(T0 + timedelta(minutes=15)))) == ["dba"]
    later = T0 + timedelta(minutes=15)
    assert [delivery.id for delivery in await claim(store, at=later)] == [delivery.id for delivery in deliveries]
    assert (await states(store))[elsewhere.id] is DeliveryState.PENDING


async def test_a_changed_configuration_unparks_its_channel(store: SqlStore) -> None:
    await store.transact(lambda tx: tx.channels.sync({"dba": "one"}, T0))
    await put(store, make_delivery(attempt=0))
    (first,) = await claim(store)
    await store.transact(lambda tx: tx.deliveries.settle([settlement(first, DeliveryState.PARKED)], T0))
    assert list(await store.transact(lambda tx: tx.channels.sync({"dba": "one"}, T0))) == []
    assert list(await store.transact(lambda tx: tx.channels.sync({"dba": "two"}, T0))) == ["dba"]
    assert len(await claim(store)) == 1


async def test_a_dead_delivery_resent_by_hand_has_a_fresh_schedule(store: SqlStore) -> None:
    await put(store, make_delivery(attempt=0))
    (first,) = await claim(store)
    await store.transact(
        lambda tx: tx.deliveries.settle([settlement(first, DeliveryState.DEAD, reason="HTTP 400")], T0)
    )
    assert await store.transact(lambda tx: tx.deliveries.retry([first.id], T0)) == 1
    (again,) = await claim(store)
    assert (again.attempt, again.earlier_attempts) == (2, 1)
    assert await store.transact(lambda tx: tx.deliveries.retry([first.id], T0)) == 0


async def test_releasing_an_owner_makes_its_claims_due_at_once(store: SqlStore) -> None:
    await put(store, make_delivery(attempt=0))
    await store.transact(lambda tx: tx.polls.claim("prod", "me", T0, LEASE))
    await claim(store)
    await store.transact(lambda tx: tx.replicas.release_claims("somebody else", T0))
    assert await claim(store) == []
    await store.transact(lambda tx: tx.replicas.release_claims("me", T0))
    assert len(await claim(store)) == 1
    assert await store.transact(lambda tx: tx.polls.claim("prod", "b", T0, LEASE)) is not None


async def test_a_request_and_a_wish_are_new_once(store: SqlStore) -> None:
    subscription = TaskSubscription(source="prod", job_id="a", person="U1", created_at=T0)
    assert [await store.transact(lambda tx: tx.people.subscribe(subscription)) for _ in range(2)] == [True, False]
    ages = (timedelta(0), timedelta(minutes=10), timedelta(minutes=10, seconds=1))
    moments = [T0 + age for age in ages]
    seen = [await store.transact(lambda tx, at=at: tx.people.record_request("request", at)) for at in moments]  # type: ignore[misc]  # a default
    assert seen == [True, False, True]


async def test_a_delivery_by_hand_that_arrives_unparks_its_channel(store: SqlStore) -> None:
    deliveries = [make_delivery(event, attempt=0) for event in make_events(3)]
    await put(store, *deliveries)
    (first,) = await claim(store, limit=1)
    await store.transact(
        lambda tx: tx.deliveries.settle([settlement(first, DeliveryState.PARKED, reason="HTTP 410")], T0)
    )
    await store.transact(lambda tx: tx.deliveries.retry([first.id], T0))
    (again,) = await claim(store)
    await store.transact(lambda tx: tx.deliveries.settle([settlement(again, DeliveryState.DELIVERED)], T0))
    assert await store.transact(lambda tx: tx.channels.parked()) == {}
    assert [delivery.id for delivery in await claim(store)] == [delivery.id for delivery in deliveries[1:]]


# ---- look-ups ----


async def test_the_ledger_finds_a_pair_without_an_account(store: SqlStore) -> None:
    planned, lost = make_events(2)
    await put(store, make_delivery(planned, attempt=0))
    await store.transact(lambda tx: tx.events.record(routed(lost, channels=["dba", "mail"])))
    ledger = await store.read(lambda q: q.ledger())
    assert (ledger.events, ledger.pairs, ledger.unrouted) == (2, 3, 0)
    assert set(ledger.unaccounted) == {(lost.id, "dba"), (lost.id, "mail")}
    assert ledger.by_state[DeliveryState.PENDING] == 1
    assert ledger.oldest_pending == T0


async def test_the_ledger_finds_a_delivery_that_nobody_asked_for(store: SqlStore) -> None:
    event = make_event()
    await store.transact(lambda tx: tx.events.record(routed(event, channels=["mail"])))
    await store.transact(lambda tx: tx.deliveries.record([make_delivery(event, channel="dba", attempt=0)]))
    assert (event.id, "dba") in (await store.read(lambda q: q.ledger())).unaccounted


async def test_a_digest_accounts_for_every_event_it_names(store: SqlStore) -> None:
    await put(store, make_delivery(*make_events(5), attempt=0))
    ledger = await store.read(lambda q: q.ledger())
    assert (ledger.pairs, ledger.by_state[DeliveryState.PENDING], ledger.unaccounted) == (5, 5, ())


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (TaskFilter(), {"aa1", "aa2", "b1"}),
        (TaskFilter(status=TaskStatus.RUNNING), {"b1"}),
        (TaskFilter(job_id="aa"), {"aa1", "aa2"}),
        (TaskFilter(job_id="a%"), set()),
        (TaskFilter(instance="GAUSS-1"), {"aa1"}),
        (TaskFilter(instance="100%"), set()),
        (TaskFilter(source="other"), set()),
        (TaskFilter(since=T0 + timedelta(hours=1)), {"b1"}),
        (TaskFilter(limit=1), {"b1"}),
    ],
)
async def test_tasks_are_found_by_what_people_ask(store: SqlStore, wanted: TaskFilter, found: set[str]) -> None:
    rows = [update("aa1", instance_name="gauss-1"), update("aa2", instance_name="gauss-2")]
    await record(store, *rows)
    later = T0 + timedelta(hours=2)
    await record(store, update("b1", status="running"), at=later)
    assert {item.task.job_id for item in await store.read(lambda q: q.tasks(wanted))} == found


@pytest.mark.parametrize("instances", [3, MAX_NAMES + 1])
async def test_tasks_are_found_by_a_part_of_the_instance_name(store: SqlStore, instances: int) -> None:
    """Few names are searched for in an index; with more, each task is compared."""
    named = [update(f"a{number}", instance_name=f"Gauss_{number:03}") for number in range(instances)]
    others = [("b1", "gaussX001", "in-1"), ("b2", None, "in-2"), ("b3", None, "gauss_"), ("b4", "old_gauss_", "in-3")]
    await record(store, *named, *(update(job, instance_name=name, instance_id=id_) for job, name, id_ in others))
    expected = {f"a{number}" for number in range(instances)} | {"b3", "b4"}
    wanted = TaskFilter(instance="gauss_", limit=500)
    assert {item.task.job_id for item in await store.read(lambda q: q.tasks(wanted))} == expected
    assert await store.read(lambda q: q.count_tasks(wanted)) == len(expected)
    (other,) = await store.read(lambda q: q.tasks(TaskFilter(instance="AUSSX")))
    assert other.task.job_id == "b1"


async def test_deliveries_are_found_by_the_beginning_of_their_id(store: SqlStore) -> None:
    delivery = make_delivery(attempt=0)
    await put(store, delivery)
    (found,) = await store.read(lambda q: q.deliveries(DeliveryFilter(id=delivery.id[:8])))
    assert found.events == delivery.events
    assert await store.read(lambda q: q.deliveries(DeliveryFilter(event_ids=["none"]))) == []


def test_an_event_stored_before_channels_had_any_is_still_read() -> None:
    """A stored event is never rewritten: what later versions add to it has to be optional."""
    event = make_gap()
    (facts,) = rows.event_columns(routed(event))["facts"]
    assert isinstance(facts, bytes)
    older = {name: value for name, value in json.loads(facts).items() if name not in {"channel", "since", "count"}}
    assert rows.event_of(json.dumps(older).encode()) == event


async def test_after_a_clock_was_set_back_nothing_waits_for_the_old_one(store: SqlStore) -> None:
    polled = await claim_poll(store)
    ahead = T0 + timedelta(hours=1)
    await put(store, make_delivery(make_event(), attempt=0, available_at=ahead))
    await store.transact(lambda tx: tx.channels.save_health("dba", tx.channels.health("dba")))
    assert await store.transact(lambda tx: tx.replicas.reset_future_deadlines(T0)) is False
    await store.transact(lambda tx: tx.polls.record(polled, snapshot_of([]), ahead, ahead + LEASE))
    closed = ChannelHealth(failures=9, failing_since=ahead, open_until=ahead, paused_until=ahead)
    await store.transact(lambda tx: tx.channels.save_health("dba", closed))
    assert await store.transact(lambda tx: tx.replicas.reset_future_deadlines(T0)) is True
    assert len(await claim(store)) == 1
    assert await store.transact(lambda tx: tx.polls.claim("prod", "another", T0, LEASE)) is not None
    assert await store.transact(lambda tx: tx.channels.health("dba")) == replace(
        closed, open_until=None, paused_until=None
    )
