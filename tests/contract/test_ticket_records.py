"""Tickets in the store, on both databases: asked for, claimed, settled and fenced, shown, and pruned."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from factories import T0, make_delivery, make_event, make_task

from notifier.core import outbox
from notifier.core.delivery import (
    Delivered,
    Delivery,
    DeliveryState,
    GaveUp,
    Outcome,
    Retry,
    Skipped,
    ThreadUpdate,
    Unknown,
)
from notifier.core.model import Event, TaskStatus
from notifier.core.routing import RoutedEvent
from notifier.core.ticket_plan import WantedTicket, ticket_subject, wanted_tickets
from notifier.core.tickets import Ticket, TicketState, operation_of
from notifier.store.engine import SqlStore
from notifier.store.transaction import Transaction

LEASE = timedelta(minutes=1)


def failure(number: int) -> Event:
    return make_event(make_task(f"job-{number}", ended_at=T0 + timedelta(minutes=number)))


def success(number: int) -> Event:
    ended = T0 + timedelta(minutes=number)
    return make_event(make_task(f"job-{number}", status=TaskStatus.COMPLETED, ended_at=ended))


OPERATION = operation_of(failure(1)) or ""


def plan(tx: Transaction, event: Event, now: datetime = T0) -> Delivery:
    tx.events.record([RoutedEvent(event=event, routes=("all",), channels=("ops",))])
    delivery = replace(make_delivery(event, channel="ops", attempt=0, available_at=now), subject=ticket_subject(event))
    tx.deliveries.record([delivery])
    tx.tickets.want(wanted_tickets([delivery]), now)
    return delivery


def claim(tx: Transaction, now: datetime = T0) -> list[Delivery]:
    claimed = tx.deliveries.claim_due("ops", "me", now, LEASE, 10)
    return list(tx.tickets.claim(claimed, now)) if claimed else []


def settle(tx: Transaction, delivery: Delivery, outcome: Outcome, now: datetime = T0) -> list[str]:
    settlement = outbox.settle(
        delivery, outcome, started_at=now, finished_at=now, schedule=(timedelta(seconds=1),) * 9, chance=0.5
    )
    current = tx.tickets.current([settlement])
    tx.deliveries.settle([settlement], now)
    return list(tx.tickets.record(current, now))


def opened(ticket: Ticket) -> Ticket:
    return replace(
        ticket, state=TicketState.OPEN, ref="7", label="OPS-7", url="https://t/7", status="new", attempted_at=None
    )


async def test_deliveries_about_one_operation_go_out_one_after_the_other(store: SqlStore) -> None:
    def work(tx: Transaction) -> None:
        for event in (failure(1), failure(2), success(3)):
            plan(tx, event)
        for expected in (failure(1), failure(2), success(3)):
            (claimed,) = claim(tx)
            assert claimed.events == (expected,)
            assert claimed.ticket is not None
            settle(tx, claimed, Delivered(ticket=opened(claimed.ticket)))
        assert claim(tx) == []

    await store.transact(work)


async def test_a_ticket_is_wanted_with_the_delivery_and_recorded_with_its_settlement(store: SqlStore) -> None:
    def work(tx: Transaction) -> None:
        delivery = plan(tx, failure(1))
        assert tx.tickets.links([OPERATION]) == {}
        (claimed,) = claim(tx)
        ticket = claimed.ticket
        assert ticket is not None
        assert (ticket.state, ticket.wanted_by, ticket.attempted_at) == (TicketState.WANTED, delivery.id, None)
        assert settle(tx, claimed, Delivered(ref="7", ticket=opened(ticket))) == [delivery.id]
        (link,) = tx.tickets.links([OPERATION])[OPERATION]
        assert (link.channel, link.label, link.url, link.open) == ("ops", "OPS-7", "https://t/7", True)

    await store.transact(work)


async def test_what_is_sent_again_by_hand_waits_for_a_newer_failure_that_is_on_its_way(store: SqlStore) -> None:
    def given_up(tx: Transaction) -> Delivery:
        plan(tx, failure(1))
        (claimed,) = claim(tx)
        settle(tx, claimed, GaveUp("HTTP 400"))
        return claimed

    def newer(tx: Transaction) -> Delivery:
        plan(tx, failure(2))
        (claimed,) = claim(tx)
        return claimed

    def again(tx: Transaction) -> list[Delivery]:
        assert tx.deliveries.retry([first.id], T0) == 1
        return claim(tx)

    first = await store.transact(given_up)
    second = await store.transact(newer)
    assert await store.transact(again) == []
    await store.transact(lambda tx: settle(tx, second, Delivered(ticket=second.ticket and opened(second.ticket))))
    assert [one.id for one in await store.transact(lambda tx: claim(tx, T0 + LEASE))] == [first.id]


async def test_a_claim_whose_process_dies_leaves_the_time_from_which_the_ticket_may_be_there(store: SqlStore) -> None:
    def work(tx: Transaction) -> None:
        plan(tx, failure(1))
        claim(tx)
        (again,) = claim(tx, T0 + 2 * LEASE)
        assert again.ticket is not None
        assert (again.outcome_unknown, again.ticket.attempted_at) == (True, T0)
        # An attempt that certainly opened nothing takes it back.
        settle(tx, again, Retry("busy", ticket=again.ticket))
        (third,) = claim(tx, T0 + 4 * LEASE)
        assert third.ticket is not None
        assert third.ticket.attempted_at == T0

    await store.transact(work)


async def test_an_attempt_without_a_word_about_its_ticket_leaves_the_claims(store: SqlStore) -> None:
    def work(tx: Transaction) -> None:
        plan(tx, failure(1))
        (claimed,) = claim(tx)
        settle(tx, claimed, Unknown("cut"))
        (again,) = claim(tx, T0 + LEASE)
        assert again.ticket is not None
        assert again.ticket.attempted_at == T0

    await store.transact(work)


async def test_a_late_settlement_changes_no_ticket(store: SqlStore) -> None:
    def work(tx: Transaction) -> None:
        plan(tx, failure(1))
        (late,) = claim(tx)
        (current,) = claim(tx, T0 + 2 * LEASE)
        assert late.ticket is not None
        assert current.ticket is not None
        assert settle(tx, late, Delivered(ticket=replace(opened(late.ticket), label="LATE-1"))) == []
        assert tx.tickets.links([OPERATION]) == {}
        settle(tx, current, Delivered(ticket=opened(current.ticket)))
        assert settle(tx, late, Delivered(ticket=replace(opened(late.ticket), label="LATE-1"))) == []
        (link,) = tx.tickets.links([OPERATION])[OPERATION]
        assert link.label == "OPS-7"

    await store.transact(work)


async def test_an_operation_is_unsolved_from_its_failure_to_its_next_success(store: SqlStore) -> None:
    def work(tx: Transaction) -> None:
        failed, solved, again = failure(1), success(2), failure(3)
        plan(tx, failed)
        assert tx.tickets.unsolved([OPERATION, "other"]) == {("ops", OPERATION): failed.occurred_at}
        (claimed,) = claim(tx)
        assert claimed.ticket is not None
        settle(tx, claimed, Delivered(ticket=opened(claimed.ticket)))
        plan(tx, solved)
        (claimed,) = claim(tx)
        assert claimed.ticket is not None
        closed = replace(claimed.ticket, state=TicketState.CLOSED, closed_at=T0, solved_at=solved.occurred_at)
        settle(tx, claimed, Delivered(ticket=closed))
        assert tx.tickets.unsolved([OPERATION]) == {}
        plan(tx, again)
        assert tx.tickets.unsolved([OPERATION]) == {("ops", OPERATION): again.occurred_at}

    await store.transact(work)


async def test_a_failure_that_was_planned_during_an_attempt_counts_for_the_next_generation(store: SqlStore) -> None:
    def work(tx: Transaction) -> None:
        plan(tx, failure(1))
        (claimed,) = claim(tx)
        plan(tx, failure(9))
        assert claimed.ticket is not None
        following = opened(replace(claimed.ticket, ref="1", label="OPS-1").next_generation(claimed.id))
        settle(tx, claimed, Delivered(ticket=following))
        assert tx.tickets.unsolved([OPERATION]) == {("ops", OPERATION): failure(9).occurred_at}
        (link,) = tx.tickets.links([OPERATION])[OPERATION]
        assert link.label == "OPS-7"

    await store.transact(work)


async def test_a_success_that_finds_no_ticket_leaves_no_row(store: SqlStore) -> None:
    def work(tx: Transaction) -> None:
        delivery = plan(tx, success(1))
        (claimed,) = claim(tx)
        assert claimed.ticket is None
        ticket = Ticket(channel="ops", operation=OPERATION, solved_at=T0)
        settle(tx, claimed, Skipped("no ticket was opened", ticket=ticket))
        assert claim(tx, T0 + LEASE) == []
        plan(tx, failure(2))
        (claimed,) = claim(tx)
        assert claimed.ticket is not None
        assert claimed.ticket.solved_at is None
        assert delivery.id != claimed.id

    await store.transact(work)


async def test_what_is_skipped_is_suppressed_with_its_reason(store: SqlStore) -> None:
    delivery = await store.transact(lambda tx: plan(tx, success(1)))
    (claimed,) = await store.transact(claim)
    await store.transact(lambda tx: settle(tx, claimed, Skipped("nothing to close")))
    ledger = await store.read(lambda q: q.ledger())
    assert ledger.by_state[DeliveryState.SUPPRESSED] == 1
    assert delivery.id == claimed.id


async def test_a_delivery_that_was_moved_here_gets_a_ticket_with_its_claim(store: SqlStore) -> None:
    def work(tx: Transaction) -> None:
        event = failure(1)
        tx.events.record([RoutedEvent(event=event, routes=("all",), channels=("ops",))])
        tx.deliveries.record([make_delivery(event, channel="ops", attempt=0)])
        (claimed,) = claim(tx)
        assert claimed.ticket is not None
        assert claimed.ticket.wanted_by == claimed.id

    await store.transact(work)


@pytest.mark.parametrize("generation", [1, 2])
async def test_only_tickets_that_were_followed_by_another_are_pruned(store: SqlStore, generation: int) -> None:
    def work(tx: Transaction) -> int:
        tx.tickets.want([WantedTicket(channel="ops", operation=OPERATION, delivery_id="d", failed_at=T0)], T0)
        if generation == 2:
            plan(tx, failure(1))
            (claimed,) = claim(tx)
            assert claimed.ticket is not None
            settle(tx, claimed, Delivered(ticket=opened(claimed.ticket.next_generation(claimed.id))))
        return tx.tickets.prune(T0 + timedelta(days=1))

    assert await store.transact(work) == generation - 1


async def test_messages_of_the_task_change_once_its_ticket_is_opened(store: SqlStore) -> None:
    event = failure(1)

    def work(tx: Transaction) -> int:
        tx.events.record([RoutedEvent(event=event, routes=("all",), channels=("dba",))])
        tx.threads.update("dba", [ThreadUpdate(subject=event.subject, event_id=event.id, thread="C:1")], T0)
        assert tx.threads.claim_edits("dba", T0, LEASE, 5) == []
        tx.threads.touch_subjects({event.subject}, T0)
        (thread,) = tx.threads.claim_edits("dba", T0, LEASE, 5)
        return thread.revision

    assert await store.transact(work) == 1


async def test_what_is_moved_to_a_channel_with_tickets_is_about_operations(store: SqlStore) -> None:
    def work(tx: Transaction) -> list[Delivery]:
        events = [failure(1), failure(2)]
        tx.events.record([RoutedEvent(event=event, routes=("all",), channels=("old",)) for event in events])
        tx.deliveries.record([make_delivery(*events, channel="old", attempt=0, digest=True, subject="")])
        assert tx.deliveries.move("old", "ops", T0, 10, tickets=True) == 1
        return claim(tx)

    (claimed,) = await store.transact(work)  # the other one waits for this one
    assert claimed.subject == ticket_subject(failure(1))
    assert claimed.ticket is not None
    assert claimed.ticket.wanted_by == claimed.id
