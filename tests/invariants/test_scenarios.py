"""Random sequences of all events: the stateful test of all invariants."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from scenario import Answer, Backup, CrashPoint, ScenarioFactory, postgres_scenario, sqlite_scenario
from servers.postgres import Databases
from strategies import ANSWERS, changes, crash_points, examples, presentations, waits
from upstream import FAILED, Change, Presentation

CHANNELS = st.integers(0, 9)
HAPPENING = st.lists(changes(), min_size=1, max_size=6)


class ScenarioMachine(RuleBasedStateMachine):
    """Random steps on one database, after which everything must be deliverable."""

    backups: Bundle[Backup] = Bundle("backups")

    def __init__(self, new_scenario: ScenarioFactory, *, long: bool = False) -> None:
        super().__init__()
        self._ends = ExitStack()
        self.scenario = self._ends.enter_context(new_scenario(long=long))

    @initialize(happening=st.lists(changes("create"), max_size=6))
    def begin(self, happening: list[Change]) -> None:
        self.scenario.apply_changes(*happening)
        self.scenario.poll()

    @rule(happening=HAPPENING)
    def see(self, happening: list[Change]) -> None:
        self.scenario.apply_changes(*happening)
        self.scenario.poll()

    @rule(happening=HAPPENING, presentation=presentations(), times=st.integers(1, 3))
    def see_what_is_shown(self, happening: list[Change], presentation: Presentation, times: int) -> None:
        self.scenario.apply_changes(*happening)
        self.scenario.poll(presentation)
        for _ in range(times - 1):
            self.scenario.poll_now(presentation)

    @rule(happening=HAPPENING, presentation=st.just(Presentation()) | presentations(), crash_at=crash_points())
    def see_and_die(self, happening: list[Change], presentation: Presentation, crash_at: CrashPoint) -> None:
        self.scenario.apply_changes(*happening)
        self.scenario.poll(presentation, crash_at=crash_at)

    @rule(answers=ANSWERS, wait=st.sampled_from((timedelta(), timedelta(minutes=10))))
    def deliver(self, answers: list[Answer], wait: timedelta) -> None:
        self.scenario.wait(wait)
        for name in list(self.scenario.channels):
            self.scenario.deliver(name, *answers)

    @rule(channel=CHANNELS, answers=ANSWERS, crash_at=crash_points())
    def deliver_and_die(self, channel: int, answers: list[Answer], crash_at: CrashPoint) -> None:
        self.scenario.deliver(self._name(channel), *answers, crash_at=crash_at)

    @rule(channel=CHANNELS, answers=ANSWERS)
    def deliver_late(self, channel: int, answers: list[Answer]) -> None:
        self.scenario.deliver_late(self._name(channel), *answers)

    def _name(self, channel: int) -> str:
        names = list(self.scenario.channels)
        return names[channel % len(names)]

    @rule(delta=waits())
    def time_passes(self, delta: timedelta) -> None:
        self.scenario.wait(delta)

    @rule(channel=CHANNELS)
    def mend_a_channel_and_send_the_dead_again(self, channel: int) -> None:
        self.scenario.unpark(self._name(channel))
        self.scenario.retry_dead()

    @precondition(lambda self: len(self.scenario.channels) < 4)
    @rule(failures_only=st.booleans(), concurrency=st.integers(1, 4))
    def add_a_channel(self, *, failures_only: bool, concurrency: int) -> None:
        name = f"channel {len(self.scenario.channels)}"
        self.scenario.add_channel(name, failures_only=failures_only, concurrency=concurrency)

    @rule(channel=CHANNELS)
    def change_a_route(self, channel: int) -> None:
        receiver = self.scenario.channels[self._name(channel)]
        receiver.failures_only = not receiver.failures_only

    @precondition(lambda self: not self.scenario.shared)
    @rule(target=backups)
    def back_up(self) -> Backup:
        return self.scenario.backup()

    @rule(backup=backups)
    def restore(self, backup: Backup) -> None:
        self.scenario.restore(backup)

    def teardown(self) -> None:
        with self._ends:
            self.scenario.heal()


def run(new_scenario: ScenarioFactory, runs: int, steps: int, *, long: bool = False) -> None:
    class Machine(ScenarioMachine):
        def __init__(self) -> None:
            super().__init__(new_scenario, long=long)

    run_state_machine_as_test(Machine, settings=examples(runs, stateful_step_count=steps))


def test_what_a_killed_process_began_ends_with_it(sqlite_template: Path) -> None:
    with sqlite_scenario(sqlite_template) as scenario:
        scenario.poll()
        scenario.apply_changes(Change(kind="create"), Change(kind="create"))
        scenario.poll()
        scenario.deliver("all", "refuse", "refuse")
        scenario.apply_changes(Change(kind="become", status=FAILED))
        scenario.poll()
        scenario.wait(timedelta(minutes=10))
        goes_on = asyncio.Event()
        on_stall, scenario.channels["all"].on_stall = scenario.channels["all"].on_stall, goes_on.wait
        scenario.deliver("all", "stall", "die before", "stall")
        scenario.run_until_idle(goes_on)
        assert scenario.expectations.taken == set(), "what stood still went on after its process was dead"
        scenario.channels["all"].on_stall = on_stall
        scenario.deliver("all")
        scenario.heal()


def test_a_life_on_sqlite(sqlite_template: Path) -> None:
    run(partial(sqlite_scenario, sqlite_template), 20, 30)


def test_a_life_with_a_long_list(sqlite_template: Path) -> None:
    run(partial(sqlite_scenario, sqlite_template), 8, 30, long=True)


def test_a_life_on_postgresql(databases: Databases) -> None:
    run(partial(postgres_scenario, databases), 8, 25)
