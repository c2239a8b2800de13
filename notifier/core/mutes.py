"""Mutes: which events each suppresses, when it is in force, and which steps it takes. Pure.

A mute is a definition and one window: the one in force, or the next one. A mute that recurs moves its window on when it
ends.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from notifier.core.causes import CauseCatalogue
from notifier.core.cron import Cron
from notifier.core.diff import TYPES_BY_STATUS
from notifier.core.durations import format_duration
from notifier.core.events import EventType
from notifier.core.fields import LABEL_PREFIX, fields_of, label_fields
from notifier.core.matcher_logic import exclusion
from notifier.core.matchers import Matcher, first_misfit, fits, is_glob, parse_matchers
from notifier.core.model import Event, MuteWindow, SourceOrigin, Task, TaskStatus, id_of, own_event
from notifier.core.routing import Route

_ABOUT_TASKS = ("task.", "alarm.")
"""How the types begin that mutes cover: of tasks, of runs that are missing, and of alarms."""
RULE_PREFIX = "mute:"
"""How the name of the rule of a mute begins; its id follows."""
MIN_MUTE, MAX_MUTE = timedelta(minutes=1), timedelta(days=30)
"""Shortest and longest window of a mute. Events are kept for longer than this, so that they can be summed up."""
MAX_MUTE_AHEAD = timedelta(days=366)
"""Maximum time until a planned window begins."""
MAX_MUTE_REASON = 300
"""Maximum length of the reason of a mute, in characters. The rest is cut off."""
MAX_SCOPE = 500
"""Maximum number of characters that a person may type for what a mute covers: messages and lists show it."""
MAX_NAMED_TASKS = 5
"""Maximum number of tasks that the sum at the end of a mute names."""


class WrongMute(ValueError):
    """A mute that cannot be. The message says why, and what would be right."""

    def __init__(self, key: str, message: str, given: str = "") -> None:
        super().__init__(message)
        self.key = key
        """Name of the phrase that says the same in a chat: `mistake.{key}`."""
        self.given = given
        """What the phrase repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mute:
    """Suppresses events about tasks while its window is open."""

    id: str
    """Short, as people type it. Of a configured mute its name."""
    since: datetime
    """Beginning of the window in force, or of the next one."""
    until: datetime
    """End of that window."""
    by: str
    name: str
    """Who made it, as for an acknowledgement."""
    created_at: datetime
    instance: str | None = None
    """The id or the whole name of the one instance that it covers; None where `match` says what it covers."""
    label: str | None = None
    """Name of the instance for people to read. None in rows of older versions: `instance` is shown then."""
    match: tuple[Matcher, ...] = ()
    """It covers events that fit all of these."""
    except_failures: bool = False
    """True where events that need somebody are sent as if there were no mute."""
    reason: str | None = None
    cron: str | None = None
    """When windows begin, as `cron.Cron` reads it. None for a mute with one window."""
    timezone: str | None = None
    """Time zone of `cron`."""
    length: timedelta | None = None
    """Length of each window as it was asked for: elapsed time, also where clocks change within it. None in rows of
    older versions."""
    last: datetime | None = None
    """A mute that recurs begins no window at or after this time. None: it recurs until a person ends it."""
    configured: bool = False
    """True where the configuration defines it."""
    announce: bool | None = None
    """Whether channels are notified when a window begins and ends; None: see `Mute.announces`."""
    begun: bool = False
    """Whether the beginning of the window has been announced, or found to need no announcement."""
    announced: tuple[str, ...] = ()
    """Channels that were notified of the beginning."""
    ended_by: str | None = None
    """Who ended the window early."""
    due_at: datetime | None = None
    """When its next step is due: the beginning or the end of the window. None once it is over."""

    @property
    def rule(self) -> str:
        """Name of its rule, as deliveries that it suppresses record it."""
        return f"{RULE_PREFIX}{self.id}"

    @property
    def shown(self) -> str:
        """What it covers, for people: the name of the instance, or the matchers as they are typed."""
        return " ".join(map(_typed, self.match)) or self.label or self.instance or ""

    @property
    def announces(self) -> bool:
        """Whether the beginning of a window is announced.

        Where nobody chose, that of a single window is announced if it covers more than one instance or was planned
        ahead. Live messages show the others, and windows that recur are no news.
        """
        if self.announce is not None:
            return self.announce
        return self.cron is None and (self.instance is None or self.since > self.created_at)

    def is_open(self, now: datetime) -> bool:
        """Return whether its window is in force."""
        return self.since <= now < self.until

    def covers(self, event: Event, now: datetime) -> bool:
        """Return whether it is in force and suppresses the event. It never suppresses what is not about a task."""
        return self.is_open(now) and self.matches(event)

    def matches(self, event: Event) -> bool:
        """Return whether it would suppress the event if its window were open."""
        return self.concerns(event.type) and self.fits(fields_of(event, self.fields))

    @property
    def recurs(self) -> bool:
        """Whether another window may follow."""
        return self.cron is not None

    def concerns(self, kind: EventType) -> bool:
        """Return whether it may suppress events of this type."""
        return kind.startswith(_ABOUT_TASKS) and not (self.except_failures and kind.traits.acknowledgeable)

    @property
    def fields(self) -> Collection[str]:
        """The fields of an event that decide whether it covers the event, besides the labels of its source."""
        if self.instance is not None:
            return ("instance", "instance_id")
        return [one.field for one in self.match if not one.field.startswith(LABEL_PREFIX)]

    def fits(self, fields: Mapping[str, str]) -> bool:
        """Return whether an event with these fields is of what it covers."""
        if self.instance is not None:
            return self.instance in (fields["instance_id"], fields["instance"])
        return first_misfit(self.match, fields) is None


