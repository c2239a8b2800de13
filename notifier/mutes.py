"""Mutes: people and the configuration make, extend and end them; a periodic job begins and ends their windows.

An act of a person is one function inside the caller's transaction, as in `notifier.people`. `run_mutes` takes the steps
that are due, each mute in a transaction of its own: it locks the mute, sums up what was suppressed, records the event
and its deliveries, and moves the window on. So any number of replicas announces each window once, and a kill leaves a
step either done or due.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

from notifier import lookup
from notifier.core import mutes
from notifier.core.durations import format_duration
from notifier.core.events import EventType
from notifier.core.matchers import Matcher
from notifier.core.model import Event, SourceOrigin, Task
from notifier.core.mutes import MAX_MUTE, MAX_NAMED_TASKS, HeldBack, Mute, MuteScope, MuteSpan, MuteTimes, WrongMute
from notifier.core.people import Action, Person, Verb
from notifier.core.routing import RoutedEvent, RoutingConfig, route_events
from notifier.lookup import InstanceAnswer, Lookup, NamedInstance
from notifier.planning import Announced, PlanReads, PlanTx, announce
from notifier.ports import DatabaseTime, EventFilter, Store


class MuteRecords(Protocol):
    """The recorded mutes."""

    def save(self, mute: Mute, now: datetime) -> None:
        """Record a mute, and let the messages change that may show it."""

    def lock(self, mute_id: str) -> Mute | None:
        """Return a mute, which nobody else changes until the transaction ends; None where it is unknown."""

    def ids(self) -> Collection[str]:
        """Return the ids of all recorded mutes."""


class ConfiguredMutes(MuteRecords, Protocol):
    """The recorded mutes, for the configuration."""

    def configured(self) -> Sequence[Mute]:
        """Return the mutes of the configuration of which a step is left, by id."""


class MuteActions(Protocol):
    """The record of what people did."""

    def record_action(self, action: Action) -> None:
        """Record an action of a person."""


class MuteTx(DatabaseTime, Protocol):
    """What acts on mutes need of a transaction."""

    @property
    def queries(self) -> Lookup:
        """The reads that decide whether an act makes sense."""

    @property
    def mutes(self) -> MuteRecords:
        """The recorded mutes."""

    @property
    def people(self) -> MuteActions:
        """The record of what people did."""


class ConfigureTx(MuteTx, Protocol):
    """What the mutes of the configuration need of a transaction."""

    @property
    def mutes(self) -> ConfiguredMutes:
        """The recorded mutes, for the configuration."""


CONFIGURATION = Person(id="configuration", name="configuration")
"""Who acts where the configuration has changed."""
PREVIEWED = timedelta(days=7)
"""How far a preview of a mute looks back."""
MAX_PREVIEWED = 10_000
"""Maximum number of events that a preview reads, the latest ones."""


# ---- what people do ----


@dataclass(frozen=True, slots=True, kw_only=True)
class MuteRequest:
    """What is to be muted, when and why."""

    scope: MuteScope
    times: MuteTimes
    except_failures: bool = False
    reason: str | None = None
    announce: bool | None = None
    """See `Mute.announce`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedMute:
    """A mute whose window a person has ended."""

    mute: Mute
    """As it was before."""
    held: HeldBack
    """What it has suppressed in this window."""
    next_at: datetime | None
    """When its next window begins; None where it is over."""
    planned: bool = False
    """True where its window had not begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedMutes:
    """What came of ending mutes."""

    ended: tuple[EndedMute, ...] = ()
    kept: tuple[Mute, ...] = ()
    """Mutes of the configuration that are not in force: only the configuration ends their later windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MutePreview:
    """What a mute would have held back lately."""

    since: datetime
    counts: tuple[tuple[EventType, int], ...]
    """Number of events by type."""
    named: tuple[tuple[str, str], ...]
    """See `HeldBack.named`; the latest ones."""
    windows: tuple[MuteSpan, ...]
    """The window that the mute would have now, and those that follow."""
    whole: bool
    """False where there were more events than were read."""
    channels: tuple[tuple[str, int], ...] = ()
    """Number of these events by the channels that they were planned for."""


