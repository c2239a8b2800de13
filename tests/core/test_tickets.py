"""What an event does with the ticket of its operation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from factories import T0, make_event, make_gap, make_task
from memory_tickets import opened_at

from notifier.core.events import EventType
from notifier.core.model import TaskStatus
from notifier.core.tickets import (
    ClosedBy,
    RemoteTicket,
    Step,
    TicketFields,
    TicketRules,
    TicketState,
    after_closing,
    after_opening,
    as_found,
    comment_mark,
    happened,
    joined_fields,
    next_steps,
    operation_of,
    ticket_key,
)

FAILED = make_event()
SOLVED = make_event(make_task("later", status=TaskStatus.COMPLETED, ended_at=T0 + timedelta(hours=1)))
OPEN = opened_at(TicketState.OPEN)
CLOSED = opened_at(TicketState.CLOSED, closed_by=ClosedBy.US, closed_at=T0, status="done")
NOW = T0 + timedelta(hours=2)


def remote(status: str = "new", **changes: Any) -> RemoteTicket:
    return RemoteTicket(ref="7", label="T-7", status=status, closed=status == "done", **changes)


class TestIdentity:
    def test_an_operation_is_a_task_name_on_an_instance_of_a_source(self) -> None:
        same = make_event(make_task("another", status=TaskStatus.COMPLETED))
        assert operation_of(FAILED) == operation_of(same)
        others = [make_task(name="Resize"), make_task(instance_id="i2"), make_task(source="test")]
        assert len({operation_of(make_event(task)) for task in others} | {operation_of(FAILED)}) == 4

    def test_an_instance_without_an_id_goes_by_its_name(self) -> None:
        one, two = (make_event(make_task(instance_id=None, instance_name=name)) for name in ("a", "b"))
        assert operation_of(one) != operation_of(two)

    def test_an_event_about_no_task_has_none(self) -> None:
        assert operation_of(make_gap()) is None

    def test_keys_fit_every_service_and_differ_by_channel_and_generation(self) -> None:
        keys = {ticket_key(channel, "o", number) for channel in ("a", "b") for number in (1, 2)}
        assert len(keys) == 4
        assert all(len(key) == 24 and key.startswith("gtb-") and key[4:].isalnum() and key.islower() for key in keys)
        assert ticket_key("a", "o", 1) == ticket_key("a", "o", 1)

    def test_marks_of_comments_differ_by_delivery(self) -> None:
        assert comment_mark("a") != comment_mark("b")
        assert len(comment_mark("a")) == 16


class TestAfterAFailure:
    @pytest.mark.parametrize(
        ("ticket", "found", "rules", "steps"),
        [
            (opened_at(TicketState.WANTED), None, {}, (Step.OPEN,)),
            (OPEN, None, {}, (Step.OPEN,)),
            (OPEN, remote(), {}, (Step.COMMENT,)),
            (OPEN, remote("moved"), {}, (Step.COMMENT,)),
            (CLOSED, remote("reopened by hand"), {}, (Step.COMMENT,)),
            (CLOSED, remote("done"), {}, (Step.REOPEN, Step.COMMENT)),
            (CLOSED, remote("done", final=True), {}, (Step.OPEN,)),
            (CLOSED, remote("done"), {"reopen_within": timedelta(hours=1)}, (Step.OPEN,)),
            (OPEN, remote("done"), {}, (Step.OPEN,)),
            (OPEN, remote("done"), {"closed_by_hand": "comment"}, (Step.COMMENT,)),
            (OPEN, remote("done"), {"closed_by_hand": "reopen"}, (Step.REOPEN, Step.COMMENT)),
            (OPEN, remote("done", final=True), {"closed_by_hand": "reopen"}, (Step.OPEN,)),
            (OPEN, remote("done", final=True), {"closed_by_hand": "comment"}, (Step.OPEN,)),
        ],
    )
    def test_the_ticket_is_opened_commented_or_reopened(
        self, ticket: Any, found: RemoteTicket | None, rules: dict[str, Any], steps: tuple[Step, ...]
    ) -> None:
        decision = next_steps(ticket, found, FAILED, NOW, TicketRules(**rules))
        assert decision.steps == steps, decision.reason

    def test_the_time_that_the_service_has_for_a_closure_counts(self) -> None:
        old = remote("done", closed_at=NOW - timedelta(days=8))
        rules = TicketRules(closed_by_hand="reopen")
        assert next_steps(OPEN, old, FAILED, NOW, rules).steps == (Step.OPEN,)

    @pytest.mark.parametrize("found", [None, remote(), remote("done")])
    @pytest.mark.parametrize("later", [timedelta(0), timedelta(hours=1)])
    def test_a_failure_before_the_last_success_changes_nothing(
        self, found: RemoteTicket | None, later: timedelta
    ) -> None:
        ticket = opened_at(TicketState.CLOSED, solved_at=happened(FAILED) + later)
        decision = next_steps(ticket, found, FAILED, NOW, TicketRules())
        assert (decision.steps, decision.outdated) == ((), True)

    def test_trouble_that_lasts_is_reported_whatever_has_succeeded(self) -> None:
        running = make_task(status=TaskStatus.RUNNING, created_at=T0 - timedelta(hours=1))
        stuck = make_event(running, type=EventType.TASK_STALLED, since=T0, occurred_at=None)
        ticket = opened_at(TicketState.CLOSED, solved_at=T0 + timedelta(hours=1))
        assert next_steps(ticket, None, stuck, NOW, TicketRules()).steps == (Step.OPEN,)


class TestAfterASuccess:
    @pytest.mark.parametrize(
        ("found", "close", "steps"),
        [
            (remote(), "untouched", (Step.COMMENT, Step.CLOSE)),
            (remote("moved"), "untouched", (Step.COMMENT,)),
            (remote("moved"), "always", (Step.COMMENT, Step.CLOSE)),
            (remote(), "never", (Step.COMMENT,)),
            (remote("done"), "always", ()),
            (None, "always", ()),
        ],
    )
    def test_the_ticket_is_closed_unless_somebody_has_touched_it(
        self, found: RemoteTicket | None, close: Any, steps: tuple[Step, ...]
    ) -> None:
        decision = next_steps(OPEN, found, SOLVED, NOW, TicketRules(close=close))
        assert (decision.steps, decision.outdated) == (steps, False), decision.reason

    def test_a_success_before_the_last_failure_changes_nothing(self) -> None:
        ticket = opened_at(TicketState.OPEN, failed_at=T0 + timedelta(hours=1, seconds=1))
        decision = next_steps(ticket, remote(), SOLVED, NOW, TicketRules())
        assert (decision.steps, decision.outdated) == ((), True)

    def test_a_second_success_is_not_commented(self) -> None:
        ticket = opened_at(TicketState.OPEN, solved_at=T0 + timedelta(minutes=1))
        assert next_steps(ticket, remote("moved"), SOLVED, NOW, TicketRules()).steps == ()

    def test_the_end_of_a_stuck_task_that_is_dated_back_solves_it(self) -> None:
        since = T0 - timedelta(hours=2)
        running = make_task(status=TaskStatus.RUNNING, created_at=since - timedelta(hours=1))
        stuck = make_event(running, type=EventType.TASK_STALLED, since=since, occurred_at=None)
        vanished = make_event(running, type=EventType.TASK_UNLISTED, occurred_at=None)
        assert (happened(stuck), happened(vanished)) == (since, running.created_at)
        assert happened(FAILED) == FAILED.occurred_at

    def test_other_events_change_nothing(self) -> None:
        started = make_event(make_task(status=TaskStatus.RUNNING))
        assert next_steps(OPEN, remote(), started, NOW, TicketRules()).steps == ()


class TestWhatIsRecorded:
    def test_a_success_counts_until_the_next_failure(self) -> None:
        assert not OPEN.solved
        assert opened_at(TicketState.OPEN, solved_at=T0).solved
        assert not opened_at(TicketState.OPEN, solved_at=T0, failed_at=NOW).solved

    def test_opening_and_closing_keep_the_status_as_we_left_it(self) -> None:
        opened = after_opening(CLOSED, remote("again"))
        assert (opened.state, opened.status, opened.closed_by) == (TicketState.OPEN, "again", None)
        closed = after_closing(opened, remote("done"), NOW)
        assert (closed.state, closed.status, closed.closed_by) == (TicketState.CLOSED, "done", ClosedBy.US)

    def test_a_ticket_that_is_found_closed_was_closed_by_a_person(self) -> None:
        found = as_found(OPEN, remote("done"), NOW)
        assert (found.state, found.status, found.closed_by) == (TicketState.CLOSED, "new", ClosedBy.PERSON)
        assert as_found(CLOSED, remote("done"), NOW).closed_by is ClosedBy.US
        assert as_found(found, remote(), NOW).state is TicketState.OPEN

    def test_the_next_generation_refers_to_the_one_before(self) -> None:
        following = CLOSED.next_generation("d2")
        assert (following.generation, following.previous, following.wanted_by) == (2, "T-7", "d2")
        assert (following.ref, following.state) == (None, TicketState.WANTED)
        assert following.key != CLOSED.key

    def test_messages_show_a_ticket_once_it_is_opened(self) -> None:
        assert opened_at(TicketState.WANTED).link is None
        assert OPEN.link is not None
        assert (OPEN.link.label, OPEN.link.open) == ("T-7", True)


def test_the_first_route_decides_and_labels_are_added() -> None:
    first = TicketFields(priority="High", labels=("a",), fields=(("x", "1"),))
    second = TicketFields(priority="Low", assignee="ann", labels=("b", "a"), fields=(("x", "2"), ("y", "3")))
    assert joined_fields([None, first, second]) == TicketFields(
        priority="High", assignee="ann", labels=("a", "b"), fields=(("x", "1"), ("y", "3"))
    )
    assert joined_fields([None, None]) is None