def _typed(matcher: Matcher) -> str:
    """Return a matcher as people type it: a bare word for the name of an instance."""
    plain = matcher.field == "instance" and matcher.op == "=" and " " not in matcher.value
    return matcher.value if plain else str(matcher)


@dataclass(frozen=True, slots=True, kw_only=True)
class MuteScope:
    """What a mute is to cover, as a person wrote it."""

    instance: str | None = None
    """Id or whole name of one instance, which has to be known; None where `match` says what is covered."""
    match: tuple[Matcher, ...] = ()

    @classmethod
    def parse(cls, words: Sequence[str]) -> "MuteScope":
        """Read `gaussdb-prod-01`, `prod-* type=task.completed`, `source=staging`. Raises WrongMute."""
        if sum(map(len, words)) > MAX_SCOPE:
            raise WrongMute("long", f"what it covers has more than {MAX_SCOPE} characters; use a shorter pattern")
        try:
            match = parse_matchers(" ".join(f'"{word}"' if " " in word and "=" not in word else word for word in words))
        except ValueError as error:
            raise WrongMute("matcher", str(error), str(error)) from None
        only = match[0]
        if len(match) == 1 and only.field in _INSTANCE_FIELDS and only.op == "=" and not is_glob(only.value):
            return cls(instance=only.value)
        return cls(match=match)


_INSTANCE_FIELDS = ("instance", "instance_id")

# ---- which mute covers an event ----


class MutesInForce:
    """The mutes that are in force, in the order in which they are asked: those that end first first.

    Most mutes are about one instance, and are found by its name and id; only the others compare fields.
    """

    def __init__(self, mutes: Iterable[Mute], now: datetime, catalogue: CauseCatalogue | None = None) -> None:
        """The catalogue explains reasons to mutes that ask for a cause; without it no cause is known."""
        self._catalogue = catalogue
        self._by_instance: dict[str, list[tuple[int, Mute]]] = {}
        self._matching: list[tuple[int, Mute]] = []
        self._fields = {*_INSTANCE_FIELDS}
        self._known: dict[tuple[object, ...], Mute | None] = {}
        """By type and fields: the events of a poll differ in few of them."""
        for place, mute in enumerate(mutes):
            if not mute.is_open(now):
                continue
            if mute.instance is not None:
                self._by_instance.setdefault(mute.instance, []).append((place, mute))
            else:
                self._matching.append((place, mute))
                self._fields.update(mute.fields)

    def about(self, task: Task, newest: Event | None) -> Mute | None:
        """Return the mute that suppresses the newest event of a task, or that of its instance where none is known."""
        if newest is not None:
            return self.covering(newest)
        names = (task.instance_id or "", task.instance_name or "")
        found = (one for name in names for one in self._by_instance.get(name, ()))
        return next((mute for _, mute in sorted(found, key=_place)), None)

    def covering(self, event: Event) -> Mute | None:
        """Return the mute that suppresses an event; None where none does."""
        if not (self._by_instance or self._matching) or not event.type.startswith(_ABOUT_TASKS):
            return None
        fields = fields_of(event, self._fields, self._catalogue) if self._matching else _names_of(event)
        key = (event.type, *fields.items())
        if key not in self._known:
            self._known[key] = self._first(event.type, fields)
        return self._known[key]

    def _first(self, kind: EventType, fields: Mapping[str, str]) -> Mute | None:
        own = (self._by_instance.get(fields[name], ()) for name in _INSTANCE_FIELDS)
        of_instance = [one for found in own for one in found if one[1].concerns(kind)]
        first = min(of_instance, key=_place, default=None)
        for place, mute in self._matching:
            if first is not None and first[0] < place:
                break
            if mute.concerns(kind) and mute.fits(fields):
                return mute
        return first[1] if first else None


