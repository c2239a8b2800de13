"""Monitor the notifier itself: report sources that cannot be polled and channels that cannot deliver.

Read what may be wrong, let `notifier.core.alerts` decide what to announce, and apply that in short transactions; mostly
there is nothing to announce, and then there is none. Any number of replicas may do so at once: of two that decide the
same only one notes it, and only that one records the event.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

from notifier.core import alerts, health
from notifier.core.alerts import AlertDecision, Announcement, DeadLetters
from notifier.core.errors import StoreReplaced
from notifier.core.health import HealthReport
from notifier.core.health_facts import Expected, HealthFacts
from notifier.core.model import Event
from notifier.core.routing import MAX_DIGEST_SIZE, RoutingConfig
from notifier.planning import PlanTx, announce, routing_at
from notifier.ports import DatabaseFile, ParkedChannels, Store


class SourceAnnouncements(Protocol):
    """What was announced of sources."""

    def announce(self, source: str, was: datetime | None, since: datetime | None) -> bool:
        """Note since when a source is announced as failing; return False when another replica was faster."""

    def introduce(self, source: str, now: datetime) -> bool:
        """Note that people are notified that a source is monitored; return False when another replica was faster."""

    def task_counts(self, source: str, failed_since: datetime) -> Mapping[str, int]:
        """Return how many tasks of a source are `listed`, `running`, and have `failed` since a time."""


class ChannelAnnouncements(ParkedChannels, Protocol):
    """What was announced of channels."""

    def lock(self) -> None:
        """Let nobody else change any channel until the transaction ends: to be asked for before changing several."""

    def announce(self, channel: str, was: datetime | None, since: datetime | None) -> bool:
        """Note since when a channel is announced as failing; return False when another replica was faster."""

    def announce_dead_letters(self, channel: str, was: datetime | None, until: datetime) -> bool:
        """Note up to when the dead deliveries of a channel are reported; return False as `announce` does."""

    def dead_letters(self, channel: str, since: datetime) -> DeadLetters | None:
        """Count the dead deliveries of a channel that died later than this and are not about a channel themselves."""


class MonitorReads(Protocol):
    """What monitoring reads."""

    def health_facts(self, *, quiet_for: timedelta | None = None) -> HealthFacts:
        """Return what health is judged by, and when that was asked; all of it, unless `quiet_for` is given.

        Then a source is quiet, and left out, where its last good poll and last complete scan are younger than this and
        nothing else is recorded that a finding or an alert could be about.
        """


class MonitorTx(PlanTx, Protocol):
    """What monitoring needs of a transaction."""

    @property
    def polls(self) -> SourceAnnouncements:
        """What was announced of sources."""

    @property
    def channels(self) -> ChannelAnnouncements:
        """What was announced of channels."""


ANNOUNCED_TOGETHER = MAX_DIGEST_SIZE
"""Maximum number of sources that one transaction announces: polls and deliveries hardly wait for it, and the digests of
thousands are as large as they would be together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorRules:
    """What is monitored, and which channels get an alert that no route takes."""

    expected: Expected = field(default_factory=Expected)
    fallback: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorReport:
    """What one check found. The shell logs it."""

    health: HealthReport
    """The verdict, which gives each source its time after a start."""
    events: tuple[Event, ...] = ()
    deliveries: int = 0
    undeliverable: tuple[Event, ...] = ()
    """Those that go to no channel: there is none, or only the one that it is about."""

    def __add__(self, more: "MonitorReport") -> "MonitorReport":
        return MonitorReport(
            health=self.health,
            events=self.events + more.events,
            deliveries=self.deliveries + more.deliveries,
            undeliverable=self.undeliverable + more.undeliverable,
        )


async def run_monitor(
    store: Store[MonitorTx, MonitorReads],
    *,
    rules: MonitorRules,
    routing: RoutingConfig,
    polling_since: datetime | None,
) -> MonitorReport:
    """Judge health once and announce what has changed; see `judge` for `polling_since`. Raises StoreError."""
    # Judged in the thread of the store: the loop has better things to do when thousands of sources fail.
    verdict, decision = await store.read(lambda q: _judge(q, rules.expected, polling_since))
    report = MonitorReport(health=verdict)
    for part in decision.batches(ANNOUNCED_TOGETHER):
        report += await store.transact(
            partial(apply_alerts, decision=part, rules=rules, routing=routing, verdict=verdict)
        )
    return report


def _judge(
    queries: MonitorReads, expected: Expected, polling_since: datetime | None
) -> tuple[HealthReport, AlertDecision]:
    facts = queries.health_facts(quiet_for=health.shortest_poll_limit(expected))
    verdict = health.judge(expected, facts, polling_since)
    return verdict, alerts.decide_alerts(expected, facts, polling_since)


def apply_alerts(
    tx: MonitorTx, decision: AlertDecision, rules: MonitorRules, routing: RoutingConfig, verdict: HealthReport
) -> MonitorReport:
    """Announce what was decided: each only where no other replica has done so since."""
    events = [one.event for one in decision.sources if tx.polls.announce(one.name, one.was, one.since) and one.event]
    events += _introduce(tx, decision, verdict.at)
    tx.channels.lock()
    events += _announce_channels(tx, decision, verdict.at)
    return _record(tx, events, rules, routing, verdict) if events else MonitorReport(health=verdict)


def _introduce(tx: MonitorTx, decision: AlertDecision, now: datetime) -> Iterator[Event]:
    for found in decision.introduced:
        if tx.polls.introduce(found.source.name, now):
            counts = tx.polls.task_counts(found.source.name, now - alerts.COUNTED_FAILURES_AGE)
            yield alerts.monitored_event(found, counts, now)


def _announce_channels(tx: MonitorTx, decision: AlertDecision, now: datetime) -> Iterator[Event]:
    for one in decision.channels:
        if isinstance(one, Announcement):
            if tx.channels.announce(one.name, one.was, one.since) and one.event:
                yield one.event
        else:
            found = tx.channels.dead_letters(one.channel, one.since)
            if found and tx.channels.announce_dead_letters(one.channel, one.was, found.last):
                yield alerts.dead_letters_event(one.channel, found, now)


async def save_lost_file(
    file: DatabaseFile,
    store: Store[MonitorTx, MonitorReads],
    error: StoreReplaced,
    *,
    rules: MonitorRules,
    routing: RoutingConfig,
) -> tuple[Path, MonitorReport]:
    """Save what a service holds of a database whose file was taken from under it, and report that. Raises StoreError.

    What is pending is delivered as long as the service runs, this report too: the file is open, it only has no name.
    """
    copy = await file.rescue()

    def record(tx: MonitorTx) -> MonitorReport:
        verdict = health.unavailable(tx.now(), str(error))
        tx.channels.lock()
        return _record(tx, [alerts.store_event(str(error), verdict.at)], rules, routing, verdict)

    return copy, await store.transact(record)


def _record(
    tx: MonitorTx, events: Sequence[Event], rules: MonitorRules, routing: RoutingConfig, verdict: HealthReport
) -> MonitorReport:
    """Record events about the notifier itself and plan their deliveries."""
    routing = routing_at(tx, routing, verdict.at) if events else routing
    routed = alerts.route_alerts(events, routing.routes, rules.fallback)
    found = announce(tx, routed, routing, verdict.at)
    return MonitorReport(
        health=verdict,
        events=found.events,
        deliveries=len(found.deliveries),
        undeliverable=tuple(item.event for item in found.routed if not item.channels),
    )
