"""Look whether the program is blind or mute, and see to it that somebody is told.

One transaction: read how sources and channels are, decide, record events, plan deliveries, note what was announced.
Any number of replicas may look at once: of two that decide the same only one notes it, and only that one records it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from notifier.core import outbox, watching
from notifier.core.errors import StoreReplaced
from notifier.core.model import ChannelState, DeliveryState, Event, SourceState
from notifier.core.outbox import Outlook
from notifier.core.watching import PATIENCE, WatchedSource
from notifier.ports import DatabaseFile, DeliveryFilter, Store, Transaction

RECENT = 100
"""Pending deliveries of a failing channel, the newest first, that are searched for what its receiver said last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRules:
    """What is watched, and who is told of what no route takes."""

    sources: Sequence[WatchedSource] = ()
    channels: Sequence[str] = ()
    fallback: Sequence[str] = ()
    failing_after: timedelta = PATIENCE
    """How long a channel may fail before that is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchReport:
    """What one look found. The shell logs it."""

    events: tuple[Event, ...] = ()
    deliveries: int = 0
    untold: tuple[Event, ...] = ()
    """Those that no channel is told of: there is none, or only the one that it is about."""


async def watch_once(store: Store, *, rules: WatchRules, outlook: Outlook, began: datetime | None) -> WatchReport:
    """Look once. `began` is when polling began, by the database's time: see `source_turn`. Raises StoreError."""
    return await store.transact(lambda tx: record(tx, rules, outlook, began))


def record(tx: Transaction, rules: WatchRules, outlook: Outlook, began: datetime | None) -> WatchReport:
    """Look, decide and write: the one transaction of a look."""
    now = tx.now()
    events = [*_about_sources(tx, rules, now, began)]
    tx.hold_channels()
    events += _about_channels(tx, rules, now)
    return _tell(tx, events, rules, outlook, now) if events else WatchReport()


async def save_lost_file(
    file: DatabaseFile, store: Store, error: StoreReplaced, *, rules: WatchRules, outlook: Outlook
) -> tuple[Path, WatchReport]:
    """Save what a service holds of a database whose file was taken from under it, and report that. Raises StoreError.

    What is pending is delivered as long as the service runs, this report too: the file is open, it only has no name.
    """
    copy = await file.rescue()

    def tell(tx: Transaction) -> WatchReport:
        now = tx.now()
        tx.hold_channels()
        return _tell(tx, [watching.store_event(str(error), now)], rules, outlook, now)

    return copy, await store.transact(tell)


def _tell(tx: Transaction, events: Sequence[Event], rules: WatchRules, outlook: Outlook, now: datetime) -> WatchReport:
    """Record events about ourselves and plan their deliveries."""
    told = tx.record_events(watching.route(events, outlook.routes, rules.fallback)).new
    deliveries = outbox.plan(told, outlook.policies, tx.parked(), now)
    tx.record_deliveries(deliveries)
    return WatchReport(
        events=tuple(item.event for item in told),
        deliveries=len(deliveries),
        untold=tuple(item.event for item in told if not item.channels),
    )


def _about_sources(tx: Transaction, rules: WatchRules, now: datetime, began: datetime | None) -> Iterator[Event]:
    known = {state.name: state for state in tx.source_states()}
    for source in rules.sources:
        state = known.get(source.name, SourceState(name=source.name))
        turn = watching.source_turn(source, state, now, began)
        if turn and tx.announce_source(state.name, state.announced_since, turn.since if turn.failing else None):
            yield watching.source_event(source, turn, watching.trouble_of(source, state, now), now)


def _about_channels(tx: Transaction, rules: WatchRules, now: datetime) -> Iterator[Event]:
    known = {state.name: state for state in tx.channels()}
    for name in rules.channels:
        state = known.get(name, ChannelState(name=name))
        turn = watching.channel_turn(state, now, rules.failing_after)
        if turn and tx.announce_channel(name, state.announced_since, turn.since if turn.failing else None):
            yield watching.channel_event(name, turn, _reason(tx, state) if turn.failing else None, now)
        since = watching.given_up_since(state, now)
        found = since and tx.given_up(name, since)
        if found and tx.announce_given_up(name, state.given_up_until, found.last):
            yield watching.given_up_event(name, found, now)


def _reason(tx: Transaction, state: ChannelState) -> str | None:
    """Return why a channel is parked, or what was said of the latest message that has been tried."""
    if state.reason:
        return state.reason
    pending = tx.deliveries(DeliveryFilter(channel=state.name, state=DeliveryState.PENDING, limit=RECENT))
    return next((delivery.reason for delivery in pending if delivery.reason), None)