def _names_of(event: Event) -> Mapping[str, str]:
    task = event.task
    if task is None:
        return fields_of(event, _INSTANCE_FIELDS)
    return {"instance_id": task.instance_id or "", "instance": task.instance_name or ""}


def _place(ranked: tuple[int, Mute]) -> int:
    return ranked[0]


# ---- when ----


class MuteSpan(NamedTuple):
    """One window of a mute."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MuteTimes:
    """When a mute is to be in force: for a length from `since`, or whenever `cron` fires."""

    length: timedelta
    since: datetime | None = None
    """Beginning of the only window; None for now."""
    until: datetime | None = None
    """End of the only window where a person named it; else `length` decides."""
    cron: Cron | None = None
    last: datetime | None = None
    """See `Mute.last`."""

    @property
    def schedule(self) -> str | None:
        """The text of `cron`."""
        return None if self.cron is None else self.cron.text

    @property
    def timezone(self) -> str | None:
        """The name of the time zone of `cron`."""
        return None if self.cron is None else self.cron.zone.key

    def check(self, now: datetime) -> None:
        """Raise WrongMute where no window can be as long as this."""
        if self.length <= timedelta():
            raise WrongMute("past", "it would end before it begins")
        if not MIN_MUTE <= self.length <= MAX_MUTE:
            shown = format_duration(self.length)
            bounds = f"from {format_duration(MIN_MUTE)} to {format_duration(MAX_MUTE)}"
            raise WrongMute("mute", f"a mute lasts {bounds}, not {shown}", shown)
        if self.cron is not None:
            _refuse_overlaps(self.cron, self.length, now)

    def first_window(self, now: datetime) -> MuteSpan:
        """Return the window that is open now, or the next one. Raises WrongMute."""
        self.check(now)
        if self.cron is None:
            return self._only_window(now)
        found = next_window(self.cron, self.length, self.last, now)
        if found is None:
            raise WrongMute("past", "its last window has ended already")
        return found

    def _only_window(self, now: datetime) -> MuteSpan:
        since = self.since or now
        until = self.until or since + self.length
        if until <= now:
            raise WrongMute("past", "it would have ended already")
        if since - now > MAX_MUTE_AHEAD:
            raise WrongMute("ahead", "it would begin more than a year from now")
        return MuteSpan(since, until)


def _refuse_overlaps(cron: Cron, length: timedelta, now: datetime) -> None:
    starts = [cron.after(now)]
    for _ in range(_COMPARED_STARTS):
        starts.append(cron.after(starts[-1]))
    nearest = min(after - before for before, after in pairwise(starts))
    if nearest < length:
        message = (
            f"it begins again {format_duration(nearest)} after it began and lasts {format_duration(length)}, so that "
            "it would never end; give a shorter length, or a schedule that fires less often"
        )
        raise WrongMute("overlap", message, format_duration(length))


_COMPARED_STARTS = 8
"""Number of windows that are compared: a week of daily ones, and one more."""


def next_window(cron: Cron, length: timedelta, last: datetime | None, now: datetime) -> MuteSpan | None:
    """Return the window of a schedule that is open now, or the next one; None where there is none before `last`."""
    since = cron.after(now - length)
    return None if last is not None and since >= last else MuteSpan(since, since + length)


def upcoming(mute: Mute, count: int) -> Iterator[MuteSpan]:
    """Yield the window of a mute and those that follow, at most `count`."""
    window: MuteSpan | None = MuteSpan(mute.since, mute.until)
    for _ in range(count):
        if window is None:
            return
        yield window
        window = _following(mute, window.since)


def was_open(times: MuteTimes, at: datetime) -> bool:
    """Return whether a window of a schedule was open at a time."""
    return times.cron is not None and at < times.cron.previous(at) + times.length


def following(mute: Mute, now: datetime) -> MuteSpan | None:
    """Return the window that follows the one in force, or the next one, and has not ended yet; None without one."""
    return _following(mute, mute.since, now) if mute.due_at is not None else None


def _following(mute: Mute, since: datetime, now: datetime | None = None) -> MuteSpan | None:
    """Return the first window that begins after `since` and has not ended by `now`; None for a mute with one."""
    if mute.cron is None or mute.length is None:
        return None
    cron = Cron.parse(mute.cron, mute.timezone or "UTC")
    after = since if now is None else max(since, now - mute.length)
    start = cron.after(after)
    return None if mute.last is not None and start >= mute.last else MuteSpan(start, start + mute.length)


# ---- its steps ----


class MuteStep(NamedTuple):
    """One step of a mute that is due."""

    mute: Mute
    """As it is after the step."""
    begins: bool
    """True where a window begins; False where it ends."""


def next_step(mute: Mute, now: datetime) -> MuteStep | None:
    """Return the step that is due; None where none is. Of a window that passed unnoticed both steps are due."""
    if mute.due_at is None or mute.due_at > now:
        return None
    if not mute.begun:
        return MuteStep(replace(mute, begun=True, due_at=mute.until), begins=True)
    following = _following(mute, mute.since, now)
    if following is None:
        return MuteStep(replace(mute, due_at=None), begins=False)
    fresh = replace(mute, begun=False, announced=(), ended_by=None)
    return MuteStep(replace(fresh, since=following.since, until=following.until, due_at=following.since), begins=False)


def as_made(mute: Mute) -> Mute:
    """Return a recorded mute as it was when it was made, with its first window and no step taken.

    Of one window, the end is the one that it had at last.
    """
    made = replace(mute, begun=False, announced=(), ended_by=None, due_at=mute.since)
    if mute.cron is None or mute.length is None:
        return made
    found = next_window(Cron.parse(mute.cron, mute.timezone or "UTC"), mute.length, mute.last, mute.created_at)
    return made if found is None else replace(made, since=found.since, until=found.until, due_at=found.since)


def ended_early(mute: Mute, now: datetime, name: str, *, for_good: bool) -> Mute:
    """Return a mute whose window a person ends. Its next step, which is due, sums up what was held back.

    `for_good` is whether no further window follows. A window that has not begun is gone without a step.
    """
    ended = replace(mute, cron=None, last=now) if for_good else mute
    if now < mute.since:
        return replace(ended, until=mute.since, due_at=None, ended_by=name)
    return replace(ended, until=now, due_at=now, ended_by=name)


def redefined(known: Mute, wanted: Mute, now: datetime) -> Mute:
    """Return a recorded mute with the definition that the configuration gives it now.

    A window in force stays in force as long as the new definition covers the present, and ends now otherwise.
    """
    wanted = replace(wanted, created_at=known.created_at)
    if known.due_at is None:
        # Its last window was summed up: what is in force from now on is another one.
        if wanted.until <= now:
            return replace(wanted, since=known.since, until=known.until, begun=True, due_at=None)
        since = now if wanted.is_open(now) and wanted.since <= known.since else wanted.since
        return replace(wanted, since=since, due_at=since)
    if now < known.since:
        return wanted
    until = wanted.until if wanted.is_open(now) and known.ended_by is None else min(known.until, now)
    return replace(
        wanted,
        since=known.since,
        until=until,
        begun=known.begun,
        announced=known.announced,
        ended_by=known.ended_by,
        due_at=until if known.begun else known.since,
    )


def same_definition(known: Mute, wanted: Mute) -> bool:
    """Return whether a recorded mute is defined as the configuration has it now, so that it stays as it is."""
    if any(getattr(known, name) != getattr(wanted, name) for name in _DEFINITION):
        return False
    return wanted.recurs or known.since == wanted.since


_DEFINITION = (
    "configured", "match", "except_failures", "reason", "announce", "cron", "timezone", "length", "last",
)  # fmt: skip

# ---- ids ----

_DIGITS, _LETTERS = "23456789", "bcfgjkpqrtvxz23456789"
"""Characters of ids: none that is easily taken for another, none that makes a duration or a word."""
MUTE_ID_PATTERN = f"^[{_DIGITS}][{_LETTERS}]{{3}}$"
"""What ids look like; a configured mute has no such name."""


def new_mute_id(facts: str, taken: Collection[str]) -> str:
    """Return a short id that is not taken. The same facts give the same id where that is free."""
    attempt = 0
    while True:
        number = int(id_of(f"mute\x1f{facts}\x1f{attempt}").replace("-", ""), 16)
        number, first = divmod(number, len(_DIGITS))
        letters = []
        for _ in range(3):
            number, place = divmod(number, len(_LETTERS))
            letters.append(_LETTERS[place])
        found = _DIGITS[first] + "".join(letters)
        if found not in taken:
            return found
        attempt += 1


# ---- what it held back, and whom that concerns ----


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """What a mute suppressed in its window."""

    counts: tuple[tuple[EventType, int], ...] = ()
    """Number of events by type."""
    named: tuple[tuple[str, str], ...] = ()
    """The API's name of the operation and the instance, of the first tasks that need somebody: at most
    MAX_NAMED_TASKS."""
    channels: tuple[str, ...] = ()
    """The channels that lack these events."""


def named_task(event: Event) -> tuple[str, str]:
    """Return the API's name of the operation and the instance of an event, as `HeldBack.named` has them."""
    about = event.matter
    return (about.name, about.instance_name or about.instance_id or "") if about else ("", "")