def create(tx: MuteTx, request: MuteRequest, by: Person) -> Mute | InstanceAnswer:
    """Make a mute, or change the one in force of the same scope. Raises WrongMute.

    Return what is known by the name of the instance, with nothing muted, where it is not exactly one instance.
    """
    scope = request.scope
    if scope.instance is None:
        return _create(tx, request, by, match=scope.match)
    found = lookup.known_instance(tx.queries, scope.instance)
    return _create(tx, request, by, instance=found.instance) if found.instance else found


def _create(
    tx: MuteTx,
    request: MuteRequest,
    by: Person,
    *,
    instance: NamedInstance | None = None,
    match: tuple[Matcher, ...] = (),
) -> Mute:
    now, times = tx.now(), request.times
    window = times.first_window(now)
    made = _mute_at(
        times,
        window,
        instance=instance.key if instance else None,
        label=instance.shown if instance else None,
        match=match,
        except_failures=request.except_failures,
        by=by.id,
        name=by.name,
        reason=request.reason,
        created_at=now,
        announce=request.announce,
        due_at=window.since,
    )
    replaced = None if times.cron or window.since > now else _same_scope(tx, made, now)
    if replaced is not None:
        # What it has suppressed so far is summed up with the rest.
        made = replace(
            made,
            id=replaced.id,
            since=replaced.since,
            created_at=replaced.created_at,
            begun=replaced.begun,
            announced=replaced.announced,
            due_at=made.until if replaced.begun else replaced.since,
        )
    else:
        facts = f"{made.instance}\x1f{' '.join(map(str, match))}\x1f{now.isoformat()}\x1f{by.id}"
        made = replace(made, id=mutes.new_mute_id(facts, tx.mutes.ids()))
    tx.mutes.save(made, now)
    _record(tx, by, Verb.MUTE, made, f"{_when(made, now)}{': ' if made.reason else ''}{made.reason or ''}")
    return made


def _mute_at(times: MuteTimes, window: MuteSpan, *, id: str = "", **values: Any) -> Mute:  # noqa: A002, ANN401 - of a mute
    """Return a mute with these times, whose window in force or to come is given."""
    return Mute(
        id=id,
        since=window.since,
        until=window.until,
        length=times.length,
        cron=times.schedule,
        timezone=times.timezone,
        last=times.last,
        **values,
    )


def _same_scope(tx: MuteTx, made: Mute, now: datetime) -> Mute | None:
    """Return the mute in force, of one window, that covers the same, locked; None without one."""
    for known in tx.queries.mutes(now):
        if (known.instance, known.match) == (made.instance, made.match) and not (known.recurs or known.configured):
            locked = tx.mutes.lock(known.id)
            if locked is not None and locked.is_open(now) and locked.due_at is not None:
                return locked
    return None


def _when(mute: Mute, now: datetime) -> str:
    until = f"until {mute.until.isoformat(timespec='minutes')}"
    if mute.recurs:
        return f"{mute.cron} ({mute.timezone}), first {mute.since.isoformat(timespec='minutes')} {until}"
    return until if mute.since <= now else f"from {mute.since.isoformat(timespec='minutes')} {until}"


def mute_task(tx: MuteTx, task: Task, length: timedelta, by: Person) -> tuple[Mute, bool] | None:
    """Mute the instance of a task. Return the mute in force and whether it is a new one; None without an instance."""
    if not task.instance_id and not task.instance_name:
        return None
    if existing := next(iter(_mutes_of(tx, task)), None):
        return existing, False
    request = MuteRequest(scope=MuteScope(), times=MuteTimes(length=length))
    return _create(tx, request, by, instance=NamedInstance(id=task.instance_id, name=task.instance_name)), True


def _mutes_of(tx: MuteTx, task: Task) -> Sequence[Mute]:
    """Return the mutes in force of a task's instance alone."""
    names = {task.instance_id, task.instance_name} - {None, ""}
    return [mute for mute in tx.queries.mutes(tx.now()) if mute.instance in names]


