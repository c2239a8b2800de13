"""Which announcements follow from lists of planned maintenance, and from the time. Pure.

A maintenance is announced when it is scheduled, when it waits for somebody's authorisation, when its times change, when
it begins and when it is over. Rows that are over when a list is first read are recorded and make no event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from notifier.core.events import EventType
from notifier.core.maintenance_values import (
    MaintenanceList,
    MaintenanceListState,
    MaintenanceNotice,
    MaintenanceRecord,
    MaintenanceRules,
    MaintenanceStatus,
    Phase,
    PlannedMaintenance,
)
from notifier.core.model import Event, SourceOrigin
from notifier.core.outbox import event_about_source

MISSING_LISTS = 2
"""Number of complete lists in a row without a row before it counts as gone."""
EMPTY_AFTER = timedelta(minutes=15)
"""Time for which lists have to be empty before that counts: a failing service may show an empty list."""
KEPT = timedelta(days=30)
"""Time for which a maintenance that is over stays recorded."""
CLOSE = timedelta(hours=1)
"""Time before a window in which the list is read more often."""
CLOSE_EVERY = timedelta(minutes=1)
"""Time between two reads of a list while a maintenance is close or under way."""
SKIPPED_SHARE = 12
"""A reminder that would follow another message within this part of its wait is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceDecision:
    """What is announced, and what is recorded."""

    events: tuple[Event, ...] = ()
    saved: tuple[MaintenanceRecord, ...] = ()
    """New and changed records."""
    deleted: tuple[str, ...] = ()
    """Ids of records that are no longer kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListReading:
    """A list that was read, and what it is compared with."""

    origin: SourceOrigin
    listed: MaintenanceList
    known: Mapping[str, MaintenanceRecord]
    """What is recorded of the source, by id."""
    state: MaintenanceListState
    rules: MaintenanceRules
    now: datetime

    def decide(self) -> MaintenanceDecision:
        """Decide what follows from the list."""
        events: list[Event] = []
        saved: list[MaintenanceRecord] = []
        by_id = {row.id: row for row in self.listed.planned}
        for row in by_id.values():
            before = self.known.get(row.id)
            if before is None and not self._is_kept(row):
                continue
            after, event = self._listed(before, row)
            if event:
                events.append(event)
            if after != before:
                saved.append(after)
        for before in self.known.values():
            if before.planned.id in by_id or before.over or not self.listed.complete:
                continue
            after, event = self._missing(before)
            if event:
                events.append(event)
            saved.append(after)
        old = [
            id_
            for id_, before in self.known.items()
            if id_ not in by_id and before.over and before.changed_at <= self.now - KEPT
        ]
        old += [id_ for id_, row in by_id.items() if id_ in self.known and not self._is_kept(row)]
        return MaintenanceDecision(
            events=tuple(events),
            saved=tuple(record for record in saved if record.planned.id not in old),
            deleted=tuple(old),
        )

    def _is_kept(self, row: PlannedMaintenance) -> bool:
        """Return whether a row is recorded. A list may go back for years."""
        ended_at = row.updated_at or row.executed_at or row.over_at
        return row.phase is not Phase.OVER or ended_at is None or ended_at > self.now - KEPT

    def _listed(
        self, before: MaintenanceRecord | None, row: PlannedMaintenance
    ) -> tuple[MaintenanceRecord, Event | None]:
        row = _completed(before, row)
        kind = self._kind(before, row)
        former = before.planned if before and kind is EventType.MAINTENANCE_CHANGED else None
        event = self._event(kind, MaintenanceNotice.of(row, former), again=before is not None) if kind else None
        changed = before is None or before.vanished or before.planned != row
        record = MaintenanceRecord(
            source=self.origin.source,
            planned=row,
            first_seen_at=before.first_seen_at if before else self.now,
            changed_at=self.now if before is None or changed else before.changed_at,
            announced_at=self.now if event else before.announced_at if before else None,
        )
        return replace(record, due_at=next_reminder(record, self.rules.remind_before)), event

    def _kind(self, before: MaintenanceRecord | None, row: PlannedMaintenance) -> EventType | None:
        """Return the type of the event that a listed row makes; None where it is no news."""
        if before is None or (before.over and row.phase is not Phase.OVER):
            return self._kind_of_new(row) if before is None else _TYPES[row.phase]
        if row.phase is Phase.OVER:
            same = before.over and not before.vanished and before.planned.status is row.status
            known = before.vanished  # it was announced as gone, and how it ended is no news unless it failed
            return None if same or (known and row.status is not MaintenanceStatus.FAILED) else _ENDS[row.status]
        if before.phase is not row.phase:
            return _TYPES[row.phase]
        changed = row.phase is not Phase.RUNNING and before.planned.times != row.times
        return EventType.MAINTENANCE_CHANGED if changed else None

    def _kind_of_new(self, row: PlannedMaintenance) -> EventType | None:
        if row.phase is Phase.OVER:
            ended_at = row.executed_at or row.updated_at
            ended_since = self.state.read_at is not None and ended_at is not None and ended_at > self.state.read_at
            unknown_to_all = row.status is MaintenanceStatus.CANCELED
            return _ENDS[row.status] if ended_since and not unknown_to_all else None
        past = row.phase is Phase.AHEAD and row.over_at is not None and row.over_at <= self.now
        return None if past else _TYPES[row.phase]

    def _missing(self, before: MaintenanceRecord) -> tuple[MaintenanceRecord, Event | None]:
        missing, since = before.missing + 1, before.missing_since or self.now
        after = replace(before, missing=missing, missing_since=since)
        emptied = not self.listed.planned and not self.listed.unreadable
        if missing < MISSING_LISTS or (emptied and self.now - since < EMPTY_AFTER):
            return after, None
        planned = before.planned
        begun = planned.phase is Phase.RUNNING or (planned.begins_at is not None and planned.begins_at <= self.now)
        kind = EventType.MAINTENANCE_ENDED if begun else EventType.MAINTENANCE_CANCELLED
        event = self._event(kind, MaintenanceNotice.of(planned, vanished=True), again=True)
        gone = replace(after, vanished=True, due_at=None, changed_at=self.now, announced_at=self.now)
        return gone, event

    def _event(self, kind: EventType, notice: MaintenanceNotice, *, again: bool) -> Event:
        facts = [kind.removeprefix("maintenance."), *map(_fact, notice.times)]
        # The same state can be reached a second time. The time of the change tells it from a list that is read again.
        if moment := notice.updated_at or (self.now if again else None):
            facts.append(_fact(moment))
        return maintenance_event(self.origin, kind, notice, ":".join(facts), self.now)


_TYPES: Mapping[Phase, EventType] = {
    Phase.AHEAD: EventType.MAINTENANCE_ANNOUNCED,
    Phase.ASKING: EventType.MAINTENANCE_AWAITING,
    Phase.RUNNING: EventType.MAINTENANCE_STARTED,
}
_ENDS: Mapping[MaintenanceStatus, EventType] = {
    MaintenanceStatus.COMPLETED: EventType.MAINTENANCE_ENDED,
    MaintenanceStatus.FAILED: EventType.MAINTENANCE_FAILED,
    MaintenanceStatus.CANCELED: EventType.MAINTENANCE_CANCELLED,
}


def _completed(before: MaintenanceRecord | None, row: PlannedMaintenance) -> PlannedMaintenance:
    """Return a row with what it leaves empty and an earlier one had: a plan does not lose its times by being empty.

    A status that nobody has described leaves the maintenance in the one that was known.
    """
    if before is None:
        return row
    was = before.planned
    row = replace(
        row,
        status=was.status if row.status is MaintenanceStatus.UNKNOWN else row.status,
        instance_id=row.instance_id or was.instance_id,
        instance_name=row.instance_name or was.instance_name,
        job_id=row.job_id or was.job_id,
    )
    if row.phase is not was.phase:
        return row
    return replace(
        row,
        starts_at=row.starts_at or was.starts_at,
        ends_at=row.ends_at or was.ends_at,
        planned_at=row.planned_at or was.planned_at,
        latest_at=row.latest_at or was.latest_at,
    )


def _fact(moment: datetime | None) -> str:
    return f"{moment:%Y%m%dT%H%M%SZ}" if moment else "-"


def maintenance_event(
    origin: SourceOrigin, kind: EventType, notice: MaintenanceNotice, facts: str, now: datetime
) -> Event:
    """Return an event about a maintenance. `facts` are what distinguishes it from the others of its maintenance."""
    occurrence = f"maintenance:{notice.id}:{facts}"
    return replace(event_about_source(origin, kind, occurrence, now), maintenance=notice)


# ---- reminders ----


def next_reminder(record: MaintenanceRecord, before: Iterable[timedelta]) -> datetime | None:
    """Return when the next reminder of a maintenance is due; None where none follows."""
    found = _reminders(record, before)
    return min(found, default=None)


def _reminders(record: MaintenanceRecord, before: Iterable[timedelta]) -> Mapping[datetime, timedelta]:
    """Return the reminders that follow the last message about a maintenance, by their time."""
    planned, last = record.planned, record.announced_at
    if record.over or planned.phase is Phase.RUNNING or planned.deadline is None or last is None:
        return {}
    times = {planned.deadline - wait: wait for wait in before}
    return {at: wait for at, wait in times.items() if at > last + wait / SKIPPED_SHARE}


def decide_reminders(
    found: Sequence[MaintenanceRecord], origins: Mapping[str, SourceOrigin], rules: MaintenanceRules, now: datetime
) -> MaintenanceDecision:
    """Decide what is sent of maintenance whose reminders are due: one message of each, whatever was missed.

    What is about a source that is no longer configured is not sent.
    """
    events: list[Event] = []
    saved: list[MaintenanceRecord] = []
    for record in found:
        due = {at: wait for at, wait in _reminders(record, rules.remind_before).items() if at <= now}
        deadline, origin = record.planned.deadline, origins.get(record.source)
        after = record
        if due and deadline and now < deadline and origin:
            wait = due[max(due)]
            facts = f"reminded:{_fact(deadline)}:{wait.total_seconds():g}"
            notice = MaintenanceNotice.of(record.planned)
            events.append(maintenance_event(origin, EventType.MAINTENANCE_REMINDED, notice, facts, now))
            after = replace(record, announced_at=now)
        elif due:
            after = replace(record, announced_at=now)
        saved.append(replace(after, due_at=next_reminder(after, rules.remind_before)))
    return MaintenanceDecision(events=tuple(events), saved=tuple(saved))


# ---- when to read ----


def next_read(records: Iterable[MaintenanceRecord], rules: MaintenanceRules, now: datetime) -> datetime:
    """Return when a list is read next: soon while a maintenance is under way or may begin within the hour."""
    close = any(_is_close(record, now) for record in records)
    return now + (min(rules.every, CLOSE_EVERY) if close else rules.every)


def _is_close(record: MaintenanceRecord, now: datetime) -> bool:
    planned = record.planned
    if record.over:
        return False
    if record.phase is Phase.RUNNING:
        return True
    until = planned.over_at
    return planned.begins_at is not None and planned.begins_at - CLOSE <= now and (until is None or now < until + CLOSE)
