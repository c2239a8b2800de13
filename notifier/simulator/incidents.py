"""Faults of the simulated instances and their ends, from which Cloud Eye's events and the alarms follow. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Generic, TypeVar

from notifier.simulator.options import Options
from notifier.simulator.world import LISTED_FOR, RowInstance

INCIDENTS_SINCE = timedelta(days=7)
"""Age of the oldest fault at the start."""
CRITICAL, MAJOR, MINOR, NOTICE = 1, 2, 3, 4
"""Levels of alarms, as the alarm history writes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRule:
    """A rule of Cloud Eye that somebody made."""

    name: str
    level: int
    kind: str
    """`alarm_type` in the API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentKind:
    """One kind of fault."""

    weight: int
    minutes: tuple[int, int]
    """Shortest and longest duration."""
    event: str | None = None
    """Name of Cloud Eye's event for its beginning."""
    recovery: str | None = None
    """Name of the event for its end; None where there is none."""
    rule: AlarmRule | None = None
    """The alarm rule that it breaks."""
    of_node: bool = False
    """Whether one node is concerned rather than the whole instance."""
    contents: tuple[str, ...] = ("",)
    """Texts of its event."""


def _event_rule(name: str, level: int) -> AlarmRule:
    return AlarmRule(name=name, level=level, kind="EVENT.SYS")


def _metric_rule(name: str, level: int) -> AlarmRule:
    return AlarmRule(name=name, level=level, kind="MULTI_INSTANCE")


