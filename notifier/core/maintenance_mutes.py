"""Mutes that are in force while a maintenance of an instance is open: which events each suppresses. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from notifier.core.causes import CauseCatalogue
from notifier.core.events import EventType
from notifier.core.fields import LABEL_PREFIX, fields_of
from notifier.core.foreseen import Expectation
from notifier.core.identity import Subject
from notifier.core.maintenance_values import MaintenanceRecord
from notifier.core.matchers import Matcher, first_misfit
from notifier.core.model import Event, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceMute:
    """Suppresses events about tasks and alarms of instances while a maintenance of theirs is open."""

    name: str
    match: tuple[Matcher, ...] = ()
    """It covers events that fit all of these."""
    except_failures: bool = False
    """True where events that need somebody are sent as if there were no mute."""
    reason: str | None = None

    @property
    def rule(self) -> str:
        """Name of its rule, as deliveries that it suppresses record it."""
        return str(Subject(mute=self.name))

    def concerns(self, kind: EventType) -> bool:
        """Return whether it may suppress events of this type: those about maintenance itself are always sent."""
        mutable = kind.startswith(("task.", "alarm."))
        return mutable and not (self.except_failures and kind.traits.acknowledgeable)

    def covers(self, event: Event, catalogue: CauseCatalogue | None = None) -> bool:
        """Return whether it suppresses an event of an instance whose maintenance is open."""
        return self.concerns(event.type) and first_misfit(self.match, fields_of(event, self._fields, catalogue)) is None

    def may_cover(self, one: MaintenanceRecord) -> bool:
        """Return whether it suppresses events of the instance of a maintenance, as far as the maintenance shows that.

        Matchers of anything but the source and the instance are not compared: events decide.
        """
        known = {
            "source": one.source,
            "instance": one.planned.instance_name or "",
            "instance_id": one.planned.instance_id or "",
        }
        return first_misfit([matcher for matcher in self.match if known.get(matcher.field)], known) is None

    @property
    def _fields(self) -> Collection[str]:
        return [one.field for one in self.match if not one.field.startswith(LABEL_PREFIX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceMuteNow:
    """A mute with the instances that it covers at a time."""

    mute: MaintenanceMute
    instances: tuple[str, ...] = ()
    """Names of the instances whose maintenance is open, ids where a name is not known."""


def mutes_now(
    mutes: Iterable[MaintenanceMute], known: Iterable[MaintenanceRecord], now: datetime
) -> Sequence[MaintenanceMuteNow]:
    """Return mutes with the instances that they cover at a time, in the order of the configuration."""
    open_now = open_at([*known], now)
    return [
        MaintenanceMuteNow(mute=mute, instances=tuple(dict.fromkeys(map(_shown, filter(mute.may_cover, open_now)))))
        for mute in mutes
    ]


def _shown(one: MaintenanceRecord) -> str:
    return one.planned.instance_name or one.planned.instance_id or one.source


def open_maintenance(event: Event, open_now: Iterable[MaintenanceRecord]) -> MaintenanceRecord | None:
    """Return the open maintenance of the instance of an event; None without one.

    Ids are compared where both are known, else names: rows of maintenance may lack the id.
    """
    about = event.task or event.expectation
    if about is None:
        return None
    return next((one for one in open_now if one.source == event.source and _is_of(one, about)), None)


def _is_of(one: MaintenanceRecord, about: Task | Expectation) -> bool:
    planned = one.planned
    if planned.instance_id and about.instance_id:
        return planned.instance_id == about.instance_id
    return bool(planned.instance_name) and planned.instance_name == about.instance_name


def open_at(records: Sequence[MaintenanceRecord], now: datetime) -> Sequence[MaintenanceRecord]:
    """Return the maintenance that is being done at a time, or may be at any moment."""
    return [one for one in records if one.is_open(now)]


def mute_sentence(mute: MaintenanceMute, one: MaintenanceRecord) -> str:
    """Return why an event is suppressed, as it is recorded."""
    instance = one.planned.instance_name or one.planned.instance_id or ""
    sentence = f"{mute.name} mutes {instance} while its maintenance is open"
    return f"{sentence}: {mute.reason}" if mute.reason else sentence
