"""The one judgement of health: what is wrong, since when, how much, why, and which command helps.

Pure. `notifier health`, `/gaussdb status`, the container's health check and the alerts of `notifier.monitor` read the
same `HealthReport`: an alert is the moment at which a finding appears or disappears. Nothing else decides what is red.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from notifier.core.health_facts import (
    Backlog,
    ConfiguredSource,
    Expected,
    HealthFacts,
    Role,
    known_channels,
    serves,
    sources_to_judge,
)
from notifier.core.model import ChannelState, SourceState
from notifier.core.rights import SourcePart

MISSED_POLLS = 5
"""Number of polls that may be missed before a source counts as not polled."""

SCANS_UNTIL_UNPOLLED = 2
"""Age that the last good poll may have, in multiples of what the last full scan takes of its call budget."""

SCANS_UNTIL_INCOMPLETE = 10
"""The same for the last complete full scan. Active scans leave at least a quarter of the budget to full ones, so one
begins up to four scan times after the one before and is recorded one scan time later."""

FUTURE_TOLERANCE = timedelta(minutes=1)
"""Time by which a poll may lie in the future: the clocks of two machines that share a database differ."""


CALENDAR_STALE_AFTER = timedelta(days=1)
"""Age of the last good copy of a calendar from which it is out of date."""


class FindingKind(StrEnum):
    """Everything that can be wrong. The values are stable: `notifier health --json` writes them."""

    DATABASE = "database.unavailable"
    ROLE_NOT_SERVED = "role.not_served"
    SOURCE_NOT_POLLED = "source.not_polled"
    SOURCE_NOT_WHOLE = "source.not_whole"
    SOURCE_AHEAD = "source.polled_in_future"
    SOURCE_REFUSED = "source.rows_refused"
    CHANNEL_PARKED = "channel.parked"
    CHANNEL_FAILING = "channel.failing"
    CHANNEL_WAITING = "channel.waiting"
    CHANNEL_DEAD = "channel.dead"
    CHANNEL_REMOVED = "channel.removed"
    CHAT_DOWN = "chat.disconnected"
    CALENDAR_STALE = "calendar.stale"
    SOURCE_REMOVED = "source.removed"
    SOURCE_RIGHT_MISSING = "source.right_missing"
    SOURCE_PROJECTS_UNREAD = "source.projects_unread"
    DOORBELL_UNSUBSCRIBED = "doorbell.unsubscribed"
    DOORBELL_UNCONFIRMED = "doorbell.unconfirmed"


FINDING_COMMANDS: Mapping[FindingKind, Sequence[str]] = {
    FindingKind.DATABASE: ("notifier db current",),
    FindingKind.ROLE_NOT_SERVED: ("notifier run",),
    FindingKind.SOURCE_NOT_POLLED: ("notifier check --online",),
    FindingKind.SOURCE_NOT_WHOLE: ("notifier check --online",),
    FindingKind.SOURCE_AHEAD: ("date -u",),
    FindingKind.SOURCE_REFUSED: ("notifier check --online",),
    FindingKind.CHANNEL_PARKED: ("notifier deliveries --channel {about}", "notifier retry --channel {about}"),
    FindingKind.CHANNEL_FAILING: ("notifier deliveries --channel {about}", "notifier test-send {about}"),
    FindingKind.CHANNEL_WAITING: ("notifier deliveries --channel {about}",),
    FindingKind.CHANNEL_DEAD: (
        "notifier deliveries --state dead --channel {about}",
        "notifier retry --all-dead --channel {about}",
        "notifier dismiss --all-dead --channel {about}",
    ),
    FindingKind.CHANNEL_REMOVED: ("notifier move {about} OTHER-CHANNEL", "notifier dismiss --channel {about}"),
    FindingKind.CHAT_DOWN: ("notifier check --online",),
    FindingKind.CALENDAR_STALE: ("notifier check --online",),
    FindingKind.SOURCE_REMOVED: (),
    FindingKind.SOURCE_RIGHT_MISSING: ("notifier check --online",),
    FindingKind.SOURCE_PROJECTS_UNREAD: ("notifier check --online",),
    FindingKind.DOORBELL_UNSUBSCRIBED: (),
    FindingKind.DOORBELL_UNCONFIRMED: (),
}
"""Commands that help, in the order in which to try them."""


REMARKS = frozenset(
    {
        FindingKind.SOURCE_REMOVED,
        FindingKind.SOURCE_RIGHT_MISSING,
        FindingKind.SOURCE_PROJECTS_UNREAD,
        FindingKind.DOORBELL_UNSUBSCRIBED,
        FindingKind.DOORBELL_UNCONFIRMED,
    }
)
"""Findings that are no failures: tasks are polled and messages delivered all the same."""

LIST_OPEN = "notifier open"
"""Command that lists open failures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthFinding:
    """One thing that is not as it should be."""

    kind: FindingKind
    about: str
    """Name of the source or channel, roles joined by commas, or the empty string."""
    since: datetime | None = None
    """None where no time is recorded: a source that was never polled."""
    count: int | None = None
    """Deliveries or rows concerned."""
    reason: str | None = None
    """The error from outside, or the program's own sentence where `kind` is not enough; of a right that is missing the
    name of the action to grant."""
    part: SourcePart | None = None
    """The part of the source that stopped, where a right is missing."""

    @property
    def red(self) -> bool:
        """True for a failure, False for a remark."""
        return self.kind not in REMARKS

    @property
    def warns(self) -> bool:
        """True for a remark that somebody has to do something about."""
        return not self.red and self.kind is not FindingKind.SOURCE_REMOVED

    @property
    def commands(self) -> tuple[str, ...]:
        """Commands that help, ready to paste."""
        return tuple(command.format(about=self.about) for command in FINDING_COMMANDS[self.kind])


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """State of one configured source."""

    name: str
    ok: bool
    last_poll_at: datetime | None
    limit: timedelta
    """Age of the last good poll up to which the source counts as polled."""
    failing_since: datetime | None = None
    """Time since which all its polls have failed; None while they succeed."""
    error: str | None = None
    """Error of the last poll; None where it succeeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatus:
    """State of one channel: of each configured one, and of any other with deliveries that have not arrived."""

    name: str
    ok: bool
    parked_since: datetime | None = None
    waiting_since: datetime | None = None
    """Time since which its oldest pending delivery has waited; None while nothing has waited for too long."""
    failing_since: datetime | None = None
    """Time since which the receiver has accepted nothing; None while it does."""
    open_until: datetime | None = None
    """Time until which its circuit breaker lets nothing through; None while it is closed."""
    paused_until: datetime | None = None
    """Time until which the receiver asked for a pause."""
    backlog: Backlog
    reason: str | None = None
    """Latest error of the receiver or of the connection to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """The verdict at one moment."""

    at: datetime
    sources: tuple[SourceStatus, ...] = ()
    channels: tuple[ChannelStatus, ...] = ()
    findings: tuple[HealthFinding, ...] = field(default=())
    """Gravest first: what keeps everything from working, then sources, then channels, remarks last."""
    unacknowledged: int | None = None
    """Open failures that nobody has acknowledged: work for people, and no fault of the notifier. None where they were
    not counted."""

    @property
    def ok(self) -> bool:
        """True when no finding is red."""
        return not any(finding.red for finding in self.findings)

    def of(self, about: str, *kinds: FindingKind) -> HealthFinding | None:
        """Return the first finding of these kinds about a source or channel."""
        return next((found for found in self.findings if found.about == about and found.kind in kinds), None)