def unnamed(counts: Iterable[tuple[str, int]], named: Sequence[tuple[str, str]]) -> int:
    """Return how many events that need somebody are counted by type and not named."""
    caring = sum(count for kind, count in counts if EventType(kind).traits.needs_care)
    return max(0, caring - len(named))


def concerned_channels(mute: Mute, routes: Sequence[Route], origins: Iterable[SourceOrigin]) -> tuple[str, ...]:
    """Return the channels that events which the mute covers would be sent to, in the order of the routes.

    Each type of event of each source is tried. A route counts unless what is known of such an event, or what the mute
    says of it, contradicts one of its matchers: what only the event itself decides speaks for the route.
    """
    kinds = [kind for kind in EventType if mute.concerns(kind)]
    tried = (_typical(mute, origin, kind) for origin in origins for kind in kinds)
    found = (channel for known in tried if known is not None for channel in _reached(mute, known, routes))
    in_order = {name: None for route in routes for name in route.channels}
    reached = set(found)
    return tuple(name for name in in_order if name in reached)


_STATUS_OF: Mapping[EventType, TaskStatus] = {
    **{kind: status for status, kind in TYPES_BY_STATUS.items() if status is not TaskStatus.UNKNOWN},
    EventType.TASK_PROGRESSED: TaskStatus.RUNNING,
}