def find(q: Lookup, name: str) -> Sequence[Mute]:
    """Return the mutes, in force or planned, with this id, or of this instance or scope."""
    known = q.known_mutes()
    if by_id := [mute for mute in known if mute.id == name.removeprefix("#").lower()]:
        return by_id
    found = lookup.known_instance(q, name).instance
    names = {name, *((found.key, found.shown) if found else ())}
    return [mute for mute in known if mute.instance in names or mute.shown in names]


def end(tx: MuteTx, name: str, by: Person) -> EndedMutes:
    """End the mutes with this id, or of this instance or scope. What each held back is announced by its next step.

    A mute that a person made is over, with all its later windows; of one that is configured the window in force ends.
    """
    return _end(tx, find(tx.queries, name), by)


def end_of_task(tx: MuteTx, task: Task, by: Person) -> EndedMutes:
    """End the mutes in force of a task's instance alone."""
    return _end(tx, _mutes_of(tx, task), by)


def _end(tx: MuteTx, found: Sequence[Mute], by: Person) -> EndedMutes:
    now = tx.now()
    ended, kept = [], []
    for mute in filter(None, [tx.mutes.lock(one.id) for one in sorted(found, key=lambda one: one.id)]):
        if mute.due_at is None:
            continue
        if mute.configured and not mute.is_open(now):
            kept.append(mute)
            continue
        held = tx.queries.held_back(mute)
        after = mutes.ended_early(mute, now, by.name, for_good=not mute.configured)
        tx.mutes.save(after, now)
        following = mutes.following(after, now)
        ended.append(EndedMute(mute=mute, held=held, next_at=following and following.since, planned=now < mute.since))
        _record(tx, by, Verb.UNMUTE, mute, _sum(held))
    return EndedMutes(ended=tuple(ended), kept=tuple(kept))


def _sum(held: HeldBack) -> str | None:
    total = sum(count for _, count in held.counts)
    return f"{total} {'event' if total == 1 else 'events'} held back" if total else None


def extend(tx: MuteTx, name: str, length: timedelta, by: Person) -> Sequence[Mute]:
    """Let the windows in force or planned of mutes with this id, or of this instance or scope, end later by a length.

    Return the mutes as they are then. Raises WrongMute where one would last too long.
    """
    return [_end_at(tx, mute, mute.until + length, by) for mute in _extendable(tx, find(tx.queries, name))]


def move_end(tx: MuteTx, mute_id: str, until: datetime, by: Person) -> Mute | None:
    """Let the window in force or planned of a mute end at a time, earlier or later than it would.

    Return the mute as it is then; None where it is unknown or over. Raises WrongMute where the time is wrong.
    """
    found = _extendable(tx, [mute for mute in tx.queries.known_mutes() if mute.id == mute_id])
    if not found:
        return None
    if until <= max(tx.now(), found[0].since):
        raise WrongMute("past", "it would end before it begins" if found[0].since > tx.now() else "it would be over")
    return _end_at(tx, found[0], until, by)


def _extendable(tx: MuteTx, found: Sequence[Mute]) -> list[Mute]:
    """Return those of the mutes whose window is in force or planned, locked."""
    now = tx.now()
    locked = [tx.mutes.lock(one.id) for one in sorted(found, key=lambda one: one.id)]
    return [mute for mute in locked if mute and mute.due_at is not None and not (mute.begun and not mute.is_open(now))]


def _end_at(tx: MuteTx, mute: Mute, until: datetime, by: Person) -> Mute:
    now = tx.now()
    if until - max(now, mute.since) > MAX_MUTE:
        shown = format_duration(until - max(now, mute.since))
        raise WrongMute("mute", f"a mute lasts at most {format_duration(MAX_MUTE)}, not {shown}", shown)
    moved = replace(mute, until=until, due_at=until if mute.begun else mute.due_at)
    tx.mutes.save(moved, now)
    _record(tx, by, Verb.EXTEND, moved, f"until {until.isoformat(timespec='minutes')}")
    return moved


def preview(q: Lookup, request: MuteRequest, now: datetime, within: timedelta = PREVIEWED) -> MutePreview:
    """Return what a mute would have held back lately, and the windows that it would have. Raises WrongMute."""
    since = now - within
    read = q.events(EventFilter(since=since, limit=MAX_PREVIEWED + 1))
    return preview_of(read[:MAX_PREVIEWED], request, now, since, whole=len(read) <= MAX_PREVIEWED)


