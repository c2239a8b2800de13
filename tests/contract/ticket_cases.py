"""What each kind of ticket channel keeps to, with a server that speaks the protocol of its service.

One operation has one ticket, whatever is lost, repeated or late. Each check raises AssertionError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import timedelta

from factories import T0, make_delivery, make_event, make_render_request, make_task
from fakes import FakeClock
from memory_tickets import Shop, wait
from servers.tickets import Fault, ServedTicket, TicketServer

from notifier.cli.samples import sample_event
from notifier.cli.ticket_trial import try_ticket
from notifier.core.delivery import Delivered, Delivery, Outcome, Skipped
from notifier.core.events import EventType
from notifier.core.model import Event, TaskStatus
from notifier.core.tickets import TicketState

FAULTS: Sequence[Fault] = ("lost", "not applied", "busy", "broken")
MAX_ATTEMPTS = 12


def failure(number: int) -> Event:
    ended = T0 + timedelta(minutes=number)
    return make_event(make_task(f"job-{number}", ended_at=ended), occurred_at=ended)


def success(number: int) -> Event:
    ended = T0 + timedelta(minutes=number)
    return make_event(make_task(f"job-{number}", status=TaskStatus.COMPLETED, ended_at=ended), occurred_at=ended)


@dataclass(kw_only=True)
class Desk:
    """A channel, and the server that it talks to."""

    shop: Shop
    server: TicketServer

    async def settle(self, event: Event) -> Outcome:
        """Attempt until the outcome is final. Between attempts passes what was asked for, or half a minute."""
        outcomes: list[Outcome] = []
        while len(outcomes) < MAX_ATTEMPTS:
            outcomes.append(outcome := await self.shop.attempt(event))
            if isinstance(outcome, Delivered | Skipped):
                return outcome
            after = getattr(outcome, "after", None) or timedelta(seconds=30)
            wait(self.shop.clock, after.total_seconds())
        raise AssertionError(f"not settled: {outcomes}")

    @property
    def keyed(self) -> bool:
        """Whether comments of a ticket cannot be read back, so that one may be written twice."""
        return self.shop.channel.keyed

    def state(self) -> list[tuple[bool, int]]:
        """Return of each ticket whether it is closed, and how many comments it has."""
        return [(one.closed, 0 if self.keyed else len(one.comments)) for one in self.server.tickets]


OpenDesk = Callable[[FakeClock], AbstractAsyncContextManager[Desk]]
"""Opens a channel to a server that has no tickets."""


async def follows_one_operation(open_desk: OpenDesk) -> int:
    """Let a task fail twice and succeed. Return the number of requests."""
    async with open_desk(FakeClock()) as desk:
        for event in (failure(1), failure(2), success(3)):
            assert isinstance(await desk.settle(event), Delivered)
        assert desk.state() == [(True, 0 if desk.keyed else 2)]
        ticket = desk.shop.ticket
        assert ticket
        assert ticket.ref
        assert ticket.label
        requests = len(desk.server.requests)
        if not desk.keyed:
            known = await desk.shop.channel.read(ticket.ref)
            assert known
            assert known.key in ("", ticket.key)
            assert known.key or known.url, "nothing tells it from a ticket of another server"
        return requests


async def survives(open_desk: OpenDesk, number: int, fault: Fault) -> None:
    """Let the request of this number fail while a task fails twice and succeeds: in the end nothing is different."""
    async with open_desk(FakeClock()) as desk:
        desk.server.faults[number] = fault
        for event in (failure(1), failure(2), success(3)):
            assert isinstance(await desk.settle(event), Delivered | Skipped)
        assert desk.state() == [(True, 0 if desk.keyed else 2)], f"request {number} was {fault}"


async def leaves_others_alone(open_desk: OpenDesk) -> None:
    """Lose the request that opens a ticket, beside one of somebody else whose key begins with ours."""
    async with open_desk(FakeClock()) as desk:
        first = failure(1)
        desk.shop.claim(first)
        assert desk.shop.ticket
        foreign = desk.server.plant(f"{desk.shop.ticket.key}0")
        before = (dict(foreign.fields), foreign.closed, list(foreign.comments))
        for number in range(1, 4):
            desk.server.faults[number] = "not applied"
        for event in (first, failure(2), success(3)):
            assert isinstance(await desk.settle(event), Delivered)
        assert (foreign.fields, foreign.closed, foreign.comments) == before
        assert len(desk.server.tickets) == 2
        assert desk.server.tickets[-1].closed


async def replaces_what_another_kind_opened(open_desk: OpenDesk) -> None:
    """Let a task fail whose ticket is recorded as another kind of service called it: a new one follows."""
    for ref in ("10042", "acme/ops#1", "0123456789abcdef0123456789abcdef"):
        async with open_desk(FakeClock()) as desk:
            if desk.keyed:
                return
            desk.shop.claim(failure(1))
            assert desk.shop.ticket
            desk.shop.ticket = replace(
                desk.shop.ticket,
                state=TicketState.OPEN,
                ref=ref,
                label="OLD-1",
                url="https://elsewhere.example/1",
                attempted_at=None,
            )
            assert isinstance(await desk.settle(failure(2)), Delivered), ref
            assert desk.state() == [(False, 0)]
            assert desk.shop.ticket.generation == 2


async def opens_again(open_desk: OpenDesk) -> None:
    """Let a task fail soon after its ticket was closed: that one is open again, or the next one is."""
    async with open_desk(FakeClock()) as desk:
        for event in (failure(1), success(2), failure(3)):
            assert isinstance(await desk.settle(event), Delivered)
        assert [one.closed for one in desk.server.tickets] in ([False], [True, False])


async def respects_a_person(open_desk: OpenDesk) -> None:
    """Let a person close the ticket: it stays closed, and the next failure opens another one."""
    async with open_desk(FakeClock()) as desk:
        if desk.keyed:
            return
        await desk.settle(failure(1))
        by_hand: ServedTicket = desk.server.tickets[0]
        by_hand.closed = True
        assert isinstance(await desk.settle(failure(2)), Delivered)
        assert [one.closed for one in desk.server.tickets] == [True, False]
        assert by_hand.comments == []


async def is_tried_with_a_test_ticket(open_desk: OpenDesk) -> None:
    """Try the channel as `test-send` does, twice: each ticket is marked, and closed again."""
    clock = FakeClock()
    async with open_desk(clock) as desk:
        for number in (1, 2):
            failed, solved = (_trial(desk, kind) for kind in (EventType.TASK_FAILED, EventType.TASK_COMPLETED))
            trial = await try_ticket(desk.shop.channel, failed, solved)
            assert isinstance(trial.outcome, Delivered), trial.outcome
            assert trial.closed
            assert trial.ticket
            assert trial.ticket.label
            assert [one.closed for one in desk.server.tickets] == [True] * number
            wait(clock, 60)


def _trial(desk: Desk, kind: EventType) -> Delivery:
    event = sample_event(kind, desk.shop.clock.now(), marked="This is a test.")
    name = desk.shop.channel.name
    body = desk.shop.channel.render(make_render_request(event, channel=name))
    return make_delivery(event, channel=name, body=body)


async def leaves_successes_alone(open_desk: OpenDesk) -> None:
    """Let a task succeed that never failed: nothing is asked of the service."""
    async with open_desk(FakeClock()) as desk:
        assert isinstance(await desk.settle(success(1)), Skipped)
        assert desk.server.requests == []


def every_fault(requests: int) -> Iterator[tuple[int, Fault]]:
    """Yield each fault of each request."""
    for number in range(1, requests + 1):
        for fault in FAULTS:
            yield number, fault
