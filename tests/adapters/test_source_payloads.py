from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.model import Task, TaskStatus
from notifier.sources.payloads import MAX_REASON_LENGTH, decode_page, parse_progress, parse_task, parse_time

DATA = Path(__file__).parent.parent / "data"
GOOD = {"job_id": "good", "name": "CreateGaussDBV5Instance", "status": "Running"}


def body(*rows: object, **envelope: object) -> bytes:
    return json.dumps({"tasks": list(rows), "total_count": len(rows)} | envelope).encode()


def only_task(**fields: object) -> Task:
    page = decode_page(body({"job_id": "j"} | fields))
    return parse_task("prod", "j", page.rows["j"])


def test_the_documentation_sample_becomes_its_two_events() -> None:
    page = decode_page((DATA / "list_tasks_sample.json").read_bytes())
    assert page.total == 2
    assert [parse_task("prod", job_id, row) for job_id, row in page.rows.items()] == [
        Task(
            source="prod",
            job_id="03bc055a-135c-4245-8bd8-b0bc6d3350b3",
            name="CreateGaussDBV5Instance",
            status=TaskStatus.FAILED,
            raw_status="Failed",
            instance_id="ce2dce50f365430abe161bab79495a6ein14",
            instance_name="gauss-6568-zzh",
            instance_status="creating",
            fail_reason="ECS云服务器处理异常。",
        ),
        Task(
            source="prod",
            job_id="2cc16e0b-75ab-4a28-9453-16517e990bba",
            name="DeleteGaussDBV5Instance",
            status=TaskStatus.COMPLETED,
            raw_status="Completed",
            instance_id="20ba433bd7ee40da9cf35064f04f9e4cin14",
            instance_name="gauss-7875-lt-m",
            instance_status="deleted",
        ),
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (None, None),
        ("", None),
        ("60", 60.0),
        ("60%", 60.0),
        (" 60 % ", 60.0),
        (60, 60.0),
        (60.5, 60.5),
        ("60.5", 60.5),
        (-3, 0.0),
        ("250%", 100.0),
        (True, None),
        ("soon", None),
        ("NaN", None),
        ("inf", None),
        ([60], None),
    ],
)
def test_progress_is_read_in_every_spelling(written: object, read: float | None) -> None:
    assert parse_progress(written) == read
    assert only_task(process=written).progress == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2022-08-05T08:15:07+0800", datetime(2022, 8, 5, 0, 15, 7, tzinfo=UTC)),
        ("2022-08-05T08:15:07+08:00", datetime(2022, 8, 5, 0, 15, 7, tzinfo=UTC)),
        ("2022-08-05T08:15:07Z", datetime(2022, 8, 5, 8, 15, 7, tzinfo=UTC)),
        (" 2022-08-05T08:15:07.250Z ", datetime(2022, 8, 5, 8, 15, 7, 250000, tzinfo=UTC)),
        ("2022-08-05T08:15:07", None),
        ("0001-01-01T00:00:00+0800", None),
        ("", None),
        ("yesterday", None),
        ("2022-08-04T24:00:00+0800", datetime(2022, 8, 4, 16, 0, 0, tzinfo=UTC)),
        ("2022-08-04T24:00:00.000Z", datetime(2022, 8, 5, tzinfo=UTC)),
        ("2022-12-31 24:00 UTC", datetime(2023, 1, 1, tzinfo=UTC)),
        ("2022-08-04T24:00:01Z", None),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2022-08-05T08:15:07 +0800", datetime(2022, 8, 5, 0, 15, 7, tzinfo=UTC)),
        ("2022-08-05 08:15:07 GMT", datetime(2022, 8, 5, 8, 15, 7, tzinfo=UTC)),
        ("2022-08-05t08:15:07z", datetime(2022, 8, 5, 8, 15, 7, tzinfo=UTC)),
        ("2022-08-05T08:15:07.123456789+08", datetime(2022, 8, 5, 0, 15, 7, 123456, tzinfo=UTC)),
        (1659658507, datetime(2022, 8, 5, 0, 15, 7, tzinfo=UTC)),
        (1659658507000, datetime(2022, 8, 5, 0, 15, 7, tzinfo=UTC)),
        (1659658507250, datetime(2022, 8, 5, 0, 15, 7, 250000, tzinfo=UTC)),
        (1659658507250.0, datetime(2022, 8, 5, 0, 15, 7, 250000, tzinfo=UTC)),
        (1659658507.25, datetime(2022, 8, 5, 0, 15, 7, 250000, tzinfo=UTC)),
        ("1659658507000", datetime(2022, 8, 5, 0, 15, 7, tzinfo=UTC)),
        (" 1659658507 ", datetime(2022, 8, 5, 0, 15, 7, tzinfo=UTC)),
        ("1.659658507E12", datetime(2022, 8, 5, 0, 15, 7, tzinfo=UTC)),
        (1659658507123456, datetime(2022, 8, 5, 0, 15, 7, 123456, tzinfo=UTC)),
        (1659658507000000000, datetime(2022, 8, 5, 0, 15, 7, tzinfo=UTC)),
        (0, None),
        ("0", None),
        (-1659658507, None),
        (20220805, None),
        ("2022-08-05", None),
        ("1970-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59Z", None),
        (20220805081507, None),
        (1e300, None),
        (10**400, None),
        (True, None),
        ([1659658507000], None),
        (None, None),
    ],
)
def test_times_are_read_in_every_spelling_and_never_without_a_zone(written: object, read: datetime | None) -> None:
    assert parse_time(written) == read
    assert only_task(created_at=written).created_at == read


