"""A success does not overtake the failure that it closes where that is still held, on either database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from factories import T0, make_event, make_task

from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.matchers import parse_matcher
from notifier.core.model import Event
from notifier.core.routing import ChannelPolicy, Otherwise, Route, RoutingConfig, route_events
from notifier.core.windows import parse_window
from notifier.planning import announce, with_receivers
from notifier.store.engine import SqlStore
from notifier.store.transaction import Transaction

HOUR = timedelta(hours=1)
OPENING = T0.replace(hour=12, minute=0)
FAILURES = parse_matcher("type=task.failed")


def routing_of(*, everything: bool) -> RoutingConfig:
    window = parse_window("07:00-08:00, 12:00-18:00 UTC")
    match = () if everything else (FAILURES,)
    route = Route(name="day", channels=("dba",), match=match, active=window, otherwise=Otherwise.HOLD)
    return RoutingConfig(routes=(route,), policies={"dba": ChannelPolicy(name="dba")})


def failed(number: int, at: datetime) -> Event:
    return make_event(make_task(f"job-{number}", ended_at=at), occurred_at=at, observed_at=at)


def completed(number: int, at: datetime) -> Event:
    return make_event(make_task(f"job-{number}", status="completed", ended_at=at), occurred_at=at, observed_at=at)


async def notify(store: SqlStore, event: Event, routing: RoutingConfig) -> Delivery:
    def plan(tx: Transaction) -> Sequence[Delivery]:
        routed = with_receivers(tx, route_events([event], routing.routes), routing)
        return announce(tx, routed, routing, event.observed_at).deliveries

    (planned,) = await store.transact(plan)
    return planned


async def claim(store: SqlStore, at: datetime) -> Sequence[Delivery]:
    return await store.transact(lambda tx: tx.deliveries.claim_due("dba", "me", at, HOUR, 10, digest_size=100))


@pytest.mark.parametrize("everything", [True, False])
async def test_a_success_goes_out_with_the_failure_that_it_closes(store: SqlStore, *, everything: bool) -> None:
    routing = routing_of(everything=everything)
    await notify(store, failure := failed(1, T0), routing)
    closing = await notify(store, success := completed(2, T0 + HOUR), routing)
    assert (closing.state, closing.rule, closing.available_at) == (DeliveryState.PENDING, "route:day", OPENING)
    assert not await claim(store, OPENING - timedelta(seconds=1))
    (digest,) = await claim(store, OPENING)
    assert [event.id for event in digest.events] == [failure.id, success.id]
    assert digest.events[1].closes is not None


async def test_a_success_is_sent_at_once_where_the_failure_was(store: SqlStore) -> None:
    routing = routing_of(everything=False)
    at = T0.replace(hour=7, minute=30)
    await notify(store, failure := failed(1, at), routing)
    assert [one.events[0].id for one in await claim(store, at)] == [failure.id]
    closing = await notify(store, completed(2, at + HOUR), routing)
    assert (closing.state, closing.rule) == (DeliveryState.PENDING, None)
    assert closing.available_at == at + HOUR