def unavailable(at: datetime, reason: str) -> HealthReport:
    """Return the verdict when the database cannot be used: nothing else is known then."""
    return HealthReport(at=at, findings=(HealthFinding(kind=FindingKind.DATABASE, about="", since=at, reason=reason),))


def judge(expected: Expected, facts: HealthFacts, polling_since: datetime | None = None) -> HealthReport:
    """Compare what is recorded with what is expected.

    Args:
        expected: what the configuration promises.
        facts: what is recorded, and when it was read. Sources that are quiet have no status in the report.
        polling_since: when this process began to poll. What was not polled before is no failure yet, so that alerts
            give each source its time after a start. None gives no such time.
    """
    now = facts.at
    configured = sources_to_judge(expected, facts)
    about_sources = [
        found for one in configured for found in judge_source(*one, now, expected.failing_after, polling_since)
    ]
    known = known_channels(expected, facts)
    about_channels = [found for channel in known for found in judge_channel(channel, expected, now)]
    findings = (
        *_judge_roles(expected, facts, about_sources),
        *about_sources,
        *about_channels,
        *_judge_calendars(facts),
        *_judge_rights(expected, facts),
        *_judge_accounts(expected, facts),
        *_judge_removed_sources(expected, facts),
        *_judge_topics(expected, facts),
    )
    bad = {(found.kind.partition(".")[0], found.about) for found in findings if found.red}
    return HealthReport(
        at=now,
        sources=tuple(_source_health(*one, expected.failing_after, bad=bad) for one in configured),
        channels=tuple(_channel_health(channel, now, expected.failing_after, bad=bad) for channel in known),
        findings=findings,
    )