@pytest.mark.parametrize(
    ("written", "status", "raw"),
    [
        ("Running", TaskStatus.RUNNING, "Running"),
        ("FAILED", TaskStatus.FAILED, "FAILED"),
        (" completed ", TaskStatus.COMPLETED, "completed"),
        ("Pending", TaskStatus.UNKNOWN, "Pending"),
        ("", TaskStatus.UNKNOWN, ""),
        (None, TaskStatus.UNKNOWN, ""),
        (7, TaskStatus.UNKNOWN, "7"),
    ],
)
def test_a_status_is_mapped_in_any_case_and_kept_as_written(written: object, status: TaskStatus, raw: str) -> None:
    task = only_task(status=written)
    assert (task.status, task.raw_status) == (status, raw)


@pytest.mark.parametrize("written", [None, "gauss-1", [], 5, {"instance_name": {"deep": 1}}, {"instance_name": ""}])
def test_an_unusable_instance_leaves_the_rest_of_the_row(written: object) -> None:
    task = only_task(instance_info=written, name="Unheard-Of_Name", extra={"a": 1})
    assert (task.instance_id, task.instance_name, task.name) == (None, None, "Unheard-Of_Name")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (5, 5),
        ("5", 5),
        (1e9, 1_000_000_000),
        (2**31 - 1, 2**31 - 1),
        (2**31, None),
        (10**30, None),
        (None, None),
        ("", None),
        (-1, None),
        (1.5, None),
        ("many", None),
        ([5], None),
        (True, None),
        (0, None),
    ],
)
def test_a_total_is_believed_only_where_it_can_be_one(written: object, read: int | None) -> None:
    """The page shows one row, so 0 cannot be the total."""
    assert decode_page(body(GOOD, total_count=written)).total == read


