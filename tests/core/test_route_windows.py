"""Routes with windows: where events go at which hour, what is held or dropped, and what the messages want."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from factories import make_event, make_task
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.delivery import DeliveryState
from notifier.core.matchers import parse_matcher
from notifier.core.model import Event
from notifier.core.outbox import new_delivery, sort_out
from notifier.core.polling import plan_deliveries
from notifier.core.routing import (
    ChannelPolicy,
    DeliveryRouting,
    Otherwise,
    Route,
    RoutedEvent,
    RoutingConfig,
    explain_routes,
    route_events,
    routing_on,
)
from notifier.core.rulings import Hold, Ruling, Suppress, ruling_on, window_rule
from notifier.core.severity import Severity
from notifier.core.windows import parse_window

WORK = parse_window("weekdays 09:00-18:00 Asia/Shanghai", holidays=[date(2026, 12, 25)])
NIGHT, DAY, WEEKEND, HOLIDAY = (
    datetime.fromisoformat(text).replace(tzinfo=UTC)
    for text in ("2026-11-26 20:00", "2026-11-27 02:00", "2026-11-28 02:00", "2026-12-25 02:00")
)
MONDAY = datetime(2026, 11, 30, 1, 0, tzinfo=UTC)


def failed(at: datetime) -> Event:
    return make_event(observed_at=at)


def route(name: str, *channels: str, otherwise: Otherwise | tuple[str, ...] = Otherwise.HOLD, **more: Any) -> Route:
    return replace(Route(name=name, channels=channels, active=WORK, otherwise=otherwise), **more)


def rulings(routes: Sequence[Route], at: datetime) -> dict[str, Ruling | None]:
    """Return what becomes of a failure on each of its channels."""
    judged = [one.at(at) for one in routes]
    (item,) = route_events([failed(at)], routes)
    rule = window_rule(judged, at)
    return {channel: ruling_on(item, channel, [rule] if rule else []) for channel in item.channels}


@pytest.mark.parametrize(
    ("otherwise", "at", "found"),
    [
        (Otherwise.HOLD, DAY, {"dba": None}),
        (Otherwise.DROP, DAY, {"dba": None}),
        (("oncall", "mail"), DAY, {"dba": None}),
        (("oncall", "mail"), NIGHT, {"oncall": None, "mail": None}),
        (("oncall", "dba"), WEEKEND, {"oncall": None, "dba": None}),
        (("oncall",), HOLIDAY, {"oncall": None}),
        (
            Otherwise.HOLD,
            WEEKEND,
            {
                "dba": Hold(
                    rule="route:work", until=MONDAY, reason="route work is active from 2026-11-30T01:00+00:00 on"
                )
            },
        ),
        (
            Otherwise.DROP,
            WEEKEND,
            {
                "dba": Suppress(
                    rule="route:work", reason="route work is active only at weekdays 09:00-18:00 Asia/Shanghai"
                )
            },
        ),
    ],
)
def test_outside_its_window_a_route_leads_elsewhere_holds_or_drops(
    otherwise: Otherwise | tuple[str, ...], at: datetime, found: dict[str, Ruling | None]
) -> None:
    assert rulings([route("work", "dba", otherwise=otherwise)], at) == found


EVERYTHING = Route(name="all", channels=("dba",))


@pytest.mark.parametrize(
    ("routes", "kinds"),
    [
        ([route("work", "dba"), EVERYTHING], {"dba": "sent"}),
        ([EVERYTHING, route("work", "dba", "mail")], {"dba": "sent", "mail": "held"}),
        ([route("work", "dba", otherwise=Otherwise.DROP), EVERYTHING], {"dba": "sent"}),
        ([route("a", "dba", otherwise=Otherwise.DROP), route("b", "dba")], {"dba": "held"}),
        ([route("a", "dba"), route("b", "ops", otherwise=("dba",))], {"dba": "sent"}),
        ([route("a", "dba", stop=True), EVERYTHING], {"dba": "held"}),
        ([route("a", "dba", otherwise=("ops",), stop=True), EVERYTHING], {"ops": "sent"}),
        ([route("a", "dba", match=(parse_matcher("type=task.started"),)), EVERYTHING], {"dba": "sent"}),
    ],
)
def test_an_event_that_another_route_sends_is_sent(routes: Sequence[Route], kinds: dict[str, str]) -> None:
    names = {Hold: "held", Suppress: "dropped", type(None): "sent"}
    assert {channel: names[type(found)] for channel, found in rulings(routes, WEEKEND).items()} == kinds


def test_the_earliest_opening_ends_a_hold() -> None:
    early = replace(route("early", "dba"), active=parse_window("sun 10:00-12:00"))
    found = rulings([route("work", "dba"), early], WEEKEND)
    assert found == {
        "dba": Hold(
            rule="route:early",
            until=datetime(2026, 11, 29, 10, tzinfo=UTC),
            reason="route early is active from 2026-11-29T10:00+00:00 on",
        )
    }


def test_a_window_that_never_opens_again_holds_nothing() -> None:
    past = replace(route("once", "dba"), active=parse_window("holidays", holidays=[date(2020, 1, 1)]))
    assert rulings([past], WEEKEND) == {"dba": None}


def test_nobody_who_asked_in_person_waits_for_a_window() -> None:
    item = RoutedEvent(event=failed(WEEKEND), routes=("work",), channels=("dm:U1", "dba"), solves=("dba",))
    rule = window_rule([route("work", "dba", "dm:U1").at(WEEKEND)], WEEKEND)
    assert rule
    assert [ruling_on(item, channel, [rule]) for channel in item.channels] == [None, None]


def test_no_rule_is_asked_while_all_windows_are_open() -> None:
    assert window_rule([route("work", "dba").at(DAY), EVERYTHING], DAY) is None


URGENT: dict[str, Any] = {"severity": Severity.CRITICAL, "mention": ("@here",), "template": "night"}


@pytest.mark.parametrize(
    ("routes", "at", "wanted"),
    [
        (
            [route("work", "dba", **URGENT)],
            DAY,
            DeliveryRouting(routes=("work",), severity=Severity.CRITICAL, mention=("@here",), template="night"),
        ),
        ([route("work", "dba", **URGENT), EVERYTHING], WEEKEND, DeliveryRouting(routes=("all",))),
        (
            [route("work", "ops", otherwise=("oncall",), **URGENT), EVERYTHING],
            WEEKEND,
            DeliveryRouting(routes=("all",)),
        ),
        (
            [route("work", "ops", otherwise=("dba",), **URGENT), EVERYTHING],
            WEEKEND,
            DeliveryRouting(routes=("work", "all"), severity=Severity.CRITICAL, mention=("@here",), template="night"),
        ),
        (
            [route("work", "dba", **URGENT)],
            WEEKEND,
            DeliveryRouting(routes=("work",), severity=Severity.CRITICAL, mention=("@here",), template="night"),
        ),
    ],
    ids=["open", "closed beside an open one", "closed elsewhere", "leads here while closed", "held"],
)
def test_a_closed_route_has_no_say_about_what_another_one_sends(
    routes: Sequence[Route], at: datetime, wanted: DeliveryRouting
) -> None:
    judged = [one.at(at) for one in routes]
    items = route_events([failed(at)], judged)
    assert routing_on("dba", items, judged) == wanted


def test_of_several_templates_the_one_of_the_first_route_is_taken() -> None:
    routes = [Route(name=name, channels=("dba",), template=name) for name in ("a", "b")]
    items = route_events([failed(DAY)], routes)
    assert routing_on("dba", items, routes).template == "a"
    assert routing_on("dba", [*items, *items], routes).template == "a"


def test_a_held_event_is_planned_for_the_opening_and_a_dropped_one_is_suppressed() -> None:
    routes = [route("work", "dba"), route("later", "log", otherwise=Otherwise.DROP)]
    config = RoutingConfig(routes=routes, policies={name: ChannelPolicy(name=name) for name in ("dba", "log")})
    judged = config.at(WEEKEND)
    rule = window_rule(judged.routes, WEEKEND)
    assert rule
    new = route_events([failed(WEEKEND)], judged.routes)
    planned = plan_deliveries(new, judged, parked=(), rules=[rule], now=WEEKEND).deliveries
    assert [(one.channel, one.state, one.rule, one.available_at) for one in planned] == [
        ("dba", DeliveryState.PENDING, "route:work", MONDAY),
        ("log", DeliveryState.SUPPRESSED, "route:later", WEEKEND),
    ]


def test_a_route_is_judged_once() -> None:
    judged = RoutingConfig(routes=[route("work", "dba", otherwise=("ops",))]).at(WEEKEND)
    assert judged.timeless
    assert judged.at(DAY) is judged
    assert judged.routes[0].channels == ("ops",)


def test_a_configuration_without_windows_stays_as_it_is() -> None:
    config = RoutingConfig(routes=[EVERYTHING])
    assert config.timeless
    assert config.at(DAY) is config


def test_the_days_of_a_calendar_are_holidays_of_the_windows_that_name_it() -> None:
    config = RoutingConfig(
        routes=[route("work", "dba", active=replace(WORK, calendar="office")), route("other", "dba")]
    )
    assert config.calendars == {"office"}
    known = config.with_holidays({"office": [DAY.date()], "another": [WEEKEND.date()]})
    assert [one.at(DAY).is_open for one in known.routes] == [False, True]
    assert [one.at(HOLIDAY).is_open for one in known.routes] == [False, False]
    assert known.calendars == frozenset(), "they are read once"


def test_the_explanation_has_the_windows_of_the_time_of_the_event() -> None:
    routes = [route("work", "dba", otherwise=("oncall",))]
    found = [explain_routes(failed(at), routes)[0].route for at in (DAY, WEEKEND)]
    assert [(one.is_open, one.channels) for one in found] == [(True, ("dba",)), (False, ("oncall",))]


CHANNELS = st.sampled_from(["a", "b", "c"])
OTHERWISE = st.one_of(st.sampled_from(Otherwise), st.lists(CHANNELS, min_size=1, max_size=2).map(tuple))
ROUTES = st.lists(
    st.builds(
        Route,
        name=st.uuids().map(str),
        channels=st.lists(CHANNELS, min_size=1, max_size=2, unique=True).map(tuple),
        stop=st.booleans(),
        active=st.sampled_from([None, WORK, parse_window("holidays"), parse_window("sat 01:00-03:00")]),
        otherwise=OTHERWISE,
    ),
    max_size=5,
)


def said_by_the_definition(routes: Iterable[Route], at: datetime) -> dict[str, set[str]]:
    """Say what each route makes of a failure on each channel, with nothing but the definition."""
    found: dict[str, set[str]] = {}
    for one in routes:
        if one.active is None or one.active.is_open(at):
            said = dict.fromkeys(one.channels, "sent")
        elif isinstance(one.otherwise, tuple):
            said = dict.fromkeys(one.otherwise, "sent")
        elif one.otherwise is Otherwise.DROP:
            said = dict.fromkeys(one.channels, "dropped")
        else:
            said = {channel: "held" if one.active.next_opening(at) else "sent" for channel in one.channels}
        for channel, what in said.items():
            found.setdefault(channel, set()).add(what)
        if one.stop:
            break
    return found


@given(routes=ROUTES, at=st.sampled_from([NIGHT, DAY, WEEKEND, HOLIDAY]))
def test_every_channel_has_exactly_one_ruling_the_most_telling_one(routes: list[Route], at: datetime) -> None:
    said = said_by_the_definition(routes, at)
    expected = {
        channel: next(what for what in ("sent", "held", "dropped") if what in kinds) for channel, kinds in said.items()
    }
    config = RoutingConfig(routes=routes).at(at)
    rule = window_rule(config.routes, at)
    found = sort_out(route_events([failed(at)], config.routes), [rule] if rule else [])
    rulings_found = {"sent": found.sent, "held": found.held, "dropped": found.suppressed}
    assert {channel: what for what, channels in rulings_found.items() for channel in channels} == expected


def test_a_digest_of_events_with_and_without_a_template_has_it() -> None:
    """A digest has templates of its own: the name is recorded, and has no effect there."""
    both = DeliveryRouting(routes=("a",)).joined(DeliveryRouting(routes=("b",), template="x"))
    event = make_event(make_task())
    assert new_delivery("dba", [event, event], DeliveryState.PENDING, DAY, routing=both).routing.template == "x"
