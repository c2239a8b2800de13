"""The reads that people's queries and the judgement of health are answered from.

They take no library but the driver: their statements are compiled ahead of time. So a look-up on the command line and
the service run the same ones.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from notifier.core.calendars import CalendarEntry
from notifier.core.delivery import Attempt, Delivery, DeliveryState, with_reply
from notifier.core.distribution import spread_of
from notifier.core.events import EventType
from notifier.core.expectations import MAX_SEEN_RUNS, SeenRun
from notifier.core.failures import OpenFailure, order_of
from notifier.core.health_facts import Backlog, HealthFacts
from notifier.core.maintenance_values import MaintenanceRecord, order_of_maintenance
from notifier.core.model import ChannelState, Event, SourceState, TaskStatus
from notifier.core.mutes import MAX_NAMED_TASKS, HeldBack, Mute, MutesInForce, named_task
from notifier.core.origins import OriginFigures, figures_of
from notifier.core.people import Acknowledgement, Action, EventSubscription
from notifier.core.projects import AccountState, FoundProjects
from notifier.core.replays import RecordedHistory
from notifier.core.routing import RoutedEvent
from notifier.core.storms import Storm
from notifier.core.tickets import Ticket
from notifier.core.usual import MIN_RUNS, Runs
from notifier.ports import ActionFilter, DeliveryFilter, EventFilter, Ledger, StoredTask, TaskFilter, TaskStatistics
from notifier.store import rows

MAX_LAGS = 10_000
"""Maximum number of rows of the audit log whose lag is counted, the latest ones."""
MAX_NAMES = 50
"""Maximum number of instances whose tasks are searched for by their names, one after the other."""


class Reader(Protocol):
    """One consistent view of a database."""

    def now(self) -> datetime:
        """Return the time that everybody who shares the database agrees on."""

    def query(self, name: str, /, **parameters: object) -> Sequence[Any]:
        """Return the rows of a statement of `query_statements`, with their columns by name."""


class _Count(NamedTuple):
    number: int = 0
    first: datetime | None = None
    last: datetime | None = None


_TASK_STATUSES = frozenset(status for status in TaskStatus if not status.of_alarm)
"""Alarms count as no task."""


class Lookups:
    """Indexed reads. Each method runs one statement, or a few."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.now = reader.now

    def found_projects(self) -> FoundProjects:
        """Return the projects of accounts that are to be read."""
        return FoundProjects(
            projects=[rows.project_of(row) for row in self._reader.query("projects")],
            accounts=self.accounts(),
        )

    def accounts(self) -> Mapping[str, AccountState]:
        """Return what is recorded of the accounts whose projects are found, by name."""
        return {row.name: rows.account_of(row) for row in self._reader.query("accounts")}

    def sources(self) -> Sequence[SourceState]:
        """Return every source ever polled, by name."""
        return [rows.source_of(row) for row in self._reader.query("sources")]

    def source_states(self) -> Sequence[SourceState]:
        """Return every source ever polled, by name, without the counts of its tasks: they take a while."""
        return [rows.source_of(row) for row in self._reader.query("source_states")]

    def health_facts(self) -> HealthFacts:
        """Return everything that health is judged by, and when that was asked."""
        return replace(self.channel_facts(), sources=self.source_states())

    def channel_facts(self) -> HealthFacts:
        """Return what health is judged by apart from sources, and when that was asked."""
        return HealthFacts(
            at=self.now(),
            channels=self.channels(),
            backlogs=self._backlogs(),
            replicas=[rows.replica_of(row) for row in self._reader.query("replicas")],
            calendars=[rows.calendar_age_of(row) for row in self._reader.query("calendars")],
            missing_rights=[rows.right_of(row) for row in self._reader.query("missing_rights")],
            accounts=list(self.accounts().values()),
            topics=[rows.topic_of(row) for row in self._reader.query("doorbell_topics")],
        )

    def calendar_entries(self, names: Collection[str]) -> Mapping[str, Sequence[CalendarEntry]]:
        """Return the entries of the last good copies of calendars, by name."""
        if not names:
            return {}
        found = self._reader.query("calendar_entries", names=list(names))
        return {row.name: rows.entries_of(row.entries) for row in found}

    def channels(self) -> Sequence[ChannelState]:
        """Return what is recorded about channels, by name."""
        return [rows.channel_of(row) for row in self._reader.query("channels")]

    def tasks(self, wanted: TaskFilter) -> Sequence[StoredTask]:
        """Return tasks, the most recently changed first."""
        found = self._reader.query("tasks", **self._task_parameters(wanted), limit=wanted.limit, offset=wanted.offset)
        now = self.now()
        in_force = self.mutes(now)
        mutes = MutesInForce(in_force, now) if in_force else None
        return [_stored_task(row, mutes) for row in found]

    def count_by_source(self, wanted: TaskFilter) -> Mapping[str, int]:
        """Count the tasks that fit by source, whatever the limit and the offset."""
        return {row.source: row.number for row in self._reader.query("task_counts", **self._task_parameters(wanted))}

    def count_tasks(self, wanted: TaskFilter) -> int:
        """Count the tasks that fit, whatever the limit and the offset."""
        (row,) = self._reader.query("task_count", **self._task_parameters(wanted))
        return int(row.number)

    def fail_reasons(self, wanted: TaskFilter) -> Sequence[str]:
        """Return the reasons of the tasks that fit, as many as the limit, the most recently changed first."""
        found = self._reader.query("fail_reasons", **self._task_parameters(wanted), limit=wanted.limit)
        return [row.fail_reason for row in found if row.fail_reason]

    def events(self, wanted: EventFilter) -> Sequence[RoutedEvent]:
        """Return events, the newest first."""
        return [item for _, item in self.numbered_events(wanted)]

    def numbered_events(self, wanted: EventFilter) -> Sequence[tuple[int, RoutedEvent]]:
        """Return events with their numbers, the newest first."""
        job = {"whole_job_id" if wanted.exact else "job_id": wanted.job_id}
        facts: dict[str, object] = {
            "type": wanted.type,
            "since": wanted.since,
            "source": wanted.source,
            "rule": wanted.rule,
            "id": wanted.id,
            "types": _listed(wanted.types),
            "before": wanted.before,
        }
        facts |= self._match_parameters(wanted, indexed=False)
        found = self._reader.query("events", **facts, **job, limit=wanted.limit)
        return [(row.seq, rows.routed_of(row)) for row in found]

    def task_names(self) -> Sequence[str]:
        """Return the names of recorded tasks, each once."""
        return [row.name for row in self._reader.query("task_names")]

    def deliveries(self, wanted: DeliveryFilter) -> Sequence[Delivery]:
        """Return deliveries, the newest first."""
        return [delivery for _, delivery in self.numbered_deliveries(wanted)]

    def numbered_deliveries(self, wanted: DeliveryFilter) -> Sequence[tuple[int, Delivery]]:
        """Return deliveries with their numbers, the newest first."""
        found = self._reader.query("deliveries", **_delivery_parameters(wanted), limit=wanted.limit)
        carried = self._reader.query("events_of_deliveries", ids=[row.id for row in found]) if found else ()
        storms = self.storms({row.storm for row in found if row.storm})
        known = rows.deliveries_of(found, rows.events_by_delivery(carried), storms)
        return [(row.seq, delivery) for row, delivery in zip(found, known, strict=True)]

    def delivery_ids(self, wanted: DeliveryFilter) -> Sequence[str]:
        """Return the ids of all deliveries that fit, whatever the limit, the oldest first."""
        return [row.id for row in self._reader.query("delivery_ids", **_delivery_parameters(wanted))]

    def storms(self, ids: Collection[str]) -> Mapping[str, Storm]:
        """Return storms by id."""
        return {row.id: rows.storm_of(row) for row in self._reader.query("storms", ids=list(ids))} if ids else {}

    def recorded_history(self, since: datetime, until: datetime) -> RecordedHistory:
        """Return what was recorded of the events from one time up to another, and what became of them."""
        bounds = {"since": since, "until": until}
        found = [rows.routed_of(row) for row in self._reader.query("recorded_events", **bounds)]
        by_id = {item.event.id: item.event for item in found}
        carried: dict[str, list[Event]] = {}
        for row in self._reader.query("recorded_pairs", **bounds):
            carried.setdefault(row.delivery_id, []).append(by_id[row.event_id])
        deliveries = self._reader.query("recorded_deliveries", **bounds)
        storms = self.storms({row.storm for row in deliveries if row.storm})
        acknowledged = self._reader.query("recorded_acknowledgements", **bounds)
        (first,) = self._reader.query("first_record")
        return RecordedHistory(
            since=since,
            until=until,
            events=found,
            deliveries=rows.deliveries_of(deliveries, carried, storms),
            acknowledgements=[rows.acknowledgement_of(row) for row in acknowledged],
            subscriptions=self.event_subscriptions(),
            mutes=[rows.mute_of(row) for row in self._reader.query("recorded_mutes", **bounds)],
            calendars=[rows.calendar_of(row) for row in self._reader.query("recorded_calendars")],
            begins=first.at,
        )

    def attempts(self, delivery_id: str) -> Sequence[Attempt]:
        """Return the attempts of a delivery in order."""
        return self.attempts_of([delivery_id]).get(delivery_id, ())

    def attempts_of(self, delivery_ids: Collection[str]) -> Mapping[str, Sequence[Attempt]]:
        """Return the attempts of deliveries in order, by the id of the delivery; none of one without any."""
        found: dict[str, list[Attempt]] = {}
        for row in self._reader.query("attempts", ids=list(delivery_ids)) if delivery_ids else ():
            found.setdefault(row.delivery_id, []).append(rows.attempt_of(row))
        return found

    def tickets(self, operation: str) -> Sequence[Ticket]:
        """Return the tickets of an operation, by channel, the oldest first."""
        return [rows.ticket_of(row) for row in self._reader.query("tickets", operation=operation)]

    def statistics(
        self, since: datetime | None = None, *, name: str | None = None, instance: str | None = None
    ) -> Sequence[TaskStatistics]:
        """Count tasks by name, the most frequent first, with the distribution of their durations.

        Args:
            since: leaves out those that last changed before.
            name: of the only operation to count, as the API has it.
            instance: id of an instance, or part of its name.
        """
        if since is not None and instance is None:
            found: Iterable[Any] = self._results_since(since, self.task_names() if name is None else [name])
        else:
            wanted = self._task_parameters(TaskFilter(instance=instance))
            found = self._reader.query("task_results", name=name, changed_since=since, **wanted)
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        durations: defaultdict[str, list[float]] = defaultdict(list)
        for of, status, seconds in found:
            if status not in _TASK_STATUSES:
                continue
            counts[of][status] += 1
            if seconds is not None and status == TaskStatus.COMPLETED:
                durations[of].append(seconds)
        known = [_statistics(of, count, durations.get(of, ())) for of, count in counts.items()]
        return sorted(known, key=lambda one: (-one.count, one.name))

    def origin_figures(self, since: datetime | None = None) -> OriginFigures:
        """Return how many starts were explained, and the lag of Cloud Trace, of searches that ended since a time.

        Lags are of the latest `MAX_LAGS` rows.
        """
        (counts,) = self._reader.query("origin_counts", since=since)
        lags = self._reader.query("origin_lags", since=since, limit=MAX_LAGS) if counts.explained else ()
        return figures_of(counts.searched, counts.explained, [row.lag for row in lags])

    def _results_since(self, since: datetime, names: Iterable[str]) -> Iterator[Any]:
        """Yield how tasks of these names fared. One statement for all would read their rows instead of an index."""
        for name in names:
            for status in _TASK_STATUSES:
                yield from self._reader.query("results_since", name=name, status=status.value, since=since)

    def seen_runs(self, source: str, since: datetime) -> Sequence[SeenRun]:
        """Return the tasks of a source that have changed since a time, at most MAX_SEEN_RUNS of the latest."""
        found = self._reader.query("seen_runs", source=source, since=since, limit=MAX_SEEN_RUNS)
        return [rows.seen_run_of(row) for row in found]

    def runs(self, source: str, name: str) -> Runs:
        """Return the latest completed runs of an operation; those of other sources where this one has too few."""
        found = self._reader.query("completed_runs", source=source, name=name)
        few = len(found) < MIN_RUNS
        return rows.runs_of(found, self._reader.query("completed_everywhere", name=name) if few else ())

    def instances(self, wanted: str, limit: int) -> Sequence[tuple[str | None, str | None]]:
        """Return ids and names of instances of recorded tasks with this id or name, the latest name first."""
        found = self._reader.query("instances", wanted=wanted, limit=limit)
        return [(row.instance_id, row.instance_name) for row in found]

    def recent_instance_names(self, limit: int) -> Sequence[str]:
        """Return the names of the instances of this many recorded tasks, those that changed last first, each once."""
        found = self._reader.query("instance_names", limit=limit)
        return list(dict.fromkeys(row.instance_name for row in found if row.instance_name))

    def mutes(self, now: datetime) -> Sequence[Mute]:
        """Return the mutes that are in force, those that end first first."""
        return [rows.mute_of(row) for row in self._reader.query("mutes", now=now)]

    def known_mutes(self) -> Sequence[Mute]:
        """Return the mutes that are in force or planned, those that begin first first."""
        return [rows.mute_of(row) for row in self._reader.query("known_mutes", now=self.now())]

    def held_back(self, mute: Mute) -> HeldBack:
        """Return what a mute has suppressed in its window so far."""
        suppressed = {"rule": mute.rule, "since": mute.since}
        counted = self._reader.query("held_counts", **suppressed)
        if not counted:
            return HeldBack()
        named = self._reader.query("held_named", **suppressed, limit=MAX_NAMED_TASKS)
        return HeldBack(
            counts=tuple((EventType(row.type), row.number) for row in counted),
            named=tuple(map(named_task, (rows.event_of(row.facts) for row in named))),
            channels=tuple(row.channel for row in self._reader.query("held_channels", **suppressed)),
        )

    def open_failures(self) -> Sequence[OpenFailure]:
        """Return the failures that are not resolved, the worst first, then the oldest."""
        return sorted((rows.failure_of(row.facts) for row in self._reader.query("open_failures")), key=order_of)

    def maintenances(self, since: datetime) -> Sequence[MaintenanceRecord]:
        """Return the maintenance that is not over, and what has been over since a time; what begins first first."""
        found = self._reader.query("maintenances", since=since)
        return sorted((rows.maintenance_of(row.facts) for row in found), key=order_of_maintenance)

    def count_unacknowledged(self) -> int:
        """Count the open failures that nobody has acknowledged."""
        (row,) = self._reader.query("unacknowledged_count")
        return int(row.number)

    def failures_of(self, operation: str) -> Sequence[OpenFailure]:
        """Return the failures of an operation, resolved ones too, the oldest first."""
        return [rows.failure_of(row.facts) for row in self._reader.query("failures_of", operation=operation)]

    def event_subscriptions(self) -> Sequence[EventSubscription]:
        """Return the subscriptions to events of all people and channels, the oldest first."""
        return [rows.event_subscription_of(row) for row in self._reader.query("event_subscriptions")]

    def actions(self, limit: int, wanted: ActionFilter | None = None) -> Sequence[Action]:
        """Return what people did, the newest first."""
        wanted = wanted or ActionFilter()
        which = {"since": wanted.since, "by": wanted.by, "verb": wanted.verb and wanted.verb.value}
        return [rows.action_of(row) for row in self._reader.query("actions", limit=limit, **which)]

    def numbered_actions(self, limit: int, before: int | None = None) -> Sequence[tuple[int, Action]]:
        """Return what people did with its numbers, the newest first; with `before` those of smaller numbers alone."""
        found = self._reader.query("actions", limit=limit, before=before)
        return [(row.seq, rows.action_of(row)) for row in found]

    def ledger(self) -> Ledger:
        """Count every pair of event and channel."""
        (totals,) = self._reader.query("ledger")
        (first,) = self._reader.query("ledger_oldest")
        counted = {DeliveryState(row.state): row.pairs for row in self._reader.query("ledger_states")}
        return Ledger(
            events=totals.events,
            unrouted=totals.unrouted,
            pairs=int(totals.pairs),
            by_state={state: counted.get(state, 0) for state in DeliveryState},
            unaccounted=tuple(self._unaccounted()),
            dead=tuple(self.deliveries(DeliveryFilter(state=DeliveryState.DEAD))),
            oldest_pending=first.oldest,
        )

    def _unaccounted(self) -> Iterator[tuple[str, str]]:
        """Find the pairs that routing asked for and that have no delivery, or that routing did not ask for."""
        for row in self._reader.query("ledger_unequal"):
            accounted = {account.channel for account in self._reader.query("ledger_channels", event_id=row.id)}
            yield from ((row.id, channel) for channel in sorted(accounted ^ set(rows.routed_of(row).channels)))
        yield from ((row.id, row.channel) for row in self._reader.query("ledger_unrouted"))

    def _task_parameters(self, wanted: TaskFilter) -> Mapping[str, object]:
        """Return the parameters of a filter. Where few instances are meant among all tasks, an index finds theirs."""
        indexed = wanted.status is None  # tasks of one status are few
        parameters = _task_parameters(wanted) | self._match_parameters(wanted, indexed=indexed)
        if wanted.instance is None or not indexed:
            return parameters
        names = self._names_like([str(parameters["instance_like"])])
        return parameters if names is None else parameters | {"instance_like": None, "instance_names": names}

    def _match_parameters(self, wanted: TaskFilter | EventFilter, *, indexed: bool) -> dict[str, object]:
        """Return the parameters of what matchers demand; of the names of few instances, where an index finds them."""
        instances = wanted.instances
        likes = None if instances.names is None else [_like(glob) for glob in instances.names]
        found: dict[str, object] = {
            "sources": _listed(wanted.sources),
            "names": _listed(wanted.names),
            "unlike": None if instances.other_names is None else [_like(glob) for glob in instances.other_names],
            "instance_ids": _listed(instances.ids),
        }
        if likes is None:
            return found
        if indexed and "" not in likes and (names := self._names_like(likes)) is not None:
            return found | {"among": names}
        return found | ({"name_like": likes[0]} if len(likes) == 1 else {"name_likes": likes})

    def _names_like(self, patterns: Sequence[str]) -> Sequence[str] | None:
        """Return the names of instances that fit any of these patterns of LIKE; None where there are too many."""
        names: dict[str, None] = {}
        for pattern in patterns:
            found = self._reader.query("names_like", instance_like=pattern, limit=MAX_NAMES + 1)
            names |= dict.fromkeys(row.name for row in found)
            if len(names) > MAX_NAMES:
                return None
        return list(names)

    def _backlogs(self) -> Sequence[Backlog]:
        """Return what each channel has not delivered, by name; channels that have delivered everything are left out."""
        found: dict[str, dict[DeliveryState, _Count]] = {}
        for channel, state, *count in self._reader.query("backlogs"):
            found.setdefault(channel, {})[DeliveryState(state)] = _Count(*count)
        return [self._backlog(channel, found[channel]) for channel in sorted(found)]

    def _backlog(self, channel: str, counts: Mapping[DeliveryState, _Count]) -> Backlog:
        states = (DeliveryState.PENDING, DeliveryState.PARKED, DeliveryState.DEAD)
        pending, parked, dead = (counts.get(state, _Count()) for state in states)
        return Backlog(
            channel=channel,
            pending=pending.number,
            pending_since=pending.first,
            parked=parked.number,
            dead=dead.number,
            dead_since=dead.first,
            dead_until=dead.last,
            reason=self._latest_failure("pending_reasons", channel) if pending.number else None,
            dead_reason=self._latest_failure("dead_reason", channel) if dead.number else None,
        )

    def _latest_failure(self, statement: str, channel: str) -> str | None:
        found = self._reader.query(statement, channel=channel)
        failures = [with_reply(row.reason, row.reply) for row in found if row.reason]
        return failures[-1] if failures else None