def preview_of(
    events: Sequence[RoutedEvent], request: MuteRequest, now: datetime, since: datetime, *, whole: bool
) -> MutePreview:
    """Return which of the events since a time a mute would have held back, and its windows. Raises WrongMute.

    Of a mute that recurs the windows count that it would have had; another one counts as if it had been in force all
    the time. `whole` is whether there are no more events that it may cover.
    """
    times = request.times
    trial = _mute_at(
        times,
        times.first_window(now),
        instance=request.scope.instance,
        match=request.scope.match,
        except_failures=request.except_failures,
        by="",
        name="",
        created_at=now,
    )
    kept = [item for item in events if trial.matches(item.event)]
    if times.cron is not None:
        kept = [item for item in kept if mutes.was_open(times, item.event.observed_at)]
    found = [item.event for item in kept]
    caring = [event for event in found if event.type.traits.needs_care]
    return MutePreview(
        since=since,
        counts=tuple(sorted(Counter(event.type for event in found).items())),
        named=tuple(map(mutes.named_task, caring))[:MAX_NAMED_TASKS],
        windows=tuple(mutes.upcoming(trial, 3)),
        whole=whole,
        channels=tuple(sorted(Counter(channel for item in kept for channel in item.channels).items())),
    )


def _record(tx: MuteTx, by: Person, verb: Verb, mute: Mute, detail: str | None = None) -> None:
    target = mute.shown if mute.instance is not None else f"{mute.id} ({mute.shown})"
    tx.people.record_action(Action(at=tx.now(), by=by.id, name=by.name, verb=verb, target=target, detail=detail))


# ---- what the configuration says ----


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredMute:
    """A mute that the configuration defines."""

    name: str
    match: tuple[Matcher, ...]
    times: MuteTimes
    except_failures: bool = False
    reason: str | None = None
    announce: bool | None = None

    def at(self, now: datetime) -> Mute:
        """Return the mute with the window that is open or comes next. One that is past has its only window."""
        times = self.times
        if times.cron is None:
            since = times.since or now
            window: MuteSpan | None = MuteSpan(since, since + times.length)
        else:
            window = mutes.next_window(times.cron, times.length, times.last, now)
        return _mute_at(
            times,
            window or MuteSpan(now, now),
            id=self.name,
            match=self.match,
            except_failures=self.except_failures,
            by=CONFIGURATION.id,
            name=CONFIGURATION.name,
            reason=self.reason,
            created_at=now,
            announce=self.announce,
            configured=True,
            due_at=window.since if window else now,
        )


def sync(tx: ConfigureTx, configured: Sequence[ConfiguredMute]) -> None:
    """Record the mutes of the configuration as they are defined now, and end those that it has no longer."""
    now = tx.now()
    wanted = {one.name: one.at(now) for one in configured}
    known = {mute.id for mute in tx.mutes.configured()}
    for name in sorted(wanted.keys() | known):
        locked = tx.mutes.lock(name)
        after = _synced(locked, wanted.get(name), now)
        if after is not None:
            tx.mutes.save(after, now)
            verb = Verb.MUTE if name in wanted else Verb.UNMUTE
            _record(tx, CONFIGURATION, verb, after, _when(after, now) if name in wanted else None)


def _synced(known: Mute | None, wanted: Mute | None, now: datetime) -> Mute | None:
    """Return what to record of a mute; None where it stays as it is."""
    if known is None:
        return wanted if wanted is not None and wanted.until > now else None
    if wanted is None:
        if not known.configured or known.due_at is None:
            return None
        return mutes.ended_early(known, now, CONFIGURATION.name, for_good=True)
    return None if mutes.same_definition(known, wanted) else mutes.redefined(known, wanted, now)


# ---- their steps ----


class StepRecords(Protocol):
    """The recorded mutes, for their steps."""

    def lock(self, mute_id: str) -> Mute | None:
        """Return a mute, which nobody else changes until the transaction ends; None where it is unknown."""

    def hold(self, mutes: Collection[Mute], now: datetime) -> Sequence[Mute]:
        """Return those of the mutes that are in force, as they are now. None ends until the transaction ends."""

    def save(self, mute: Mute, now: datetime) -> None:
        """Record a mute, and let the messages change that may show it."""

    def step(self, mute: Mute) -> None:
        """Record a mute after a step that messages show already."""