INSTANCE_DOWN = IncidentKind(
    weight=3,
    minutes=(4, 25),
    event="GaussDBV5FaultyDBInstance",
    recovery="GaussDBV5InstanceRecovered",
    rule=_event_rule("gaussdb-instance-down", CRITICAL),
    contents=("The instance is faulty: its host failed.",),
)
NODE_DOWN = IncidentKind(
    weight=6,
    minutes=(3, 20),
    event="GaussDBV5FaultyDBNode",
    recovery="GaussDBV5FaultyDBNodeRecovered",
    rule=_event_rule("gaussdb-node-down", MAJOR),
    of_node=True,
    contents=("The node is faulty: its host failed.",),
)
SWITCHOVER = IncidentKind(
    weight=6,
    minutes=(1, 5),
    event="StateTransitionAlarm",
    rule=_event_rule("gaussdb-failover", MAJOR),
    of_node=True,
    contents=("DN failover: standby promoted to primary.", "GTM switchover.", "DN build started."),
)
PROCESS = IncidentKind(
    weight=4,
    minutes=(2, 10),
    event="ProcessStatusAlarm",
    of_node=True,
    contents=("The DN process ended abnormally.", "The CMS process ended abnormally."),
)
COMPONENT = IncidentKind(
    weight=3, minutes=(2, 10), event="ComponentStatusAlarm", of_node=True, contents=("ETCD does not respond.",)
)
READ_ONLY_CLUSTER = IncidentKind(
    weight=3,
    minutes=(20, 180),
    event="ClusterStatusAlarm",
    rule=_metric_rule("gaussdb-read-only", CRITICAL),
    contents=("The cluster is read-only: the disk usage is above the threshold.",),
)
HARDWARE = IncidentKind(
    weight=1, minutes=(30, 240), event="HardwareResourceAlarm", of_node=True, contents=("A data disk is damaged.",)
)
KERNEL_ALARM = IncidentKind(
    weight=5,
    minutes=(10, 90),
    event="OtherAbnormalAlarm",
    rule=_event_rule("gaussdb-kernel", MINOR),
    contents=(
        "Archiving failed: the archive directory cannot be written.",
        "The disk usage of the data directory is above 85%.",
        "A CN was removed from the cluster.",
    ),
)
DISK = IncidentKind(weight=6, minutes=(15, 240), rule=_metric_rule("gaussdb-disk-usage", MAJOR))
CPU = IncidentKind(weight=6, minutes=(5, 60), rule=_metric_rule("gaussdb-cpu-usage", MINOR), of_node=True)
CONNECTIONS = IncidentKind(weight=3, minutes=(5, 45), rule=_metric_rule("gaussdb-connections", NOTICE))
KINDS = (
    INSTANCE_DOWN,
    NODE_DOWN,
    SWITCHOVER,
    PROCESS,
    COMPONENT,
    READ_ONLY_CLUSTER,
    HARDWARE,
    KERNEL_ALARM,
    DISK,
    CPU,
    CONNECTIONS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One fault."""

    id: str
    kind: IncidentKind
    instance: RowInstance
    node_id: str | None
    content: str
    begins_at: datetime
    ends_at: datetime
    notice: timedelta
    """Time that an event or alarm takes to the list."""
    abandoned: bool = False
    """Whether its alarm rule is deleted before its end."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening(Generic[T]):
    """Something that happens to an instance that is chosen at that moment."""

    at: datetime
    chance: int
    """A random number that chooses the instance."""
    of: Callable[[RowInstance], T]


Residents = Callable[[datetime], Sequence[RowInstance]]
"""Returns the instances that existed at a moment."""


class Happenings(Generic[T]):
    """What happens to instances up to a moment. The same seed, times and instances give the same."""

    def __init__(
        self, planned: Iterator[Happening[T]], residents: Residents, begins_at: Callable[[T], datetime]
    ) -> None:
        """`planned` has all of them, oldest first, and may be endless. `begins_at` returns when one began."""
        self._planned = planned
        self._residents = residents
        self._begins_at = begins_at
        self._next = next(planned, None)
        self._known: list[T] = []

    def until(self, now: datetime) -> list[T]:
        """Return what has begun, oldest first, as long as it may be listed."""
        while self._next and self._next.at <= now:
            instances = self._residents(self._next.at)
            if instances:
                self._known.append(self._next.of(instances[self._next.chance % len(instances)]))
            self._next = next(self._planned, None)
        self._known = [one for one in self._known if self._begins_at(one) > now - LISTED_FOR]
        return self._known


class Incidents(Happenings[Incident]):
    """The faults up to a moment."""

    def __init__(self, options: Options, start: datetime, residents: Residents) -> None:
        self._options = options
        self._rng = options.random("incidents")
        super().__init__(self._plan(start), residents, lambda incident: incident.begins_at)

    def _plan(self, start: datetime) -> Iterator[Happening[Incident]]:
        every = self._options.incident_every
        if every is None:
            return
        opening = [(start - timedelta(minutes=4), NODE_DOWN), (start + timedelta(minutes=2), DISK)]
        at = start - INCIDENTS_SINCE
        while True:
            at += every * self._rng.uniform(0.5, 1.5)
            while opening and opening[0][0] <= at:
                yield self._incident(*opening.pop(0), timedelta(minutes=9))
            kind = self._rng.choices(KINDS, [kind.weight for kind in KINDS])[0]
            yield self._incident(at, kind, timedelta(minutes=self._rng.uniform(*kind.minutes)))

    def _incident(self, at: datetime, kind: IncidentKind, takes: timedelta) -> Happening[Incident]:
        chance = self._rng.getrandbits(32)
        return Happening(at=at, chance=chance, of=incident(self._rng, self._options, at, kind, takes))


def incident(
    rng: Random, options: Options, at: datetime, kind: IncidentKind, takes: timedelta
) -> Callable[[RowInstance], Incident]:
    """Return a fault for an instance to be named. It draws as many numbers for each kind."""
    number, node = rng.getrandbits(128), rng.getrandbits(128)
    content = rng.choice(kind.contents)
    notice = options.event_lag * rng.uniform(0.5, 1.5)
    abandoned = rng.random() < 0.04  # noqa: PLR2004 - now and then somebody deletes a rule
    return lambda instance: Incident(
        id=f"{number:032x}",
        kind=kind,
        instance=instance,
        node_id=f"{node:032x}no14" if kind.of_node else None,
        content=content,
        begins_at=at,
        ends_at=at + takes,
        notice=notice,
        abandoned=abandoned,
    )
