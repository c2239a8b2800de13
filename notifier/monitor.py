"""Look whether the program is blind or mute, and see to it that somebody is told.

Read how everything is, judge it, and decide what there is to say. Only where there is something, one transaction takes
up again what the decision depends on, records events, plans deliveries and notes what was announced. Any number of
replicas may look at once: of two that decide the same only one notes it, and only that one records it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from notifier.core import alerts as watching
from notifier.core import health, outbox
from notifier.core.errors import StoreReplaced
from notifier.core.health import Backlog, Expected, HealthFacts, HealthReport
from notifier.core.model import ChannelState, Event, SourceState
from notifier.core.routing import RoutingConfig
from notifier.ports import DatabaseFile, Store, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorRules:
    """What is watched, and who is told of what no route takes."""

    expected: Expected = field(default_factory=Expected)
    fallback: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorReport:
    """What one look found. The shell logs it."""

    health: HealthReport
    """The verdict, which gives each source its time after a start."""
    events: tuple[Event, ...] = ()
    deliveries: int = 0
    undeliverable: tuple[Event, ...] = ()
    """Those that no channel is told of: there is none, or only the one that it is about."""


async def run_monitor(
    store: Store, *, rules: MonitorRules, routing: RoutingConfig, polling_since: datetime | None
) -> MonitorReport:
    """Judge health once and announce what has changed. Raises StoreError.

    `polling_since` is when polling began, by the database's time: see `source_edge`.
    """
    facts = await store.read(lambda q: q.health_facts())
    if not _news(rules.expected, facts, polling_since):
        return MonitorReport(health=health.judge(rules.expected, facts, polling_since))
    return await store.transact(lambda tx: record(tx, facts, rules, routing, polling_since))


def record(
    tx: Transaction, facts: HealthFacts, rules: MonitorRules, routing: RoutingConfig, polling_since: datetime | None
) -> MonitorReport:
    """Announce what was found: each only where nobody else has since."""
    verdict = health.judge(rules.expected, facts, polling_since)
    events = [*_about_sources(tx, rules.expected, facts, polling_since)]
    tx.channels.lock()
    events += _about_channels(tx, rules.expected, facts)
    return _tell(tx, events, rules, routing, verdict) if events else MonitorReport(health=verdict)


async def save_lost_file(
    file: DatabaseFile, store: Store, error: StoreReplaced, *, rules: MonitorRules, routing: RoutingConfig
) -> tuple[Path, MonitorReport]:
    """Save what a service holds of a database whose file was taken from under it, and report that. Raises StoreError.

    What is pending is delivered as long as the service runs, this report too: the file is open, it only has no name.
    """
    copy = await file.rescue()

    def tell(tx: Transaction) -> MonitorReport:
        verdict = health.unavailable(tx.now(), str(error))
        tx.channels.lock()
        return _tell(tx, [watching.store_event(str(error), verdict.at)], rules, routing, verdict)

    return copy, await store.transact(tell)


def _tell(
    tx: Transaction, events: Sequence[Event], rules: MonitorRules, routing: RoutingConfig, verdict: HealthReport
) -> MonitorReport:
    """Record events about ourselves and plan their deliveries."""
    told = tx.events.record(watching.route_alerts(events, routing.routes, rules.fallback)).new
    deliveries = outbox.plan(told, routing.policies, tx.channels.parked(), verdict.at)
    tx.deliveries.record(deliveries)
    return MonitorReport(
        health=verdict,
        events=tuple(item.event for item in told),
        deliveries=len(deliveries),
        undeliverable=tuple(item.event for item in told if not item.channels),
    )


def _news(expected: Expected, facts: HealthFacts, polling_since: datetime | None) -> bool:
    """Tell whether there may be anything to announce: most looks need no transaction."""
    return any(True for _ in _source_turns(expected, facts, polling_since)) or any(
        watching.channel_edge(state, backlog, expected, facts.at) or _gave_up(state, backlog, facts.at)
        for state, backlog in health.channels(expected, facts)
    )


def _source_turns(
    expected: Expected, facts: HealthFacts, polling_since: datetime | None
) -> Iterator[tuple[health.ConfiguredSource, SourceState, watching.AlertEdge]]:
    known = {state.name: state for state in facts.sources}
    for source in expected.sources:
        state = known.get(source.name, SourceState(name=source.name))
        if edge := watching.source_edge(source, state, facts.at, polling_since, expected.failing_after):
            yield source, state, edge


def _about_sources(
    tx: Transaction, expected: Expected, facts: HealthFacts, polling_since: datetime | None
) -> Iterator[Event]:
    for source, state, edge in _source_turns(expected, facts, polling_since):
        if tx.polls.announce(state.name, state.announced_since, edge.since if edge.failing else None):
            yield watching.source_event(source, edge, facts.at)


def _about_channels(tx: Transaction, expected: Expected, facts: HealthFacts) -> Iterator[Event]:
    now = facts.at
    for state, backlog in health.channels(expected, facts):
        edge = watching.channel_edge(state, backlog, expected, now)
        announced = edge and tx.channels.announce(
            state.name, state.announced_since, edge.since if edge.failing else None
        )
        # Nothing is said when the last delivery of a channel that is configured no more was moved or dismissed.
        if edge and announced and (edge.failing or health.serves(expected, state.name)):
            yield watching.channel_event(state.name, edge, now)
        if since := _gave_up(state, backlog, now):
            found = tx.channels.given_up(state.name, since)
            if found and tx.channels.announce_given_up(state.name, state.given_up_until, found.last):
                yield watching.dead_letters_event(state.name, found, now)


def _gave_up(state: ChannelState, backlog: Backlog, now: datetime) -> datetime | None:
    """Return from when on dead deliveries of a channel are to be told of, where there may be any."""
    since = watching.dead_letters_since(state, now)
    return since if since and backlog.dead_until and backlog.dead_until > since else None
