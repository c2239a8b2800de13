"""Mistakes that the invariants must detect: with each one made, the test that guards against it fails.

These tests break the program on purpose. Each mistake replaces one function and has the message with which the guarding
test must fail.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import scenario as scenario_module
import test_invariants as invariants
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scenario import sqlite_scenario
from simulation.mistakes import ignore_the_order_of_subjects
from sqlalchemy import update

from notifier import poll
from notifier.core import diff, outbox, polling
from notifier.core.delivery import Body, Delivered, Delivery
from notifier.core.diff import DiffRules, RecordedTask
from notifier.core.events import EventType
from notifier.core.model import Task, TaskStatus, Transition
from notifier.deliver import DeliveryReport, DeliveryRules
from notifier.ports import Channel, Clock, RenderRequest
from notifier.sources import gaussdb, paging, payloads, walker
from notifier.sources.gaussdb import GaussDBSource
from notifier.sources.paging import WalkResult
from notifier.store.deliveries import Deliveries
from notifier.store.engine import SqlStore
from notifier.store.polls import Polls
from notifier.store.schema import deliveries

Mistake = Callable[[pytest.MonkeyPatch], None]


# ---- A1 ----


def mark_before_sending(patch: pytest.MonkeyPatch) -> None:
    async def deliver_due(
        channel: Channel, store: SqlStore, clock: Clock, rng: random.Random, *, owner: str, rules: DeliveryRules
    ) -> DeliveryReport:
        now, chance = clock.now(), rng.random()
        claimed = await store.transact(lambda tx: tx.deliveries.claim_due(channel.name, owner, now, rules.lease, 1))
        times: dict[str, Any] = {"started_at": now, "finished_at": now, "schedule": rules.schedule, "chance": chance}
        done = [outbox.settle(delivery, Delivered(), **times) for delivery in claimed]
        await store.transact(lambda tx: tx.deliveries.settle(done, now))
        for delivery in claimed:
            body = channel.render(RenderRequest.of(delivery))
            await channel.send(replace(delivery, body=body))
        return DeliveryReport(channel=channel.name)

    patch.setattr(scenario_module, "deliver_due", deliver_due)


def plan_in_another_transaction(patch: pytest.MonkeyPatch) -> None:
    put_off: list[tuple[Any, ...]] = []
    plan, poll_once = outbox.plan_sent, poll.poll_once

    async def in_two_steps(source: Any, store: SqlStore, *args: Any, **how: Any) -> poll.PollReport:
        put_off.clear()  # what a killed process put off is gone
        report = await poll_once(source, store, *args, **how)
        while put_off:
            await store.transact(lambda tx: tx.deliveries.record(tuple(plan(*put_off.pop()))))
        return report

    def later(*what: Any) -> tuple[Delivery, ...]:
        put_off.append(what)
        return ()

    patch.setattr(outbox, "plan_sent", later)
    patch.setattr(scenario_module, "poll_once", in_two_steps)


# ---- detection ----


def look_back_an_hour_only(patch: pytest.MonkeyPatch) -> None:
    def window(self: GaussDBSource) -> gaussdb.TaskQuery:
        return gaussdb.TaskQuery(limit=scenario_module.PAGE_SIZE, start_time=self._clock.now() - timedelta(hours=1))

    patch.setattr(GaussDBSource, "_query", property(window, lambda _self, _whole: None), raising=False)


def replace_compare(patch: pytest.MonkeyPatch, ignores: Callable[[RecordedTask | None, Task], bool]) -> None:
    compare = diff.compare

    def forgetful(
        before: RecordedTask | None, task: Task, rules: DiffRules
    ) -> tuple[RecordedTask | None, tuple[Transition, ...]]:
        after, transitions = compare(before, task, rules)
        return after, () if ignores(before, task) else transitions

    patch.setattr(diff, "compare", forgetful)


def ignore_what_has_ended_when_first_seen(patch: pytest.MonkeyPatch) -> None:
    replace_compare(patch, lambda before, task: before is None and task.status.terminal)


def page_by_arithmetic(patch: pytest.MonkeyPatch) -> None:
    for module in (paging, walker):
        patch.setattr(module, "stride", lambda first, _limit: max(len(first.keys), 1))
    patch.setattr(WalkResult, "complete", property(lambda self: not self.walks[-1].cut_short))


def count_absence_in_any_poll(patch: pytest.MonkeyPatch) -> None:
    count = diff._count_missing
    patch.setattr(diff, "_count_missing", lambda seen, *rest: count(replace(seen, complete=True), *rest))


def take_any_poll_for_the_baseline(patch: pytest.MonkeyPatch) -> None:
    record = Polls.record
    patch.setattr(
        Polls,
        "record",
        lambda self, claim, seen, *when, **plan: record(self, claim, replace(seen, complete=True), *when, **plan),
    )


def take_absence_for_failure(patch: pytest.MonkeyPatch) -> None:
    unlisted = diff._unlisted
    patch.setattr(diff, "_unlisted", lambda row, rules: replace(unlisted(row, rules), type=EventType.TASK_FAILED))


def take_an_end_for_final(patch: pytest.MonkeyPatch) -> None:
    moved = diff._state_changed
    patch.setattr(diff, "_state_changed", lambda before, after: not before.status.terminal and moved(before, after))


def forget_an_end_that_a_row_leaves_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(diff, "_with_known_end", lambda task, _before: task)


def tell_the_baseline(patch: pytest.MonkeyPatch) -> None:
    read = polling.diff_rules
    patch.setattr(polling, "diff_rules", lambda *how: replace(read(*how), quiet_new=False))


def name_the_first_of_a_digest_only(patch: pytest.MonkeyPatch) -> None:
    batches = outbox._batches
    patch.setattr(outbox, "_batches", lambda events, policy: itertools.islice(batches(events, policy), 1))


def pass_over_gaps(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(polling, "_gap", lambda *_: [])


def guess_what_an_unknown_status_means(patch: pytest.MonkeyPatch) -> None:
    parse = payloads.parse_task

    def guess(*row: Any) -> Task:
        task = parse(*row)
        return replace(task, status=TaskStatus.RUNNING) if task.status is TaskStatus.UNKNOWN else task

    patch.setattr(gaussdb, "parse_task", guess)


def let_the_earlier_row_count(patch: pytest.MonkeyPatch) -> None:
    page = payloads.page_of_rows
    patch.setattr(payloads, "page_of_rows", lambda raws, ids, total: page(raws[::-1], list(ids)[::-1], total))


def count_every_scan(patch: pytest.MonkeyPatch) -> None:
    read = polling.diff_rules
    patch.setattr(polling, "diff_rules", lambda *how: replace(read(*how), last_complete_at=None))


# ---- ids, bodies and order ----


def number_events(patch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count()
    patch.setattr(outbox, "event_id", lambda *_: f"event {next(numbers)}")


def name_every_state_by_its_status_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(diff, "occurrence_of", lambda task, _previous: str(task.raw_status))


def let_a_later_body_replace_an_earlier(patch: pytest.MonkeyPatch) -> None:
    def save_bodies(self: Deliveries, bodies: Mapping[str, Body], _queued: object = ()) -> Mapping[str, Body]:
        for id_, body in bodies.items():
            self._session.execute(update(deliveries).where(deliveries.c.id == id_).values(body=body.content))
        return bodies

    patch.setattr(Deliveries, "save_bodies", save_bodies)


MISTAKES: list[tuple[str, Mistake, str]] = [
    ("a01", mark_before_sending, "A1: .* nobody ever took it"),
    ("a01", plan_in_another_transaction, "P3: not every event has one account for each channel"),
    ("a02", look_back_an_hour_only, "A2: .* changed, and nobody ever noticed"),
    ("a03", ignore_what_has_ended_when_first_seen, "A1: nothing was told of .*task.(failed|completed)"),
    ("a04", page_by_arithmetic, "A4: the list was called whole without"),
    ("a05", count_absence_in_any_poll, "A1: told task.unlisted unduly"),
    ("a05", take_any_poll_for_the_baseline, "A5: a faulty poll passed for the baseline|A8: told task.started unduly"),
    ("a06", take_absence_for_failure, "A1: .* was told as task.failed, it is task.unlisted"),
    ("a07_a_second", take_an_end_for_final, "A1: nothing was told of"),
    ("a07_a_second", forget_an_end_that_a_row_leaves_out, "A1: nothing was told of"),
    ("a08", tell_the_baseline, "A8: told task.* unduly"),
    ("a09_after", name_the_first_of_a_digest_only, "P3: not every event has one account"),
    ("a10", pass_over_gaps, "A1: nothing was told of .*source.gap"),
    ("a11", guess_what_an_unknown_status_means, "A11: an unknown status was given a meaning"),
    ("a12", let_the_earlier_row_count, "A1: "),
    ("a13", count_every_scan, "A1: told task.unlisted unduly"),
    ("b02", let_a_later_body_replace_an_earlier, "B2: .* was sent again with another body"),
    ("b03", number_events, "B3: .* is told under two ids"),
    ("b03", name_every_state_by_its_status_alone, "A1: nothing was told of|B3: .* means"),
    ("b04_nothing", ignore_the_order_of_subjects, "B4: .* overtook"),
]


@pytest.mark.parametrize(("guard", "mistake", "violation"), MISTAKES, ids=[f"{g}-{m.__name__}" for g, m, _ in MISTAKES])
def test_a_mistake_is_noticed(
    guard: str, mistake: Mistake, violation: str, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (test,) = (of for name, of in vars(invariants).items() if name.startswith(f"test_{guard}"))
    mistake(monkeypatch)
    with pytest.raises(AssertionError, match=violation):
        searched(test)(new_scenario=partial(sqlite_scenario, sqlite_template))


def searched(test: Any) -> Any:
    """Return the test as one that tries longer, and that is content with the first failure it finds."""
    if not hasattr(test, "hypothesis"):
        return test
    how = settings(max_examples=200, phases=(Phase.generate,), report_multiple_bugs=False, database=None)
    return how(given(data=st.data())(test.hypothesis.inner_test))


def test_every_invariant_is_guarded_against_a_mistake() -> None:
    guarded = {guard[:3] for guard, _, _ in MISTAKES}
    promised = {name.removeprefix("test_")[:3] for name in vars(invariants) if name.startswith("test_")}
    assert guarded == promised
    assert guarded >= {f"a{n:02}" for n in range(1, 14)}
