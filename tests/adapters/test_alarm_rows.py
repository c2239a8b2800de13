"""Events of Cloud Eye and rows of the alarm history as alarms, whatever the bytes are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest

from notifier.core.alarms import FAULT_OF_RECOVERY, AlarmFacts, AlarmFeed, AlarmLevel
from notifier.core.model import Task, TaskStatus
from notifier.sources import alarm_rows
from notifier.sources.alarm_rows import MAX_CONTENT, MAX_CONTENT_LINES, readable_content
from notifier.sources.gaussdb_events import with_ends

T0 = datetime(2026, 11, 29, 4, 54, 48, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
INSTANCE, NODE = "ce2dce50f365430abe161bab79495a6ein14", "5a9cd1d7c2d54d2c8d1b2c3d4e5f6a7bno14"
EVENT: dict[str, Any] = {
    "event_id": "ev1795928088000R6doP5YeZ",
    "event_name": "GaussDBV5FaultyDBNode",
    "event_source": "SYS.GAUSSDBV5",
    "time": 1795928088000,
    "detail": {
        "content": "The node is faulty: its host failed.",
        "resource_id": "something-else",
        "resource_name": "orders-prod",
        "event_state": "warning",
        "event_level": "Major",
        "event_user": "",
        "event_type": "EVENT.SYS",
        "dimensions": [
            {"name": "gaussdbv5_instance_id", "value": INSTANCE},
            {"name": "gaussdbv5_node_id", "value": NODE},
        ],
    },
}
ALARM: dict[str, Any] = {
    "alarm_id": "al1606302402256R6doP5YeZ",
    "name": "disk usage above 85 %",
    "status": "alarm",
    "alarm_type": "MULTI_INSTANCE",
    "level": 2,
    "instance_id": INSTANCE,
    "instance_name": "orders-prod",
    "begin_time": 1795928088000,
    "update_time": 1795928088000,
}


def read(row: object = EVENT, **detail: object) -> Task:
    if detail:
        row = EVENT | {"detail": EVENT["detail"] | detail}
    found = alarm_rows.parse_event("alarms", "ev1", json.dumps(row).encode())
    assert found is not None
    return found


def alarm(**changes: object) -> Task:
    return alarm_rows.parse_alarm("alarms", "id", json.dumps(ALARM | changes).encode(), T0 + timedelta(hours=1))


def test_a_documented_event_is_read() -> None:
    assert read() == Task(
        source="alarms",
        job_id="ev1",
        name="GaussDBV5FaultyDBNode",
        status=TaskStatus.RAISED,
        raw_status="warning",
        instance_id=INSTANCE,
        instance_name="orders-prod",
        created_at=T0,
        fail_reason="The node is faulty: its host failed.",
        alarm=AlarmFacts(feed=AlarmFeed.CLOUD_EYE, level=AlarmLevel.MAJOR, node_id=NODE),
    )


@pytest.mark.parametrize(("name", "fault"), FAULT_OF_RECOVERY.items())
def test_a_recovery_has_the_name_of_its_fault(name: str, fault: str) -> None:
    found = read(EVENT | {"event_name": name})
    assert (found.name, found.status, found.created_at, found.ended_at) == (fault, TaskStatus.CLEARED, None, T0)


@pytest.mark.parametrize(
    ("written", "level"), [("critical", "critical"), ("MINOR", "minor"), ("Info", "info"), ("P1", None), (None, None)]
)
def test_a_level_is_one_that_we_know(written: object, level: str | None) -> None:
    facts = read(event_level=written).alarm
    assert facts is not None
    assert facts.level == level


def test_an_event_without_dimensions_names_its_resource() -> None:
    found = read(dimensions=None)
    assert (found.instance_id, found.alarm and found.alarm.node_id) == ("something-else", None)


def test_an_event_of_another_service_is_none_of_ours() -> None:
    assert alarm_rows.parse_event("alarms", "ev1", json.dumps(EVENT | {"event_source": "SYS.DWS"}).encode()) is None


@pytest.mark.parametrize("detail", [None, "text", [], {"dimensions": "x"}, {"dimensions": [1, {"name": {}}]}])
def test_what_cannot_be_read_of_an_event_is_left_out(detail: object) -> None:
    found = alarm_rows.parse_event("alarms", "ev1", json.dumps({"event_name": "X", "detail": detail}).encode())
    assert found is not None
    assert (found.name, found.created_at, found.raw_status) == ("X", None, "event")


# ---- what an alarm says ----


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ("", None),
        (None, None),
        (5, None),
        ('{"message": "DN failover.", "enterpriseProjectId": "0"}', "DN failover."),
        ('{"resourceSpecCode": "x.large", "message": "Full."}', "Full.\nresourceSpecCode: x.large"),
        ({"reason": "as an object"}, "as an object"),
        ('["one", {"node": 3}]', "one\nnode: 3"),
        ("{not JSON", "{not JSON"),
        ("[]", None),
    ],
)
def test_a_content_becomes_readable(content: object, text: str | None) -> None:
    assert readable_content(content) == text


@pytest.mark.parametrize(
    "content",
    [
        "x" * 100_000,
        json.dumps({str(n): "x" * 500 for n in range(5_000)}),
        "[" * 5_000 + "1" + "]" * 5_000,
        json.dumps({"a": {"b": {"c": {"d": {"e": "deep"}}}}}),
        json.dumps({"message": "a\x00b\ud800c\x1b[31m"}),
    ],
)
def test_a_hostile_content_is_bounded_and_clean(content: str) -> None:
    found = readable_content(content) or ""
    assert len(found) <= MAX_CONTENT
    assert len(found.splitlines()) <= MAX_CONTENT_LINES
    assert not {"\x00", "\ud800", "\x1b"} & set(found)
    assert "deep" not in found


# ---- the alarm history ----


def test_a_documented_alarm_is_read() -> None:
    found = alarm()
    assert (found.name, found.status, found.raw_status) == ("disk usage above 85 %", TaskStatus.RAISED, "alarm")
    assert (found.created_at, found.ended_at, found.instance_id) == (T0, None, INSTANCE)
    assert found.alarm == AlarmFacts(feed=AlarmFeed.ALARM_HISTORY, level=AlarmLevel.MAJOR)


@pytest.mark.parametrize("status", ["ok", "OK", "invalid"])
def test_an_alarm_ends_when_its_row_says_so(status: str) -> None:
    found = alarm(status=status, update_time=1795928148000)
    assert (found.status, found.ended_at) == (TaskStatus.CLEARED, T0 + MINUTE)


@pytest.mark.parametrize("changed", [1795928087000, 1796000000000, None, "soon"])
def test_a_time_that_cannot_be_the_end_is_not_taken_for_it(changed: object) -> None:
    found = alarm(status="ok", update_time=changed)
    assert (found.status, found.ended_at) == (TaskStatus.CLEARED, None)


def test_an_alarm_is_one_rule_on_one_instance_from_one_time() -> None:
    rows = [ALARM, ALARM | {"status": "ok"}, ALARM | {"begin_time": 1795928089000}, ALARM | {"instance_id": "other"}]
    page = alarm_rows.decode_history(json.dumps({"total_count": 4, "history_records": rows}).encode())
    assert (len(page.fingerprints), page.unreadable) == (3, frozenset())


@pytest.mark.parametrize("row", [{}, None, "text", ALARM | {"alarm_id": ""}, ALARM | {"begin_time": None}])
def test_an_alarm_without_a_rule_or_a_beginning_has_no_id(row: object) -> None:
    page = alarm_rows.decode_history(json.dumps({"total_count": 1, "history_records": [row]}).encode())
    assert (len(page.fingerprints), len(page.unreadable)) == (0, 1)


# ---- pages ----


def test_a_page_of_events_is_keyed_by_their_ids() -> None:
    page = alarm_rows.decode_events(json.dumps({"event_info": [EVENT], "meta_data": {"total": 7}}).encode())
    assert ([*page.fingerprints], page.total) == ([EVENT["event_id"]], 7)


@pytest.mark.parametrize("decode", [alarm_rows.decode_names, alarm_rows.decode_events, alarm_rows.decode_history])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>",
        b'{"error_code": "DBS.1", "error_msg": "no"}',
        b'{"meta_data": {}, "error_code": "DBS.1", "error_msg": "no"}',
        b'{"event_info": {"x": 1}, "events": 5, "history_records": "x"}',
    ],
)
def test_anything_else_is_no_page(decode: Any, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"answer|list"):
        decode(body)


def test_a_name_that_no_address_can_have_is_left_out() -> None:
    rows = [{"event_name": name} for name in ("../tasks", "a b", "節", "", 5)]
    assert [alarm_rows.parse_name(json.dumps(row).encode()) for row in rows[:4]] == [None] * 4


def test_a_row_of_names_is_read() -> None:
    row = {
        "event_name": "StateTransitionAlarm",
        "latest_event_source": "SYS.GAUSSDBV5",
        "latest_occur_time": 1795928088000,
        "event_count": 12,
    }
    found = alarm_rows.parse_name(json.dumps(row).encode())
    assert found is not None
    assert (found.name, found.source, found.latest, found.count) == (
        "StateTransitionAlarm",
        "SYS.GAUSSDBV5",
        T0,
        12,
    )


def test_queries_ask_for_what_the_services_take() -> None:
    events = parse_qs(alarm_rows.events_query(T0, T0 + MINUTE, 100))
    assert events == {
        "event_type": ["EVENT.SYS"],
        "event_source": ["SYS.GAUSSDBV5"],
        "from": ["1795928088000"],
        "to": ["1795928148000"],
        "start": ["100"],
        "limit": ["100"],
    }
    history = parse_qs(alarm_rows.history_query(T0, 3, 50))
    assert history == {
        "start_time": ["2026-11-29T12:54:48+0800"],
        "level": ["3"],
        "offset": ["50"],
        "limit": ["50"],
    }


# ---- faults and their ends ----


def event(job: str, minute: int, *, over: bool = False, node: str | None = NODE) -> Task:
    at = T0 + minute * MINUTE
    return Task(
        source="alarms",
        job_id=job,
        name="GaussDBV5FaultyDBNode",
        status=TaskStatus.CLEARED if over else TaskStatus.RAISED,
        raw_status="event",
        instance_id=INSTANCE,
        created_at=None if over else at,
        ended_at=at if over else None,
        alarm=AlarmFacts(feed=AlarmFeed.CLOUD_EYE, node_id=node),
    )


def times(*tasks: Task) -> dict[str, tuple[int | None, int | None]]:
    def minute(at: datetime | None) -> int | None:
        return None if at is None else (at - T0) // MINUTE

    found = with_ends({task.job_id: task for task in tasks})
    return {job_id: (minute(task.created_at), minute(task.ended_at)) for job_id, task in found.items()}


def test_a_fault_and_its_end_know_each_other() -> None:
    assert times(event("a", 0), event("b", 12, over=True)) == {"a": (0, 12), "b": (0, 12)}


def test_a_fault_after_the_end_is_another_one() -> None:
    found = times(event("a", 0), event("b", 5, over=True), event("c", 9))
    assert found == {"a": (0, 5), "b": (0, 5), "c": (9, None)}


def test_an_end_began_with_the_first_report_since_the_end_before() -> None:
    found = times(event("a", 0), event("b", 5, over=True), event("c", 9), event("d", 10), event("e", 12, over=True))
    assert found == {"a": (0, 5), "b": (0, 5), "c": (9, 12), "d": (10, 12), "e": (9, 12)}


def test_an_end_without_its_fault_has_no_beginning() -> None:
    assert times(event("b", 5, over=True)) == {"b": (None, 5)}


def test_another_node_ends_nothing() -> None:
    assert times(event("a", 0), event("b", 5, over=True, node="other")) == {"a": (0, None), "b": (None, 5)}
