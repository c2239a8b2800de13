"""Which events are collected, and which a budget holds back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from factories import T0, make_event, make_task
from hypothesis import given
from hypothesis import strategies as st

from notifier.channels.rate_limits import parse_budget
from notifier.core import quiet
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.quiet import BudgetRule
from notifier.core.routing import ChannelPolicy, Otherwise, Route, RoutedEvent, RoutingConfig, route_events
from notifier.core.rulings import Hold, Ruling
from notifier.core.severity import Severity
from notifier.core.windows import parse_window

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
WAIT = 5 * MINUTE


def event_of(job_id: str = "a", kind: EventType = EventType.TASK_STARTED, **task: Any) -> Event:
    return make_event(make_task(job_id, **task), type=kind, occurrence=kind)


def routed(routing: RoutingConfig, *events: Event) -> Sequence[RoutedEvent]:
    return route_events(events, routing.routes)


def groups(routing: RoutingConfig, *events: Event) -> list[str]:
    """Return the rules of the groups of events on the channel dba."""
    items = routed(routing, *events)
    found = quiet.groups_of(items, routing)
    return [found[item.event.id, "dba"].rule for item in items if (item.event.id, "dba") in found]


def waiting(name: str = "orders", **changes: Any) -> Route:
    return Route(name=name, channels=("dba",), wait=WAIT, **changes)


def test_events_with_equal_fields_are_one_group() -> None:
    routing = RoutingConfig(routes=(waiting(group_by=("instance", "type")),))
    events = [
        event_of("a", instance_name="orders"),
        event_of("b", instance_name="orders"),
        event_of("c", instance_name="other"),
        event_of("d", EventType.TASK_COMPLETED, instance_name="orders"),
    ]
    first, second, *others = groups(routing, *events)
    assert first == second
    assert first.startswith("group:orders:")
    assert len({first, *others}) == 3


def test_a_route_without_fields_has_one_group() -> None:
    routing = RoutingConfig(routes=(waiting(),))
    assert len(set(groups(routing, event_of("a", instance_name="x"), event_of("b", instance_name="y")))) == 1


def test_labels_make_groups() -> None:
    routing = RoutingConfig(routes=(waiting(group_by=("label.team",)),))
    teams = [make_event(make_task(team), labels=(("team", team),)) for team in ("a", "b")]
    assert len(set(groups(routing, *teams, make_event(make_task("none"))))) == 3


def test_a_route_that_does_not_wait_sends_at_once() -> None:
    at_once = Route(name="failures", channels=("dba",))
    assert not groups(RoutingConfig(routes=(waiting(), at_once)), event_of())
    elsewhere = Route(name="mail", channels=("mail",))
    assert groups(RoutingConfig(routes=(waiting(), elsewhere)), event_of())


def test_the_shortest_wait_decides() -> None:
    longer = Route(name="long", channels=("dba",), wait=HOUR)
    (name,) = groups(RoutingConfig(routes=(longer, waiting("short"))), event_of())
    assert name.startswith("group:short:")


def test_the_first_event_of_a_group_decides_when_it_is_sent() -> None:
    routing = RoutingConfig(routes=(waiting(),))
    (item,) = routed(routing, event_of())
    found = quiet.groups_of([item], routing)
    name = found[item.event.id, "dba"].rule

    def until(lasting: quiet.Lasting) -> object:
        ruling = quiet.group_rule(found, lasting, (), T0)(item, "dba")
        assert isinstance(ruling, Hold)
        assert ruling.rule == name
        assert ruling.reason == "route orders collects events for 5m"
        return ruling.until

    assert until({}) == T0 + WAIT
    assert until({("dba", name): T0 + MINUTE}) == T0 + MINUTE
    assert until({("mail", name): T0 + MINUTE}) == T0 + WAIT
    assert until({("dba", name): T0}) == T0 + WAIT  # that group is over


def test_a_storm_is_not_collected() -> None:
    routing = RoutingConfig(routes=(waiting(),))
    failed, started = routed(routing, event_of("a", EventType.TASK_FAILED), event_of("b"))
    rule = quiet.group_rule(quiet.groups_of([failed, started], routing), {}, {"dba"}, T0)
    assert rule(failed, "dba") is None
    assert rule(started, "dba") is not None


# ---- budgets ----

BUDGET = parse_budget("3/h")


def budgeted(*routes: Route) -> RoutingConfig:
    policy = ChannelPolicy(name="dba", budget=BUDGET)
    return RoutingConfig(routes=routes or (Route(name="all", channels=("dba",)),), policies={"dba": policy})


def rulings(routing: RoutingConfig, minutes_ago: Sequence[int], *events: Event) -> list[Ruling | None]:
    """Return what becomes of events on a channel whose latest messages are so many minutes old."""
    recent = {"dba": [T0 - MINUTE * minutes for minutes in minutes_ago]}
    rule = BudgetRule(routing, recent, {}, T0)
    return [rule(item, "dba") for item in routed(routing, *events)]


def test_a_budget_holds_what_is_too_much_until_there_is_room() -> None:
    started = [event_of(job_id) for job_id in "abcd"]
    first, second, third, fourth = rulings(budgeted(), [70, 40], *started)
    assert (first, second) == (None, None)
    hold = Hold(rule="budget:3/h", until=T0 + 20 * MINUTE, reason="the budget of 3/h is used up")
    assert (third, fourth) == (hold, hold)


def test_bad_news_is_sent_and_counts() -> None:
    failed = event_of("a", EventType.TASK_FAILED)
    assert rulings(budgeted(), [5, 6, 7, 8], failed) == [None]
    *_, last = rulings(budgeted(), [5, 6], failed, event_of("b"))
    assert isinstance(last, Hold)
    assert last.until == T0 + 54 * MINUTE


def test_the_severity_of_the_route_decides_what_is_loud() -> None:
    quiet_route = Route(name="all", channels=("dba",), severity=Severity.WARNING)
    (ruling,) = rulings(budgeted(quiet_route), [5, 6, 7], event_of("a", EventType.TASK_FAILED))
    assert isinstance(ruling, Hold)


def test_a_hold_that_lasts_is_joined() -> None:
    routing = budgeted()
    (item,) = routed(routing, event_of())
    recent = {"dba": [T0 - MINUTE] * 3}
    lasting = {("dba", "budget:3/h"): T0 + 7 * MINUTE}
    ruling = BudgetRule(routing, recent, lasting, T0)(item, "dba")
    assert isinstance(ruling, Hold)
    assert ruling.until == T0 + 7 * MINUTE


def test_only_channels_with_a_budget_are_counted() -> None:
    routing = budgeted(Route(name="all", channels=("dba", "mail")))
    items = routed(routing, event_of())
    assert quiet.budgets_of(items, routing) == {"dba": BUDGET}
    assert BudgetRule(routing, {}, {}, T0)(items[0], "mail") is None
    assert not quiet.budgets_of(items, RoutingConfig(routes=routing.routes))


@given(
    ages=st.lists(st.integers(0, 120), max_size=8),
    loud=st.lists(st.booleans(), min_size=1, max_size=8),
)
def test_never_more_quiet_messages_than_the_budget_allows(ages: list[int], loud: list[bool]) -> None:
    kinds = [EventType.TASK_FAILED if one else EventType.TASK_STARTED for one in loud]
    events = [event_of(str(number), kind) for number, kind in enumerate(kinds)]
    recent = sum(age < 60 for age in ages)
    for event, ruling in zip(events, rulings(budgeted(), ages, *events), strict=True):
        is_loud = event.type is EventType.TASK_FAILED
        assert ruling is None or not is_loud
        assert (ruling is None) == (is_loud or recent < BUDGET.messages)
        if isinstance(ruling, Hold):
            assert T0 < ruling.until <= T0 + BUDGET.within
        else:
            recent += 1


# ---- what is still configured ----


@pytest.mark.parametrize(
    ("rule", "channel", "known"),
    [
        ("group:orders:0a1b2c3d", "dba", True),
        ("group:orders:0a1b2c3d", "mail", False),
        ("group:gone:0a1b2c3d", "dba", False),
        ("budget:3/h", "dba", True),
        ("budget:4/h", "dba", False),
        ("budget:3/h", "mail", False),
        ("route:night", "dba", True),
        ("route:elsewhere", "dba", False),
        ("route:orders", "dba", False),
        ("of another version", "dba", False),
    ],
)
def test_a_rule_is_known_while_it_is_configured(rule: str, channel: str, *, known: bool) -> None:
    routing = budgeted(waiting(), windowed("night", Otherwise.HOLD), windowed("elsewhere", ("mail",)))
    assert quiet.is_configured(rule, channel, routing) is known


def windowed(name: str, otherwise: Otherwise | tuple[str, ...] = Otherwise.HOLD) -> Route:
    window = parse_window("weekdays 09:00-18:00 UTC")
    return Route(name=name, channels=("dba",), active=window, otherwise=otherwise)


def test_a_route_with_a_closed_window_sends_nothing_at_once() -> None:
    routing = RoutingConfig(routes=(windowed("day"), waiting()))
    assert groups(routing.at(datetime(2026, 1, 18, 12, tzinfo=UTC)), event_of())  # a Sunday
    assert not groups(routing.at(datetime(2026, 1, 16, 12, tzinfo=UTC)), event_of())


@pytest.mark.parametrize("text", ["", "20", "0/h", "20/s", "1001/h", "20/hour", "20 /h", "-1/h"])
def test_a_budget_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a budget"):
        parse_budget(text)


def test_a_budget_is_read() -> None:
    found = parse_budget("1000/d")
    assert (found.messages, found.within, found.text) == (1000, timedelta(days=1), "1000/d")
