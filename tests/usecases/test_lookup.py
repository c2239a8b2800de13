"""Look-ups, over a store that is a few lists."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from difflib import SequenceMatcher

import pytest
from fakes import START

from notifier import lookup
from notifier.core.calendars import CalendarEntry
from notifier.core.delivery import Attempt, Delivery, DeliveryState, delivery_id
from notifier.core.events import EventType
from notifier.core.expectations import SeenRun
from notifier.core.failures import OpenFailure
from notifier.core.health_facts import HealthFacts
from notifier.core.maintenance_values import MaintenanceRecord
from notifier.core.matchers import Matcher
from notifier.core.model import ChannelState, Event, SourceState, Task, TaskStatus, event_id
from notifier.core.mutes import HeldBack, Mute
from notifier.core.origins import OriginFigures
from notifier.core.people import Action, EventSubscription
from notifier.core.routing import Route, RoutedEvent
from notifier.core.tickets import Ticket
from notifier.core.usual import Run, Runs
from notifier.core.windows import parse_window
from notifier.ports import (
    ActionFilter,
    DeliveryFilter,
    EventFilter,
    Ledger,
    StoredTask,
    TaskFilter,
    TaskStatistics,
)

FAILURES = Route(name="failures", match=(Matcher(field="type", op="=", value="task.failed"),), channels=("dba",))
STARTS = Route(name="starts", match=(Matcher(field="type", op="=", value="task.started"),), channels=("log",))


def stored_task(job_id: str, source: str = "prod") -> StoredTask:
    task = Task(source=source, job_id=job_id, name="X", status=TaskStatus.FAILED, raw_status="Failed")
    return StoredTask(task=task, first_seen_at=START, changed_at=START, listed=True)


def routed_event(
    task: Task, kind: EventType, channels: tuple[str, ...] = (), *, minutes: int = 0, occurrence: str = "a"
) -> RoutedEvent:
    event = Event(
        id=event_id(task.source, task.job_id, occurrence),
        type=kind,
        source=task.source,
        region="r",
        project_id="p",
        occurrence=occurrence,
        observed_at=START + timedelta(minutes=minutes),
        occurred_at=None,
        task=task,
    )
    return RoutedEvent(event=event, routes=(), channels=channels)


def delivery_of(event: Event, channel: str, *more: Event) -> Delivery:
    return Delivery(
        id=delivery_id(channel, event.id),
        channel=channel,
        subject=event.subject,
        state=DeliveryState.DEAD,
        available_at=START,
        created_at=START,
        events=(event, *more),
        reason="HTTP 400",
    )


class Nothing:
    """The reads that these answers do not need."""

    def health_facts(self) -> HealthFacts:
        raise NotImplementedError

    def instances(self, _wanted: str, _limit: int) -> Sequence[tuple[str | None, str | None]]:
        raise NotImplementedError

    def recent_instance_names(self, _limit: int) -> Sequence[str]:
        raise NotImplementedError

    def mutes(self, _now: datetime) -> Sequence[Mute]:
        raise NotImplementedError

    def maintenances(self, _since: datetime) -> Sequence[MaintenanceRecord]:
        raise NotImplementedError

    def known_mutes(self) -> Sequence[Mute]:
        raise NotImplementedError

    def held_back(self, _mute: Mute) -> HeldBack:
        raise NotImplementedError

    def calendar_entries(self, names: Collection[str]) -> Mapping[str, Sequence[CalendarEntry]]:
        day = START.date()
        return {name: [CalendarEntry(first_day=day, last_day=day)] for name in names if name == "office"}

    def task_names(self) -> Sequence[str]:
        raise NotImplementedError

    def open_failures(self) -> Sequence[OpenFailure]:
        return ()

    def count_unacknowledged(self) -> int:
        raise NotImplementedError

    def failures_of(self, operation: str) -> Sequence[OpenFailure]:  # noqa: ARG002 - of any
        return ()

    def event_subscriptions(self) -> Sequence[EventSubscription]:
        raise NotImplementedError

    def actions(self, limit: int, wanted: ActionFilter | None = None) -> Sequence[Action]:
        raise NotImplementedError

    def tickets(self, _operation: str) -> Sequence[Ticket]:
        return ()

    def now(self) -> datetime:
        return START

    def runs(self, source: str, name: str) -> Runs:  # noqa: ARG002 - of any
        return Runs(of_source=[Run(60.0, 0)] * 8)

    def seen_runs(self, _source: str, _since: datetime) -> Sequence[SeenRun]:
        raise NotImplementedError

    def source_states(self) -> Sequence[SourceState]:
        raise NotImplementedError

    def statistics(
        self, since: datetime | None = None, *, name: str | None = None, instance: str | None = None
    ) -> Sequence[TaskStatistics]:
        raise NotImplementedError

    def origin_figures(self, since: datetime | None = None) -> OriginFigures:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Lists(Nothing):
    """Reads over lists that are in the order the port promises."""

    all_tasks: tuple[StoredTask, ...] = ()
    all_events: tuple[RoutedEvent, ...] = ()
    all_deliveries: tuple[Delivery, ...] = ()
    all_attempts: tuple[Attempt, ...] = ()
    states: tuple[SourceState, ...] = ()
    channel_states: tuple[ChannelState, ...] = ()
    drawn: Ledger | None = None

    def sources(self) -> Sequence[SourceState]:
        return self.states

    def channels(self) -> Sequence[ChannelState]:
        return self.channel_states

    def tasks(self, wanted: TaskFilter) -> Sequence[StoredTask]:
        fitting = [
            s
            for s in self.all_tasks
            if s.task.job_id.startswith(wanted.job_id or "") and wanted.source in (None, s.task.source)
        ]
        return fitting[: wanted.limit]

    def events(self, wanted: EventFilter) -> Sequence[RoutedEvent]:
        if wanted.id is not None:
            return [s for s in self.all_events if s.event.id.startswith(wanted.id)]
        fitting = [s for s in self.all_events if s.event.source == wanted.source]
        if wanted.exact:
            return [s for s in fitting if s.event.job_id == wanted.job_id]
        return [s for s in fitting if (s.event.job_id or "").startswith(wanted.job_id or "")]

    def deliveries(self, wanted: DeliveryFilter) -> Sequence[Delivery]:
        return [d for d in self.all_deliveries if {e.id for e in d.events} & set(wanted.event_ids or ())]

    def attempts(self, delivery_id: str) -> Sequence[Attempt]:
        return [a for a in self.all_attempts if a.delivery_id == delivery_id]

    def attempts_of(self, delivery_ids: Collection[str]) -> Mapping[str, Sequence[Attempt]]:
        return {one: self.attempts(one) for one in delivery_ids}

    def ledger(self) -> Ledger:
        assert self.drawn is not None
        return self.drawn


def test_a_whole_job_id_finds_its_task() -> None:
    q = Lists(all_tasks=(stored_task("abc"), stored_task("abcd")))
    assert lookup.find_task(q, "abc").task == stored_task("abc")


def test_the_only_task_that_begins_so_is_found() -> None:
    q = Lists(all_tasks=(stored_task("abc"), stored_task("xyz")))
    assert lookup.find_task(q, "x").task == stored_task("xyz")


def test_a_beginning_that_fits_several_returns_candidates() -> None:
    both = (stored_task("abc1"), stored_task("abc2"))
    assert lookup.find_task(Lists(all_tasks=both), "abc") == lookup.TaskAnswer(candidates=both)


def test_nothing_that_begins_so_is_neither_a_task_nor_candidates() -> None:
    assert lookup.find_task(Lists(all_tasks=(stored_task("abc"),)), "q") == lookup.TaskAnswer()


def test_one_job_id_in_two_sources_is_ambiguous_without_the_source() -> None:
    both = (stored_task("abc", "prod"), stored_task("abc", "test"))
    q = Lists(all_tasks=both)
    assert lookup.find_task(q, "abc").candidates == both
    assert lookup.find_task(q, "abc", source="test").task == both[1]


@pytest.mark.parametrize(("calendar", "is_open"), [(None, True), ("office", False), ("never-read", True)])
def test_an_explanation_knows_the_holidays_of_the_time_of_the_event(calendar: str | None, *, is_open: bool) -> None:
    stored = stored_task("abc")
    event = routed_event(stored.task, EventType.TASK_FAILED, ("dba",))
    at = datetime.combine(START.date(), START.time(), UTC)
    event = replace(event, event=replace(event.event, observed_at=at))
    route = replace(FAILURES, active=parse_window("daily", calendar=calendar))
    (account,) = lookup.explain_task(Lists(all_events=(event,)), stored, (route,), ("dba",)).events
    assert [verdict.route.is_open for verdict in account.verdicts] == [is_open]


def test_candidates_are_limited() -> None:
    q = Lists(all_tasks=tuple(stored_task(f"a{n}") for n in range(50)))
    assert len(lookup.find_task(q, "a").candidates) == lookup.MAX_CANDIDATES


def test_an_explanation_goes_from_event_over_routes_to_attempts() -> None:
    stored = stored_task("abc")
    event = routed_event(stored.task, EventType.TASK_FAILED, ("dba",))
    delivery = delivery_of(event.event, "dba")
    attempt = Attempt(
        delivery_id=delivery.id, number=1, started_at=START, finished_at=START, outcome="gave-up", reason="HTTP 400"
    )
    q = Lists(all_events=(event,), all_deliveries=(delivery,), all_attempts=(attempt,))
    (account,) = lookup.explain_task(q, stored, (FAILURES, STARTS), ("dba", "log")).events
    assert [(v.route.name, v.matched, v.actual) for v in account.verdicts] == [
        ("failures", True, None),
        ("starts", False, "task.failed"),
    ]
    assert account.channels == (
        lookup.ChannelRecord(channel="dba", planned=True, delivery=delivery, attempts=(attempt,)),
        lookup.ChannelRecord(channel="log", planned=False, delivery=None),
    )


def test_an_explanation_is_of_one_task_not_of_similar_job_ids() -> None:
    short, long = stored_task("ab"), stored_task("abc")
    events = tuple(routed_event(stored.task, EventType.TASK_FAILED) for stored in (long, short))
    explanation = lookup.explain_task(Lists(all_events=events), short, (), ())
    assert [account.routed.event.job_id for account in explanation.events] == ["ab"]


def test_an_explanation_names_a_channel_no_longer_configured() -> None:
    stored = stored_task("abc")
    event = routed_event(stored.task, EventType.TASK_FAILED, ("gone",))
    (account,) = lookup.explain_task(Lists(all_events=(event,)), stored, (), ("dba",)).events
    assert [c.channel for c in account.channels] == ["dba", "gone"]


def test_an_explanation_begins_with_the_oldest_event() -> None:
    stored = stored_task("abc")
    newer = routed_event(stored.task, EventType.TASK_FAILED, minutes=5, occurrence="b")
    older = routed_event(stored.task, EventType.TASK_STARTED)
    explanation = lookup.explain_task(Lists(all_events=(newer, older)), stored, (), ())
    assert [account.routed for account in explanation.events] == [older, newer]


def test_a_digest_accounts_for_each_event_that_it_names() -> None:
    stored, other = stored_task("abc"), stored_task("abd")
    event = routed_event(stored.task, EventType.TASK_FAILED, ("dba",))
    first = routed_event(other.task, EventType.TASK_FAILED, ("dba",))
    digest = replace(delivery_of(first.event, "dba", event.event), digest=True)
    q = Lists(all_events=(event, first), all_deliveries=(digest,))
    (account,) = lookup.explain_task(q, stored, (FAILURES,), ("dba",)).events
    assert account.channels[0].delivery == digest


def test_a_task_of_the_baseline_has_no_events_to_explain() -> None:
    assert lookup.explain_task(Lists(), stored_task("abc"), (FAILURES,), ("dba",)).events == ()


@pytest.mark.parametrize(("pairs", "ok"), [((), True), ((("event", "dba"),), False)])
def test_an_audit_holds_when_every_pair_is_accounted_for(pairs: tuple[tuple[str, str], ...], *, ok: bool) -> None:
    drawn = Ledger(events=1, unrouted=0, pairs=1, by_state={}, unaccounted=pairs)
    assert lookup.audit_ledger(Lists(drawn=drawn), START).ok is ok


def test_a_listing_shows_how_fresh_it_is() -> None:
    states = (SourceState(name="prod", last_poll_at=START),)
    listing = lookup.list_tasks(Lists(states=states), TaskFilter())
    assert (listing.rows, listing.sources) == ((), states)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("gauss-oders", ("gauss-orders",)),
        ("GAUSS-ORDERS", ("gauss-orders",)),
        ("orders", ("gauss-orders", "old-orders-archive")),
        ("nothing like it", ()),
        ("", ("gauss-orders", "old-orders-archive", "实例一")),
        ("实例二", ("实例一",)),
    ],
)
def test_similar_names_are_suggested_first_then_those_containing_it(wanted: str, found: tuple[str, ...]) -> None:
    assert lookup.similar_names(wanted, ["gauss-orders", "old-orders-archive", "实例一"]) == found


def test_few_names_are_compared_closely_and_none_in_full_length(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    class Counting(SequenceMatcher[str]):
        def ratio(self) -> float:
            compared.append(sum(block.size for block in self.get_matching_blocks()))
            return super().ratio()

    monkeypatch.setattr(lookup, "SequenceMatcher", Counting)
    names = [f"gauss-orders-{n:04}-{'x' * 5_000}" for n in range(lookup.COMPARED_NAMES)]
    assert len(lookup.similar_names("gauss-orders-00" + "y" * 5_000, names)) <= lookup.MAX_SUGGESTIONS
    assert len(compared) == lookup.CLOSELY_COMPARED_NAMES
    assert max(compared) <= lookup.COMPARED_NAME_LENGTH


def test_running_tasks_are_given_their_usual_time() -> None:
    ended = stored_task("a")
    running = replace(ended, task=replace(ended.task, job_id="b", status=TaskStatus.RUNNING))
    found = lookup.with_usual(Lists(), [ended, running])
    assert [row.usual and row.usual.middle for row in found] == [None, 60]
    assert [row.usual and row.usual.runs for row in lookup.with_usual(Lists(), [ended], ended=True)] == [8]


def test_an_event_is_explained_by_the_beginning_of_its_id() -> None:
    routed = routed_event(stored_task("a").task, EventType.TASK_FAILED, ("dba",))
    lists = Lists(all_events=(routed,))
    found = lookup.explain_event(lists, routed.event.id[:8], [FAILURES], ["dba"])
    assert found
    assert [verdict.matched for verdict in found.verdicts] == [True]
    assert lookup.explain_event(lists, "none", [FAILURES], ["dba"]) is None
