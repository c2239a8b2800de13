"""Everything that can happen, in any order: the stateful test of all invariants at once."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from life import Answer, Backup, Kill, NewLife, postgres_life, sqlite_life
from stories import ANSWERS, changes, examples, kills, showings, waits
from upstream import FAILED, Change, Showing

CHANNELS = st.integers(0, 9)
HAPPENING = st.lists(changes(), min_size=1, max_size=6)


class AnyLife(RuleBasedStateMachine):
    """A life of the program on one database, and the good end that it must be able to come to."""

    backups: Bundle[Backup] = Bundle("backups")

    def __init__(self, new_life: NewLife, *, long: bool = False) -> None:
        super().__init__()
        self._ends = ExitStack()
        self.life = self._ends.enter_context(new_life(long=long))

    @initialize(happening=st.lists(changes("create"), max_size=6))
    def begin(self, happening: list[Change]) -> None:
        self.life.happen(*happening)
        self.life.poll()

    @rule(happening=HAPPENING)
    def see(self, happening: list[Change]) -> None:
        self.life.happen(*happening)
        self.life.poll()

    @rule(happening=HAPPENING, showing=showings(), times=st.integers(1, 3))
    def see_what_is_shown(self, happening: list[Change], showing: Showing, times: int) -> None:
        self.life.happen(*happening)
        self.life.poll(showing)
        for _ in range(times - 1):
            self.life.look(showing)

    @rule(happening=HAPPENING, showing=st.just(Showing()) | showings(), kill=kills())
    def see_and_die(self, happening: list[Change], showing: Showing, kill: Kill) -> None:
        self.life.happen(*happening)
        self.life.poll(showing, kill=kill)

    @rule(answers=ANSWERS, wait=st.sampled_from((timedelta(), timedelta(minutes=10))))
    def deliver(self, answers: list[Answer], wait: timedelta) -> None:
        self.life.wait(wait)
        for name in list(self.life.channels):
            self.life.deliver(name, *answers)

    @rule(channel=CHANNELS, answers=ANSWERS, kill=kills())
    def deliver_and_die(self, channel: int, answers: list[Answer], kill: Kill) -> None:
        self.life.deliver(self._name(channel), *answers, kill=kill)

    @rule(channel=CHANNELS, answers=ANSWERS)
    def deliver_late(self, channel: int, answers: list[Answer]) -> None:
        self.life.deliver_late(self._name(channel), *answers)

    def _name(self, channel: int) -> str:
        names = list(self.life.channels)
        return names[channel % len(names)]

    @rule(delta=waits())
    def time_passes(self, delta: timedelta) -> None:
        self.life.wait(delta)

    @rule(channel=CHANNELS)
    def mend_a_channel_and_send_the_dead_again(self, channel: int) -> None:
        self.life.mend(self._name(channel))
        self.life.retry_dead()

    @precondition(lambda self: len(self.life.channels) < 4)
    @rule(failures_only=st.booleans(), concurrency=st.integers(1, 4))
    def add_a_channel(self, *, failures_only: bool, concurrency: int) -> None:
        name = f"channel {len(self.life.channels)}"
        self.life.add_channel(name, failures_only=failures_only, concurrency=concurrency)

    @rule(channel=CHANNELS)
    def change_a_route(self, channel: int) -> None:
        receiver = self.life.channels[self._name(channel)]
        receiver.failures_only = not receiver.failures_only

    @precondition(lambda self: not self.life.shared)
    @rule(target=backups)
    def back_up(self) -> Backup:
        return self.life.backup()

    @rule(backup=backups)
    def restore(self, backup: Backup) -> None:
        self.life.restore(backup)

    def teardown(self) -> None:
        with self._ends:
            self.life.heal()


def run(new_life: NewLife, lives: int, steps: int, *, long: bool = False) -> None:
    class Machine(AnyLife):
        def __init__(self) -> None:
            super().__init__(new_life, long=long)

    run_state_machine_as_test(Machine, settings=examples(lives, stateful_step_count=steps))


def test_what_a_killed_process_began_ends_with_it(sqlite_template: Path) -> None:
    with sqlite_life(sqlite_template) as life:
        life.poll()
        life.happen(Change(kind="create"), Change(kind="create"))
        life.poll()
        life.deliver("all", "refuse", "refuse")
        life.happen(Change(kind="become", status=FAILED))
        life.poll()
        life.wait(timedelta(minutes=10))
        goes_on = asyncio.Event()
        stalled, life.channels["all"].stalled = life.channels["all"].stalled, goes_on.wait
        life.deliver("all", "stall", "die before", "stall")
        life.let_pass(goes_on)
        assert life.books.taken == set(), "what stood still went on after its process was dead"
        life.channels["all"].stalled = stalled
        life.deliver("all")
        life.heal()


def test_a_life_on_sqlite(sqlite_template: Path) -> None:
    run(partial(sqlite_life, sqlite_template), 20, 30)


def test_a_life_with_a_long_list(sqlite_template: Path) -> None:
    run(partial(sqlite_life, sqlite_template), 8, 30, long=True)


def test_a_life_on_postgresql(postgres_server: str) -> None:
    run(partial(postgres_life, postgres_server), 8, 25)
