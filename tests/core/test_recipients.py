"""What the different outcomes of several recipients come to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from factories import make_delivery
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.delivery import (
    Delivered,
    Delivery,
    GaveUp,
    Outcome,
    Parked,
    Recipient,
    RecipientState,
    Retry,
    Unknown,
)
from notifier.core.outbox import settle
from notifier.core.pacing import AttemptSignal
from notifier.core.recipients import after_manual_retry, combined_outcome, outstanding, with_unknown_waiting

A, B, C = "a@example.com", "b@example.com", "c@example.com"
EVERYBODY = (A, B, C)
TAKEN, LATER, NEVER, LOST = Delivered("<id>"), Retry("SMTP 451"), Parked("SMTP 550"), Unknown("lost")


def tried(delivery: Delivery, *outcomes: Outcome) -> tuple[Outcome, Delivery]:
    """Make an attempt, and return its outcome with the delivery as the next attempt finds it."""
    addressed = outstanding(delivery, EVERYBODY)
    outcome = combined_outcome(delivery, EVERYBODY, dict(zip(addressed, outcomes, strict=True)))
    recorded = None if isinstance(outcome, Delivered) else outcome.recipients
    return outcome, delivery if recorded is None else replace(delivery, recipients=recorded)


def states(delivery: Delivery) -> dict[str, str]:
    return {one.address: str(one.state) for one in delivery.recipients}


def test_all_take_it() -> None:
    assert tried(make_delivery(), TAKEN, TAKEN, TAKEN)[0] is TAKEN


def test_one_that_refuses_for_now_is_addressed_alone() -> None:
    outcome, after = tried(make_delivery(), TAKEN, LATER, TAKEN)
    assert isinstance(outcome, Retry)
    assert outcome.reason == f"2 of 3 recipients have it; {B}: SMTP 451"
    assert outstanding(after, EVERYBODY) == (B,)
    outcome, _ = tried(after, TAKEN)
    assert outcome is TAKEN


def test_a_permanent_refusal_is_a_dead_letter_once_nobody_waits() -> None:
    outcome, after = tried(make_delivery(), TAKEN, NEVER, LATER)
    assert isinstance(outcome, Retry)
    outcome, after = tried(after, TAKEN)
    assert isinstance(outcome, GaveUp)
    assert outcome.reason == f"2 of 3 recipients have it; {B}: SMTP 550"
    assert outstanding(after, EVERYBODY) == ()


def test_a_person_sends_it_again_to_recipients_without_it() -> None:
    _, after = tried(make_delivery(), TAKEN, NEVER, LOST)
    again = replace(after, recipients=after_manual_retry(after.recipients))
    assert outstanding(again, EVERYBODY) == (B, C)


def test_a_refusal_by_all_parks_the_channel_and_records_nothing() -> None:
    outcome, after = tried(make_delivery(), NEVER, NEVER, NEVER)
    assert outcome == Parked("all recipients: SMTP 550", recipients=())
    assert outstanding(after, EVERYBODY) == EVERYBODY


def test_all_wait_so_nothing_is_recorded() -> None:
    outcome, _ = tried(make_delivery(), LATER, LATER, LATER)
    assert outcome == Retry("all recipients: SMTP 451", recipients=())


def test_a_lost_answer_is_unknown_for_that_transaction_only() -> None:
    outcome, after = tried(make_delivery(), LOST, LATER, LOST)
    assert isinstance(outcome, Retry)
    assert outstanding(after, EVERYBODY) == (B,)
    assert outstanding(with_unknown_waiting(after), EVERYBODY) == EVERYBODY
    outcome, after = tried(after, TAKEN)
    assert isinstance(outcome, Unknown)
    assert states(after) == {A: "unknown", B: "delivered", C: "unknown"}


def test_a_removed_address_is_dropped_unless_it_has_the_message() -> None:
    _, after = tried(make_delivery(), TAKEN, NEVER, LATER)
    corrected = (A, "b@example.org")
    assert outstanding(after, corrected) == ("b@example.org",)
    assert combined_outcome(after, corrected, {"b@example.org": TAKEN}) is TAKEN
    assert outstanding(replace(after, recipients=after.recipients[:1]), (A, A)) == ()


def test_the_longest_wait_that_was_asked_for_counts() -> None:
    waits = (Retry("x", timedelta(minutes=1)), Retry("x", timedelta(minutes=5)), TAKEN)
    outcome, _ = tried(make_delivery(), *waits)
    assert isinstance(outcome, Retry)
    assert outcome.after == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("before", "outcomes", "signal"),
    [
        ((), (TAKEN, LATER, LATER), AttemptSignal.GOOD),
        ((), (TAKEN, NEVER, NEVER), AttemptSignal.GOOD),
        ((TAKEN, LATER, LATER), (LATER, LATER), AttemptSignal.NONE),
        ((), (LATER, LATER, LATER), AttemptSignal.BAD),
    ],
)
def test_a_refusal_by_one_is_no_fault_of_the_channel(
    before: tuple[Outcome, ...], outcomes: tuple[Outcome, ...], signal: AttemptSignal
) -> None:
    delivery = tried(make_delivery(), *before)[1] if before else make_delivery()
    outcome, _ = tried(delivery, *outcomes)
    now = delivery.created_at
    settlement = settle(
        delivery, outcome, started_at=now, finished_at=now, schedule=[timedelta(minutes=1)] * 9, chance=0.5
    )
    assert settlement.signal is signal


@given(st.lists(st.lists(st.sampled_from([TAKEN, LATER, NEVER, LOST]), min_size=3, max_size=3), max_size=6))
def test_a_recipient_with_the_message_is_never_addressed_again(rounds: list[list[Outcome]]) -> None:
    delivery, reached = make_delivery(), set[str]()
    for outcomes in rounds:
        addressed = outstanding(delivery, EVERYBODY)
        assert not reached & set(addressed)
        outcome, delivery = tried(delivery, *outcomes[: len(addressed)])
        reached |= {address for address, one in zip(addressed, outcomes, strict=False) if isinstance(one, Delivered)}
        lacking = {one.address for one in delivery.recipients if one.state is not RecipientState.DELIVERED}
        if isinstance(outcome, Delivered):
            assert reached == set(EVERYBODY)
            return
        if delivery.recipients:
            assert lacking == set(EVERYBODY) - reached


def test_a_recipient_has_its_reason() -> None:
    _, after = tried(make_delivery(), TAKEN, LATER, TAKEN)
    assert after.recipients[1] == Recipient(address=B, state=RecipientState.WAITING, reason="SMTP 451")
