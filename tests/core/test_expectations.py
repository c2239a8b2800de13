"""Which runs should have begun and did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from factories import T0

from notifier.core.events import EventType
from notifier.core.expectations import ExpectedRuns, Judged, MissingRules, SeenRun, expected_runs, missing_runs
from notifier.core.matchers import parse_matcher
from notifier.core.model import SourceOrigin, SourceState, TaskStatus
from notifier.core.tickets import operation_of, operation_of_task

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
BACKUP = "BackupSnapshotGaussDBV5InInstance"
ORIGIN = SourceOrigin(
    source="prod", region="cn-north-4", project_id="p", environment="production", labels=(("team", "dba"),)
)
STATE = SourceState(name="prod", baseline_at=T0 - 90 * DAY, last_poll_at=T0, last_full_at=T0)
RULE = ExpectedRuns(
    text="manual backup of prod-* every 26h",
    name=BACKUP,
    every=26 * HOUR,
    match=(parse_matcher("instance=prod-*"),),
)
CONFIGURED, LEARNED = MissingRules(expected=(RULE,)), MissingRules(learned=True)


def run(began: datetime, **changes: Any) -> SeenRun:
    values: dict[str, Any] = {
        "name": BACKUP,
        "job_id": f"job-{began.isoformat()}",
        "instance_id": "in-1",
        "instance_name": "prod-orders-01",
        "began": began,
        "status": TaskStatus.COMPLETED,
    }
    return SeenRun(**values | changes)


def nightly(count: int, last: datetime = T0 - DAY, **changes: Any) -> list[SeenRun]:
    return [run(last - day * DAY, **changes) for day in range(count)][::-1]


def judged(
    seen: Sequence[SeenRun], rules: MissingRules = CONFIGURED, state: SourceState = STATE, now: datetime = T0
) -> Sequence[Judged]:
    return expected_runs(ORIGIN, state, seen, rules, now)


def missing(
    seen: Sequence[SeenRun], rules: MissingRules = CONFIGURED, state: SourceState = STATE, now: datetime = T0
) -> list[str]:
    found = missing_runs(judged(seen, rules, state, now), state, now)
    return [one.expected.instance_name or "" for one in found]


def test_a_configured_run_is_missing_once_its_time_is_over() -> None:
    assert missing([run(T0 - 26 * HOUR + HOUR)]) == []
    assert missing([run(T0 - 26 * HOUR)]) == ["prod-orders-01"]
    (found,) = judged([run(T0 - 27 * HOUR)])
    event, expected = found.event, found.expected
    assert (event.type, event.task, event.environment) == (EventType.TASK_MISSING, None, "production")
    assert (expected.rule, expected.last, expected.overdue_at) == (RULE.text, T0 - 27 * HOUR, T0 - HOUR)
    assert event.subject == f"prod/{event.id}"


def test_grace_is_time_in_addition() -> None:
    late = MissingRules(expected=(replace(RULE, grace=2 * HOUR),))
    assert missing([run(T0 - 27 * HOUR)], late) == []
    assert missing([run(T0 - 28 * HOUR)], late) == ["prod-orders-01"]


def test_only_a_success_may_be_enough() -> None:
    seen = [run(T0 - 50 * HOUR), run(T0 - HOUR, status=TaskStatus.FAILED), run(T0, status=TaskStatus.RUNNING)]
    assert missing(seen) == []
    assert missing(seen, MissingRules(expected=(replace(RULE, succeeded=True),))) == ["prod-orders-01"]


def test_the_event_is_the_same_however_often_it_is_judged() -> None:
    seen = [run(T0 - 27 * HOUR)]
    (one,), (other,) = judged(seen), judged(seen, now=T0 + 5 * HOUR)
    assert one.event.id == other.event.id
    (later,) = judged([*seen, run(T0)])
    assert later.event.id != one.event.id
    (learned,) = judged(nightly(20, T0 - 27 * HOUR), LEARNED)
    assert learned.event.id == one.event.id


def test_it_is_about_the_operation_that_a_success_closes() -> None:
    from factories import make_task  # noqa: PLC0415 - of this test alone

    (found,) = judged([run(T0 - 27 * HOUR)])
    task = make_task(name=BACKUP, instance_id="in-1", instance_name="prod-orders-01")
    assert operation_of(found.event) == operation_of_task(task)


def test_an_instance_that_never_had_a_run_is_expected_to_have_one() -> None:
    created = run(T0 - 30 * HOUR, name="CreateGaussDBV5Instance")
    assert missing([created]) == ["prod-orders-01"]
    (found,) = judged([created])
    assert found.expected.last is None
    assert missing([replace(created, began=T0 - 20 * HOUR)]) == []


@pytest.mark.parametrize(
    "end",
    [
        {"name": "DeleteGaussDBV5Instance"},
        {"name": "ResizeGaussDBV5Flavor", "instance_status": "deleted"},
    ],
)
def test_nothing_is_expected_of_a_deleted_instance(end: dict[str, Any]) -> None:
    assert judged([run(T0 - 50 * HOUR), run(T0 - 40 * HOUR, **end)]) == []
    failed = run(T0 - 40 * HOUR, name="DeleteGaussDBV5Instance", status=TaskStatus.FAILED)
    assert missing([run(T0 - 50 * HOUR), failed]) == ["prod-orders-01"]


def test_matchers_choose_instances_and_sources() -> None:
    staging = run(T0 - 50 * HOUR, instance_id="in-2", instance_name="staging-01")
    assert missing([staging]) == []
    for text, fits in (("environment=production", True), ("label.team=dba", True), ("source=other", False)):
        rules = MissingRules(expected=(replace(RULE, match=(parse_matcher(text),)),))
        assert bool(missing([staging], rules)) is fits


def test_a_learned_run_is_missing_after_its_rhythm() -> None:
    seen = nightly(20, last=T0 - 30 * HOUR)
    assert missing(seen, LEARNED) == ["prod-orders-01"]
    assert missing(nightly(20, last=T0 - 25 * HOUR), LEARNED) == []
    assert missing([*seen, run(T0 - HOUR)], LEARNED) == []
    (found,) = judged(seen, LEARNED)
    assert (found.expected.intervals, found.expected.expected_at) == (19, T0 - 6 * HOUR)
    assert missing(seen[:3], LEARNED) == []


def test_what_a_matcher_ignores_is_not_learned_but_may_be_configured() -> None:
    ignoring = MissingRules(learned=True, ignore=(parse_matcher("operation=backup"),))
    assert judged(nightly(20, last=T0 - 30 * HOUR), ignoring) == []
    assert missing(nightly(20, last=T0 - 30 * HOUR), replace(ignoring, expected=(RULE,))) == ["prod-orders-01"]


def test_a_configured_expectation_takes_the_place_of_the_rhythm() -> None:
    rules = MissingRules(expected=(replace(RULE, every=60 * HOUR),), learned=True)
    assert missing(nightly(20, last=T0 - 30 * HOUR), rules) == []


@pytest.mark.parametrize(
    "unsure",
    [
        {"last_full_at": T0 - 2 * HOUR},
        {"last_full_at": None},
        {"failing_since": T0 - HOUR},
        {"refused_since": T0 - HOUR},
        {"empty_since": T0 - HOUR},
        {"retired_at": T0 - HOUR},
        {"baseline_at": None},
    ],
)
def test_what_was_not_seen_is_not_missing_while_the_source_is_blind(unsure: dict[str, Any]) -> None:
    assert missing([run(T0 - 27 * HOUR)], state=replace(STATE, **unsure)) == []


def test_a_complete_scan_since_then_proves_it() -> None:
    state = replace(STATE, last_full_at=T0 - HOUR)
    assert missing([run(T0 - 27 * HOUR)], state=state) == ["prod-orders-01"]