def poll_limit(
    state: SourceState, source: ConfiguredSource, failing_after: timedelta, scans: int = SCANS_UNTIL_UNPOLLED
) -> timedelta:
    """Return how old the last good poll, or the last complete full scan, may be, given how long a full scan takes."""
    full_scan = timedelta(minutes=state.last_full_calls / source.calls_per_minute)
    return max(MISSED_POLLS * source.poll_every, failing_after, scans * full_scan)


def shortest_poll_limit(expected: Expected) -> timedelta:
    """Return an age of the last good poll, and of the last complete full scan, below which no source is overdue."""
    most_frequent = min((source.poll_every for source in expected.sources), default=timedelta())
    return max(MISSED_POLLS * most_frequent, expected.failing_after)


def judge_source(
    source: ConfiguredSource,
    state: SourceState,
    now: datetime,
    failing_after: timedelta,
    polling_since: datetime | None,
) -> Iterator[HealthFinding]:
    """Find what is wrong with one source; see `judge` for `polling_since`."""
    finding = partial(HealthFinding, about=source.name)
    latest = max((moment for moment in (state.last_poll_at, state.last_full_at) if moment), default=now)
    if latest - now > FUTURE_TOLERANCE:
        yield finding(kind=FindingKind.SOURCE_AHEAD, since=latest)
    elif _overdue(state.last_poll_at, polling_since, now, poll_limit(state, source, failing_after)):
        since = state.last_poll_at or state.failing_since or polling_since
        yield finding(kind=FindingKind.SOURCE_NOT_POLLED, since=since, reason=state.last_error)
    # Polls that fail show nothing whole either, and are what is to be reported then.
    elif state.failing_since is None and _overdue(
        state.last_full_at, polling_since, now, poll_limit(state, source, failing_after, SCANS_UNTIL_INCOMPLETE)
    ):
        yield finding(kind=FindingKind.SOURCE_NOT_WHOLE, since=state.last_full_at or polling_since)
    if state.refused_rows:
        yield finding(kind=FindingKind.SOURCE_REFUSED, since=state.refused_since, count=state.refused_rows)


def _overdue(at: datetime | None, polling_since: datetime | None, now: datetime, limit: timedelta) -> bool:
    quiet = max((moment for moment in (at, polling_since) if moment), default=None)
    return quiet is None or now - quiet >= limit


