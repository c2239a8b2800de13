"""One mail for several recipients of whom one does not take it: the outbox, the real channel and a real server."""

from __future__ import annotations

import asyncio
import random
import re
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from drain import deliver_due
from factories import make_delivery, make_event, make_task
from fakes import FakeClock
from servers.smtp import TAKEN_AND_LOST, RawSmtpServer
from test_crash_points import Fuse, Killed, MortalStore

from notifier.channels.base import ChannelContext
from notifier.core.delivery import Attempt, Delivery, DeliveryState, Outcome, Resolution
from notifier.core.model import Event
from notifier.core.routing import RoutedEvent
from notifier.deliver import DeliveryRules
from notifier.http import HttpClient
from notifier.integrations.email.channel import EmailChannel
from notifier.integrations.email.settings import EmailSettings
from notifier.ports import DeliveryFilter
from notifier.store.engine import SqlStore
from notifier.store.queries import Queries
from notifier.store.transaction import Transaction
from notifier.wording import documents
from notifier.wording.localizer import Localizer

RULES = DeliveryRules(schedule=(timedelta(seconds=5), timedelta(minutes=5)), lease=timedelta(seconds=60))
A, B = "a@example.com", "b@example.com"


class Desk:
    """One delivery on its way by mail, which any number of processes work on."""

    def __init__(self, store: SqlStore, clock: FakeClock, http: HttpClient, port: int, **settings: Any) -> None:
        self.store, self.clock, self.http, self.port, self.settings = store, clock, http, port, settings

    def channel(self, **changes: Any) -> EmailChannel:
        place = {"name": "dba", "kind": "email", "host": "127.0.0.1", "port": self.port, "security": "none"}
        settings = place | {"from": "gaussdb@example.com", "to": [A, B]} | self.settings | changes
        context = ChannelContext(
            http=self.http, clock=self.clock, localizer=Localizer(language="en", timezone=ZoneInfo("UTC"))
        )
        return EmailChannel(EmailSettings.model_validate(settings), context)

    async def plan(self, *events: Event) -> None:
        now = self.clock.now()
        planned = [
            make_delivery(event, attempt=0, available_at=now, created_at=now) for event in events or [make_event()]
        ]

        def record(tx: Transaction) -> None:
            tx.events.record([RoutedEvent(event=one.events[0], routes=("all",), channels=("dba",)) for one in planned])
            tx.deliveries.record(planned)

        await self.store.transact(record)

    async def deliver(self, owner: str = "me", channel: EmailChannel | None = None) -> Delivery:
        """Let a process of its own try once, and return the delivery; the next try is due."""
        await deliver_due(channel or self.channel(), self.store, self.clock, random.Random(1), owner=owner, rules=RULES)
        self.clock.advance(timedelta(minutes=10))
        return (await self.all())[0]

    async def all(self) -> list[Delivery]:
        return list(await self.store.read(lambda q: q.deliveries(DeliveryFilter())))

    async def account(self) -> tuple[Delivery, list[Attempt]]:
        def read(q: Queries) -> tuple[Delivery, list[Attempt]]:
            (delivery,) = q.deliveries(DeliveryFilter())
            assert q.ledger().unaccounted == ()
            return delivery, list(q.attempts(delivery.id))

        return await self.store.read(read)


def states(delivery: Delivery) -> dict[str, str]:
    return {one.address: str(one.state) for one in delivery.recipients}


async def test_a_recipient_refused_for_now_is_served_by_any_process(
    store: SqlStore, clock: FakeClock, http: HttpClient
) -> None:
    async with RawSmtpServer({f"RCPT TO:<{B}>": ["451 4.7.1 greylisted", "250 OK"]}) as server:
        desk = Desk(store, clock, http, server.port)
        await desk.plan()
        waiting = await desk.deliver("one")
        assert (waiting.state, states(waiting)) == (DeliveryState.PENDING, {A: "delivered", B: "waiting"})
        document = documents.delivery(waiting)["recipients"]
        assert document[1] == {"address": B, "state": "waiting", "reason": "SMTP 451 4.7.1: recipient refused"}
        over = await desk.deliver("two")
    _, attempts = await desk.account()
    assert (over.state, over.recipients) == (DeliveryState.DELIVERED, ())
    assert server.recipients == [(A,), (B,)]
    assert len({mail.content for mail in server.mails}) == 1
    assert [(attempt.outcome, attempt.reply) for attempt in attempts] == [
        ("retry", "SMTP 451 4.7.1: greylisted"),
        ("delivered", "SMTP 250 2.0.0: queued as 4711"),
    ]


