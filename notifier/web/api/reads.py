"""What the API and the MCP server read: functions over one view of the database that return documents.

The documents are those of the command line: see `notifier.wording.documents`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import itemgetter
from typing import Final

from notifier import lookup
from notifier.core import listings
from notifier.core.causes import CauseCatalogue, Explanation
from notifier.core.failures import OpenFailure, chosen, order_of
from notifier.core.health import ChannelStatus
from notifier.core.health_facts import Expected
from notifier.core.maintenance_mutes import MaintenanceMute
from notifier.core.maintenance_values import order_of_maintenance
from notifier.core.matchers import Matcher, parse_matchers
from notifier.core.model import SourceState, Task
from notifier.core.mutes import Mute
from notifier.core.routing import Route
from notifier.core.type_words import with_types
from notifier.core.usual_memory import UsualMemory
from notifier.lookup import Lookup
from notifier.ports import DeliveryFilter, EventFilter, StoredTask, TaskFilter
from notifier.web.api.ports import NumberedReads
from notifier.web.cursors import PageSlice
from notifier.wording import documents
from notifier.wording.documents import JsonDocument
from notifier.wording.explained import task_explanation
from notifier.wording.localizer import Localizer

MAX_API_ROWS: Final = 500
"""Maximum number of rows of a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRules:
    """What is configured, as far as answers depend on it, for a reader of one language."""

    localizer: Localizer
    expected: Expected
    """The configured sources and channels."""
    routes: Sequence[Route]
    causes: CauseCatalogue
    usual: UsualMemory
    """What this process remembers of completed runs."""

    @property
    def language(self) -> str:
        """The language of the reader."""
        return self.localizer.language

    def explained(self, task: Task | None) -> Explanation:
        """Return what is known about the reason of a task, or about an alarm; nothing where there is none."""
        return task_explanation(task, self.localizer.language, self.causes.explain) if task else Explanation()


def parse_task_match(text: str | None) -> Sequence[Matcher]:
    """Return the matchers that narrow a list of tasks. Raises ValueError with what would be right."""
    match = parse_matchers(text) if text is not None else ()
    listings.check_listing(match)
    return match


def parse_event_match(text: str | None) -> Sequence[Matcher]:
    """Return the matchers that narrow a list of events; a word such as `failed` is a type. Raises ValueError."""
    match = parse_matchers(with_types(text)) if text is not None else ()
    listings.check_listing(match, ("type",))
    return match


def parse_stream_match(text: str | None) -> tuple[Matcher, ...]:
    """Return the matchers of a stream, which may be about any field; a word such as `failed` is a type.

    Raises ValueError with what would be right.
    """
    return parse_matchers(with_types(text)) if text is not None else ()


# ---- tasks ----


def page_of_tasks(
    q: Lookup, rules: ReadRules, wanted: TaskFilter, match: Sequence[Matcher], page: PageSlice
) -> JsonDocument:
    """Return a page of tasks, the most recently changed first. Raises WrongCursor."""
    wanted = replace(wanted, after=page.task, limit=page.limit + 1)
    rows = q.tasks(lookup.tasks_that_fit(q, wanted, match, rules.expected.sources) if match else wanted)
    shown = lookup.with_usual(q, rows[: page.limit], memory=rules.usual)
    items = [task_document(rules, one) for one in shown]
    return {"items": items, "next": page.following(rows, _place_of_task)}


def _place_of_task(row: StoredTask) -> object:
    return row.changed_at, row.task.job_id, row.task.source


def find_task(q: Lookup, source: str, job_id: str) -> StoredTask | None:
    """Return one task."""
    found = q.tasks(TaskFilter(source=source, job_id=job_id, limit=lookup.MAX_CANDIDATES))
    return next((one for one in found if one.task.job_id == job_id), None)


def task_document(rules: ReadRules, stored: StoredTask) -> JsonDocument:
    """Return a task with what is known about it."""
    return documents.stored_task(stored, rules.explained(stored.task), rules.language)


def task_with_usual(q: Lookup, rules: ReadRules, stored: StoredTask) -> JsonDocument:
    """Return one task with how long such tasks usually take."""
    (measured,) = lookup.with_usual(q, [stored], memory=rules.usual)
    return task_document(rules, measured)


def explanation_of_task(q: Lookup, rules: ReadRules, stored: StoredTask) -> JsonDocument:
    """Return why each channel was or was not notified of a task."""
    found = lookup.explain_task(q, stored, rules.routes, rules.expected.channels, rules.causes)
    return documents.explanation(found, rules.explained(stored.task), rules.language)


# ---- events and deliveries ----


def page_of_events(
    q: NumberedReads, rules: ReadRules, wanted: EventFilter, match: Sequence[Matcher], page: PageSlice
) -> JsonDocument:
    """Return a page of events, the newest first. Raises WrongCursor."""
    wanted = replace(wanted, before=page.number, limit=page.limit + 1)
    rows = q.numbered_events(lookup.events_that_fit(q, wanted, match, rules.expected.sources) if match else wanted)
    items = [documents.routed_event(one) for _, one in rows[: page.limit]]
    return {"items": items, "next": page.following(rows, itemgetter(0))}


