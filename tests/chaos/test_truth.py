"""What must be told follows from what was seen and survived, and from nothing else."""

from __future__ import annotations

import pytest

from chaos.truth import COMPLETED, FAILED, RUNNING, Key, Pace, State, Task, Truth, state_required

STILL = Pace(tasks=5, moves=0, blind_steps=0.0)
MOVING = Pace(tasks=20, moves=10, blind_steps=0.0)


def task(*states: tuple[str, str]) -> Task:
    """Return a task; of each state it says `shown`, `confirmed` or `hidden`."""
    found = Task(job_id="job", name="x", created_at="")
    for status, seen in states:
        found.states.append(State(status=status, ended_at=None, shown=seen != "hidden", confirmed=seen == "confirmed"))
    return found


@pytest.mark.parametrize(
    ("states", "required"),
    [
        ([(RUNNING, "confirmed")], True),
        ([(RUNNING, "shown")], False),
        ([(RUNNING, "confirmed"), (FAILED, "confirmed")], True),
        ([(FAILED, "confirmed"), (FAILED, "confirmed")], True),
        ([(FAILED, "confirmed"), (RUNNING, "confirmed")], True),
        ([(RUNNING, "confirmed"), (FAILED, "shown"), (RUNNING, "confirmed")], False),
        ([(RUNNING, "confirmed"), (FAILED, "hidden"), (RUNNING, "confirmed")], False),
        ([(RUNNING, "confirmed"), (FAILED, "confirmed"), (RUNNING, "confirmed")], True),
        ([(RUNNING, "hidden"), (RUNNING, "confirmed")], True),
        ([(RUNNING, "shown"), (COMPLETED, "confirmed")], True),
    ],
)
def test_a_state_is_required_if_it_differs_from_all_recordable_ones(
    states: list[tuple[str, str]], *, required: bool
) -> None:
    assert state_required(task(*states), len(states)) is required


def see(truth: Truth, who: int = 0) -> None:
    """Sweep over the list once."""
    truth.begin(who, 0.0)
    truth.give(who, list(truth.listed), 0.0)


def required(truth: Truth) -> set[Key]:
    return {key for key, one in truth.expected().items() if one.required}


def test_the_first_list_is_the_baseline_and_may_be_quiet() -> None:
    truth = Truth(1, STILL)
    see(truth)
    see(truth)
    assert (truth.baseline, truth.expected()) == (True, {})


def test_the_world_stands_still_until_seen_whole_and_survived() -> None:
    truth = Truth(1, MOVING)
    truth.begin(0, 0.0)
    truth.give(0, list(truth.listed)[1:], 0.0)
    truth.begin(0, 0.0)
    assert truth.steps == 0
    see(truth)
    truth.disturb(0, 0.0)
    truth.begin(0, 0.0)
    assert truth.steps == 0
    see(truth)
    see(truth)
    assert truth.steps == 1


def test_states_seen_by_another_are_not_survived_by_the_asker() -> None:
    truth = Truth(1, MOVING)
    see(truth, who=0)
    truth.begin(1, 0.0)
    assert truth.steps == 0


def test_every_survived_state_is_required_and_no_other_allowed() -> None:
    truth = Truth(1, MOVING)
    for _ in range(50):
        see(truth)
    listed = {task.key for task in truth.listed.values() if not task.now.confirmed}
    assert len(required(truth)) == truth.transitions > 200
    assert listed.isdisjoint(required(truth))


def test_a_task_that_stood_still_long_enough_is_required_unasked() -> None:
    truth = Truth(1, MOVING)
    for minute in range(5):
        truth.tick(60.0 * minute)
    assert (truth.steps, truth.baseline) == (4, True)
    assert required(truth)


def test_a_failure_of_the_service_excuses_unseen_states() -> None:
    truth = Truth(1, MOVING)
    truth.excuse(100.0)
    truth.tick(100.0 + MOVING.dwell)
    assert truth.steps == 0


def test_a_task_deleted_while_running_is_required_as_gone_in_time() -> None:
    truth = Truth(3, Pace(tasks=20, moves=10, deleted=0.3, blind_steps=0.0))
    for _ in range(12):
        see(truth)
    gone = {key for key in required(truth) if key.unlisted}
    assert gone
    assert {key.job_id for key in gone} <= {task.job_id for task in truth.gone}


def test_the_same_seed_makes_the_same_world() -> None:
    worlds = [Truth(7, MOVING) for _ in range(2)]
    for truth in worlds:
        for _ in range(20):
            see(truth)
    assert worlds[0].expected() == worlds[1].expected()
