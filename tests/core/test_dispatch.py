"""What a delivery worker decides, without a store and without a channel."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from factories import make_delivery, make_event, make_events, make_task

from notifier.core.delivery import (
    Body,
    Delivered,
    GaveUp,
    Outcome,
    Parked,
    Recipient,
    RecipientState,
    ResendPolicy,
    Resolution,
    Retry,
    ThreadUpdate,
    Unknown,
)
from notifier.core.dispatch import (
    BATCH,
    EDIT_RETRY_AFTER,
    MAX_CLAIMED,
    PREFETCH,
    affordable,
    attempts_exhausted,
    demand,
    edit_wait,
    is_broadcast,
    is_first_attempt,
    plan_step,
    refuse,
    resolve,
    settles_at_once,
    start_within,
    thread_updates,
    with_copy,
)
from notifier.core.events import EventType
from notifier.core.outbox import Settlement, settle
from notifier.core.pacing import ChannelHealth, Pace
from notifier.core.retry import MAX_RETRY_AFTER
from notifier.core.routing import DeliveryRouting
from notifier.core.severity import Severity

T0 = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
SCHEDULE = (timedelta(seconds=5), timedelta(minutes=1), timedelta(minutes=5))
BODY = Body(content=b"{}", content_type="application/json")
PACE = Pace(per_second=1, burst=3, opens_after=2)


def settlement(outcome: Outcome) -> Settlement:
    return settle(make_delivery(), outcome, started_at=T0, finished_at=T0, schedule=SCHEDULE, chance=0.5)


# ---- a step ----


def test_a_step_claims_what_the_pace_allows() -> None:
    plan = plan_step(ChannelHealth(), [], PACE, T0, wanted=10)
    assert (plan.closed, plan.breaker_closes, plan.allowed.count) == (True, False, 3)


def test_failures_open_the_breaker_before_anything_is_claimed() -> None:
    plan = plan_step(ChannelHealth(), [settlement(Retry("HTTP 503"))] * 2, PACE, T0, wanted=10)
    assert (plan.closed, plan.allowed.count) == (False, 0)
    assert plan.allowed.retry_in == PACE.probes[0]


def test_a_probe_that_arrives_closes_the_breaker() -> None:
    health = plan_step(ChannelHealth(), [settlement(Retry("HTTP 503"))] * 2, PACE, T0, wanted=0).health
    plan = plan_step(health, [settlement(Delivered())], PACE, T0 + PACE.probes[0], wanted=10)
    assert (plan.closed, plan.breaker_closes, plan.allowed.count) == (True, True, 3)


def test_one_probe_is_allowed_once_an_open_breaker_is_due() -> None:
    health = plan_step(ChannelHealth(), [settlement(Retry("HTTP 503"))] * 2, PACE, T0, wanted=0).health
    plan = plan_step(health, [], PACE, T0 + PACE.probes[0], wanted=10)
    assert (plan.closed, plan.breaker_closes, plan.allowed.count) == (False, False, 1)


@pytest.mark.parametrize(
    ("policy", "busy", "expected"),
    [
        (ResendPolicy.IDEMPOTENT, 0, 2 * (1 + PREFETCH)),
        (ResendPolicy.IDEMPOTENT, 4, 2 * (1 + PREFETCH) - 4),
        (ResendPolicy.IDEMPOTENT, 6, 4),
        (ResendPolicy.IDEMPOTENT, 7, 0),
        (ResendPolicy.RECONCILABLE, 0, 2),
        (ResendPolicy.UNSAFE, 1, 1),
        (ResendPolicy.UNSAFE, 5, 0),
    ],
)
def test_only_idempotent_messages_are_claimed_ahead(policy: ResendPolicy, busy: int, expected: int) -> None:
    assert demand(2, policy, busy) == expected


@pytest.mark.parametrize(("busy", "expected"), [(0, MAX_CLAIMED), (5 * 256 - 200, 200), (5 * 256 - 100, 0)])
def test_one_step_claims_a_bounded_number(busy: int, expected: int) -> None:
    assert demand(256, ResendPolicy.IDEMPOTENT, busy) == expected


@pytest.mark.parametrize(
    ("finished", "queued", "concurrency", "expected"),
    [(1, 100, 64, False), (32, 100, 64, True), (1, 63, 64, True), (BATCH, 1000, 1000, True), (99, 1000, 1000, False)],
)
def test_few_finished_attempts_wait_for_others_while_there_is_enough_to_send(
    finished: int, queued: int, concurrency: int, *, expected: bool
) -> None:
    assert settles_at_once(finished, queued, concurrency) is expected


# ---- one message ----


@pytest.mark.parametrize(
    ("held", "deadline", "late"),
    [(0, 10, False), (38, 10, False), (39, 10, True), (12, 60, False), (13, 60, True)],
)
def test_a_message_begins_only_while_its_lease_leaves_time(held: float, deadline: float, *, late: bool) -> None:
    assert (held > start_within(timedelta(seconds=60), deadline)) is late


@pytest.mark.parametrize(("attempt", "exhausted"), [(4, False), (5, True)])
def test_a_message_that_kills_its_sender_has_bounded_attempts(attempt: int, *, exhausted: bool) -> None:
    delivery = make_delivery(attempt=attempt, body=BODY)
    assert attempts_exhausted(delivery, SCHEDULE) is exhausted
    assert (refuse(delivery, SCHEDULE, "fake") is not None) is exhausted


def test_a_manual_retry_begins_a_schedule_with_a_first_attempt() -> None:
    assert is_first_attempt(make_delivery(attempt=5, earlier_attempts=4))
    assert not is_first_attempt(make_delivery(attempt=5, earlier_attempts=3))


def test_a_message_without_a_body_is_given_up_on() -> None:
    assert refuse(make_delivery(body=None), SCHEDULE, "fake") == GaveUp(
        "the fake channel cannot put this event into words"
    )


# ---- an earlier attempt that may have arrived ----

RETRY = Retry("HTTP 503")


@pytest.mark.parametrize(
    ("found", "outcome", "resolution"),
    [
        (None, None, Resolution.ABSENT),
        (Delivered("ref"), Delivered("ref"), Resolution.ARRIVED),
        (RETRY, RETRY, None),
        (Unknown("no scope"), None, Resolution.RISKED),
    ],
)
def test_what_the_service_says_decides_about_an_earlier_attempt(
    found: Outcome | None, outcome: Outcome | None, resolution: Resolution | None
) -> None:
    assert resolve(make_delivery(), found, "resend") == (outcome, resolution)


def test_what_nobody_can_tell_is_held_for_a_person_on_request() -> None:
    outcome, resolution = resolve(make_delivery(), Unknown("no scope"), "hold")
    assert resolution is Resolution.HELD
    assert outcome == GaveUp("it may have arrived (no scope); `notifier retry` sends it again")


def test_recipients_that_certainly_lack_a_held_message_still_get_it() -> None:
    waiting = Recipient(address="a@example.org", state=RecipientState.WAITING, reason="HTTP 503")
    delivery = make_delivery(recipients=(waiting,))
    assert resolve(delivery, Unknown("no scope"), "hold") == (None, Resolution.HELD)


# ---- live messages ----


@pytest.mark.parametrize(
    ("outcome", "thread"), [(Delivered("ref", thread="C:1"), "C:1"), (GaveUp("HTTP 400"), None)], ids=["sent", "dead"]
)
def test_a_settled_delivery_updates_the_thread_of_its_task(outcome: Outcome, thread: str | None) -> None:
    event = make_event()
    (update,) = thread_updates(make_delivery(event), settlement(outcome))
    loud = True if isinstance(outcome, Delivered) else None
    assert update == ThreadUpdate(subject=event.subject, event_id=event.id, thread=thread, loud=loud)


QUIET, LOUD = DeliveryRouting(severity=Severity.WARNING), DeliveryRouting(severity=Severity.ERROR)


@pytest.mark.parametrize(
    ("kind", "environment", "routing", "broadcast", "loud"),
    [
        (EventType.TASK_FAILED, "", DeliveryRouting(), True, True),
        (EventType.TASK_STALLED, "production", DeliveryRouting(), True, True),
        (EventType.TASK_UNLISTED, "", QUIET, False, None),
        (EventType.TASK_FAILED, "staging", DeliveryRouting(), False, None),
        (EventType.TASK_FAILED, "staging", LOUD, True, True),
        (EventType.TASK_COMPLETED, "", LOUD, False, False),
        (EventType.TASK_RESTARTED, "", LOUD, False, None),
        (EventType.TASK_PROGRESSED, "production", DeliveryRouting(), False, None),
    ],
)
def test_what_is_loud_and_needs_care_is_shown_in_the_channel(
    kind: EventType, environment: str, routing: DeliveryRouting, *, broadcast: bool, loud: bool | None
) -> None:
    delivery = replace(make_delivery(replace(make_event(type=kind), environment=environment)), routing=routing)
    assert is_broadcast(delivery) is broadcast
    (update,) = thread_updates(delivery, settlement(Delivered("C:2", copy="C:2")))
    assert (update.loud, update.copy, update.routing) == (loud, "C:2", routing)
    assert is_broadcast(replace(delivery, ends_trouble=True))


def test_a_digest_says_of_each_task_what_is_loud() -> None:
    events = [make_event(make_task("a"), type=EventType.TASK_COMPLETED), make_event(make_task("b"))]
    digest = make_delivery(*events, digest=True)
    updates = list(thread_updates(digest, settlement(Delivered("ref", copy="C:1"))))
    assert [(update.loud, update.copy) for update in updates] == [(False, None), (True, None)]


@pytest.mark.parametrize(
    ("edits", "budget", "count"), [([], 5, 0), ([1, 1, 1], 2, 2), ([4, 1], 3, 1), ([1, 4, 1], 3, 1), ([2, 2], 4, 2)]
)
def test_threads_are_claimed_as_far_as_their_edits_fit(edits: list[int], budget: int, count: int) -> None:
    assert affordable(edits, budget) == count


def test_the_latest_copies_are_edited_each_once() -> None:
    copies: tuple[str, ...] = ()
    for ref in ("a", "b", "a", "c", "d", "d"):
        copies = with_copy(copies, ref)
    assert copies == ("a", "c", "d")


def test_a_delivery_that_waits_updates_no_thread() -> None:
    assert list(thread_updates(make_delivery(), settlement(Retry("HTTP 503")))) == []


def test_a_digest_updates_every_thread_and_begins_none() -> None:
    digest = make_delivery(*make_events(3), digest=True)
    updates = list(thread_updates(digest, settlement(Delivered("ref", thread="C:1"))))
    assert [update.thread for update in updates] == [None] * 3


@pytest.mark.parametrize(
    ("outcome", "wait"),
    [
        (Delivered(), None),
        (GaveUp("HTTP 400"), None),
        (Unknown("no answer"), EDIT_RETRY_AFTER),
        (Retry("HTTP 503"), EDIT_RETRY_AFTER),
        (Retry("HTTP 429", timedelta(seconds=40)), timedelta(seconds=40)),
        (Retry("HTTP 429", timedelta(days=1)), MAX_RETRY_AFTER),
        (Parked("wrong token", timedelta(seconds=30)), timedelta(seconds=30)),
    ],
)
def test_an_edit_is_repeated_unless_it_is_done_or_refused(outcome: Outcome, wait: timedelta | None) -> None:
    assert edit_wait(outcome) == wait