def judge_channel(channel: tuple[ChannelState, Backlog], expected: Expected, now: datetime) -> Iterator[HealthFinding]:
    """Find what is wrong with one channel."""
    state, backlog = channel
    finding = partial(HealthFinding, about=state.name)
    if not serves(expected, state.name):
        yield from _judge_removed(backlog, expected.failing_after, now)
    elif state.parked_since:
        since = state.stopped_since
        yield finding(kind=FindingKind.CHANNEL_PARKED, since=since, count=backlog.waiting, reason=state.reason)
    elif (failing := state.health.failing_since) and now - failing >= expected.failing_after:
        yield finding(kind=FindingKind.CHANNEL_FAILING, since=failing, count=backlog.waiting, reason=backlog.reason)
    elif (waits := backlog.pending_since) and now - waits >= expected.failing_after:
        yield finding(kind=FindingKind.CHANNEL_WAITING, since=waits, count=backlog.waiting, reason=backlog.reason)
    if backlog.dead:
        died, reason = backlog.dead_since, backlog.dead_reason
        yield finding(kind=FindingKind.CHANNEL_DEAD, since=died, count=backlog.dead, reason=reason)


def _judge_removed(backlog: Backlog, failing_after: timedelta, now: datetime) -> Iterator[HealthFinding]:
    # Not at once: while replicas are updated one by one, one plans for a channel that another does not know yet.
    since = backlog.pending_since
    if backlog.parked or (since and now - since >= failing_after):
        yield HealthFinding(kind=FindingKind.CHANNEL_REMOVED, about=backlog.channel, since=since, count=backlog.waiting)


def _judge_roles(expected: Expected, facts: HealthFacts, sources: Collection[HealthFinding]) -> Iterator[HealthFinding]:
    """Find the roles that no process has; and the chat that no process is connected to."""
    now = facts.at
    waiting = (one.pending_since for one in facts.backlogs if serves(expected, one.channel))
    due = {
        Role.POLL: any(found.kind is FindingKind.SOURCE_NOT_POLLED for found in sources),
        Role.DELIVER: any(since and now - since >= expected.failing_after for since in waiting),
        Role.WEB: expected.chat or expected.doorbell,
    }
    absent = {role: _absent_since(role, facts, expected.failing_after, due=due[role]) for role in Role}
    missing = {role: since for role, since in absent.items() if since}
    if missing:
        yield HealthFinding(kind=FindingKind.ROLE_NOT_SERVED, about=",".join(missing), since=min(missing.values()))
    connected = [one for one in facts.replicas if Role.WEB in one.roles and one.runs(now)]
    down = [one for one in connected if one.chat_down_since and now - one.chat_down_since >= expected.failing_after]
    if down and len(down) == len(connected):
        since = max(one.chat_down_since for one in down if one.chat_down_since)
        yield HealthFinding(kind=FindingKind.CHAT_DOWN, about="", since=since, reason=down[-1].chat_error)


def _absent_since(role: Role, facts: HealthFacts, failing_after: timedelta, *, due: bool) -> datetime | None:
    """Return since when nobody has a role: at once after a kill, and after a while where it is due after a stop."""
    having = [replica for replica in facts.replicas if role in replica.roles]
    if not facts.replicas or any(replica.runs(facts.at) for replica in having):
        return None
    if not having:  # others run without it: since the first of them did
        first = min(replica.started_at for replica in facts.replicas)
        return first if due and facts.at - first >= failing_after else None
    last = max(having, key=lambda replica: replica.seen_at)
    if last.stopped_at is None:
        return last.seen_at
    return last.seen_at if due and facts.at - last.seen_at >= failing_after else None


def _judge_calendars(facts: HealthFacts) -> Iterator[HealthFinding]:
    """Find the calendars whose last good copy is out of date, and those that could never be read."""
    for one in facts.calendars:
        stale = facts.at - one.fetched_at >= CALENDAR_STALE_AFTER if one.fetched_at else one.error is not None
        if stale:
            yield HealthFinding(kind=FindingKind.CALENDAR_STALE, about=one.name, since=one.fetched_at, reason=one.error)


def _judge_accounts(expected: Expected, facts: HealthFacts) -> Iterator[HealthFinding]:
    """Find the accounts whose projects could not be listed.

    One that never was has no source. For want of a right, that is a finding of its own.
    """
    lacking = {one.source for one in facts.missing_rights}
    for one in facts.accounts:
        if one.error is None or one.name not in expected.accounts:
            continue
        if one.read_at is None:
            yield HealthFinding(kind=FindingKind.SOURCE_NOT_POLLED, about=one.name, reason=one.error)
        elif one.name not in lacking:
            yield HealthFinding(
                kind=FindingKind.SOURCE_PROJECTS_UNREAD,
                about=one.name,
                since=one.read_at,
                reason=one.error,
                part=SourcePart.PROJECTS,
            )