class DiesAfterwards(EmailChannel):
    """Dies while the server has the message."""

    async def send(self, delivery: Delivery) -> Outcome:
        await super().send(delivery)
        raise asyncio.CancelledError


async def test_a_kill_in_the_second_attempt_repeats_nothing_to_recipients(
    store: SqlStore, clock: FakeClock, http: HttpClient
) -> None:
    async with RawSmtpServer({f"RCPT TO:<{B}>": ["451 later", "250 OK"]}) as server:
        desk = Desk(store, clock, http, server.port)
        await desk.plan()
        await desk.deliver("one")
        usual = desk.channel()
        with pytest.raises(asyncio.CancelledError):
            await desk.deliver("two", DiesAfterwards(usual.settings, usual.context))
        clock.advance(RULES.lease)
        assert (await desk.deliver("three")).state is DeliveryState.DELIVERED
    assert server.recipients == [(A,), (B,), (B,)]


async def test_a_refused_recipient_is_named_dead_and_resent_alone_by_hand(
    store: SqlStore, clock: FakeClock, http: HttpClient
) -> None:
    async with RawSmtpServer({f"RCPT TO:<{B}>": ["550 5.1.1 no such user", "250 OK"]}) as server:
        desk = Desk(store, clock, http, server.port)
        await desk.plan()
        dead = await desk.deliver()
        assert (dead.state, states(dead)) == (DeliveryState.DEAD, {A: "delivered", B: "refused"})
        assert dead.reason == f"1 of 2 recipients have it; {B}: SMTP 550 5.1.1: recipient refused"
        await store.transact(lambda tx: tx.deliveries.retry([dead.id], clock.now()))
        assert (await desk.deliver()).state is DeliveryState.DELIVERED
    assert server.recipients == [(A,), (B,)]


async def test_a_corrected_address_gets_what_the_wrong_one_did_not(
    store: SqlStore, clock: FakeClock, http: HttpClient
) -> None:
    async with RawSmtpServer({f"RCPT TO:<{B}>": "550 5.1.1 no such user"}) as server:
        desk = Desk(store, clock, http, server.port)
        await desk.plan()
        dead = await desk.deliver()
        await store.transact(lambda tx: tx.deliveries.retry([dead.id], clock.now()))
        assert (await desk.deliver(channel=desk.channel(to=[A, "b@example.org"]))).state is DeliveryState.DELIVERED
    assert server.recipients == [(A,), ("b@example.org",)]


@pytest.mark.parametrize(
    ("on_unknown", "resolution", "recipients"),
    [("hold", Resolution.HELD, [(A,), (B,)]), ("resend", Resolution.RISKED, [(A,), (A, B)])],
)
async def test_a_lost_answer_concerns_only_those_of_its_transaction(
    *,
    store: SqlStore,
    clock: FakeClock,
    http: HttpClient,
    on_unknown: str,
    resolution: Resolution,
    recipients: list[tuple[str, ...]],
) -> None:
    script = {f"RCPT TO:<{B}>": ["451 later", "250 OK"], "CONTENT": [TAKEN_AND_LOST, "250 OK"]}
    async with RawSmtpServer(script) as server:
        desk = Desk(store, clock, http, server.port, on_unknown=on_unknown)
        await desk.plan()
        first = await desk.deliver()
        assert (states(first), first.outcome_unknown) == ({A: "unknown", B: "waiting"}, False)
        await desk.deliver()
        assert server.recipients == recipients
        last = await desk.deliver()
    _, attempts = await desk.account()
    assert attempts[1].resolution is resolution
    assert server.recipients == recipients
    if on_unknown == "hold":
        assert last.state is DeliveryState.DEAD
        assert last.reason
        assert f"{A}: connection to 127.0.0.1 lost after the message was handed over" in last.reason
        assert "`notifier retry` sends it again" in last.reason
    else:
        assert last.state is DeliveryState.DELIVERED


