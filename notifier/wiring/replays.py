"""A replay put together from a configuration and a recorded history."""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from notifier.channels.ticket_settings import TicketSettings
from notifier.clock import SystemClock
from notifier.config.config import Config
from notifier.core.errors import NotifierError
from notifier.core.replays import RecordedHistory
from notifier.ports import Channel
from notifier.replay import ReplayedSource, ReplayResult, ReplayRules, VirtualTime, replay
from notifier.settings.database_url import SqliteAddress, address_of
from notifier.store import reading
from notifier.store.engine import copy_database, upgrade_database
from notifier.store.lookups import Lookups
from notifier.store.memory import MemoryStore
from notifier.wiring.app import POLL_LEASE, routing_config
from notifier.wiring.channels import build_channels, http_client
from notifier.wiring.schedules import schedule_rules
from notifier.wiring.stores import source_places

T = TypeVar("T")


def read_history(url: str, since: timedelta, until: timedelta) -> RecordedHistory:
    """Return what a database recorded between two ages. It is only read, also beside a running service.

    Raises StoreError, and NotifierError where no event is recorded in that time.
    """

    def query(reads: Lookups) -> RecordedHistory:
        now = reads.now()
        return reads.recorded_history(now - since, now - until)

    found = _read(url, query)
    if not found.events:
        raise NotifierError("no event was recorded in that time, so there is nothing to replay")
    return found


def _read(url: str, query: Callable[[Lookups], T]) -> T:
    try:
        return reading.read(url, query)
    except reading.OtherSchema:
        if not isinstance(address_of(url), SqliteAddress):
            raise NotifierError(
                "the database has the schema of another version of this program: run `notifier db upgrade`, or replay"
                " with the version that wrote it"
            ) from None
    with tempfile.TemporaryDirectory(prefix="notifier-replay-") as folder:  # the original stays as it is
        copied = Path(folder, "history.db")
        copy_database(url, copied)
        upgrade_database(f"sqlite:///{copied}")
        return reading.read(f"sqlite:///{copied}", query)


async def replay_history(config: Config, history: RecordedHistory) -> ReplayResult:
    """Replay a history with a configuration. No connection is opened."""
    async with aclosing(http_client(config)) as http:
        channels = build_channels(config, http, SystemClock())
        rules = replay_rules(config, channels)
    time = VirtualTime(history.since)
    store = MemoryStore(time.now)
    try:
        return replay(history, rules, store, time)
    finally:
        store.close()


def replay_rules(config: Config, channels: Mapping[str, Channel]) -> ReplayRules:
    """Return what a replay needs of a configuration."""
    expected = {source.name: source for source in config.expected.sources}
    configured = frozenset(source_places(config))
    polled = {
        settings.name: settings.poll_rules(lease=POLL_LEASE, calls_per_minute=1, credential=None, configured=configured)
        for settings in config.sources
    }
    return ReplayRules(
        routing=routing_config(config, channels),
        sources={
            name: ReplayedSource(origin=source.origin, poll_every=source.poll_every, away_after=polled[name].away_after)
            for name, source in expected.items()
        },
        fallback=config.alert_channels,
        mutes=config.configured_mutes,
        schedules=schedule_rules(config),
        tickets={one.name: one.rules for one in config.channels if isinstance(one, TicketSettings)},
        zone=ZoneInfo(config.timezone),
    )