def page_of_deliveries(q: NumberedReads, wanted: DeliveryFilter, page: PageSlice) -> JsonDocument:
    """Return a page of deliveries, the newest first. Raises WrongCursor."""
    rows = q.numbered_deliveries(replace(wanted, before=page.number, limit=page.limit + 1))
    items = [documents.delivery(one) for _, one in rows[: page.limit]]
    return {"items": items, "next": page.following(rows, itemgetter(0))}


def delivery_with_attempts(q: Lookup, delivery_id: str) -> JsonDocument | None:
    """Return one delivery with its attempts."""
    found = [one for one in q.deliveries(DeliveryFilter(id=delivery_id, limit=2)) if one.id == delivery_id]
    if not found:
        return None
    attempts = [documents.attempt(one) for one in q.attempts(delivery_id)]
    return documents.delivery(found[0]) | {"attempts": attempts}


# ---- failures and mutes ----


def page_of_failures(
    q: Lookup, rules: ReadRules, source: str | None, match: Sequence[Matcher], page: PageSlice
) -> JsonDocument:
    """Return a page of the failures that are not resolved, the worst first, then the oldest. Raises WrongCursor."""
    found = chosen(q.open_failures(), source=source, match=match, catalogue=rules.causes)
    shown, following = page.among(found, order_of, tuple[int, datetime, str])
    return {"items": [failure_document(rules, one) for one in shown], "next": following}


def find_failure(q: Lookup, failure_id: str) -> OpenFailure | None:
    """Return a failure that is not resolved."""
    return next((one for one in q.open_failures() if one.id == failure_id), None)


def failure_document(rules: ReadRules, one: OpenFailure) -> JsonDocument:
    """Return a failure with its history."""
    return documents.open_failure(one, rules.explained(one.latest.task).code)


def find_mute(q: Lookup, mute_id: str) -> Mute | None:
    """Return a mute that is in force or planned."""
    return next((one for one in q.known_mutes() if one.id == mute_id), None)


def page_of_mutes(q: Lookup, during: Sequence[MaintenanceMute], page: PageSlice) -> JsonDocument:
    """Return a page of the mutes that are in force or planned, those that begin first first. Raises WrongCursor.

    `during` are the configured mutes that are in force during maintenance; every page has them all.
    """
    shown, following = page.among(q.known_mutes(), _place_of_mute, tuple[datetime, datetime, str])
    return {
        "items": [documents.mute(one) for one in shown],
        "next": following,
        "during_maintenance": [documents.maintenance_mute(one) for one in lookup.mutes_during_maintenance(q, during)],
    }


def _place_of_mute(one: Mute) -> tuple[datetime, datetime, str]:
    return one.since, one.until, one.id


# ---- maintenance ----


def page_of_maintenances(q: Lookup, source: str | None, instance: str, page: PageSlice, *, over: bool) -> JsonDocument:
    """Return a page of the maintenance that the cloud plans, what begins first first. Raises WrongCursor."""
    found = lookup.planned_maintenance(q, source, instance, over=over)
    shown, following = page.among(found, order_of_maintenance, tuple[bool, float, str, str])
    now = q.now()
    return {"items": [documents.maintenance(one, now) for one in shown], "next": following}


# ---- the notifier itself ----


def page_of_sources(q: Lookup, page: PageSlice) -> JsonDocument:
    """Return a page of the sources that were ever polled, by name. Raises WrongCursor."""
    shown, following = page.among(q.sources(), _name_of, str)
    return {"items": [documents.source_state(one) for one in shown], "next": following}


def _name_of(one: SourceState | ChannelStatus) -> str:
    return one.name


def page_of_channels(q: Lookup, rules: ReadRules, page: PageSlice) -> JsonDocument:
    """Return a page of the channels with their health and their backlog, by name. Raises WrongCursor."""
    known = lookup.health_report(q, rules.expected).channels
    shown, following = page.among(sorted(known, key=_name_of), _name_of, str)
    return {"items": [documents.channel(one, rules.expected) for one in shown], "next": following}


def find_channel(q: Lookup, rules: ReadRules, name: str) -> JsonDocument | None:
    """Return one channel with its health and its backlog."""
    known = lookup.health_report(q, rules.expected).channels
    return next((documents.channel(one, rules.expected) for one in known if one.name == name), None)


def health(q: Lookup, rules: ReadRules) -> JsonDocument:
    """Return the verdict on the notifier itself."""
    return documents.health(lookup.health_report(q, rules.expected))


def ledger(q: Lookup, now: datetime) -> JsonDocument:
    """Return the ledger of every event and channel."""
    parked = [channel for channel in q.channels() if channel.parked_since]
    return documents.audit(lookup.audit_ledger(q, now), parked)


def page_of_actions(q: NumberedReads, page: PageSlice) -> JsonDocument:
    """Return a page of what people did, the newest first. Raises WrongCursor."""
    rows = q.numbered_actions(page.limit + 1, page.number)
    items = [documents.action(one) for _, one in rows[: page.limit]]
    return {"items": items, "next": page.following(rows, itemgetter(0))}


def statistics(
    q: Lookup, rules: ReadRules, *, since: datetime | None, operation: str | None, instance: str | None
) -> JsonDocument:
    """Return how tasks ended and how long they took. `operation` is the cloud's name of one."""
    found = q.statistics(since, name=operation, instance=instance)
    label = rules.localizer.task_label
    operations = [documents.task_statistics(one, label(one.name)) for one in found]
    return {"operations": operations, "origins": documents.origin_figures(q.origin_figures(since))}
