"""What happened to a task and who was told, moment by moment. Pure: recorded facts become what the page shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from notifier.core.delivery import Attempt, Delivery, DeliveryState, Recipient, RecipientState, is_held
from notifier.core.events import EventType
from notifier.core.failures import HistoryEntry, HistoryKind, OpenFailure, how_resolved
from notifier.core.model import ChannelState, Event
from notifier.core.routing import RouteVerdict
from notifier.lookup import ChannelRecord, EventRecord
from notifier.wording.events import EventFormatter
from notifier.wording.links import delivery_anchor, event_anchor
from notifier.wording.sanitize import DETAIL_LIMIT, REASON_LIMIT, one_line, plain

MAX_MOMENTS = 200
"""Maximum number of moments that are shown, the latest ones."""
_GOOD = frozenset({"delivered", "skipped"})
"""Outcomes of attempts after which nothing is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One attempt to send a message."""

    number: int
    at: datetime
    took: timedelta
    outcome: str
    reason: str
    reply: str
    resolution: str
    """What was done about an earlier one that may have arrived; empty for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelOutcome:
    """What became of an event on a channel that it was planned for."""

    channel: str
    anchor: str
    """Id of its element: that of the delivery. Empty where none is recorded."""
    state: str
    """Of the delivery; `retrying` for one that waits after a failed attempt, `unknown` where none is recorded."""
    at: datetime | None
    """When it was settled."""
    after: timedelta | None
    """From the moment at which the event was detected."""
    due_at: datetime | None
    """When it is sent, or sent again; None where it is not."""
    held: bool
    """Whether a rule holds it until then."""
    reason: str
    since: datetime | None
    """Since when the channel is parked, of a delivery that waits for it."""
    rule: str
    together: int
    """Number of events that the message is about."""
    storm: int
    """Number of failures of the storm that it is part of; 0 outside of one."""
    recipients: int
    refused: tuple[tuple[str, str], ...]
    """Addresses that did not get it, and why."""
    tries: tuple[Try, ...]
    troubled: bool
    """Whether an attempt failed, so that the tries are worth reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMiss:
    """Why a route did not lead an event to a channel."""

    route: str
    matcher: str
    """The first matcher that did not fit; empty where that is not the reason."""
    actual: str
    """What the event has in its field."""
    skipped_by: str
    """The earlier route that stopped it; empty where that is not the reason."""
    changed: bool = False
    """Whether the route would lead there today: the routes have changed since."""
    elsewhere: bool = False
    """Whether it matched, and led to other channels at that time of the week."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UntoldChannels:
    """Channels that were not told, for the same reason."""

    channels: tuple[str, ...]
    miss: RouteMiss | None
    """Of the first route that leads there; None where no route does."""
    further: tuple[tuple[str, RouteMiss], ...] = ()
    """Of the other routes that lead there, with the channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierProgress:
    """A step of progress that is shown with a later one."""

    anchor: str
    at: datetime
    progress: float | None
    deliveries: tuple[str, ...] = ()
    """Ids of the elements of its deliveries, to which links lead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMoment:
    """Something that happened: an event, or what people and the program did about it."""

    kind: str
    """Type of the event; or a kind of entry of an open failure: `reminded`, `resolved`."""
    anchor: str
    at: datetime
    occurred_at: datetime | None = None
    """When it happened, where the cloud says that."""
    late: bool = False
    quiet: bool = False
    """Whether nobody was to be told: an alarm that was there before its list could be read."""
    progress: float | None = None
    status: str = ""
    """The API's own word, of a status that is unknown to us."""
    since: datetime | None = None
    """Since when a task made no progress."""
    headline: str = ""
    """The message that was sent about it, in one line."""
    earlier: tuple[EarlierProgress, ...] = ()
    told: tuple[ChannelOutcome, ...] = ()
    untold: tuple[UntoldChannels, ...] = ()
    person: str = ""
    """Who did it."""
    name: str = ""
    """Name of the route or the escalation."""
    number: int = 0
    channels: tuple[str, ...] = ()
    """Where a reminder was sent."""
    note: str = ""
    """What the person wrote."""


def moments_of(
    records: Sequence[EventRecord],
    failures: Iterable[OpenFailure],
    formatter: EventFormatter,
    channels: Iterable[ChannelState] = (),
) -> tuple[TaskMoment, ...]:
    """Return what happened, the oldest first, at most MAX_MOMENTS of the latest.

    `channels` say why those that are parked are.
    """
    parked = {one.name: one for one in channels if one.parked_since is not None}
    found = [*_joined(_event_moment(record, formatter, parked) for record in records)]
    found += [moment for one in failures for moment in _entries(one)]
    return tuple(sorted(found, key=lambda moment: moment.at)[-MAX_MOMENTS:])


def _event_moment(record: EventRecord, formatter: EventFormatter, parked: Mapping[str, ChannelState]) -> TaskMoment:
    event = record.routed.event
    task = event.task
    return TaskMoment(
        kind=event.type,
        anchor=event_anchor(event.id),
        at=event.observed_at,
        occurred_at=event.occurred_at,
        late=event.late,
        quiet=event.quiet,
        progress=task.progress if task else None,
        status=one_line(task.raw_status) if task and event.type is EventType.TASK_CHANGED else "",
        since=event.since,
        headline=one_line(formatter.describe(event).headline.push, REASON_LIMIT),
        told=tuple(_told(one, event, parked) for one in record.channels if one.planned or one.delivery),
        untold=tuple(_untold(record)),
    )


