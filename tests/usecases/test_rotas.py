"""Rotas in use: whom a message mentions is decided when it is planned."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from factories import T0, make_event

from notifier.core import reminders
from notifier.core.calendars import CalendarEntry
from notifier.core.escalations import Escalation, EscalationStep
from notifier.core.rota import DutyPerson, Rota, Rotas, Rotation
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig, route_events
from notifier.planning import announce
from notifier.ports import DeliveryFilter
from notifier.store.engine import SqlStore

LI, ANN = DutyPerson(name="Li", mention=("U0LI", "li@example.com")), DutyPerson(name="Ann", mention=("U0ANN",))
WEEKLY = Rota(
    name="dba",
    zone=ZoneInfo("UTC"),
    people=(LI, ANN),
    rotation=Rotation(first=T0.date(), at=time(), days=7),
    fallback=("@here",),
)
SHIFTS = Rota(name="cal", zone=ZoneInfo("UTC"), people=(LI, ANN), calendar="duty", fallback=("@here",))


def routing(*mention: str) -> RoutingConfig:
    return RoutingConfig(
        routes=[Route(name="all", channels=("dba",), mention=mention)],
        policies={"dba": ChannelPolicy(name="dba")},
        rotas=Rotas(by_name={"dba": WEEKLY, "cal": SHIFTS}),
    )


async def mentioned(store: SqlStore, config: RoutingConfig, at: datetime) -> tuple[str, ...]:
    routed = route_events([make_event(observed_at=at)], config.routes)
    await store.transact(lambda tx: announce(tx, routed, config, at))
    (delivery,) = await store.read(lambda q: q.deliveries(DeliveryFilter()))
    return delivery.routing.mention


@pytest.mark.parametrize(
    ("weeks", "expected"),
    [(0, ("U0TEAM", "U0LI", "li@example.com")), (1, ("U0TEAM", "U0ANN")), (-1, ("U0TEAM", "@here"))],
)
async def test_a_delivery_mentions_who_is_on_duty_when_it_is_planned(
    store: SqlStore, weeks: int, expected: tuple[str, ...]
) -> None:
    at = datetime.combine(T0.date(), time(12), tzinfo=UTC) + timedelta(weeks=weeks)
    assert await mentioned(store, routing("U0TEAM", "@rota:dba"), at) == expected


async def test_a_step_of_an_escalation_mentions_who_is_on_duty(store: SqlStore) -> None:
    step = EscalationStep(after=timedelta(minutes=30), channels=("dba",), mention=("@rota:dba",))
    config = replace(routing(), escalations={"e": Escalation(name="e", steps=(step,))}, routes=())
    assert await mentioned(store, reminders.with_steps(config), T0) == ("U0LI", "li@example.com")


async def test_a_calendar_that_is_recorded_says_who_is_on_duty(store: SqlStore) -> None:
    entry = CalendarEntry(summary="ann", first_day=date(2026, 1, 1), last_day=date(2030, 1, 1))
    await store.transact(lambda tx: tx.calendars.claim_due({"duty": "1"}, T0, T0))
    await store.transact(lambda tx: tx.calendars.save_copy("duty", "1", [entry], T0, T0))
    assert await mentioned(store, routing("@rota:cal"), T0) == ("U0ANN",)


async def test_a_calendar_that_was_never_read_leaves_the_fallback(store: SqlStore) -> None:
    assert await mentioned(store, routing("@rota:cal", "U0LI"), T0) == ("@here", "U0LI")
