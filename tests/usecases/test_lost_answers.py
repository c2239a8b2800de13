"""What becomes of a message whose answer was lost: the outbox, a real channel and a real server together."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from drain import deliver_due
from factories import make_delivery, make_event, open_channel
from fakes import FakeClock
from servers.http import HttpServer, reply, reset
from servers.slack import ACCEPTED_THEN_RESET, CHANNEL, TOKEN, Fault, SlackServer, slack_server
from servers.smtp import TAKEN_AND_LOST, SmtpServer

from notifier.channels.base import ChannelContext
from notifier.core.delivery import Attempt, Delivery, DeliveryState, Resolution
from notifier.core.routing import RoutedEvent
from notifier.deliver import DeliveryRules
from notifier.http import HttpClient
from notifier.ports import DeliveryFilter
from notifier.store.engine import SqlStore
from notifier.store.queries import Queries
from notifier.store.transaction import Transaction
from notifier.wording.localizer import Localizer

RULES = DeliveryRules(schedule=(timedelta(seconds=5), timedelta(minutes=5)), lease=timedelta(seconds=60))

NOT_TAKEN = Fault(then="reset")


@pytest.fixture
async def context(clock: FakeClock) -> AsyncIterator[ChannelContext]:
    async with aclosing(HttpClient()) as http:
        yield ChannelContext(http=http, clock=clock, localizer=Localizer(language="en", timezone=ZoneInfo("UTC")))


@pytest.fixture
async def slack() -> AsyncIterator[SlackServer]:
    async with slack_server() as running:
        yield running


async def told(
    store: SqlStore, clock: FakeClock, context: ChannelContext, **settings: Any
) -> tuple[Delivery, list[Attempt]]:
    """Plan one delivery, let it be tried twice, and return it with its attempts."""
    channel = open_channel(settings["kind"], {"name": "dba"} | settings, context)
    event = make_event()
    planned = make_delivery(event, attempt=0, available_at=clock.now(), created_at=clock.now())

    def record(tx: Transaction) -> None:
        tx.events.record([RoutedEvent(event=event, routes=("all",), channels=("dba",))])
        tx.deliveries.record([planned])

    def account(q: Queries) -> tuple[Delivery, list[Attempt]]:
        (delivery,) = q.deliveries(DeliveryFilter())
        return delivery, list(q.attempts(delivery.id))

    await store.transact(record)
    for _ in "ab":
        await deliver_due(channel, store, clock, random.Random(1), owner="me", rules=RULES)
        clock.advance(timedelta(minutes=10))
    return await store.read(account)


def bot(server: SlackServer, **changes: Any) -> dict[str, Any]:
    return {"kind": "slack", "bot_token": TOKEN, "channel": CHANNEL, "api_url": server.api_url} | changes


async def test_slack_has_it_so_nothing_is_posted_again(
    store: SqlStore, clock: FakeClock, context: ChannelContext, slack: SlackServer
) -> None:
    slack.faults.append(ACCEPTED_THEN_RESET)
    delivery, (first, second) = await told(store, clock, context, **bot(slack))
    assert (first.outcome, second.outcome, second.resolution) == ("unknown", "delivered", Resolution.ARRIVED)
    assert (delivery.state, delivery.ref) == (DeliveryState.DELIVERED, "C0GAUSS:1768465800.000001")
    assert len(slack.messages) == 1


async def test_slack_does_not_have_it_so_it_is_posted_again(
    store: SqlStore, clock: FakeClock, context: ChannelContext, slack: SlackServer
) -> None:
    slack.faults.append(NOT_TAKEN)
    delivery, (_, second) = await told(store, clock, context, **bot(slack))
    assert (delivery.state, delivery.outcome_unknown, second.resolution) == (
        DeliveryState.DELIVERED,
        False,
        Resolution.ABSENT,
    )
    assert len(slack.messages) == 1


@pytest.mark.parametrize(
    ("on_unknown", "state", "resolution", "messages"),
    [("resend", DeliveryState.DELIVERED, Resolution.RISKED, 2), ("hold", DeliveryState.DEAD, Resolution.HELD, 1)],
)
@pytest.mark.parametrize("mode", ["bot without the scope", "incoming webhook"])
async def test_slack_cannot_be_asked_so_the_settings_decide(
    *,
    store: SqlStore,
    clock: FakeClock,
    context: ChannelContext,
    slack: SlackServer,
    mode: str,
    on_unknown: str,
    state: DeliveryState,
    resolution: Resolution,
    messages: int,
) -> None:
    slack.scopes = "chat:write"
    slack.faults.append(ACCEPTED_THEN_RESET)
    settings = bot(slack) if mode.startswith("bot") else {"kind": "slack", "webhook_url": slack.hook_url}
    delivery, (_, second) = await told(store, clock, context, on_unknown=on_unknown, **settings)
    assert (delivery.state, second.resolution, len(slack.messages)) == (state, resolution, messages)


async def test_a_webhook_gets_it_again_under_the_same_id(
    store: SqlStore, clock: FakeClock, context: ChannelContext
) -> None:
    async with HttpServer(reset(), reply(204, b"")) as server:
        delivery, (_, second) = await told(store, clock, context, kind="webhook", url=server.url("/hook"))
    assert (delivery.state, second.resolution) == (DeliveryState.DELIVERED, Resolution.REPEATED)
    assert len({(request.headers["webhook-id"], request.body) for request in server.requests}) == 1
    assert len(server.requests) == 2


async def test_a_mail_goes_out_again_byte_for_byte(store: SqlStore, clock: FakeClock, context: ChannelContext) -> None:
    async with SmtpServer(replies={"DATA": TAKEN_AND_LOST}) as server:
        place = {"host": "127.0.0.1", "port": server.port, "security": "none"}
        addresses = {"from": "gaussdb@example.com", "to": ["dba@example.com"]}
        _, (_, second) = await told(store, clock, context, kind="email", **place, **addresses)
    assert second.resolution is Resolution.RISKED
    assert len({mail.content for mail in server.mails}) == 1
    assert len(server.mails) == 2