def _joined(moments: Iterable[TaskMoment]) -> Iterator[TaskMoment]:
    """Yield moments, of consecutive steps of progress only the last: earlier ones are named with it.

    One of which a message did not arrive stays by itself.
    """
    earlier: tuple[EarlierProgress, ...] = ()
    waiting: TaskMoment | None = None
    for moment in moments:
        steps = moment.kind == EventType.TASK_PROGRESSED
        if waiting is not None and steps and waiting.untold == moment.untold:
            passed = _passed(waiting)
            earlier = (*earlier, passed)
        elif waiting is not None:
            yield _with_earlier(waiting, earlier)
            earlier = ()
        waiting = None
        if steps and all(one.state in {"delivered", "superseded"} and not one.troubled for one in moment.told):
            waiting = moment
        else:
            yield _with_earlier(moment, earlier)
            earlier = ()
    if waiting is not None:
        yield _with_earlier(waiting, earlier)


def _passed(moment: TaskMoment) -> EarlierProgress:
    anchors = tuple(one.anchor for one in moment.told if one.anchor)
    return EarlierProgress(anchor=moment.anchor, at=moment.at, progress=moment.progress, deliveries=anchors)


def _with_earlier(moment: TaskMoment, earlier: tuple[EarlierProgress, ...]) -> TaskMoment:
    return replace(moment, earlier=earlier) if earlier else moment


# ---- channels that were told ----


def _told(account: ChannelRecord, event: Event, parked: Mapping[str, ChannelState]) -> ChannelOutcome:
    delivery = account.delivery
    if delivery is None:
        return _unaccounted(account.channel)
    tries = tuple(map(_try, account.attempts))
    troubled = any(one.outcome not in _GOOD for one in tries)
    waits = delivery.state is DeliveryState.PENDING
    held = is_held(delivery)
    reason = delivery.reason or ""
    since = None
    if delivery.state is DeliveryState.PARKED and (channel := parked.get(account.channel)):
        reason, since = channel.reason or reason, channel.stopped_since
    return ChannelOutcome(
        channel=account.channel,
        anchor=delivery_anchor(delivery.id),
        state="retrying" if waits and troubled else str(delivery.state),
        at=delivery.settled_at,
        after=max(delivery.settled_at - event.observed_at, timedelta()) if delivery.settled_at else None,
        due_at=delivery.available_at if waits else None,
        held=held,
        reason=plain(reason, REASON_LIMIT),
        since=since,
        rule=delivery.rule or "",
        together=len(delivery.events),
        storm=delivery.storm.total if delivery.storm else 0,
        recipients=len(delivery.recipients),
        refused=tuple(_refused(delivery)),
        tries=tries,
        troubled=troubled,
    )


def _unaccounted(channel: str) -> ChannelOutcome:
    return ChannelOutcome(
        channel=channel,
        anchor="",
        state="unknown",
        at=None,
        after=None,
        due_at=None,
        held=False,
        reason="",
        since=None,
        rule="",
        together=1,
        storm=0,
        recipients=0,
        refused=(),
        tries=(),
        troubled=True,
    )


def _refused(delivery: Delivery) -> Iterator[tuple[str, str]]:
    for one in delivery.recipients:
        if one.state is not RecipientState.DELIVERED:
            yield one_line(one.address), _why(one)


def _why(recipient: Recipient) -> str:
    return one_line(recipient.reason or "", DETAIL_LIMIT)


def _try(attempt: Attempt) -> Try:
    return Try(
        number=attempt.number,
        at=attempt.started_at,
        took=max(attempt.finished_at - attempt.started_at, timedelta()),
        outcome=attempt.outcome,
        reason=plain(attempt.reason or "", REASON_LIMIT),
        reply=one_line(attempt.reply or "", DETAIL_LIMIT),
        resolution=str(attempt.resolution or ""),
    )


# ---- channels that were not told ----


def _untold(record: EventRecord) -> Iterator[UntoldChannels]:
    """Yield the channels that were not told, those together that the same route did not lead to.

    Of an event that nobody was to be told of there are none: no route was asked.
    """
    if record.routed.event.quiet:
        return
    groups: dict[RouteMiss | None, list[tuple[str, Sequence[RouteMiss]]]] = {}
    for account in record.channels:
        if not account.planned and account.delivery is None:
            misses = tuple(_misses(account.channel, record.verdicts))
            groups.setdefault(misses[0] if misses else None, []).append((account.channel, misses[1:]))
    for miss, found in groups.items():
        further = tuple((channel, one) for channel, misses in found for one in misses)
        yield UntoldChannels(channels=tuple(channel for channel, _ in found), miss=miss, further=further)


def _misses(channel: str, verdicts: Iterable[RouteVerdict]) -> Iterator[RouteMiss]:
    for verdict in verdicts:
        if channel in verdict.route.all_channels:
            leads = verdict.matched and channel in verdict.route.channels
            yield RouteMiss(
                route=verdict.route.name,
                matcher=str(verdict.failed_matcher or ""),
                actual=one_line(verdict.actual or ""),
                skipped_by=verdict.skipped_by or "",
                changed=leads,
                elsewhere=verdict.matched and not leads,
            )


# ---- what people and the program did ----


def _entries(failure: OpenFailure) -> Iterator[TaskMoment]:
    for entry in failure.history:
        yield _entry(failure, entry)


def _entry(failure: OpenFailure, entry: HistoryEntry) -> TaskMoment:
    by_person = entry.kind not in {HistoryKind.REMINDED, HistoryKind.ESCALATED}
    kind = str(entry.kind)
    if entry.kind is HistoryKind.RESOLVED and not entry.name:
        kind = how_resolved(failure, entry)
    return TaskMoment(
        kind=kind,
        anchor="" if by_person or not entry.event_id else event_anchor(entry.event_id),
        at=entry.at,
        person=one_line(entry.name) if by_person else "",
        name="" if by_person else one_line(entry.name),
        number=entry.number,
        channels=entry.channels,
        note=plain(entry.reason, REASON_LIMIT),
    )
