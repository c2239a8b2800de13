"""What became of the events of some time: as it was recorded, or as a replay left it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.events import EventType
from notifier.core.holds import kind_of

if TYPE_CHECKING:
    from notifier.core.calendars import StoredCalendar
    from notifier.core.model import Event
    from notifier.core.mutes import Mute
    from notifier.core.people import Acknowledgement, EventSubscription
    from notifier.core.routing import RoutedEvent

NIGHT_BEGINS, NIGHT_ENDS = 22, 7
"""Hours of the clock between which a message disturbs somebody's night."""
NIGHT_HOURS = tuple(hour % 24 for hour in range(NIGHT_BEGINS, 24 + NIGHT_ENDS))
"""The hours of a night, in order."""

SENT_STATES = frozenset((DeliveryState.DELIVERED, DeliveryState.PENDING, DeliveryState.PARKED, DeliveryState.DEAD))
"""States of deliveries that were to be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedHistory:
    """The events of some time, and all that became of them."""

    since: datetime
    until: datetime
    events: Sequence[RoutedEvent]
    """In the order in which they were detected."""
    deliveries: Sequence[Delivery]
    """Those of these events, without bodies, in the order in which they were planned."""
    acknowledgements: Sequence[Acknowledgement] = ()
    """Those of these events, in the order of their times."""
    subscriptions: Sequence[EventSubscription] = ()
    """Those that are in force at the end; who ended one is not known."""
    mutes: Sequence[Mute] = ()
    """Those that people made and that were in force within that time, as they are at the end."""
    calendars: Sequence[StoredCalendar] = ()
    """The copies of calendars, as they are at the end."""
    begins: datetime | None = None
    """Time of the first event of all that are recorded; None where there is none."""


class SentMessage(NamedTuple):
    """A delivery, and whom its message mentions."""

    delivery: Delivery
    mention: Sequence[str] = ()

    @property
    def at(self) -> datetime:
        """When it was delivered, or is to be sent."""
        delivery = self.delivery
        delivered = delivery.settled_at if delivery.state is DeliveryState.DELIVERED else None
        return delivered or max(delivery.created_at, delivery.available_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFigures:
    """What one channel was sent."""

    messages: int = 0
    """Messages that were to be sent, whether they have arrived or not."""
    digests: int = 0
    """Those of them that report several events."""
    events: int = 0
    """Events that the messages report."""
    held: int = 0
    """Events that a rule held back for a while."""
    undelivered: int = 0
    """Messages that have not arrived."""
    suppressed: Mapping[str, int] = field(default_factory=Counter)
    """Events that were not sent, by the family of the rule; see `rule_family`."""
    superseded: int = 0
    """Events that a later one has replaced before they were sent."""
    by_day: Mapping[date, int] = field(default_factory=Counter)
    """Messages by day, in the reader's time zone."""
    by_night_hour: Mapping[int, int] = field(default_factory=Counter)
    """Messages between 22:00 and 07:00, by the hour of the clock."""

    @property
    def at_night(self) -> int:
        """Messages between 22:00 and 07:00."""
        return sum(self.by_night_hour.values())

    @property
    def busiest_day(self) -> int:
        """Messages of the day with the most."""
        return max(self.by_day.values(), default=0)

    @property
    def muted(self) -> int:
        """Events that mutes suppressed."""
        return self.suppressed.get("mute", 0)

    def __add__(self, other: ChannelFigures) -> ChannelFigures:
        return ChannelFigures(
            messages=self.messages + other.messages,
            digests=self.digests + other.digests,
            events=self.events + other.events,
            held=self.held + other.held,
            undelivered=self.undelivered + other.undelivered,
            suppressed=Counter(self.suppressed) + Counter(other.suppressed),
            superseded=self.superseded + other.superseded,
            by_day=Counter(self.by_day) + Counter(other.by_day),
            by_night_hour=Counter(self.by_night_hour) + Counter(other.by_night_hour),
        )