def _statistics(name: str, counts: Mapping[str, int], durations: Iterable[float]) -> TaskStatistics:
    running, completed, failed = (
        counts.get(status, 0) for status in (TaskStatus.RUNNING, TaskStatus.COMPLETED, TaskStatus.FAILED)
    )
    return TaskStatistics(
        name=name,
        running=running,
        completed=completed,
        failed=failed,
        other=sum(counts.values()) - running - completed - failed,
        durations=spread_of(durations),
    )


def _task_parameters(wanted: TaskFilter) -> dict[str, object]:
    running, after = wanted.status is TaskStatus.RUNNING, wanted.after
    return {
        "running": running or None,
        "status": None if running else wanted.status,
        "since": wanted.since,
        "instance": wanted.instance,
        "instance_like": None if wanted.instance is None else f"%{_literally(wanted.instance.lower())}%",
        "instance_id": wanted.instance_id,
        "instance_name": wanted.instance_name,
        "source": wanted.source,
        "storm": wanted.storm,
        "unacknowledged": wanted.unacknowledged or None,
        "whole_job_id" if wanted.exact else "job_id": wanted.job_id,
        "after_changed_at": after and after.changed_at,
        "after_key": after and f"{after.job_id}/{after.source}",
    }


def _delivery_parameters(wanted: DeliveryFilter) -> dict[str, object]:
    return {
        "state": wanted.state,
        "channel": wanted.channel,
        "dismissed": wanted.dismissed or None,
        "undismissed": wanted.dismissed is False or None,
        "held": wanted.held or None,
        "unheld": wanted.held is False or None,
        "id": wanted.id,
        "event_ids": wanted.event_ids,
        "before": wanted.before,
    }


