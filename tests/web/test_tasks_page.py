"""The page of tasks: what an address asks for, what the page shows, and the same as a file."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from factories import make_event, make_missing
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams
from stored_tasks import T0, add_event, add_failure, of_kind, stuck_failure, write
from web_site import SHANGHAI, open_site

from notifier.core.delivery import DeliveryState
from notifier.core.events import EventType
from notifier.core.task_lists import TaskGroup, TaskListFilter, TaskPlace
from notifier.store.engine import SqlStore, open_store
from notifier.web.pages.tasks import harmless
from notifier.web.task_queries import TasksQuery, place_of, place_text, read_query
from notifier.wording.causes import builtin_catalogue

HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}\u202e=cmd|' /C calc'!A0"
NOW = T0 + timedelta(minutes=1)


@pytest.fixture
def db(sqlite_url: str) -> Iterator[SqlStore]:
    store = open_store(sqlite_url, now=lambda: NOW)
    yield store
    store.close()


def asked(query: str) -> TasksQuery:
    return read_query(QueryParams(query), SHANGHAI, NOW)


# ---- addresses ----


def test_without_parameters_it_is_the_last_week() -> None:
    assert asked("").wanted == TaskListFilter(since=NOW.replace(second=0) - timedelta(days=7))


@pytest.mark.parametrize(
    ("query", "changes"),
    [
        ("status=failed", {"groups": (TaskGroup.FAILED,)}),
        ("status=stuck,failed&status=odd", {"groups": (TaskGroup.FAILED, TaskGroup.STUCK)}),
        ("type=Create&source=prod&instance=x&code=A.1&q=%20text%20", {}),
        ("since=all", {"since": None}),
        ("since=24h", {"since": NOW.replace(second=0) - timedelta(days=1)}),
        ("since=2026-11-20", {"since": datetime(2026, 11, 19, 16, tzinfo=UTC)}),
        (
            "since=2026-11-20T08:00:00Z&until=2026-11-21T08:00:00Z",
            {"since": datetime(2026, 11, 20, 8, tzinfo=UTC), "until": datetime(2026, 11, 21, 8, tzinfo=UTC)},
        ),
        ("until=2026-11-20", {"since": None, "until": datetime(2026, 11, 20, 16, tzinfo=UTC)}),
        (
            "on=2026-11-20&since=1h",
            {"since": datetime(2026, 11, 19, 16, tzinfo=UTC), "until": datetime(2026, 11, 20, 16, tzinfo=UTC)},
        ),
        ("open=1", {"unacknowledged": True, "since": None}),
        ("storm=s1", {"storm": "s1", "since": None}),
        ("sort=oldest", {"oldest_first": True}),
        ("since=nonsense&until=x&on=2026-13-01&after=%00&sort=odd&density=odd", {}),
        ("since=2026-11-20T08:00:00&on=0001-01-01", {}),
        ("q=%00%ED%A0%80x", {"text": "x"}),
    ],
)
def test_parameters_narrow_the_list_and_nonsense_is_left_out(query: str, changes: dict[str, Any]) -> None:
    named = {"name": "Create", "source": "prod", "instance": "x", "code": "A.1", "text": "text"}
    usual = asked("").wanted
    expected = replace(usual, **(named if query.startswith("type=") else changes))
    got = asked(query).wanted
    assert replace(got, text=got.text.replace("\ufffd", "")) == expected


@given(
    st.builds(
        TaskPlace,
        st.integers(-(10**15), 10**15).map(lambda n: T0 + timedelta(microseconds=n)),
        st.none() | st.text(),
        st.text(),
    )
)
def test_a_place_in_the_list_is_read_as_it_was_written(place: TaskPlace) -> None:
    storable = "\0" not in f"{place.source}{place.job_id}" and not re.search("[\ud800-\udfff]", f"{place}")
    assert place_of(place_text(place)) == (place if storable else None)
    assert quote(place_text(place), safe="") == place_text(place)


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]*", fullmatch=True))
def test_no_text_in_place_of_a_place_does_harm(text: str) -> None:
    place = place_of(text)
    assert place is None or place_of(place_text(place)) == place


# ---- the page ----


async def test_an_empty_database_says_so(db: SqlStore) -> None:
    async with open_site(db) as site:
        for url, words in (("/tasks", "No task changed"), ("/tasks?since=all", "No task is recorded yet")):
            page = await site.get(url)
            assert (page.status_code, words in page.text) == (200, True)


async def test_rows_stand_under_their_day_with_why_they_failed(db: SqlStore) -> None:
    failed = of_kind(TaskGroup.FAILED, 1, fail_reason="The quota is exceeded. EVS.1042", changed_at=T0)
    # Half past midnight in Shanghai is the day before in UTC.
    early = of_kind(TaskGroup.COMPLETED, 2, changed_at=datetime(2026, 11, 27, 16, 30, tzinfo=UTC))
    write(db, [failed, early, of_kind(TaskGroup.COMPLETED, 3, changed_at=T0 - timedelta(days=1))])
    async with open_site(db) as site:
        text = (await site.get("/tasks")).text
    days = re.findall(r'<tr class="day".*?>(?:<th[^>]*>)(.*?)</th>', text)
    assert days == ["Sat 28 Nov", "Fri 27 Nov"]
    assert "The quota is exceeded. EVS.1042" in text
    assert 'href="/tasks/prod/job-001"' in text


async def test_numbers_are_links_to_the_rows_that_they_count(db: SqlStore) -> None:
    write(db, [of_kind(group, n) for n, group in enumerate([TaskGroup.FAILED] * 3 + [TaskGroup.COMPLETED] * 2)])
    async with open_site(db) as site:
        page = (await site.get("/tasks")).text
        failed = (await site.get("/tasks?status=failed")).text
    assert 'href="/tasks?status=failed"' in page
    assert re.search(r"Failed 3</a>", page)
    assert failed.count("data-row") == 3
    assert re.search(r'href="/tasks\?status=failed" aria-current="true">', failed)


async def test_pages_lead_through_a_thousand_rows_once_each(db: SqlStore) -> None:
    write(db, [of_kind(TaskGroup.COMPLETED, n, job_id=f"j-{n:04}", changed_at=T0) for n in range(1_001)])
    found: list[str] = []
    async with open_site(db) as site:
        url: str | None = "/tasks"
        while url:
            text = (await site.get(url)).text
            assert len(text) < 100_000
            found += re.findall(r'class="name" href="/tasks/prod/([^"]+)"', text)
            older = re.search(r'href="(/tasks\?after=[^"]+)"[^>]*>Older', text)
            url = older[1].replace("&amp;", "&") if older else None
    assert Counter(found) == Counter(f"j-{n:04}" for n in range(1_001))


async def test_a_name_that_nobody_has_leads_to_similar_ones(db: SqlStore) -> None:
    write(db, [of_kind(TaskGroup.COMPLETED, n, instance_name="prod-orders", instance_id="in-1") for n in range(7)])
    async with open_site(db) as site:
        text = (await site.get("/tasks?q=prod-ordres")).text
    assert "No task fits “prod-ordres”" in text
    assert re.search(r"Did you mean <a [^>]*>prod-orders</a> \(7 tasks\)", text)


async def test_runs_that_did_not_begin_are_open_too(db: SqlStore) -> None:
    event = make_missing()
    failure = stuck_failure(of_kind(TaskGroup.FAILED, 1).task, latest=event, job_id="", operation="op")
    add_failure(db, failure)
    async with open_site(db) as site:
        text = (await site.get("/tasks?open=1")).text
    assert f'href="/missing/{event.id}"' in text


async def test_what_is_bounded_says_how_far_back_it_went(db: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.store.task_list.SCANNED", 5)
    write(db, [of_kind(TaskGroup.FAILED, n, fail_reason="x" if n > 20 else "y", changed_at=T0) for n in range(3)])
    write(db, [of_kind(TaskGroup.FAILED, n, job_id=f"o{n}", changed_at=T0 - timedelta(hours=n + 1)) for n in range(9)])
    async with open_site(db) as site:
        text = (await site.get("/tasks?code=ABC.1234")).text
    assert "No task fits among those that changed since" in text
    assert "Search further back" in text


async def test_text_from_outside_is_no_markup(db: SqlStore) -> None:
    values = {"instance_name": HOSTILE, "instance_id": HOSTILE, "fail_reason": HOSTILE, "name": HOSTILE}
    one = of_kind(TaskGroup.FAILED, 1, raw_status=HOSTILE, job_id=HOSTILE, source="prod", **values)
    write(db, [one])
    add_event(db, make_event(one.task, type=EventType.TASK_FAILED), {"dba": (DeliveryState.DELIVERED, None)})
    hostile = quote(HOSTILE)
    urls = [
        "/tasks",
        f"/tasks?q={hostile}",
        f"/tasks?instance={hostile}&type={hostile}&source={hostile}&code={hostile}",
    ]
    urls += [f"/tasks?storm={hostile}", f"/tasks/prod/{quote(HOSTILE, safe='')}", f"/tasks/prod/x{hostile}"]
    urls += [f"/tasks/{hostile}", f"/missing/{hostile}"]
    async with open_site(db) as site:
        for url in urls:
            text = (await site.get(url)).text
            assert "<script>alert" not in text, url


# ---- the file ----


def read_csv(text: str) -> list[dict[str, str]]:
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:])))


async def test_the_file_has_every_row_of_the_list(db: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.web.pages.tasks.TASKS_READ", 7)
    reason = "The quota is exceeded. Error code: EVS.1042."
    stored = [of_kind(TaskGroup.FAILED, n, fail_reason=reason) for n in range(20)]
    write(db, [*stored, of_kind(TaskGroup.COMPLETED, 30)])
    async with open_site(db, causes=builtin_catalogue()) as site:
        answer = await site.get("/tasks.csv?status=failed&since=all")
    rows = read_csv(answer.text)
    assert [row["job_id"] for row in rows] == [one.task.job_id for one in stored]
    assert rows[0]["error_code"] == "EVS.1042"
    assert rows[0]["fail_reason"] == reason
    assert answer.headers["Content-Disposition"] == 'attachment; filename="tasks.csv"'
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"


async def test_no_cell_of_the_file_is_a_formula(db: SqlStore) -> None:
    starts = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "－1")
    write(db, [of_kind(TaskGroup.FAILED, n, fail_reason=text) for n, text in enumerate(starts)])
    async with open_site(db) as site:
        rows = read_csv((await site.get("/tasks.csv?since=all")).text)
    assert [row["fail_reason"] for row in rows] == [f"'{text}" for text in starts]


@given(st.text())
def test_a_cell_stays_what_it_is_behind_an_apostrophe(text: str) -> None:
    assert harmless(text) in {text, f"'{text}"}
    assert not harmless(text).lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))


async def test_the_file_of_an_empty_list_has_its_columns(db: SqlStore) -> None:
    async with open_site(db) as site:
        text = (await site.get("/tasks.csv")).text
    assert text.startswith("\ufeffsource,job_id,operation,")
    assert text.count("\r\n") == 1