class FailureFate(StrEnum):
    """Whom the failure of a task has reached."""

    TOLD = "told"
    """A message reported it, when it was detected or when a hold ended."""
    COUNTED = "counted"
    """It was counted on a message about an earlier one."""
    MUTED = "muted"
    """A mute suppressed it on every channel; the end of the mute sums it up."""
    UNROUTED = "unrouted"
    """No route took it."""
    DROPPED = "dropped"
    """A rule suppressed it on every channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRecord:
    """One failed task, and whom that has reached."""

    event: Event
    fate: FailureFate
    told_at: datetime | None = None
    """When the first message that reports it was sent, or will be."""
    channel: str = ""
    """The channel of that message."""
    reasons: tuple[str, ...] = ()
    """Why each channel was not told, where none was."""

    @property
    def delay(self) -> timedelta:
        """Time between its detection and the first message about it."""
        return max(self.told_at - self.event.observed_at, timedelta()) if self.told_at else timedelta()

    @property
    def reached_nobody(self) -> bool:
        """Whether nobody gets to know of it by any message."""
        return self.fate in (FailureFate.UNROUTED, FailureFate.DROPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFigures:
    """The figures of one side: of what was recorded, or of a replay."""

    messages: Sequence[SentMessage] = ()
    """The messages that were to be sent, the first first."""
    by_channel: Mapping[str, ChannelFigures] = field(default_factory=dict)
    """Channels and people who are written to directly, by name."""
    mentioned: Mapping[str, int] = field(default_factory=Counter)
    """Messages that mention somebody, by the entry of the configuration."""
    by_type: Mapping[str, int] = field(default_factory=Counter)
    """Messages by the type of their event; digests by that of their first."""
    failures: Sequence[FailureRecord] = ()
    """The failed tasks, the first first."""
    tickets: int = 0
    """Tickets that were opened."""

    @property
    def total(self) -> ChannelFigures:
        """The figures of all channels together."""
        return sum(self.by_channel.values(), ChannelFigures())

    @property
    def unreached(self) -> Sequence[FailureRecord]:
        """The failures of which nobody gets to know by any message."""
        return [one for one in self.failures if one.reached_nobody]

    @property
    def late(self) -> Sequence[FailureRecord]:
        """The failures that were held back, those that waited longest first."""
        held = (one for one in self.failures if one.delay > timedelta())
        return sorted(held, key=lambda one: one.delay, reverse=True)

    @property
    def muted(self) -> Sequence[FailureRecord]:
        """The failures of which only the end of a mute reports the number."""
        return [one for one in self.failures if one.fate is FailureFate.MUTED]


def rule_family(delivery: Delivery) -> str:
    """Return the kind of rule that suppresses or holds a delivery: `mute` for `mute:k7m2`; the empty string for none.

    Versions before rules had names recorded mutes by their reason alone.
    """
    if delivery.rule is None:
        return "mute" if " is muted until " in (delivery.reason or "") else ""
    return kind_of(delivery.rule)


def rule_of(delivery: Delivery) -> str | None:
    """Return the name of the rule that has held or suppressed what a delivery reports; None where none has."""
    return delivery.rule or (delivery.routing.held.rule if delivery.routing.held else None)


_COUNTED_BY = frozenset(("repeat", "flapping", "group"))
"""Families of rules that suppress an event because another message counts it."""


def figures_of(
    events: Sequence[RoutedEvent], messages: Iterable[SentMessage], zone: ZoneInfo, *, instant: bool, tickets: int
) -> HistoryFigures:
    """Return the figures of events and of what became of them.

    Args:
        events: all events that count.
        messages: every delivery of them, also those that were not sent.
        zone: the reader's time zone, for days and nights.
        instant: whether a message arrives when it is due, as in a replay. Else only what a rule held counts as late,
            and not what waited for a service.
        tickets: the number of tickets that were opened.
    """
    every = list(messages)
    sent = sorted((one for one in every if one.delivery.state in SENT_STATES), key=lambda one: one.at)
    channels: dict[str, list[SentMessage]] = {}
    for one in every:
        channels.setdefault(one.delivery.channel, []).append(one)
    return HistoryFigures(
        messages=sent,
        by_channel={name: _channel_figures(channels[name], zone, instant=instant) for name in sorted(channels)},
        mentioned=Counter(who for one in sent for who in one.mention),
        by_type=Counter(str(one.delivery.events[0].type) for one in sent),
        failures=_failures(events, every, instant=instant),
        tickets=tickets,
    )


def _channel_figures(messages: Sequence[SentMessage], zone: ZoneInfo, *, instant: bool) -> ChannelFigures:
    sent = [one for one in messages if one.delivery.state in SENT_STATES]
    others = [one.delivery for one in messages if one.delivery.state not in SENT_STATES]
    suppressed: Counter[str] = Counter()
    for one in others:
        if one.state is DeliveryState.SUPPRESSED:
            suppressed[rule_family(one)] += len(one.events)
    times = [one.at.astimezone(zone) for one in sent]
    return ChannelFigures(
        messages=len(sent),
        digests=sum(one.delivery.digest and len(one.delivery.events) > 1 for one in sent),
        events=sum(len(one.delivery.events) for one in sent),
        held=sum(_held(one, instant=instant) for one in sent),
        undelivered=sum(one.delivery.state is not DeliveryState.DELIVERED for one in sent),
        suppressed=suppressed,
        superseded=sum(len(one.events) for one in others if one.state is DeliveryState.SUPERSEDED),
        by_day=Counter(at.date() for at in times),
        by_night_hour=Counter(at.hour for at in times if at.hour in NIGHT_HOURS),
    )


def _held(message: SentMessage, *, instant: bool) -> int:
    """Return how many events of a message a rule has held back."""
    events = message.delivery.events
    if rule_of(message.delivery):
        return len(events)
    return sum(event.observed_at < message.at for event in events) if instant else 0


def _failures(
    events: Sequence[RoutedEvent], messages: Iterable[SentMessage], *, instant: bool
) -> Sequence[FailureRecord]:
    failed = {item.event.id: item.event for item in events if item.event.type is EventType.TASK_FAILED}
    accounts: dict[str, list[SentMessage]] = {id_: [] for id_ in failed}
    for one in messages:
        for event in one.delivery.events:
            if event.id in accounts:
                accounts[event.id].append(one)
    return [_failure(event, accounts[id_], instant=instant) for id_, event in failed.items()]


def _failure(event: Event, accounts: Sequence[SentMessage], *, instant: bool) -> FailureRecord:
    told = [one for one in accounts if one.delivery.state in SENT_STATES]
    if told:
        first = min(told, key=lambda one: one.at)
        late = instant or rule_of(first.delivery) is not None
        return FailureRecord(
            event=event,
            fate=FailureFate.TOLD,
            told_at=first.at if late else event.observed_at,
            channel=first.delivery.channel,
        )
    families = {rule_family(one.delivery) for one in accounts}
    reasons = tuple(dict.fromkeys(one.delivery.reason or "" for one in accounts))
    if families & _COUNTED_BY or any(one.delivery.state is DeliveryState.SUPERSEDED for one in accounts):
        return FailureRecord(event=event, fate=FailureFate.COUNTED, reasons=reasons)
    if "mute" in families:
        return FailureRecord(event=event, fate=FailureFate.MUTED, reasons=reasons)
    return FailureRecord(event=event, fate=FailureFate.DROPPED if accounts else FailureFate.UNROUTED, reasons=reasons)
