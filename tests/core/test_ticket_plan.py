"""Which events go to channels that keep tickets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from factories import T0, make_alert, make_event, make_missing, make_task

from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.identity import Subject
from notifier.core.model import Event, TaskStatus
from notifier.core.mutes import Mute
from notifier.core.polling import plan_deliveries
from notifier.core.routing import ChannelPolicy, Route, RoutedEvent, RoutingConfig
from notifier.core.rulings import mute_rule
from notifier.core.ticket_plan import Unsolved, operations_solved_by, with_tickets
from notifier.core.tickets import Ticket, TicketFields, operation_of, succeeded_since

ROUTES = (
    Route(name="failures", channels=("ops", "dba"), ticket=TicketFields(priority="High")),
    Route(name="others", channels=("dba",)),
)
ROUTING = RoutingConfig(
    routes=ROUTES,
    policies={
        "ops": ChannelPolicy(name="ops", tickets=True, digest_above=None),
        "dba": ChannelPolicy(name="dba", digest_above=2),
    },
)


def event(status: str, minute: int = 0, **task: object) -> Event:
    ended = T0 + timedelta(minutes=minute)
    changes = {"status": status, "ended_at": None if status == TaskStatus.RUNNING else ended} | task
    return make_event(make_task(f"{status}-{minute}", **changes))


def routed(one: Event, *channels: str) -> RoutedEvent:
    return RoutedEvent(event=one, routes=("failures",) if "ops" in channels else ("others",), channels=channels)


def planned(
    items: Sequence[RoutedEvent], unsolved: Unsolved | None = None, mutes: Sequence[Mute] = ()
) -> dict[str, list[Delivery]]:
    plan = plan_deliveries(
        with_tickets(items, ROUTING.ticket_channels, unsolved or {}),
        ROUTING,
        parked=(),
        rules=[mute_rule(mutes, T0)],
        now=T0,
    )
    found: dict[str, list[Delivery]] = {"ops": [], "dba": []}
    for one in plan.deliveries:
        found[one.channel].append(one)
    return found


FAILED, SOLVED = event("failed", 1), event("completed", 5)
OPERATION = operation_of(FAILED)
assert OPERATION is not None


def test_a_failure_is_about_its_operation_and_asks_for_a_ticket() -> None:
    plan = plan_deliveries([routed(FAILED, "ops", "dba")], ROUTING, parked=(), rules=(), now=T0)
    ticket, message = sorted(plan.deliveries, key=lambda one: one.channel, reverse=True)
    assert ticket.subject == str(Subject(operation=OPERATION or ""))
    assert Subject.parse(ticket.subject).operation == OPERATION
    assert ticket.routing.ticket == TicketFields(priority="High")
    assert message.subject == FAILED.subject
    (wanted,) = plan.wanted
    assert (wanted.channel, wanted.operation, wanted.delivery_id) == ("ops", OPERATION, ticket.id)
    assert wanted.failed_at == FAILED.occurred_at
    assert plan.failed == {"ops": {ticket.subject}, "dba": {FAILED.subject}}


def test_a_missing_run_asks_for_the_ticket_that_the_success_of_its_operation_closes() -> None:
    missing = make_missing()
    (found,) = planned([routed(missing, "ops")])["ops"]
    assert found.state is DeliveryState.PENDING
    operation = Subject.parse(found.subject).operation
    expected = missing.expectation
    assert expected
    success = make_task(name=expected.name, instance_id=expected.instance_id, status="completed")
    assert operation == operation_of(make_event(success))
    assert succeeded_since(
        Ticket(channel="ops", operation=operation, solved_at=missing.observed_at + timedelta(hours=1)), missing
    )


def test_many_failures_are_neither_a_digest_nor_a_storm() -> None:
    many = [event("failed", n, instance_id=f"i{n}") for n in range(30)]
    found = planned([routed(one, "ops", "dba") for one in many])
    assert [one.digest for one in found["ops"]] == [False] * 30
    assert len(found["dba"]) < 30


def test_a_success_goes_to_the_channels_with_a_ticket_whatever_the_routes_say() -> None:
    success = routed(SOLVED, "dba")
    assert planned([success])["ops"] == []
    assert FAILED.occurred_at is not None
    (found,) = planned([success], {("ops", OPERATION or ""): FAILED.occurred_at})["ops"]
    assert (found.state, found.subject) == (DeliveryState.PENDING, str(Subject(operation=OPERATION or "")))
    assert operations_solved_by([success, routed(FAILED, "ops")]) == {OPERATION}


def test_a_routed_success_without_a_ticket_is_suppressed() -> None:
    (found,) = planned([routed(SOLVED, "ops")])["ops"]
    assert (found.state, found.reason) == (DeliveryState.SUPPRESSED, "the operation has no open ticket")
    assert found.settled_at == T0


def test_other_events_are_suppressed() -> None:
    for other in (event("running"), make_alert()):
        (found,) = planned([routed(other, "ops")])["ops"]
        assert found.state is DeliveryState.SUPPRESSED
        assert found.reason == "only failures and successes of tasks change tickets"


def test_a_success_before_the_failure_opens_and_closes_nothing() -> None:
    assert FAILED.occurred_at is not None
    later = FAILED.occurred_at + timedelta(hours=1)
    assert planned([routed(SOLVED, "dba")], {("ops", OPERATION or ""): later})["ops"] == []


def test_a_failure_and_its_success_of_one_poll_go_out_in_the_order_in_which_they_happened() -> None:
    found = planned([routed(SOLVED, "dba"), routed(FAILED, "ops")])["ops"]
    assert [one.events for one in found] == [(FAILED,), (SOLVED,)]
    assert {one.state for one in found} == {DeliveryState.PENDING}


def test_a_mute_suppresses_a_failure_and_not_the_success_that_closes_a_ticket() -> None:
    task = FAILED.task
    assert task is not None
    assert task.instance_name is not None
    mute = Mute(
        id="7k2m",
        since=T0,
        instance=task.instance_name,
        until=T0 + timedelta(days=1),
        by="u",
        name="Ann",
        created_at=T0,
    )
    (muted,) = planned([routed(FAILED, "ops")], mutes=[mute])["ops"]
    assert muted.state is DeliveryState.SUPPRESSED
    assert FAILED.occurred_at is not None
    unsolved = {("ops", OPERATION or ""): FAILED.occurred_at}
    (closing,) = planned([routed(SOLVED, "dba")], unsolved, mutes=[mute])["ops"]
    assert closing.state is DeliveryState.PENDING
