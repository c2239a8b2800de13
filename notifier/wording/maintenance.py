"""Planned maintenance in words: what it is called, when it is, and what it does to its instance."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from notifier.core.maintenance_mutes import MaintenanceMuteNow
from notifier.core.maintenance_values import (
    MAINTENANCE_KINDS,
    MaintenanceNotice,
    MaintenanceRecord,
    Phase,
    PlannedMaintenance,
)
from notifier.wording.localizer import Localizer
from notifier.wording.marks import quoted
from notifier.wording.phrases import phrases
from notifier.wording.sanitize import DETAIL_LIMIT, one_line

if TYPE_CHECKING:
    from notifier.wording.events import EventFormatter

SHOWN_INSTANCES = 10
"""Maximum number of instances that a line about a mute names."""


def maintenance_label(planned: PlannedMaintenance, localizer: Localizer) -> str:
    """Return what a maintenance is called: `Maintenance (node restart)`. A type of no phrase is part of the text."""
    return maintenance_name(planned.name, localizer)


def maintenance_name(written: str, localizer: Localizer) -> str:
    """Return what a maintenance of a type is called, by the API's name of the type."""
    if written in MAINTENANCE_KINDS:
        return localizer.text(f"maintenance.kind.{written}")
    name = one_line(written)
    return localizer.text("maintenance.other", name=name) if name else localizer.text("maintenance.unnamed")


def is_known(planned: PlannedMaintenance) -> bool:
    """Return whether the label has no text from outside."""
    return planned.name in MAINTENANCE_KINDS or not planned.name


def maintenance_status(record: MaintenanceRecord, localizer: Localizer) -> str:
    """Return the status of a maintenance: `scheduled`."""
    return localizer.text(f"maintenance.status.{'vanished' if record.vanished else record.planned.status}")


def impact_words(planned: PlannedMaintenance, localizer: Localizer) -> str:
    """Return what it does to its instance, with marks. Empty where the cloud does not say."""
    written = one_line(planned.impact or "", DETAIL_LIMIT)
    key = f"maintenance.impact.{'_'.join(written.lower().split())}"
    return localizer.text(key) if key in phrases(localizer.language) else quoted(written) if written else ""


def maintenance_reason(planned: PlannedMaintenance, localizer: Localizer) -> str:
    """Return why it is done, as plain text. Empty where the cloud does not say, and once it is over."""
    if planned.phase is Phase.OVER:
        return ""
    written = one_line(planned.reason or "", DETAIL_LIMIT)
    key = f"maintenance.reason.{written.upper()}"
    return localizer.text(key) if key in phrases(localizer.language) else written


def level_words(planned: PlannedMaintenance, localizer: Localizer) -> str:
    """Return how the cloud rates it: `major`. Empty where it does not say."""
    known = phrases(localizer.language).get(f"alarm.level.{planned.level}")
    return known or one_line(planned.level)


def shown_time(planned: PlannedMaintenance) -> datetime | None:
    """Return the time that a title names: the deadline of an authorisation, else when it may begin."""
    return planned.deadline or planned.latest_at


def maintenance_conditions(notice: MaintenanceNotice, formatter: EventFormatter, seen: datetime) -> Iterator[str]:
    """Yield when it is, what was planned before, and what it does, in short parts with marks."""
    text = formatter.localizer.text
    if notice.phase is not Phase.OVER:
        yield from _times(notice, formatter, seen)
    impact = impact_words(notice, formatter.localizer)
    if impact and notice.phase is not Phase.OVER:
        yield text("condition.impact", impact=impact)


def _times(notice: MaintenanceNotice, formatter: EventFormatter, seen: datetime) -> Iterator[str]:
    text = formatter.localizer.text
    if when := window_words(notice.begins_at, notice.ends_at, formatter, seen):
        yield when
    elif notice.latest_at is None and notice.phase is not Phase.RUNNING:
        yield text("condition.unscheduled")
    moved = (notice.former_starts_at, notice.former_ends_at) != (notice.begins_at, notice.ends_at)
    if moved and (before := window_words(notice.former_starts_at, notice.former_ends_at, formatter, seen, "_was")):
        yield before
    if notice.latest_at and notice.phase is Phase.AHEAD:
        yield text("condition.latest", at=formatter.dated(notice.latest_at, seen))
    if notice.former_latest_at and notice.former_latest_at != notice.latest_at:
        yield text("condition.latest_was", at=formatter.dated(notice.former_latest_at, seen))


def window_words(
    start: datetime | None, end: datetime | None, formatter: EventFormatter, seen: datetime, suffix: str = ""
) -> str:
    """Return a window in words with marks: `window 02:00 to 06:00`. Empty where no time is known.

    `suffix` chooses the phrase: `_was` for the window before a change.
    """
    text = formatter.localizer.text
    if start and end and end > start:
        first, last = formatter.interval(start, end, seen)
        return text(f"condition.window{suffix}", start=first, end=last)
    moment = start or end
    if moment is None:
        return ""
    return text("condition.planned_was" if suffix else "condition.planned_for", at=formatter.dated(moment, seen))


def maintenance_notes(notice: MaintenanceNotice, formatter: EventFormatter, seen: datetime) -> Iterator[str]:
    """Yield what follows from it, in sentences with marks."""
    text = formatter.localizer.text
    if notice.vanished:
        yield text("note.maintenance.vanished")
    elif notice.phase is Phase.ASKING and notice.latest_at:
        yield text("note.maintenance.awaiting", at=formatter.dated(notice.latest_at, seen))


def maintenance_mute_line(one: MaintenanceMuteNow, localizer: Localizer) -> str:
    """Return what a mute covers during maintenance, which instances that are now, and why, in one line with marks."""
    text, mute = localizer.text, one.mute
    covers = one_line(" ".join(map(str, mute.match)), DETAIL_LIMIT)
    line = text("mutes.during", name=quoted(mute.name), covers=quoted(covers))
    names = [quoted(one_line(name)) for name in one.instances[:SHOWN_INSTANCES]]
    if len(one.instances) > SHOWN_INSTANCES:
        names.append("…")
    if names:
        line = text("mutes.during_now", line=line, names=text("list.separator").join(names))
    if mute.except_failures:
        line = text("mutes.but", line=line)
    return text("mutes.reason", line=line, why=quoted(one_line(mute.reason))) if mute.reason else line