async def test_a_full_mailbox_is_no_failure_of_the_channel(store: SqlStore, clock: FakeClock, http: HttpClient) -> None:
    async with RawSmtpServer({f"RCPT TO:<{B}>": "452 4.2.2 full"}) as server:
        desk = Desk(store, clock, http, server.port)
        await desk.plan()
        last, *_ = [await desk.deliver() for _ in range(3)][::-1]
    (state,) = await store.read(lambda q: q.channels())
    assert (state.health.failures, state.health.good_at is not None) == (0, True)
    assert (last.state, server.recipients) == (DeliveryState.DEAD, [(A,)])
    assert last.reason
    assert last.reason.startswith("gave up after 3 attempts, last: 1 of 2 recipients have it; ")


STARTED, FAILED = make_event(make_task(status="running")), make_event(make_task())


def told(server: RawSmtpServer, address: str) -> list[str]:
    """Return what a recipient was told, in order."""
    mails = [mail for mail in server.mails if address in mail.recipients]
    return [re.findall(rb"X-GaussDB-Event: task.([a-z]+)", mail.content)[0].decode() for mail in mails]


@pytest.mark.parametrize("refusals", [1, 2, 3])
async def test_a_waiting_recipient_delays_nobody_and_gets_all_in_order(
    store: SqlStore, clock: FakeClock, http: HttpClient, refusals: int
) -> None:
    async with RawSmtpServer({f"RCPT TO:<{B}>": ["451 later"] * refusals + ["250 OK"]}) as server:
        desk = Desk(store, clock, http, server.port)
        await desk.plan(STARTED, FAILED)
        await desk.deliver()
        assert told(server, A) == ["started", "failed"]
        assert told(server, B) == []
        for _ in range(4):
            await desk.deliver()
    first, second = sorted(await desk.all(), key=lambda one: one.events[0].type is not STARTED.type)
    lost = refusals == 3  # as often as the schedule tries
    assert (first.state, second.state) == (
        DeliveryState.DEAD if lost else DeliveryState.DELIVERED,
        DeliveryState.DELIVERED,
    )
    assert told(server, A) == ["started", "failed"]
    assert told(server, B) == (["failed"] if lost else ["started", "failed"])


async def test_where_all_wait_the_next_message_waits_too(store: SqlStore, clock: FakeClock, http: HttpClient) -> None:
    async with RawSmtpServer({"RCPT": ["451 later"] * 2 + ["250 OK"]}) as server:
        desk = Desk(store, clock, http, server.port)
        await desk.plan(STARTED, FAILED)
        await desk.deliver()
        assert server.mails == []
        await desk.deliver()
    assert told(server, A) == told(server, B) == ["started", "failed"]


async def test_a_lost_answer_and_a_waiting_recipient_delay_the_next_message(
    store: SqlStore, clock: FakeClock, http: HttpClient
) -> None:
    script = {f"RCPT TO:<{B}>": ["451 later", "250 OK"], "CONTENT": [TAKEN_AND_LOST, "250 OK"]}
    async with RawSmtpServer(script) as server:
        desk = Desk(store, clock, http, server.port)
        await desk.plan(STARTED, FAILED)
        for _ in range(3):
            await desk.deliver()
    assert told(server, A) == ["started", "started", "failed"]
    assert told(server, B) == ["started", "failed"]
    (state,) = await store.read(lambda q: q.channels())
    assert state.health.failures == 0


async def test_a_death_at_any_step_repeats_at_most_one_copy(
    store: SqlStore, clock: FakeClock, http: HttpClient
) -> None:
    survived, step = False, -1
    while not survived:
        step += 1
        async with RawSmtpServer({f"RCPT TO:<{B}>": ["451 later", "250 OK"]}) as server:
            desk = Desk(store, clock, http, server.port)
            await desk.plan(make_event(make_task(f"job-{step}")))
            survived = await survives(desk, Fuse(step))
            for _ in range(2):
                await desk.deliver()
        mails = server.mails
        assert [one.state for one in await desk.all()] == [DeliveryState.DELIVERED] * (step + 1)
        assert {address for mail in mails for address in mail.recipients} == {A, B}
        assert len({mail.content for mail in mails}) == 1
        assert len(mails) <= 2 + (not survived), step
    assert step > 8


async def survives(desk: Desk, fuse: Fuse) -> bool:
    """Let a process deliver until it dies; True when it got to the end of two tries."""
    mortal = MortalStore(desk.store, fuse)
    try:
        for _ in range(2):
            await deliver_due(desk.channel(), mortal, desk.clock, random.Random(1), owner="mortal", rules=RULES)
            desk.clock.advance(timedelta(minutes=10))
    except Killed:
        desk.clock.advance(2 * RULES.lease)
        return False
    return True
