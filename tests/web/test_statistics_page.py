"""The page of statistics."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from factories import T0, make_task
from fakes import FakeClock
from web_site import open_site

from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.model import Task
from notifier.core.origins import FoundOrigin, OriginSearch, StartedTask
from notifier.core.started_by import StartedBy, StartedVia
from notifier.store.engine import SqlStore
from notifier.store.transaction import Transaction

HOUR = timedelta(hours=1)
HOSTILE = '<img src=x onerror="alert(1)">{{ 7 * 7 }}'


async def record(store: SqlStore, *tasks: Task) -> None:
    def write(tx: Transaction) -> None:
        for source in {one.source for one in tasks}:
            claim = tx.polls.claim(source, "me", T0, HOUR, force=True)
            assert claim
            tx.polls.fingerprints(claim)
            mine = [one for one in tasks if one.source == source]
            writes = [TaskWrite(recorded=RecordedTask(task=one, occurrence="o"), fingerprint=b"1") for one in mine]
            tx.polls.record_tasks(claim, writes, T0)

    await store.transact(write)


def backups(completed: int, failed: int, **changes: object) -> list[Task]:
    return [
        make_task(
            f"b{n}",
            name="CreateBackup",
            status="failed" if n < failed else "completed",
            created_at=T0 - timedelta(seconds=400 + n),
            ended_at=T0 - timedelta(seconds=40),
            **changes,
        )
        for n in range(completed + failed)
    ]


@pytest.fixture(autouse=True)
def _at(clock: FakeClock) -> None:
    clock.time = T0


async def test_an_empty_database_says_so(store: SqlStore) -> None:
    async with open_site(store) as site:
        page = await site.get("/statistics")
    assert page.status_code == 200
    assert "No task has ended in these days." in page.text
    assert '<svg class="days"' not in page.text


async def test_the_lag_of_cloud_trace_is_shown_where_it_was_searched(store: SqlStore) -> None:
    await record(store, *backups(2, 0))
    async with open_site(store) as site:
        assert "Cloud Trace" not in (await site.get("/statistics")).text
    task = backups(1, 0)[0]
    wanted = OriginSearch(task=StartedTask(source="prod", job_id=task.job_id, name="", seen_at=T0), claimed_until=T0)
    found = FoundOrigin(started_by=StartedBy(name="li", via=StartedVia.API), trace_id="1", lag=timedelta(seconds=90))

    def search(tx: Transaction) -> bool:
        tx.origins.expect("prod", {task.job_id: T0})
        return tx.origins.settle(wanted, found, None, T0)

    assert await store.transact(search)
    async with open_site(store) as site:
        text = (await site.get("/statistics")).text
    assert "1 of 1" in text
    assert "Cloud Trace had half of the rows after 1 min 30 s, 99% after 1 min 30 s" in re.sub(r"<[^>]+>", "", text)


async def test_one_task_has_no_percentage_and_no_box(store: SqlStore) -> None:
    await record(store, *backups(1, 0))
    async with open_site(store) as site:
        page = (await site.get("/statistics")).text
    assert "0 of 1" in page
    assert "too few to say" in page
    assert "<b>0%</b>" not in page
    assert 'class="c-half"' not in page


@pytest.mark.parametrize(("completed", "failed", "percent"), [(16, 3, ""), (17, 3, "<b>15%</b>")])
async def test_percentages_are_shown_from_twenty_tasks_on(
    store: SqlStore, completed: int, failed: int, percent: str
) -> None:
    await record(store, *backups(completed, failed))
    async with open_site(store) as site:
        page = (await site.get("/statistics")).text
    assert f"{failed} of {completed + failed}" in page
    assert ("<b>" in page.split("By type")[1]) is bool(percent)
    assert percent in page
    assert 'class="c-half"' in page


async def test_a_number_leads_to_the_rows_that_it_counts(store: SqlStore) -> None:
    await record(store, *backups(3, 2, source="prod"), make_task("x", source="staging", fail_reason="Ecs.0319: none"))
    async with open_site(store) as site:
        page = (await site.get("/statistics", params={"days": "7", "source": "prod"})).text
        all_sources = (await site.get("/statistics")).text
    assert 'href="/tasks?status=failed&amp;type=CreateBackup&amp;source=prod&amp;since=2026-01-09"' in page
    assert "Ecs.0319" not in page
    assert 'href="/tasks?status=failed&amp;code=Ecs.0319&amp;since=2025-12-17"' in all_sources


async def test_what_runs_is_drawn_among_what_ended(store: SqlStore) -> None:
    running = make_task("r/1", name="CreateBackup", status="running", created_at=T0 - HOUR, instance_name=HOSTILE)
    await record(store, *backups(6, 0), running)
    async with open_site(store) as site:
        page = (await site.get("/statistics")).text
    assert 'href="/tasks/prod/r%2F1"' in page
    assert 'class="c-runs"' in page
    assert "runs now, for 1 h" in page


async def test_hostile_text_stays_text(store: SqlStore) -> None:
    tasks = backups(3, 3, instance_name=HOSTILE, fail_reason=HOSTILE, source="<b>prod")
    await record(store, *tasks, make_task("h", name=HOSTILE, source="<b>prod", instance_name="a" * 5_000))
    async with open_site(store) as site:
        page = await site.get("/statistics", params={"source": "<b>prod", "days": "<script>"})
    assert page.status_code == 200
    assert "<img src=x" not in page.text
    assert "<b>prod" not in page.text
    assert "49" not in page.text.split("<h1")[1].split("Causes")[1]
    assert len(page.content) < 100_000


async def test_the_page_is_the_same_until_something_changes(store: SqlStore) -> None:
    await record(store, *backups(6, 1))
    async with open_site(store) as site:
        first = await site.get("/statistics")
        again = await site.get("/statistics", headers={"If-None-Match": first.headers["ETag"]})
        await record(store, make_task("more"))
        changed = await site.get("/statistics", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, changed.status_code) == (304, 200)


_NUMBER = re.compile(r'<a (?:class="[a-z]+" )?href="/tasks\?([^"]*)">(\d+)[^<]*</a>')


async def test_the_list_behind_a_number_has_as_many_rows(store: SqlStore) -> None:
    """A day is the whole day of the reader's zone: tasks lie just before and after midnight."""
    midnight = T0.replace(hour=16, minute=0) - timedelta(days=3)
    edges = [midnight - timedelta(microseconds=1), midnight, midnight + timedelta(hours=23, minutes=59)]
    tasks = [
        make_task(f"e{n}", name="CreateBackup", ended_at=at, fail_reason="Ecs.0319", created_at=at - HOUR)
        for n, at in enumerate([*edges, T0 - timedelta(days=29, hours=8, minutes=29), T0 - timedelta(days=31)])
    ]
    await record(store, *tasks, *backups(4, 2), make_task("s", source="staging", name="RestartGaussDBV5Instance"))
    async with open_site(store) as site:
        for query in ("days=7", "days=30&source=prod"):
            page = (await site.get(f"/statistics?{query}")).text
            numbers = _NUMBER.findall(page)
            assert len(numbers) >= 8
            for address, number in numbers:
                rows = (await site.get(f"/tasks.csv?{html.unescape(address)}")).text.splitlines()[1:]
                assert (address, len(rows)) == (address, int(number))