def _typical(mute: Mute, origin: SourceOrigin, kind: EventType) -> Mapping[str, str] | None:
    """Return what is known of an event of a source; None where the mute does not cover it."""
    known = {
        "type": kind.value,
        "severity": kind.traits.severity_in(origin.environment).value,
        "source": origin.source,
        "environment": origin.environment,
        "region": origin.region,
        "project_id": origin.project_id,
        "channel": "",
        **label_fields(origin.labels),
    }
    if kind in _STATUS_OF:
        known["status"] = _STATUS_OF[kind].value
    contradicted = any(_is_known(one, known) and not fits(one, known) for one in mute.match)
    if mute.instance is not None:
        known["instance"] = mute.label or mute.instance
        if mute.label not in (None, mute.instance):
            known["instance_id"] = mute.instance
    return None if contradicted else known


def _reached(mute: Mute, known: Mapping[str, str], routes: Iterable[Route]) -> Iterator[str]:
    for route in routes:
        if any(_contradicts(one, mute, known) for one in route.match):
            continue
        yield from route.channels
        if route.stop and all(_is_known(one, known) for one in route.match):
            return


def _is_known(matcher: Matcher, known: Mapping[str, str]) -> bool:
    return matcher.field in known or matcher.field.startswith(LABEL_PREFIX)


def _contradicts(matcher: Matcher, mute: Mute, known: Mapping[str, str]) -> bool:
    """Return whether no event with these fields that the mute covers satisfies a matcher of a route."""
    if _is_known(matcher, known):
        return not fits(matcher, known)
    same = (one for one in mute.match if one.field == matcher.field)
    return any(exclusion((one, matcher)) for one in same)


# ---- its events ----


def window_event(
    mute: Mute, kind: EventType, now: datetime, *, held: HeldBack | None = None, next_at: datetime | None = None
) -> Event:
    """Return the event that a window of a mute begins or ends. `mute` is as it was before its step."""
    held = held or HeldBack()
    occurrence = f"{mute.rule}:{kind.removeprefix('mute.')}@{mute.since.isoformat()}"
    return replace(
        own_event(kind, occurrence, now),
        since=mute.since,
        mute=MuteWindow(
            id=mute.id,
            covers=mute.shown,
            since=mute.since,
            until=mute.until,
            name="" if mute.configured else mute.name,
            reason=mute.reason or "",
            except_failures=mute.except_failures,
            ended_by=mute.ended_by or "",
            next_at=next_at,
            held=tuple((kind.value, count) for kind, count in held.counts),
            named=held.named,
        ),
    )