def _literally(text: str) -> str:
    """Return a text as LIKE compares it character by character."""
    return text.replace("/", "//").replace("%", "/%").replace("_", "/_")


def _like(glob: str) -> str:
    """Return the pattern of LIKE for a glob, in lower case."""
    return _literally(glob.lower()).replace("*", "%").replace("?", "_")


def _listed(values: Collection[str] | None) -> list[str] | None:
    return None if values is None else list(values)


def _stored_task(row: Any, mutes: MutesInForce | None) -> StoredTask:  # noqa: ANN401 - a row
    task = rows.task_of(row)
    # The newest event is decoded only where a mute may concern it: lists are read often, and mutes are rare.
    muted = mutes.about(task, row.newest_facts and rows.event_of(row.newest_facts)) if mutes else None
    acknowledged = row.acknowledged_event_id and Acknowledgement(
        event_id=row.acknowledged_event_id,
        by=row.acknowledged_by,
        name=row.acknowledged_name,
        at=row.acknowledged_at,
    )
    return StoredTask(
        task=task,
        first_seen_at=row.first_seen_at,
        changed_at=row.changed_at,
        listed=not row.unlisted,
        events_pruned=row.events_pruned,
        acknowledged=acknowledged or None,
        muted=muted,
        newest=EventType(row.newest) if row.newest else None,
        started_by=rows.started_by_of(row.started_by),
    )
