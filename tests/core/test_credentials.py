"""What a credential may do: its budget of calls and its pause after a refusal."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from fakes import START

from notifier.core.credentials import (
    BURST,
    REFUSAL_PAUSES,
    TRIAL_DURATION,
    Credential,
    CredentialState,
    Urgency,
    admit,
    after_failure,
    after_success,
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
