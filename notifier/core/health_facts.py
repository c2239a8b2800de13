"""The facts that health is judged by: what the configuration promises, and what the database records."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from notifier.core.calendars import CalendarAge
from notifier.core.doorbell import TopicSubscription
from notifier.core.identity import DirectChannel
from notifier.core.model import ChannelState, SourceOrigin, SourceState
from notifier.core.projects import AccountState
from notifier.core.rights import MissingRight

FAILING_AFTER = timedelta(minutes=5)
"""Time after which a failure becomes a finding, unless `alerts.failing_after` sets another."""

SILENT_AFTER = timedelta(minutes=1)
"""Time after which a process that has not reported, and has recorded no stop, counts as gone. It reports every
few seconds, so silence means that it was killed, hangs, or cannot write to the database."""


class Role(StrEnum):
    """A part of the work that a process can be given."""

    POLL = "poll"
    """Read the task lists."""
    DELIVER = "deliver"
    """Send what is due."""
    WEB = "web"
    """Answer in the browser and in the chat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredSource:
    """A source as it is configured."""

    name: str
    region: str
    project_id: str
    poll_every: timedelta
    """The longest time from one poll to the next."""
    poll_busy_every: timedelta | None = None
    """The time from one poll to the next while something happens; None where it is always the same."""
    calls_per_minute: float = 20
    environment: str = ""
    """See `Event.environment`; likewise the next one."""
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def origin(self) -> SourceOrigin:
        """What its events carry about it."""
        return SourceOrigin(
            source=self.name,
            region=self.region,
            project_id=self.project_id,
            environment=self.environment,
            labels=self.labels,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the configuration promises."""

    sources: Sequence[ConfiguredSource] = ()
    accounts: Sequence[str] = ()
    """Names of the accounts whose projects are found."""
    channels: Sequence[str] = ()
    direct: bool = False
    """True where a bot can send direct messages, so that channels to one person are served."""
    chat: bool = False
    """True where a chat is configured, so that some process must have the role web."""
    doorbell: bool = False
    """True where a doorbell is configured, which some process with the role web has to answer."""
    topics: Sequence[str] = ()
    """URNs of the topics of SMN that may ring it."""
    failing_after: timedelta = FAILING_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Deliveries of one channel that have not arrived."""

    channel: str
    pending: int = 0
    pending_since: datetime | None = None
    """Time since which the oldest pending delivery has waited; a retry by hand starts it again."""
    parked: int = 0
    dead: int = 0
    """Dead deliveries that nobody has dismissed."""
    dead_since: datetime | None = None
    """Time at which the first of them was given up."""
    dead_until: datetime | None = None
    """Time at which the last of them was given up."""
    reason: str | None = None
    """Latest failure of a pending delivery."""
    dead_reason: str | None = None
    """Reason why the last of the dead ones was given up."""

    @property
    def waiting(self) -> int:
        """Deliveries that are still to be sent."""
        return self.pending + self.parked


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A process as it last reported itself."""

    owner: str
    """`host:pid:random`, the name under which it claims."""
    roles: tuple[Role, ...]
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None = None
    """Time of an orderly stop; None while it runs, and after a kill."""
    chat_down_since: datetime | None = None
    """Time since which its connection to the chat is down; None while it is up, and without one."""
    chat_error: str | None = None

    def runs(self, now: datetime) -> bool:
        """Return whether it has reported lately and has not stopped."""
        return self.stopped_at is None and now - self.seen_at <= SILENT_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthFacts:
    """Everything in the database that health depends on."""

    at: datetime
    sources: Sequence[SourceState] = ()
    quiet: Collection[str] = frozenset()
    """Names of recorded sources that were left out: nothing can be found or announced about them now."""
    channels: Sequence[ChannelState] = ()
    backlogs: Sequence[Backlog] = ()
    replicas: Sequence[Replica] = ()
    calendars: Sequence[CalendarAge] = ()
    """Those that are read from a file or an address."""
    missing_rights: Sequence[MissingRight] = ()
    accounts: Sequence[AccountState] = ()
    topics: Sequence[TopicSubscription] = ()
    """What is recorded of topics that ring the doorbell."""


def sources_to_judge(expected: Expected, facts: HealthFacts) -> Sequence[tuple[ConfiguredSource, SourceState]]:
    """Return what is recorded of each configured source; the quiet ones are left out."""
    states = {state.name: state for state in facts.sources}
    return [
        (source, states.get(source.name) or SourceState(name=source.name))
        for source in expected.sources
        if source.name not in facts.quiet
    ]


def serves(expected: Expected, channel: str) -> bool:
    """Return whether the configuration has a way to deliver on a channel."""
    return channel in expected.channels or (expected.direct and DirectChannel.parse(channel) is not None)


def known_channels(expected: Expected, facts: HealthFacts) -> Sequence[tuple[ChannelState, Backlog]]:
    """Return what is recorded of each configured channel, and of any other that has not delivered everything."""
    states = {state.name: state for state in facts.channels}
    backlogs = {backlog.channel: backlog for backlog in facts.backlogs}
    others = {name for name, backlog in backlogs.items() if backlog.waiting or backlog.dead}
    others |= {name for name, state in states.items() if state.announced_since}
    return [
        (states.get(name, ChannelState(name=name)), backlogs.get(name, Backlog(channel=name)))
        for name in dict.fromkeys((*expected.channels, *sorted(others)))
    ]
