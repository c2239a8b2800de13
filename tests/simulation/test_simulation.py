"""The whole of polling and delivering, one to three processes, through disasters that a seed decides."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifier import logs
from simulation.mistakes import MISTAKES, Mistake
from simulation.run import Run, make_template, repeat_command, simulate

SEEDS = 40
"""Lives of the suite; `.ci/run` goes on from there."""
SHARE = 20
"""Seeds of one test, so that processes that run the suite share the work."""
ENOUGH = 60
"""Seeds within which every mistake must be noticed."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("simulation"))


@pytest.fixture(autouse=True)
def silence(records: io.StringIO) -> None:
    """Log errors only, into memory: thousands of lives would log much."""
    logs.configure("error", "json", records)


@pytest.mark.parametrize("first", range(0, SEEDS, SHARE))
def test_nothing_is_lost_repeated_or_out_of_order(template: Path, first: int) -> None:
    runs = [simulate(seed, template) for seed in range(first, first + SHARE)]
    assert [f"{run.wrong[0]}; again: {repeat_command(run.seed)}" for run in runs if run.wrong] == []
    assert sum(run.messages for run in runs) > 20 * SHARE


def test_the_same_seed_is_the_same_run(template: Path) -> None:
    assert simulate(7, template) == simulate(7, template)


@pytest.mark.parametrize(("mistake", "reason"), MISTAKES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_mistake_is_noticed_for_the_right_reason(
    template: Path, monkeypatch: pytest.MonkeyPatch, mistake: Mistake, reason: str
) -> None:
    mistake(monkeypatch)
    assert any(reason in complaint for run in _lives(template) for complaint in run.wrong)


def _lives(template: Path) -> Iterator[Run]:
    return (simulate(seed, template) for seed in range(ENOUGH))
