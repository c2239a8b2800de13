"""The list of planned maintenance: whatever the bytes are, in both forms that the cloud describes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.maintenance_values import MaintenanceStatus, PlannedMaintenance
from notifier.sources.maintenance import (
    MAX_MAINTENANCE_ROWS,
    MAX_MAINTENANCE_TEXT,
    decode_page,
    joined,
    parse_maintenance,
)

SAMPLE = {
    "created_time": "2024-06-30T09:04:35+0800",
    "db_type": "postgresql",
    "execute_time": "",
    "execution_time_window": {
        "end_time": "2024-06-30T24:00:00+0800",
        "planned_execution_time": "2024-06-30T23:00:00+0800",
        "start_time": "2024-06-30T22:00:00+0800",
    },
    "id": "67323a8c-75aa-4d81-941e-02621ccd4d07",
    "impact": "Instance Intermittent Disconnection",
    "instance_name": "TestInstance",
    "latest_execution_time": "",
    "level": "MAJOR",
    "reason": "ECS_RESTART",
    "status": "INQUIRING",
    "type": "RESTAT_NODE",
    "update_time": "2024-06-30T09:04:35+0800",
}
"""A row as the official description of the API prints it: no instance_id, empty times, a day of 24 hours."""


def utc(day: int, hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2024, 6, day, hour, minute, second, tzinfo=UTC)


def parsed(**changes: Any) -> PlannedMaintenance:
    found = parse_maintenance(SAMPLE | changes)
    assert found is not None
    return found


def test_the_documented_row() -> None:
    assert parsed() == PlannedMaintenance(
        id="67323a8c-75aa-4d81-941e-02621ccd4d07",
        name="RESTART_NODE",
        status=MaintenanceStatus.INQUIRING,
        raw_status="INQUIRING",
        level="major",
        instance_name="TestInstance",
        impact="Instance Intermittent Disconnection",
        reason="ECS_RESTART",
        starts_at=utc(30, 14),
        ends_at=utc(30, 16),
        planned_at=utc(30, 15),
        created_at=utc(30, 1, 4, 35),
        updated_at=utc(30, 1, 4, 35),
    )


@pytest.mark.parametrize(
    ("word", "status"),
    [
        *((form, status) for status in MaintenanceStatus for form in (status.value, status.value.upper())),
        ("Cancelled", MaintenanceStatus.CANCELED),
        ("PAUSED", MaintenanceStatus.UNKNOWN),
        ("", MaintenanceStatus.UNKNOWN),
        (None, MaintenanceStatus.UNKNOWN),
        (["SCHEDULED"], MaintenanceStatus.UNKNOWN),
    ],
)
def test_both_descriptions_of_a_status(word: object, status: MaintenanceStatus) -> None:
    found = parsed(status=word)
    assert (found.status, found.raw_status) == (status, word if isinstance(word, str) else "")


@pytest.mark.parametrize(
    ("word", "name"),
    [("RESTART_NODE", "RESTART_NODE"), ("restat_node", "RESTART_NODE"), ("patch", "PATCH"), (None, "")],
)
def test_both_names_of_the_type(word: object, name: str) -> None:
    assert parsed(type=word).name == name


@pytest.mark.parametrize(("word", "level"), [("CRITICAL", "critical"), ("info", "info"), (7, "7"), (None, "")])
def test_levels_in_any_case(word: object, level: str) -> None:
    assert parsed(level=word).level == level


@pytest.mark.parametrize("window", [None, "", [], {}, {"start_time": "", "end_time": "soon"}])
def test_a_window_that_cannot_be_read(window: object) -> None:
    found = parsed(execution_time_window=window)
    assert (found.starts_at, found.ends_at, found.planned_at) == (None, None, None)


def test_times_and_the_task_of_what_was_executed() -> None:
    found = parsed(execute_time="2024-06-30T23:05:00+0800", latest_execution_time=1719763200000, job_id="j-1")
    assert (found.executed_at, found.latest_at, found.job_id) == (utc(30, 15, 5), utc(30, 16), "j-1")


@pytest.mark.parametrize("id_", [None, "", "  ", {}, True])
def test_a_row_without_an_id_is_counted(id_: object) -> None:
    page = decode_page(json.dumps({"events": [SAMPLE | {"id": id_}, SAMPLE], "total_count": 2}).encode())
    assert (len(page.planned), page.unreadable, page.rows, page.total) == (1, 1, 2, 2)


def test_texts_and_rows_are_bounded_and_cleaned() -> None:
    found = parsed(id="x" * 9_000, impact="a\x00b" * 9_000, reason="\ud800", instance_name="two\nlines")
    assert len(found.id) == 255
    assert len(found.impact or "") == MAX_MAINTENANCE_TEXT
    assert "\x00" not in (found.impact or "")
    assert (found.reason, found.instance_name) == ("�", "two lines")
    many = decode_page(json.dumps({"events": [SAMPLE] * (MAX_MAINTENANCE_ROWS + 1), "total_count": 1}).encode())
    assert many.rows == MAX_MAINTENANCE_ROWS


@pytest.mark.parametrize(
    ("total", "read"),
    [(3, 3), ("3", 3), (None, None), (-1, None), (1.5, None), (2**31, None), ("x", None), (True, None)],
)
def test_the_stated_total(total: object, read: int | None) -> None:
    assert decode_page(json.dumps({"events": [], "total_count": total}).encode()).total == read


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"[]", "neither events nor total_count"),
        (b'{"tasks": []}', "neither events nor total_count"),
        (b'{"events": {}, "total_count": 0}', None),
        (b'{"events": {"a": 1}, "total_count": 0}', "events is not a list"),
        (b'{"events": 7}', "events is not a list"),
        (b"<html>", "web page"),
        (b'{"events": null, "error_code": "DBS.280001", "error_msg": "no"}', "an error, not a list"),
    ],
)
def test_other_documents_are_refused(body: bytes, why: str | None) -> None:
    if why is None:
        assert decode_page(body).planned == ()
        return
    with pytest.raises(ValueError, match=why):
        decode_page(body)


def test_a_list_is_complete_where_all_pages_agree() -> None:
    def page(*ids: str, total: int | None) -> Any:
        rows = [SAMPLE | {"id": id_} for id_ in ids]
        return decode_page(json.dumps({"events": rows, "total_count": total}).encode())

    assert joined([page("a", "b", total=3), page("c", total=3)]).complete
    assert joined([page(total=0)]).complete
    assert not joined([page("a", "b", total=3), page("b", total=3)]).complete
    assert not joined([page("a", "b", total=3), page("c", total=4)]).complete
    assert not joined([page("a", total=None)]).complete
    assert joined([page("a", "", total=2)]).complete
    later = joined([page("a", total=2), page("a", "b", total=2)])
    assert ([one.id for one in later.planned], later.complete) == (["a", "b"], True)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*SAMPLE, "instance_id", "job_id"]), _JSON))
def test_no_row_fails(values: dict[str, Any]) -> None:
    parse_maintenance(values)


@given(_JSON)
def test_no_value_in_the_place_of_a_row_fails(value: Any) -> None:
    parse_maintenance(value)
