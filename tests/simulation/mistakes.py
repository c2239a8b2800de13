"""Mistakes in the program. The checks must detect each one, for the named reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import bindparam, select, update

from notifier import deliver, poll
from notifier import live_messages as live
from notifier.core import outbox, pacing, storms
from notifier.core.delivery import Body, Delivered, Delivery, DeliveryState, Resolution
from notifier.store import statements
from notifier.store.deliveries import Deliveries
from notifier.store.engine import SqlStore
from notifier.store.holds import Holds
from notifier.store.schema import deliveries
from notifier.store.threads import Threads

Mistake = Callable[[pytest.MonkeyPatch], None]


def mark_before_sending(patch: pytest.MonkeyPatch) -> None:
    claim_due = Deliveries.claim_due

    def claim_and_settle(self: Any, channel: str, owner: str, now: Any, *rest: Any, **how: Any) -> Sequence[Delivery]:
        claimed = claim_due(self, channel, owner, now, *rest, **how)
        times: dict[str, Any] = {"started_at": now, "finished_at": now, "schedule": (), "chance": 0.5}
        self.settle([outbox.settle(delivery, Delivered(), **times) for delivery in claimed], now)
        return claimed

    patch.setattr(Deliveries, "claim_due", claim_and_settle)


def plan_in_another_transaction(patch: pytest.MonkeyPatch) -> None:
    put_off: list[Any] = []
    poll_once = poll.poll_once

    async def in_two_steps(source: Any, store: SqlStore, *args: Any, **how: Any) -> poll.PollReport:
        put_off.clear()  # what a killed process put off is gone
        report = await poll_once(source, store, *args, **how)
        while put_off:
            tasks = put_off.pop()
            await store.transact(lambda tx, tasks=tasks: tx.deliveries.record(tasks))  # type: ignore[misc]  # a default
        return report

    record = Deliveries.record

    def put_it_off(self: Deliveries, planned: Sequence[Delivery]) -> None:
        if put_off or not planned:
            record(self, planned)
        else:
            put_off.append(planned)

    patch.setattr("notifier.service.polling.poll_once", in_two_steps)
    patch.setattr(Deliveries, "record", put_it_off)


def ignore_the_order_of_subjects(patch: pytest.MonkeyPatch) -> None:
    due = (
        select(deliveries.c.seq, deliveries.c.rule)
        .where(deliveries.c.channel == bindparam("channel"), deliveries.c.state == DeliveryState.PENDING)
        .where(deliveries.c.available_at <= bindparam("now"))
        .order_by(deliveries.c.seq)
        .limit(bindparam("limit"))
    )
    patch.setattr(statements, "DUE_DELIVERIES", due)


def claim_without_a_lease(patch: pytest.MonkeyPatch) -> None:
    claim_due = Deliveries.claim_due

    def claim(self: Any, channel: str, owner: str, now: Any, _lease: Any, limit: int, **how: Any) -> Sequence[Delivery]:
        return claim_due(self, channel, owner, now, timedelta(), limit, **how)

    patch.setattr(Deliveries, "claim_due", claim)


def lose_a_settlement_now_and_then(patch: pytest.MonkeyPatch) -> None:
    settle, calls = Deliveries.settle, iter(range(10**9))

    def losing(self: Any, settlements: Sequence[outbox.Settlement], now: Any) -> int:
        return settle(self, settlements[next(calls) % 5 == 0 :], now)

    patch.setattr(Deliveries, "settle", losing)


def render_at_each_attempt(patch: pytest.MonkeyPatch) -> None:
    def save_bodies(self: Deliveries, bodies: Mapping[str, Body], _queued: object = ()) -> Mapping[str, Body]:
        for id_, body in bodies.items():
            self._session.execute(update(deliveries).where(deliveries.c.id == id_).values(content_type="text/plain"))
            assert body.content
        return bodies

    patch.setattr(Deliveries, "save_bodies", save_bodies)


def never_ask_what_became_of_it(patch: pytest.MonkeyPatch) -> None:
    async def resolve(_courier: Any, _delivery: Delivery) -> tuple[None, Resolution]:
        return None, Resolution.RISKED

    patch.setattr(deliver.DeliveryWorker, "_resolve", resolve)


def keep_the_breaker_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pacing, "_probe_wait", lambda *_: timedelta(days=1))


def give_up_after_one_attempt(patch: pytest.MonkeyPatch) -> None:
    again = outbox._again

    def once(delivery: Delivery, reason: str, after: Any, _schedule: Any, chance: float) -> Any:
        return again(delivery, reason, after, (), chance)

    patch.setattr(outbox, "_again", once)


def note_a_change_whatever_came_of_it(patch: pytest.MonkeyPatch) -> None:
    settle = live.MessageEditor._settle

    def settle_as_good(editor: Any, thread: Any, _edited: Any, tx: Any) -> None:
        good = live._Edited(message=Delivered(), copies=[Delivered() for _ in thread.copies])
        settle(editor, thread, good, tx)

    patch.setattr(live.MessageEditor, "_settle", settle_as_good)


def leave_copies_as_they_are(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Threads, "_add_copy", lambda *_, **__: None)


def leave_storms_as_they_were(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Threads, "touch_storm", lambda *_: None)


def end_no_storm(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(storms, "end", lambda storm, _: storm)


def send_storms_in_any_order(patch: pytest.MonkeyPatch) -> None:
    of_one_task, _of_one_storm = statements._BLOCKED.clauses
    due = (
        select(deliveries.c.seq, deliveries.c.rule)
        .where(deliveries.c.channel == bindparam("channel"), deliveries.c.state == DeliveryState.PENDING)
        .where(deliveries.c.available_at <= bindparam("now"), ~of_one_task)
        .order_by(deliveries.c.rank, deliveries.c.seq.desc())
        .limit(bindparam("limit"))
    )
    patch.setattr(statements, "DUE_DELIVERIES", due)


def show_again_what_was_told_first(patch: pytest.MonkeyPatch) -> None:
    def tell_once(self: Any, channel: str, recorded_events: Sequence[Any], now: Any) -> None:
        update_threads(self, channel, [one for one in recorded_events if one.thread], now)

    update_threads = Threads.update
    patch.setattr(Threads, "update", tell_once)


def hold_what_is_older_than_what_is_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Holds, "release_about", lambda *_: None)


def release_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Holds, "release", lambda *_: None)


MISTAKES: Sequence[tuple[Mistake, str]] = (
    (mark_before_sending, "marked as delivered, never arrived"),
    (plan_in_another_transaction, "unaccounted"),
    (ignore_the_order_of_subjects, "out of order"),
    (claim_without_a_lease, "repeated without a reason"),
    (lose_a_settlement_now_and_then, "repeated without a reason"),
    (render_at_each_attempt, "same id, other bytes"),
    (never_ask_what_became_of_it, "repeated without a reason: chat"),
    (keep_the_breaker_open, "not empty after healing"),
    (give_up_after_one_attempt, "given up too soon"),
    (note_a_change_whatever_came_of_it, "shows what is over"),
    (show_again_what_was_told_first, "shows what is over"),
    (leave_copies_as_they_are, "copy shows what is over"),
    (leave_storms_as_they_were, "storm shows what is over"),
    (end_no_storm, "wrong storm"),
    (send_storms_in_any_order, "storm out of order"),
    (hold_what_is_older_than_what_is_sent, "out of order"),
    (release_nothing, "not empty after healing"),
)