@pytest.mark.parametrize(
    ("content", "total"),
    [
        (b'{"tasks": null, "total_count": 0}', 0),
        (b'{"tasks": [], "total_count": 0}', 0),
        (b'{"total_count": 3}', 3),
        (b'{"tasks": null}', None),
        (b'\xef\xbb\xbf{"tasks": [], "total_count": 0}', 0),
    ],
)
def test_a_page_without_rows_is_a_page(content: bytes, total: int | None) -> None:
    page = decode_page(content)
    assert (dict(page.rows), page.unreadable, page.total) == ({}, frozenset(), total)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not JSON"),
        (b"\x00\xff", "not JSON"),
        (b'{"tasks": [{"job_id": "a"', "not JSON, or was cut short"),
        (b"<html><body>Sign in</body></html>", "web page"),
        (b"[]", "neither tasks nor total_count"),
        (b"{}", "neither tasks nor total_count"),
        (b'{"error_code": "DBS.200001", "error_msg": "x"}', "neither tasks nor total_count"),
        (b'{"tasks": {"a": 1}}', "tasks is not a list"),
        (b'{"tasks": "none"}', "tasks is not a list"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_page_is_refused_with_its_reason(content: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode_page(content)


SAMPLE_ROW = {
    "instance_info": {"instance_id": "ce2dce50f365430abe161bab79495a6ein14", "instance_name": "gauss-6568-zzh"},
    "job_id": "j",
    "name": "CreateGaussDBV5Instance",
    "status": "Failed",
    "process": "",
    "fail_reason": 500000,
    "created_at": 1659658507000,
    "ended_at": "1660014412000",
}


def test_a_row_with_numeric_times_and_reason_is_read_whole() -> None:
    task = only_task(**SAMPLE_ROW)
    assert (task.status, task.fail_reason, task.progress) == (TaskStatus.FAILED, "500000", None)
    assert (task.created_at, task.ended_at) == (
        datetime(2022, 8, 5, 0, 15, 7, tzinfo=UTC),
        datetime(2022, 8, 9, 3, 6, 52, tzinfo=UTC),
    )


@pytest.mark.parametrize("scalar", [None, True, False, 0, -1, 7, 5e5, 10**25, 1e300, "", " ", "x", "7"])
@pytest.mark.parametrize("field", [name for name in SAMPLE_ROW if name != "job_id"])
def test_any_scalar_in_any_field_costs_that_field_at_most(field: str, scalar: object) -> None:
    whole, task = only_task(**SAMPLE_ROW), only_task(**SAMPLE_ROW | {field: scalar})
    its = {
        "process": {"progress"},
        "instance_info": {"instance_id", "instance_name"},
        "status": {"status", "raw_status"},
    }.get(field, {field})
    others = [name.name for name in fields(Task) if name.name not in its]
    assert [getattr(task, name) for name in others] == [getattr(whole, name) for name in others]


@pytest.mark.parametrize("job_id", [7, -7, 0, 7.5, 10**25, 1e300, "7", " x "])
def test_any_scalar_that_can_distinguish_rows_is_an_id(job_id: object) -> None:
    page = decode_page(body({"job_id": job_id, "status": "Failed"}, GOOD))
    assert (len(page.rows), page.unreadable) == (2, frozenset())


DEEP = b"[" * 100_000 + b"]" * 100_000
DEEP_OBJECT = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


@pytest.mark.parametrize("deep", [DEEP, DEEP_OBJECT, DEEP[:1800] + DEEP[-1800:]])
@pytest.mark.parametrize("field", [b"fail_reason", b"instance_info", b"extra"])
def test_a_value_nested_without_end_costs_itself_alone(deep: bytes, field: bytes) -> None:
    bad = b'{"job_id": "bad", "' + field + b'": ' + deep + b', "status": "Failed", "name": "a \\"] {[ b"}'
    page = decode_page(b'{"tasks": [' + bad + b", " + json.dumps(GOOD).encode() + b'], "total_count": 2}')
    assert (list(page.rows), page.unreadable, page.total) == (["bad", "good"], frozenset(), 2)
    task = parse_task("prod", "bad", page.rows["bad"])
    assert (task.status, task.name, task.fail_reason) == (TaskStatus.FAILED, 'a "] {[ b', None)


@pytest.mark.parametrize("bad", [DEEP, DEEP_OBJECT, b'{"a": ' + DEEP + b"}"])
def test_a_row_that_is_nothing_but_nesting_costs_no_other(bad: bytes) -> None:
    page = decode_page(b'{"tasks": [' + json.dumps(GOOD).encode() + b", " + bad + b'], "total_count": 2}')
    assert (list(page.rows), len(page.unreadable), page.total) == (["good"], 1, 2)


BAD_ROWS = [
    b"null",
    b"5",
    b'"text"',
    b"[]",
    b"{}",
    b'{"job_id": null}',
    b'{"job_id": ""}',
    b'{"job_id": "  "}',
    b'{"job_id": true}',
    b'{"job_id": {"a": 1}}',
    b'{"job_id": "' + b"x" * 256 + b'"}',
    b'{"job_id": ' + b"1" * 5000 + b"}",
]


@pytest.mark.parametrize("bad", BAD_ROWS)
def test_a_row_without_a_usable_id_is_counted_and_costs_no_other(bad: bytes) -> None:
    page = decode_page(b'{"tasks": [' + bad + b", " + json.dumps(GOOD).encode() + b'], "total_count": 2}')
    assert (list(page.rows), len(page.unreadable), page.total) == (["good"], 1, 2)


HOSTILE_ROWS = [
    b'{"job_id": "bad", "fail_reason": "\\ud83d"}',
    b'{"job_id": "bad", "fail_reason": "nul \\u0000 byte"}',
    b'{"job_id": "bad", "fail_reason": "nul \x00 byte"}',
    b'{"job_id": "bad", "fail_reason": "not utf-8 \xff\xfe"}',
    b'{"job_id": "bad", "fail_reason": "bad escape \\u12"}'.replace(b"\\u12", b"\\u0012"),
    b'{"job_id": "bad", "process": NaN}',
    b'{"job_id": "bad", "process": 1e999}',
    b'{"job_id": "bad", "process": ' + b"9" * 5000 + b"}",
    b'{"job_id": "bad", "fail_reason": {"a": [' + b"[" * 300 + b"]" * 300 + b"]}}",
    b'{"job_id": "gone", "job_id": "bad"}',
    b'{"job_id": " bad\\t"}',
]


@pytest.mark.parametrize("hostile", HOSTILE_ROWS)
def test_hostile_content_in_one_row_costs_no_other(hostile: bytes) -> None:
    page = decode_page(b'{"tasks": [' + hostile + b", " + json.dumps(GOOD).encode() + b'], "total_count": 2}')
    assert list(page.rows) == ["bad", "good"]
    parse_task("prod", "bad", page.rows["bad"])
    assert parse_task("prod", "good", page.rows["good"]).status is TaskStatus.RUNNING


def test_unsafe_characters_are_replaced_and_reasons_keep_line_breaks() -> None:
    task = only_task(fail_reason="a\x00b\ud83dc\x1b[31m\r\nd\te", name="two\nlines\x7f")
    assert task.fail_reason == "a\ufffdb\ufffdc\ufffd[31m\nd\te"
    assert task.name == "two lines\ufffd"


def test_unsafe_characters_in_an_id_show_as_replaced() -> None:
    assert list(decode_page(body({"job_id": "a\x00b\nc"})).rows) == ["a\ufffdb c"]


def test_a_long_reason_is_cut_with_an_ellipsis() -> None:
    reason = only_task(fail_reason="x" * (MAX_REASON_LENGTH + 1)).fail_reason
    assert reason is not None
    assert (len(reason), reason[-2:]) == (MAX_REASON_LENGTH, "x…")


def test_of_two_rows_with_one_id_the_later_counts() -> None:
    page = decode_page(body(GOOD, GOOD | {"status": "Failed"}))
    assert parse_task("prod", "good", page.rows["good"]).status is TaskStatus.FAILED
    assert page.total == 2


def test_a_fingerprint_changes_with_any_field_and_nothing_else() -> None:
    first, again, changed = (
        decode_page(body(row, total_count=total)).fingerprints["good"]
        for row, total in ((GOOD, 1), (GOOD, 7), (GOOD | {"process": "60"}, 1))
    )
    assert first == again
    assert first != changed


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["job_id", "name", "status", "process", "fail_reason", "created_at", "ended_at", "instance_info", "extra"]
wild_rows = st.dictionaries(st.sampled_from(FIELDS), anything) | anything


@given(st.lists(wild_rows, max_size=4), anything)
def test_no_content_crashes_and_no_row_is_lost(rows: list[Any], total: object) -> None:
    page = decode_page(body(*rows, GOOD, total_count=total))
    for job_id, row in page.rows.items():
        task = parse_task("prod", job_id, row)
        texts = (job_id, task.name, task.raw_status, task.fail_reason or "", task.instance_name or "")
        assert not any(0xD800 <= ord(c) <= 0xDFFF or c == "\0" for text in texts for c in text)
        assert task.progress is None or 0 <= task.progress <= 100
    assert "good" in page.rows
    usable = {str(r["job_id"]).strip() for r in rows if isinstance(r, dict) and type(r.get("job_id")) is int}
    assert usable <= page.rows.keys()


@given(st.binary(max_size=200) | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_give_a_page_or_one_kind_of_error(content: bytes) -> None:
    with suppress(ValueError):
        decode_page(content)