def _judge_rights(expected: Expected, facts: HealthFacts) -> Iterator[HealthFinding]:
    """Find the parts of configured sources that stopped because they lack a right."""
    if not facts.missing_rights:
        return
    configured = {*expected.accounts, *(source.name for source in expected.sources)}
    for one in facts.missing_rights:
        if one.source in configured:
            yield HealthFinding(
                kind=FindingKind.SOURCE_RIGHT_MISSING,
                about=one.source,
                since=one.since,
                reason=one.action,
                part=one.part,
            )


def _judge_topics(expected: Expected, facts: HealthFacts) -> Iterator[HealthFinding]:
    """Find the topics that ring the doorbell no longer, or do not yet. Sources are polled at their times anyway."""
    for one in facts.topics:
        if one.urn not in expected.topics:
            continue
        if one.ended_at:
            yield HealthFinding(kind=FindingKind.DOORBELL_UNSUBSCRIBED, about=one.urn, since=one.ended_at)
        elif one.failed_at:
            yield HealthFinding(
                kind=FindingKind.DOORBELL_UNCONFIRMED, about=one.urn, since=one.failed_at, reason=one.error
            )


REMOVED_SOURCES_NOTE = (
    "Nobody polls them: their tasks count as running no more, and what is recorded is deleted after retention.tasks. "
    "A new name for the same region and project takes over the history of the old one."
)
"""What happens to sources that are recorded and not configured."""


def removed_sources(
    states: Sequence[SourceState], configured: Mapping[str, tuple[str, str]], others: Collection[str] = ()
) -> Sequence[SourceState]:
    """Return what is recorded of sources that are configured under no name: nobody polls them any more.

    A renamed one is not among them: its history moves to the new name at the next poll.

    Args:
        states: what is recorded.
        configured: region and project of each configured source, by name.
        others: names of recorded sources whose state is not given.
    """
    known = {*others, *(state.name for state in states)}
    moving = {place for name, place in configured.items() if name not in known}
    return [
        state for state in states if state.name not in configured and (state.region, state.project_id) not in moving
    ]


def _judge_removed_sources(expected: Expected, facts: HealthFacts) -> Iterator[HealthFinding]:
    configured = {source.name: (source.region, source.project_id) for source in expected.sources}
    for state in removed_sources(facts.sources, configured, facts.quiet):
        yield HealthFinding(kind=FindingKind.SOURCE_REMOVED, about=state.name, since=state.last_poll_at)


def _source_health(
    source: ConfiguredSource, state: SourceState, failing_after: timedelta, *, bad: Collection[tuple[str, str]]
) -> SourceStatus:
    return SourceStatus(
        name=source.name,
        ok=("source", source.name) not in bad,
        last_poll_at=state.last_poll_at,
        limit=poll_limit(state, source, failing_after),
        failing_since=state.failing_since,
        error=state.last_error,
    )


def _channel_health(
    channel: tuple[ChannelState, Backlog], now: datetime, failing_after: timedelta, *, bad: Collection[tuple[str, str]]
) -> ChannelStatus:
    state, backlog = channel
    waits = backlog.pending_since
    return ChannelStatus(
        name=state.name,
        ok=("channel", state.name) not in bad,
        parked_since=state.stopped_since,
        waiting_since=waits if waits and now - waits >= failing_after else None,
        failing_since=state.health.failing_since,
        open_until=_ahead(state.health.open_until, now),
        paused_until=_ahead(state.health.paused_until, now),
        backlog=backlog,
        reason=state.reason or backlog.reason,
    )


def _ahead(moment: datetime | None, now: datetime) -> datetime | None:
    return moment if moment and moment > now else None
