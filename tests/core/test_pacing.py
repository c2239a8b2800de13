"""When a channel may be spoken to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.pacing import AttemptSignal, ChannelHealth, Pace, after, allowance, charge

T0 = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
SLACK = Pace(per_second=1, burst=3)


def failed(times: int, pace: Pace = SLACK, now: datetime = T0) -> ChannelHealth:
    return after(ChannelHealth(), [(AttemptSignal.BAD, None)] * times, now, pace)


# ---- the rate ----


def test_without_a_rate_everything_may_go() -> None:
    assert allowance(ChannelHealth(), Pace(), T0, 500).count == 500


def test_a_rate_beyond_the_resolution_of_times_is_bounded_by_it() -> None:
    pace = Pace(per_second=1e9, burst=3)
    assert allowance(ChannelHealth(), pace, T0, 10).count == 3
    assert charge(ChannelHealth(), pace, T0, 3).rate_at == T0 + timedelta(microseconds=3)


def test_a_rested_channel_takes_a_burst_and_then_one_at_a_time() -> None:
    first = allowance(ChannelHealth(), SLACK, T0, 10)
    assert (first.count, first.retry_in) == (3, timedelta(seconds=1))
    health = charge(ChannelHealth(), SLACK, T0, first.count)
    nothing = allowance(health, SLACK, T0, 10)
    assert (nothing.count, nothing.retry_in) == (0, timedelta(seconds=1))
    assert allowance(health, SLACK, T0 + timedelta(seconds=1), 10).count == 1
    assert allowance(health, SLACK, T0 + timedelta(hours=1), 10).count == 3


@given(
    per_second=st.sampled_from([0.2, 1.0, 3.0, 50.0]),
    burst=st.integers(1, 20),
    steps=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 30)), max_size=50),
)
def test_never_more_than_the_burst_and_the_rate_together(
    per_second: float, burst: int, steps: list[tuple[int, int]]
) -> None:
    pace, health, now = Pace(per_second=per_second, burst=burst), ChannelHealth(), T0
    sent: list[datetime] = []
    for milliseconds, wanted in steps:
        now += timedelta(milliseconds=milliseconds)
        count = allowance(health, pace, now, wanted).count
        health = charge(health, pace, now, count)
        sent += [now] * count
    for index, start in enumerate(sent):
        for later, end in enumerate(sent[index:], start=1):
            assert later <= burst + (end - start).total_seconds() * per_second + 0.001


@given(per_second=st.sampled_from([0.5, 1.0, 7.0]), burst=st.integers(1, 5), wanted=st.integers(1, 20))
def test_the_stated_time_of_the_next_try_is_true(per_second: float, burst: int, wanted: int) -> None:
    pace = Pace(per_second=per_second, burst=burst)
    health = charge(ChannelHealth(), pace, T0, allowance(ChannelHealth(), pace, T0, wanted).count)
    allowed = allowance(health, pace, T0, wanted)
    if allowed.retry_in is not None:
        assert allowance(health, pace, T0 + allowed.retry_in, wanted).count > allowed.count


# ---- pauses ----


def test_a_pause_that_was_asked_for_is_kept_in_full() -> None:
    health = after(ChannelHealth(), [(AttemptSignal.BUSY, timedelta(seconds=30))], T0, SLACK)
    assert allowance(health, SLACK, T0 + timedelta(seconds=29), 1).count == 0
    assert allowance(health, SLACK, T0 + timedelta(seconds=29), 1).retry_in == timedelta(seconds=1)
    assert allowance(health, SLACK, T0 + timedelta(seconds=30), 1).count == 1


def test_a_success_from_before_does_not_end_a_pause() -> None:
    health = after(
        ChannelHealth(), [(AttemptSignal.BUSY, timedelta(seconds=30)), (AttemptSignal.GOOD, None)], T0, SLACK
    )
    assert allowance(health, SLACK, T0, 1).count == 0
    assert health.failing_since is None


def test_a_shorter_pause_does_not_cut_a_longer_one_short() -> None:
    pauses = [(AttemptSignal.BUSY, timedelta(seconds=30)), (AttemptSignal.BUSY, timedelta(seconds=2))]
    assert after(ChannelHealth(), pauses, T0, SLACK).paused_until == T0 + timedelta(seconds=30)


# ---- the circuit breaker ----


def test_the_breaker_opens_after_five_failures_in_a_row() -> None:
    assert failed(4).open_until is None
    assert failed(5).open_until == T0 + timedelta(seconds=10)
    mixed = [(AttemptSignal.BAD, None)] * 4 + [(AttemptSignal.GOOD, None)] + [(AttemptSignal.BAD, None)] * 4
    assert after(ChannelHealth(), mixed, T0, SLACK).open_until is None


@pytest.mark.parametrize("signal", [AttemptSignal.NONE, AttemptSignal.BUSY])
def test_a_refused_message_and_a_pause_are_no_failures(signal: AttemptSignal) -> None:
    assert after(ChannelHealth(), [(signal, None)] * 9, T0, SLACK).open_until is None


def test_an_open_breaker_lets_one_probe_through_and_closes_behind_it() -> None:
    health, pace = failed(5, Pace()), Pace()
    assert allowance(health, pace, T0 + timedelta(seconds=9), 50).count == 0
    due = T0 + timedelta(seconds=10)
    assert allowance(health, pace, due, 50).count == 1
    assert allowance(charge(health, pace, due, 1), pace, due, 50).count == 0


def test_probes_become_rarer_and_never_end() -> None:
    waits = []
    for failures in (5, 6, 7, 8, 1000):
        open_until = failed(failures).open_until
        assert open_until is not None
        waits.append((open_until - T0).total_seconds())
    assert waits == [10, 30, 60, 60, 60]


def test_a_success_closes_the_breaker_and_clears_the_failures() -> None:
    assert after(failed(20, Pace()), [(AttemptSignal.GOOD, None)], T0, Pace()) == ChannelHealth(good_at=T0)


def test_failing_since_is_the_first_of_a_row_of_failures() -> None:
    later = after(failed(1), [(AttemptSignal.BAD, None)], T0 + timedelta(hours=1), SLACK)
    assert later.failing_since == T0
