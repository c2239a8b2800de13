"""What must be told follows from what was seen and survived, and from nothing else."""

from __future__ import annotations

import pytest

from chaos.oracle import COMPLETED, FAILED, RUNNING, Key, Oracle, State, Task, WorldPace, state_required

STILL = WorldPace(tasks=5, moves=0, blind_steps=0.0)
MOVING = WorldPace(tasks=20, moves=10, blind_steps=0.0)


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


def see(oracle: Oracle, index: int = 0) -> None:
    """Sweep over the list once."""
    oracle.start_sweep(index, 0.0)
    oracle.show_rows(index, list(oracle.listed), 0.0)


def required(oracle: Oracle) -> set[Key]:
    return {key for key, one in oracle.expected().items() if one.required}


def test_the_first_list_is_the_baseline_and_may_be_quiet() -> None:
    oracle = Oracle(1, STILL)
    see(oracle)
    see(oracle)
    assert (oracle.baseline, oracle.expected()) == (True, {})


def test_the_world_stands_still_until_seen_whole_and_survived() -> None:
    oracle = Oracle(1, MOVING)
    oracle.start_sweep(0, 0.0)
    oracle.show_rows(0, list(oracle.listed)[1:], 0.0)
    oracle.start_sweep(0, 0.0)
    assert oracle.steps == 0
    see(oracle)
    oracle.disturb(0, 0.0)
    oracle.start_sweep(0, 0.0)
    assert oracle.steps == 0
    see(oracle)
    see(oracle)
    assert oracle.steps == 1


def test_states_seen_by_another_are_not_survived_by_the_asker() -> None:
    oracle = Oracle(1, MOVING)
    see(oracle, index=0)
    oracle.start_sweep(1, 0.0)
    assert oracle.steps == 0


def test_every_survived_state_is_required_and_no_other_allowed() -> None:
    oracle = Oracle(1, MOVING)
    for _ in range(50):
        see(oracle)
    listed = {task.key for task in oracle.listed.values() if not task.now.confirmed}
    assert len(required(oracle)) == oracle.transitions > 200
    assert listed.isdisjoint(required(oracle))


def test_a_task_that_stood_still_long_enough_is_required_unasked() -> None:
    oracle = Oracle(1, MOVING)
    for minute in range(5):
        oracle.tick(60.0 * minute)
    assert (oracle.steps, oracle.baseline) == (4, True)
    assert required(oracle)


def test_a_failure_of_the_service_excuses_unseen_states() -> None:
    oracle = Oracle(1, MOVING)
    oracle.exempt(100.0)
    oracle.tick(100.0 + MOVING.dwell)
    assert oracle.steps == 0


def test_a_task_deleted_while_running_is_required_as_gone_in_time() -> None:
    oracle = Oracle(3, WorldPace(tasks=20, moves=10, deleted=0.3, blind_steps=0.0))
    for _ in range(12):
        see(oracle)
    gone = {key for key in required(oracle) if key.unlisted}
    assert gone
    assert {key.job_id for key in gone} <= {task.job_id for task in oracle.gone}


def test_the_same_seed_makes_the_same_world() -> None:
    worlds = [Oracle(7, MOVING) for _ in range(2)]
    for oracle in worlds:
        for _ in range(20):
            see(oracle)
    assert worlds[0].expected() == worlds[1].expected()
