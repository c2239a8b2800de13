"""What a credential may do: its budget of calls and its pause after a refusal."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from fakes import START

from notifier.core.credentials import (
    BACKGROUND_RESERVE,
    BURST,
    EARLY_BURST,
    EARLY_RESERVE,
    REFUSAL_PAUSES,
    TRIAL_DURATION,
    Credential,
    CredentialState,
    Urgency,
    admit,
    after_failure,
    after_success,
    calls_left,
    reserve_early,
)
from notifier.core.errors import CredentialsRejected, SourceThrottled, SourceUnreachable

MINUTE = timedelta(minutes=1)
KEY = Credential(key="k", calls_per_minute=20, version=lambda: "one")
REFUSED = CredentialsRejected("source a: credentials rejected")


def refuse(state: CredentialState, *, trial: bool = False) -> CredentialState:
    return after_failure(state, KEY, START, REFUSED, trial=trial)


def test_polls_are_admitted_within_the_budget_and_then_at_its_rate() -> None:
    state = CredentialState()
    for _ in range(BURST):
        admission = admit(state, KEY, START, 1, urgency=Urgency.DUE)
        assert admission.retry_at is None
        state = admission.state
    assert admit(state, KEY, START, 1, urgency=Urgency.DUE).retry_at == START + MINUTE / 20
    assert admit(state, KEY, START, 1, urgency=Urgency.FORCED).retry_at is None
    assert admit(state, KEY, START + MINUTE / 20, 1, urgency=Urgency.DUE).retry_at is None


def test_a_long_list_is_admitted_and_later_polls_pay_for_it() -> None:
    state = admit(CredentialState(), KEY, START, 100, urgency=Urgency.DUE).state
    again = admit(state, KEY, START, 1, urgency=Urgency.DUE).retry_at
    assert again == START + (100 - BURST + 1) * MINUTE / 20


def test_calls_that_were_not_made_are_returned() -> None:
    charged = admit(CredentialState(), KEY, START, 10, urgency=Urgency.DUE).state
    assert after_success(charged, KEY, START, -8) == admit(CredentialState(), KEY, START, 2, urgency=Urgency.DUE).state


def test_one_refusal_pauses_a_credential_and_later_ones_count_alone() -> None:
    first = refuse(CredentialState())
    assert (first.refusals, first.paused_until) == (1, START + REFUSAL_PAUSES[0])
    assert refuse(first) == first
    admission = admit(first, KEY, START, 1, urgency=Urgency.FORCED)
    assert (admission.retry_at, admission.refusal) == (first.paused_until, "source a: credentials rejected")


def test_after_the_pause_one_poll_at_a_time_tries_again() -> None:
    later = START + REFUSAL_PAUSES[0]
    admission = admit(refuse(CredentialState()), KEY, later, 1, urgency=Urgency.DUE)
    assert (admission.retry_at, admission.trial) == (None, True)
    assert admit(admission.state, KEY, later, 1, urgency=Urgency.FORCED).retry_at == later + TRIAL_DURATION
    again = after_failure(admission.state, KEY, later, REFUSED, trial=True)
    assert (again.refusals, again.paused_until) == (2, later + 2 * MINUTE)
    assert after_success(admission.state, KEY, later, 0) == CredentialState(rate_at=admission.state.rate_at)


def test_a_corrected_secret_is_tried_at_once() -> None:
    corrected = Credential(key="k", calls_per_minute=20, version=lambda: "two")
    assert admit(refuse(CredentialState()), corrected, START, 1, urgency=Urgency.DUE).retry_at is None


def test_a_requested_pause_holds_for_all_and_refuses_nobody() -> None:
    paused = after_failure(CredentialState(), KEY, START, SourceThrottled("slow", retry_after=5 * MINUTE), trial=False)
    admission = admit(paused, KEY, START, 1, urgency=Urgency.DUE)
    assert (admission.retry_at, admission.refusal) == (START + 5 * MINUTE, None)
    assert after_failure(CredentialState(), KEY, START, SourceUnreachable("down"), trial=False) == CredentialState()


def test_waits_left_over_from_a_wrong_clock_hold_nothing_up() -> None:
    far = START + timedelta(days=3)
    state = replace(refuse(CredentialState()), rate_at=far, paused_until=far)
    assert admit(state, KEY, START, 1, urgency=Urgency.DUE).retry_at is None


# ---- polls before the time that was promised ----

BUSY_KEY = replace(KEY, promised_per_minute=5)


def test_background_calls_leave_half_of_the_burst_and_early_polls_three_quarters() -> None:
    state = CredentialState()
    for urgency, left in ((Urgency.EARLY, EARLY_RESERVE), (Urgency.BACKGROUND, BACKGROUND_RESERVE), (Urgency.DUE, 0)):
        while (admission := admit(state, KEY, START, 1, urgency=urgency)).retry_at is None:
            state = admission.state
        assert calls_left(state, KEY, START) == left


def test_early_polls_of_many_sources_get_the_same_share_of_what_is_left() -> None:
    """Thirty sources that want a poll each five seconds share 15 calls a minute: one in turn after the other."""
    state, due = CredentialState(), dict.fromkeys(range(30), START)
    polls: Counter[int] = Counter()
    while (now := min(due.values())) < START + 60 * MINUTE:
        source = min(due, key=lambda each: (due[each], each))
        polls[source] += 1
        wanted, latest = now + MINUTE / 12, now + 30 * MINUTE
        due[source], state = reserve_early(state, BUSY_KEY, now, wanted=wanted, latest=latest, calls=1)
    assert sum(polls.values()) == pytest.approx(30 + 15 * 60, abs=2 * EARLY_BURST)
    assert max(polls.values()) - min(polls.values()) <= 1


def test_an_early_poll_without_room_before_the_promised_one_takes_nothing() -> None:
    latest = START + MINUTE
    late = CredentialState(early_at=START + 10 * MINUTE)
    assert reserve_early(late, BUSY_KEY, START, wanted=START, latest=latest, calls=1) == (latest, late)
    full = replace(KEY, promised_per_minute=20)
    assert reserve_early(CredentialState(), full, START, wanted=START, latest=latest, calls=1)[0] == latest


def test_a_line_left_over_from_a_wrong_clock_is_dropped() -> None:
    state = CredentialState(early_at=START + timedelta(days=2))
    slot, _ = reserve_early(state, BUSY_KEY, START, wanted=START, latest=START + MINUTE, calls=1)
    assert slot == START
