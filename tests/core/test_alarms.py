"""Alarms between two polls: how bad they are, what they open, what ends that, and what is no news."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import T0, make_event, make_task

from notifier.cli.views import View
from notifier.core import failures
from notifier.core.alarms import FAULT_OF_RECOVERY, AlarmFacts, AlarmFeed, AlarmLevel, has_end
from notifier.core.diff import DiffRules, RecordedTask, compare
from notifier.core.events import EventType
from notifier.core.failures import MOMENT_OPEN_FOR, OpenFailure, after_events, key_opened_by, with_closings
from notifier.core.fields import fields_of
from notifier.core.health_facts import Expected
from notifier.core.model import Event, Task, TaskStatus, Transition
from notifier.core.repeats import repeats_of
from notifier.core.routing import RoutedEvent, RoutingConfig
from notifier.core.ticket_plan import refusal
from notifier.core.tickets import operation_of_task
from notifier.core.usual_memory import UsualMemory
from notifier.ports import StoredTask
from notifier.web.api.reads import ReadRules, task_document
from notifier.web.mcp_tools import task_answer
from notifier.wording.causes import builtin_catalogue
from notifier.wording.events import EventFormatter
from notifier.wording.explained import task_explanation
from notifier.wording.localizer import Localizer
from notifier.wording.operations import ALARMS
from notifier.wording.phrases import Language

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NODE_FAULT, SWITCHOVER = "GaussDBV5FaultyDBNode", "StateTransitionAlarm"
RULES = DiffRules(observed_at=T0, baseline_at=T0 - DAY)


def make_alarm(job: str = "ev1", name: str = NODE_FAULT, *, status: str = "raised", **changes: Any) -> Task:
    facts = AlarmFacts(
        feed=changes.pop("feed", AlarmFeed.CLOUD_EYE),
        level=changes.pop("level", AlarmLevel.MAJOR),
        node_id=changes.pop("node", "node-1"),
    )
    over = status == "cleared"
    times = {"created_at": None if over else T0 - HOUR, "ended_at": T0 if over else None}
    values = {"progress": None, "instance_status": None, "fail_reason": None, **times, **changes}
    return make_task(job, name=name, status=status, alarm=facts, **values)


def raised(task: Task, **changes: Any) -> Event:
    return make_event(task, type=EventType.ALARM_RAISED, occurred_at=task.created_at, previous_status=None, **changes)


def cleared(task: Task, **changes: Any) -> Event:
    return make_event(task, type=EventType.ALARM_CLEARED, occurred_at=task.ended_at, previous_status=None, **changes)


def routed(event: Event, *channels: str) -> RoutedEvent:
    return RoutedEvent(event=event, routes=("alarms",), channels=channels or ("dba",))


def opened(*events: Event) -> list[OpenFailure]:
    return [*after_events([routed(one) for one in events], {}, {}, RoutingConfig(), T0)]


# ---- how bad ----


@pytest.mark.parametrize(
    ("level", "environment", "severity"),
    [
        ("critical", "", "critical"),
        ("major", "", "error"),
        ("minor", "", "warning"),
        ("info", "", "info"),
        (None, "", "error"),
        ("major", "production", "critical"),
        ("minor", "production", "warning"),
        ("critical", "staging", "warning"),
        ("info", "staging", "info"),
    ],
)
def test_the_level_decides_how_bad_an_alarm_is(level: str | None, environment: str, severity: str) -> None:
    task = make_alarm(level=AlarmLevel(level) if level else None)
    assert raised(task, environment=environment).severity == severity
    assert cleared(make_alarm(status="cleared"), environment=environment).severity == "info"


def test_a_reminder_is_as_bad_as_its_alarm() -> None:
    reminder = replace(raised(make_alarm(level=AlarmLevel.MINOR)), type=EventType.TASK_REMINDED)
    assert reminder.severity == "warning"


def test_matchers_see_the_level_and_the_node() -> None:
    fields = fields_of(raised(make_alarm()), ("level", "node_id", "status", "type"))
    assert fields == {"level": "major", "node_id": "node-1", "status": "raised", "type": "alarm.raised"}
    assert fields_of(make_event(), ("level", "node_id")) == {"level": "", "node_id": ""}


def test_every_fault_with_an_end_has_words() -> None:
    assert set(FAULT_OF_RECOVERY.values()) <= ALARMS
    assert not set(FAULT_OF_RECOVERY) & ALARMS


# ---- what is news ----


def found(task: Task, before: Task | None = None, **rules: Any) -> tuple[Transition, ...]:
    recorded = RecordedTask(task=before, occurrence="x") if before else None
    return compare(recorded, task, replace(RULES, **rules))[1]


def test_a_new_alarm_is_raised_and_its_end_cleared() -> None:
    assert [one.type for one in found(make_alarm())] == [EventType.ALARM_RAISED]
    assert [one.type for one in found(make_alarm(status="cleared"))] == [EventType.ALARM_CLEARED]


def test_an_alarm_of_the_history_goes_from_raised_to_cleared_and_may_come_back() -> None:
    before = make_alarm(feed=AlarmFeed.ALARM_HISTORY)
    over = replace(before, status=TaskStatus.CLEARED, raw_status="ok", ended_at=T0)
    assert [one.type for one in found(over, before)] == [EventType.ALARM_CLEARED]
    assert [one.type for one in found(before, over)] == [EventType.ALARM_RAISED]


def test_an_alarm_is_cleared_once_whenever_its_row_is_written_again() -> None:
    over = make_alarm(status="cleared", feed=AlarmFeed.ALARM_HISTORY)
    assert found(replace(over, ended_at=T0 + HOUR), over) == ()
    after, _ = compare(RecordedTask(task=over, occurrence="x"), replace(over, ended_at=T0 + HOUR), RULES)
    assert after is not None
    assert after.task.ended_at == over.ended_at


def test_the_baseline_takes_what_is_raised_quietly_and_what_is_over_without_a_trace() -> None:
    baseline: dict[str, Any] = {"quiet_new": True, "baseline_at": None}
    assert [one.quiet for one in found(make_alarm(), **baseline)] == [True]
    assert found(make_alarm(ended_at=T0), **baseline) == ()
    assert found(make_alarm(status="cleared"), **baseline) == ()


def test_alarms_that_a_missing_right_had_hidden_are_quiet() -> None:
    regained: dict[str, Any] = {"quiet_until": T0 - timedelta(minutes=30)}
    assert [one.quiet for one in found(make_alarm(), **regained)] == [True]
    assert [one.quiet for one in found(make_alarm(created_at=T0), **regained)] == [False]
    assert [one.quiet for one in found(make_alarm(status="cleared"), **regained)] == [False]


def test_what_may_have_been_pruned_is_no_news() -> None:
    assert found(make_alarm(), pruned_to=T0) == ()


def test_an_alarm_is_late_by_the_time_at_which_it_was_raised() -> None:
    (late,) = found(make_alarm(), late_after=timedelta(minutes=10))
    (fresh,) = found(make_alarm(created_at=T0), late_after=timedelta(minutes=10))
    assert (late.late, fresh.late) == (True, False)


# ---- what is open ----


def test_nodes_are_operations_of_their_own() -> None:
    one, other, whole = (make_alarm(node=node) for node in ("node-1", "node-2", None))
    assert len({operation_of_task(task) for task in (one, other, whole)}) == 3
    assert operation_of_task(whole) == operation_of_task(replace(whole, alarm=None))


def test_a_recovery_closes_the_failure_of_its_fault_found_in_the_same_poll() -> None:
    fault = raised(make_alarm("ev1", created_at=T0 - HOUR), observed_at=T0)
    over = cleared(make_alarm("ev2", status="cleared", ended_at=T0 - HOUR / 2), observed_at=T0)
    (closed,) = opened(fault, over)
    assert closed.over
    (_, success) = with_closings([routed(fault, "dba"), routed(over, "log")], {})
    assert success.event.closes is not None
    assert success.event.closes.type is EventType.ALARM_RAISED
    assert success.channels == ("log", "dba")


def test_a_recovery_before_the_fault_closes_nothing() -> None:
    fault = raised(make_alarm("ev1", created_at=T0 - HOUR))
    over = cleared(make_alarm("ev2", status="cleared", ended_at=T0 - 2 * HOUR))
    assert [one.over for one in opened(fault, over)] == [False]


def test_a_fault_that_is_over_when_it_is_found_opens_nothing() -> None:
    past = raised(make_alarm(ended_at=T0))
    assert key_opened_by(past) is None
    assert refusal(routed(past), "tickets") == "the alarm was over before it was found"
    assert refusal(routed(raised(make_alarm())), "tickets") is None


def test_a_switchover_is_open_for_a_day_after_its_latest_repeat() -> None:
    first = raised(make_alarm("ev1", SWITCHOVER, created_at=T0 - HOUR))
    again = raised(make_alarm("ev2", SWITCHOVER, created_at=T0))
    (one,) = opened(first)
    assert (one.ends_at, one.due_at) == (T0 - HOUR + MOMENT_OPEN_FOR, T0 - HOUR + MOMENT_OPEN_FOR)
    later = opened(first, again)
    assert [(one.count, one.ends_at) for one in later] == [(2, T0 + MOMENT_OPEN_FOR)]
    assert not failures.lapses(later[0], T0 + MOMENT_OPEN_FOR - HOUR)
    assert failures.lapses(later[0], T0 + MOMENT_OPEN_FOR)


def test_a_switchover_of_last_week_opens_nothing() -> None:
    assert key_opened_by(raised(make_alarm(name=SWITCHOVER, created_at=T0 - 2 * DAY))) is None


def test_what_the_cloud_reports_as_over_does_not_end_by_itself() -> None:
    history = make_alarm(name="disk usage", feed=AlarmFeed.ALARM_HISTORY)
    for task in (make_alarm(), history):
        assert task.alarm is not None
        assert has_end(task.name, task.alarm)
        assert [one.ends_at for one in opened(raised(task))] == [None]


def test_a_repeat_is_counted() -> None:
    first = raised(make_alarm("ev1", "ComponentStatusAlarm", created_at=T0 - HOUR))
    again = raised(make_alarm("ev2", "ComponentStatusAlarm", created_at=T0))
    assert [one.count for one in repeats_of([routed(first), routed(again)], {}).values()] == [2]


def test_an_alarm_happened_when_it_was_raised() -> None:
    event: Event = raised(make_alarm(created_at=T0 - HOUR), observed_at=T0)
    at: datetime | None = event.occurred_at
    assert at == T0 - HOUR
    assert opened(event)[0].opened_at == T0 - HOUR


# ---- what is known about them ----


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", sorted(ALARMS))
def test_messages_the_api_and_the_terminal_explain_an_alarm_by_its_name(name: str, language: Language) -> None:
    """Also where what the cloud wrote looks like the reason of a failed task."""
    localizer = Localizer(language=language, timezone=ZoneInfo("Asia/Shanghai"))
    known = stored(make_alarm(name=name, fail_reason="DBS.280277 VM not active in time"))
    said = EventFormatter(localizer).explained_task(known.task)
    assert said.meaning
    assert said.action
    rules = ReadRules(
        localizer=localizer, expected=Expected(), routes=(), causes=builtin_catalogue(), usual=UsualMemory()
    )
    answer = task_document(rules, known)
    assert (answer["means"], answer["action"]) == (said.meaning, said.action)
    assert (answer["error_code"], answer["cause"], answer["retry"]) == (None, None, None)
    tool = task_answer(rules, known)
    assert (tool["means"], tool["next_step"], tool["error_code"]) == (said.meaning, said.action, None)
    assert tool["label"] == localizer.task_label(name) != name
    view = View(localizer=localizer, now=T0, width=100)
    shown = view.explained(known.task)
    assert (shown.means(language), shown.action(language)) == (said.meaning, said.action)


@pytest.mark.parametrize("task", [make_alarm(status="cleared"), make_alarm(name="disk usage")])
def test_nothing_is_known_about_other_alarms(task: Task) -> None:
    found = task_explanation(task, "en", builtin_catalogue().explain)
    assert (found.means("en"), found.action("en")) == (None, None)


def test_nothing_is_left_to_do_about_an_alarm_that_is_over() -> None:
    found = task_explanation(make_alarm(ended_at=T0), "en", builtin_catalogue().explain)
    assert found.means("en")
    assert found.action("en") is None


def stored(task: Task) -> StoredTask:
    return StoredTask(task=task, first_seen_at=T0, changed_at=T0, listed=True)
