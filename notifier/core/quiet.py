"""Rules that hold events so that people get fewer messages: grouping, and budgets of channels. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from notifier.core.durations import format_duration
from notifier.core.events import EventType
from notifier.core.fields import FIELDS, fields_of
from notifier.core.flapping import FLAPPING_RULE
from notifier.core.model import id_of
from notifier.core.routing import Budget, Route, RoutedEvent, RoutesOfChannel, RoutingConfig
from notifier.core.rulings import Hold, Rule, Ruling

WINDOW_RULE, GROUP_RULE, BUDGET_RULE = "route", "group", "budget"
"""How the names of rules begin."""

_HASH_LENGTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class EventGroup:
    """The events of a route that go to a channel in one message."""

    rule: str
    """`group:ROUTE:HASH`, with a hash of what the events have in common."""
    route: str
    wait: timedelta


GroupsByEvent = Mapping[tuple[str, str], EventGroup]
"""By event id and channel."""

Lasting = Mapping[tuple[str, str], datetime]
"""When what a rule holds on a channel is released, by channel and rule."""


def groups_of(new: Iterable[RoutedEvent], routing: RoutingConfig) -> GroupsByEvent:
    """Return the group of each event on each channel where it has one.

    It has none on a channel where any of its routes leads that does not wait: that one wants it at once. Of several
    that wait, the one with the shortest wait decides. A route whose window is closed leads nowhere.
    """
    waiting = {route.name for route in routing.routes if route.wait is not None}
    found: dict[tuple[str, str], EventGroup] = {}
    for item in new:
        if waiting.isdisjoint(item.routes):
            continue
        taking = [route for route in routing.routes if route.name in item.routes]
        for channel in item.channels:
            leading = [route for route in taking if channel in route.channels and not route.withholds]
            waits = [(route.wait, place) for place, route in enumerate(leading) if route.wait is not None]
            if waits and len(waits) == len(leading):
                wait, place = min(waits)
                found[item.event.id, channel] = _group(item, leading[place], wait, routing)
    return found


def _group(item: RoutedEvent, route: Route, wait: timedelta, routing: RoutingConfig) -> EventGroup:
    fields = fields_of(item.event, {*route.group_by}.intersection(FIELDS), routing.catalogue)
    common = id_of("\x1f".join(("group", *(fields.get(name, "") for name in route.group_by))))
    return EventGroup(rule=f"{GROUP_RULE}:{route.name}:{common[:_HASH_LENGTH]}", route=route.name, wait=wait)


def group_rule(groups: GroupsByEvent, lasting: Lasting, stormy: Collection[str], now: datetime) -> Rule:
    """Return the rule that collects events.

    Args:
        groups: the group of each event.
        lasting: what is collected already.
        stormy: channels on which a storm reports the failures of this batch: that groups them already.
        now: the present time.
    """

    def rule(item: RoutedEvent, channel: str) -> Ruling | None:
        group = groups.get((item.event.id, channel))
        if group is None or (channel in stormy and item.event.type is EventType.TASK_FAILED):
            return None
        until = lasting.get((channel, group.rule), now)
        return Hold(
            rule=group.rule,
            until=until if until > now else now + group.wait,
            reason=f"route {group.route} collects events for {format_duration(group.wait)}",
        )

    return rule


def budget_rule_name(budget: Budget) -> str:
    """Return the name of the rule of a budget. Another budget of the channel is another rule."""
    return f"{BUDGET_RULE}:{budget.text}"


def budgets_of(new: Iterable[RoutedEvent], routing: RoutingConfig) -> Mapping[str, Budget]:
    """Return the budgets of the channels that events go to, by channel."""
    limited = {name: policy.budget for name, policy in routing.policies.items() if policy.budget}
    return {name: limited[name] for item in new for name in item.channels if name in limited} if limited else {}


class BudgetRule:
    """Holds what is not loud on channels that have used up their budget. Loud events are sent, and count."""

    def __init__(
        self, routing: RoutingConfig, recent: Mapping[str, Sequence[datetime]], lasting: Lasting, now: datetime
    ) -> None:
        """Decide for the events of one batch.

        Args:
            routing: has the budgets.
            recent: when the latest messages of channels with a budget were planned, as many as the budget allows.
            lasting: what is held already.
            now: the present time.
        """
        self._routing = routing
        self._times = {channel: sorted(times, reverse=True) for channel, times in recent.items()}
        self._routes: dict[str, RoutesOfChannel] = {}
        self._lasting = lasting
        self._now = now

    def __call__(self, item: RoutedEvent, channel: str) -> Ruling | None:
        """Return why an event is held on a channel; None where it is sent."""
        policy = self._routing.policies.get(channel)
        if policy is None or policy.budget is None:
            return None
        budget, times = policy.budget, self._times.setdefault(channel, [])
        used = sum(self._now - at < budget.within for at in times)
        if used >= budget.messages and not self._is_loud(item, channel):
            rule = budget_rule_name(budget)
            until = self._lasting.get((channel, rule), self._now)
            free = times[budget.messages - 1] + budget.within
            return Hold(
                rule=rule,
                until=until if until > self._now else free,
                reason=f"the budget of {budget.text} is used up",
            )
        times.insert(0, self._now)
        return None

    def _is_loud(self, item: RoutedEvent, channel: str) -> bool:
        if channel not in self._routes:
            self._routes[channel] = RoutesOfChannel(channel, self._routing.routes)
        return self._routes[channel].routing_of([item]).severity_of([item.event]).loud


HoldsOfEvents = Mapping[tuple[str, str], tuple[str, datetime]]
"""By event id and channel: the rule that holds an event, and until when."""


def without_held(
    new: Sequence[RoutedEvent], closed: Mapping[str, str], held: HoldsOfEvents, keeping: Collection[str]
) -> Sequence[RoutedEvent]:
    """Return the events so that no success goes to a channel at once where the failure that it closes is still held.

    Args:
        new: the events of one batch.
        closed: the first event of the failure that each success closes, by the id of the success.
        held: which of these first events are held.
        keeping: channels that keep tickets, where an operation has its own order.
    """
    return [
        replace(item, solves=tuple(name for name in item.solves if name in keeping or (first, name) not in held))
        if (first := closed.get(item.event.id)) is not None
        else item
        for item in new
    ]


def closing_rule(closed: Mapping[str, str], held: HoldsOfEvents) -> Rule:
    """Return the rule that a success waits for the failure that it closes, and goes out with it."""

    def rule(item: RoutedEvent, channel: str) -> Ruling | None:
        first = closed.get(item.event.id)
        found = None if first is None else held.get((first, channel))
        return found and Hold(rule=found[0], until=found[1], reason="the failure that it closes is held too")

    return rule


def is_configured(rule: str, channel: str, routing: RoutingConfig) -> bool:
    """Return whether a rule that holds something on a channel can still hold something there."""
    kind, _, rest = rule.partition(":")
    name = rest.rpartition(":")[0] if kind == GROUP_RULE else rest
    leading = (route for route in routing.routes if route.name == name and channel in route.all_channels)
    if kind == GROUP_RULE:
        return any(route.wait is not None for route in leading)
    if kind == WINDOW_RULE:
        return any(route.may_hold for route in leading)
    if kind == FLAPPING_RULE:
        return routing.flapping is not None
    policy = routing.policies.get(channel)
    return policy is not None and policy.budget is not None and rule == budget_rule_name(policy.budget)