class StepReads(PlanReads, Protocol):
    """Reads of the steps of mutes."""

    def due_mutes(self) -> Sequence[str]:
        """Return the ids of the mutes of which a step is due, the earliest first."""

    def held_back(self, mute: Mute) -> HeldBack:
        """Return what a mute has suppressed in its window so far."""

    def instance_sources(self, instance: str) -> Collection[str]:
        """Return the names of the sources of the recorded tasks of an instance."""


class StepTx(PlanTx, Protocol):
    """What the steps of mutes need of a transaction."""

    @property
    def mutes(self) -> StepRecords:
        """The recorded mutes."""

    @property
    def queries(self) -> StepReads:
        """What a step reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MuteRouting:
    """What decides whom the windows of mutes concern."""

    routing: RoutingConfig
    origins: Sequence[SourceOrigin] = ()
    """The configured sources."""


async def run_mutes(store: Store[StepTx, StepReads], rules: MuteRouting) -> Announced:
    """Take every step that is due. Raises StoreError; steps that were taken stay taken."""
    announced = Announced()
    for mute_id in await store.read(lambda q: q.due_mutes()):
        announced += await store.transact(partial(take_steps, mute_id=mute_id, rules=rules))
    return announced


def take_steps(tx: StepTx, mute_id: str, rules: MuteRouting) -> Announced:
    """Take the steps of a mute that are due, as far as no other replica has."""
    mute, announced, now = tx.mutes.lock(mute_id), Announced(), tx.now()
    while mute is not None and (step := mutes.next_step(mute, now)):
        take = _begin if step.begins else _end_window
        after, routed = take(tx, mute, step.mute, rules, now)
        if routed.channels:
            announced += announce(tx, [routed], rules.routing, now)
        # Messages show a window from the act on that made or ended it.
        if (mute.since > mute.created_at) if step.begins else (mute.ended_by is None):
            tx.mutes.save(after, now)
        else:
            tx.mutes.step(after)
        mute = after
    return announced


def _begin(tx: StepTx, mute: Mute, after: Mute, rules: MuteRouting, now: datetime) -> tuple[Mute, RoutedEvent]:
    event = mutes.window_event(mute, EventType.MUTE_STARTED, now)
    if not (mute.announces and mute.is_open(now)):  # nobody has to learn of a window that passed unnoticed
        return after, RoutedEvent(event=event, routes=(), channels=())
    origins = rules.origins
    if mute.instance is not None:
        sources = tx.queries.instance_sources(mute.instance)
        origins = [origin for origin in origins if origin.source in sources] or origins
    routed = _routed(event, mutes.concerned_channels(mute, rules.routing.routes, origins), rules.routing)
    return replace(after, announced=routed.channels), routed


def _end_window(tx: StepTx, mute: Mute, after: Mute, rules: MuteRouting, now: datetime) -> tuple[Mute, RoutedEvent]:
    held = tx.queries.held_back(mute)
    next_at = None if after.due_at is None else after.since
    event = mutes.window_event(mute, EventType.MUTE_ENDED, now, held=held, next_at=next_at)
    if mute.announce is False or not (held.counts or mute.announced):
        return after, RoutedEvent(event=event, routes=(), channels=())
    return after, _routed(event, (*held.channels, *mute.announced), rules.routing)


def _routed(event: Event, concerned: Sequence[str], routing: RoutingConfig) -> RoutedEvent:
    """Return an event of a mute with the channels that it concerns, and those of routes that name its type.

    Only channels that are configured and tell people things count: a mute is nothing to open a ticket for.
    """
    named = [route for route in routing.routes if any(one.field == "type" and not one.negative for one in route.match)]
    (routed,) = route_events([event], named)
    policies = routing.policies
    told = (name for name in (*concerned, *routed.channels) if name in policies and not policies[name].tickets)
    return replace(routed, channels=tuple(dict.fromkeys(told)))
