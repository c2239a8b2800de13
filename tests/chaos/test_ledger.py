"""The reconciler finds what it is there to find, and excuses nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from chaos.ledger import Arrival, Disturbance, Ledger, LedgerLimits, ReportedEvent, reconcile
from chaos.oracle import Expected, Key

A, B = "first", "second"
LIMITS = LedgerLimits(first=A, all=(A, B), in_flight=2, healthy=B, latency=2.0)
STARTED, ENDED = Key("job", 1), Key("job", 2)
TYPES = {1: "task.started", 2: "task.completed"}


def expect(*, single: bool = False, required: bool = True) -> dict[Key, Expected]:
    return {
        key: Expected(types=frozenset({TYPES[key.version]}), single=single, required=required, since=float(key.version))
        for key in (STARTED, ENDED)
    }


def arrival(key: Key, at: float, outcome: Any = "acknowledged", **more: Any) -> Arrival:
    values: dict[str, Any] = {"channel": A, "id": f"id {key.version}", "digest": f"body {key.version}"}
    values["reported"] = (ReportedEvent(key=key, type=TYPES.get(key.version, "task.failed"), single=False),)
    return Arrival(**values | {"at": at, "done": at, "outcome": outcome} | more)


TOLD = (arrival(STARTED, 1.5), arrival(ENDED, 2.5))


def build_ledger(
    arrivals: Iterable[Arrival] = TOLD,
    *,
    expected: Mapping[Key, Expected] | None = None,
    baseline: Iterable[Key] = (),
    disturbances: Sequence[Disturbance] = (),
    audit: Mapping[str, Any] | None = None,
) -> Ledger:
    found = sorted(arrivals, key=lambda one: one.at)
    return reconcile(expect() if expected is None else expected, baseline, found, disturbances, LIMITS, audit)


def kill(at: float) -> Disturbance:
    return Disturbance(kind="kill", start=at, end=at)


def test_correctly_notified_states_are_in_order() -> None:
    ledger = build_ledger()
    assert (ledger.ok, ledger.required, ledger.delivered, ledger.explained) == (True, 2, 2, 0)
    assert not any("must be 0" in line for line in ledger.lines())


def test_an_unacknowledged_state_is_lost_on_each_of_its_channels() -> None:
    assert len(build_ledger([arrival(STARTED, 1, "refused"), arrival(ENDED, 2, "unknown")]).violations["lost"]) == 2
    assert len(build_ledger([TOLD[0], TOLD[1]], expected=expect(single=True)).violations["lost"]) == 2


def test_what_nobody_can_demand_is_not_missed() -> None:
    assert build_ledger([], expected=expect(required=False)).ok
    assert build_ledger(TOLD, expected=expect(required=False)).optional == 2


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (arrival(Key("other", 1), 3, id="x"), "phantom"),
        (
            arrival(ENDED, 3, reported=(ReportedEvent(key=ENDED, type="task.failed", single=False),), id="id 2"),
            "phantom",
        ),
        (arrival(ENDED, 3, channel=B), "phantom"),
        (arrival(ENDED, 3, id="another"), "rekeyed"),
        (arrival(ENDED, 3, digest="another"), "rewritten"),
    ],
)
def test_what_was_never_shown_or_has_changed_is_found(wrong: Arrival, name: str) -> None:
    assert name in build_ledger([*TOLD, wrong]).broken


def test_the_baseline_must_not_be_notified() -> None:
    assert build_ledger(TOLD, expected={ENDED: expect()[ENDED]}, baseline=[STARTED]).broken == {"baseline"}


def test_a_repeat_after_a_refusal_is_none() -> None:
    ledger = build_ledger([arrival(STARTED, 1, "refused"), *TOLD])
    assert (ledger.ok, ledger.retried, ledger.explained) == (True, 1, 0)


def test_a_repeat_after_a_missing_answer_is_explained() -> None:
    ledger = build_ledger([arrival(STARTED, 1, "unknown"), *TOLD])
    assert (ledger.ok, ledger.explained) == (True, 1)


@pytest.mark.parametrize("at", [1.2, 1.8, 2.0])
def test_a_repeat_after_a_kill_is_explained(at: float) -> None:
    ledger = build_ledger([arrival(STARTED, 1), arrival(STARTED, 2.1), TOLD[1]], disturbances=[kill(at)])
    assert (ledger.ok, ledger.explained) == (True, 1)


@pytest.mark.parametrize("disturbances", [[], [kill(-5)], [kill(2.2)], [kill(30)]])
def test_a_repeat_without_a_cause_between_is_not_explained(disturbances: Sequence[Disturbance]) -> None:
    repeated = [arrival(STARTED, 1), arrival(STARTED, 2.1), TOLD[1]]
    assert build_ledger(repeated, disturbances=disturbances).broken == {"unexplained"}


def test_a_kill_explains_no_more_repeats_than_were_in_flight() -> None:
    keys = [Key(f"job {n}", 1) for n in range(3)]
    expected = {key: expect()[STARTED] for key in keys}
    twice = [arrival(key, at, id=key.job_id) for key in keys for at in (1.0, 2.0)]
    assert build_ledger(twice[:4], expected={key: expected[key] for key in keys[:2]}, disturbances=[kill(1.5)]).ok
    assert len(build_ledger(twice, expected=expected, disturbances=[kill(1.5)]).violations["unexplained"]) == 1
    assert build_ledger(twice, expected=expected, disturbances=[kill(1.5), kill(1.6)]).ok


def test_a_takeover_after_a_suspension_may_repeat_sent_messages() -> None:
    went_on = Disturbance(kind="stop's end", start=40, end=42, late=True)
    assert build_ledger([*TOLD, arrival(STARTED, 41)], disturbances=[went_on]).ok
    assert build_ledger([*TOLD, arrival(STARTED, 39)], disturbances=[went_on]).broken == {"unexplained"}


def test_a_later_state_notified_first_is_out_of_order() -> None:
    assert build_ledger([arrival(STARTED, 3), TOLD[1]]).broken == {"disorder"}


def test_a_later_state_before_an_unacknowledged_earlier_is_disorder() -> None:
    assert build_ledger([arrival(STARTED, 1, "refused"), arrival(ENDED, 2), arrival(STARTED, 3)]).broken == {"disorder"}
    assert build_ledger([arrival(STARTED, 1, done=2.6), TOLD[1]]).broken == {"disorder"}


def test_a_repeat_of_an_earlier_state_is_not_out_of_order() -> None:
    assert build_ledger([*TOLD, arrival(STARTED, 2.6)], disturbances=[kill(2.55)]).ok


def test_a_healthy_waiting_channel_is_found_unless_disturbed() -> None:
    late = [*TOLD, arrival(STARTED, 9.0, channel=B), arrival(ENDED, 9.5, channel=B)]
    assert build_ledger(late, expected=expect(single=True)).broken == {"slow"}
    assert build_ledger(late, expected=expect(single=True), disturbances=[kill(5)]).ok


AUDIT = {"unaccounted": [], "by_state": {"delivered": 2}}


@pytest.mark.parametrize(
    ("audit", "broken"),
    [
        (AUDIT, set()),
        (AUDIT | {"unaccounted": [{"event_id": "x", "channel": A}]}, {"unaccounted"}),
        (AUDIT | {"by_state": {"delivered": 3}}, {"untrue"}),
        (AUDIT | {"by_state": {"delivered": 1}}, {"untrue"}),
        (AUDIT | {"by_state": {"delivered": 2, "pending": 1}}, {"untrue"}),
        (AUDIT | {"by_state": {"delivered": 2, "dead": 1}}, {"untrue"}),
    ],
)
def test_the_program_must_report_of_itself_what_the_receiver_saw(audit: Mapping[str, Any], broken: set[str]) -> None:
    assert build_ledger(audit=audit).broken == broken
