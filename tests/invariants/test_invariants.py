"""What detection promises, one test each: A1 to A13.

`Life` checks all of them at every step; each test here tells the story in which its invariant is at stake.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from life import Life, NewLife, ShownSource, sqlite_life
from stories import (
    ANSWERS,
    CONFLICTS,
    LOOKS,
    STATUSES,
    STEADY_ORDERS,
    changes,
    examples,
    faulty_showings,
    kills,
    showings,
    still_showings,
)
from upstream import COMPLETED, FAILED, RUNNING, Change, Order, Screen, Showing

from notifier.core.events import EventType
from notifier.core.model import TaskStatus
from notifier.ports import EventFilter, TaskFilter
from notifier.sources.gaussdb import TaskQuery
from notifier.sources.payloads import TaskPage, decode_page

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
CREATE = Change(kind="create", progress=0)


@pytest.fixture(scope="module")
def new_life(sqlite_template: Path) -> NewLife:
    return partial(sqlite_life, sqlite_template)


def told(life: Life, job_id: str | None = None) -> list[EventType]:
    """Return the types of all events, or of those about one job, the oldest first."""
    stored = life.read(lambda q: q.events(EventFilter(limit=10_000)))
    return [item.event.type for item in reversed(stored) if job_id in (None, item.event.job_id)]


def become(status: str, place: int = 0) -> Change:
    return Change(kind="become", status=status, place=place)


@examples(10)
@given(data=st.data())
def test_a01_every_visible_change_reaches_every_channel_once(new_life: NewLife, data: st.DataObject) -> None:
    with new_life() as life:
        life.poll()
        for _ in range(data.draw(st.integers(2, 5), label="rounds")):
            life.happen(*data.draw(st.lists(changes(), min_size=1, max_size=6)))
            life.poll(data.draw(showings()), kill=data.draw(st.none() | kills()))
            for channel in list(life.channels):
                answers = data.draw(ANSWERS)
                life.deliver(channel, *answers, kill=data.draw(st.none() | kills()))
        life.heal()


@examples(12)
@given(data=st.data())
def test_a02_a_lasting_state_is_notified_however_old_the_task_is(new_life: NewLife, data: st.DataObject) -> None:
    """The list can be filtered by time, and what the filter compares with nobody knows: a window is no cursor."""
    with new_life(long=data.draw(st.booleans(), label="long")) as life:
        life.happen(*[CREATE] * data.draw(st.integers(1, 9), label="jobs"))
        life.poll()
        for _ in range(data.draw(st.integers(1, 3), label="rounds")):
            life.wait(data.draw(st.integers(1, 9), label="days") * DAY)
            life.happen(*data.draw(st.lists(changes("become"), min_size=1, max_size=4)))
            order = data.draw(STEADY_ORDERS)
            for _ in range(2):
                life.wait(10 * MINUTE)
                life.poll(Showing(order=order))
            life.check_convergence()


@examples(12)
@given(data=st.data())
def test_a03_a_start_and_end_between_two_polls_is_notified(new_life: NewLife, data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.sampled_from((COMPLETED, FAILED)), min_size=1, max_size=12), label="ends")
    with new_life(long=data.draw(st.booleans(), label="long")) as life:
        life.poll()
        life.happen(*(Change(kind="create", status=status) for status in ends))
        life.wait(10 * MINUTE)
        life.poll()
        assert told(life) == [f"task.{status.lower()}" for status in ends]
        life.heal()


@examples(15)
@given(data=st.data())
def test_a04_a_shifting_page_hides_no_task_from_a_whole_poll(new_life: NewLife, data: st.DataObject) -> None:
    by_pages = data.draw(st.booleans(), label="by pages")
    with new_life(by_pages=by_pages) as life:
        life.happen(*[CREATE] * data.draw(st.integers(0, 4) | st.integers(9, 20), label="jobs"))
        # By page numbers only a list whose new rows come first can be proven whole.
        order: Order = "newest" if by_pages else data.draw(STEADY_ORDERS)
        for _ in range(data.draw(st.integers(1, 4), label="polls")):
            shifts = st.tuples(st.integers(0, 12), changes("create", "delete", "delete", "become"))
            life.poll(Showing(order=order, moves=tuple(data.draw(st.lists(shifts, min_size=1, max_size=12)))))
        report = life.poll(Showing(order=order))
        assert report is not None
        assert report.complete, "A4: a list that stands still is not seen whole"
        life.heal()


@examples(15)
@given(data=st.data())
def test_a05_nothing_is_concluded_from_absence_in_a_faulty_poll(new_life: NewLife, data: st.DataObject) -> None:
    first = data.draw(st.lists(faulty_showings(), max_size=3), label="before the baseline")
    later = data.draw(st.lists(faulty_showings(), min_size=2, max_size=5), label="after it")
    with new_life() as life:
        life.happen(*[CREATE] * 12)
        for showing in first:
            life.poll(showing)
            assert told(life) == [], "A5: told during a baseline"
        report = life.poll()
        assert report is not None
        assert report.baseline, "A5: a faulty poll passed for the baseline"
        life.happen(*[Change(kind="delete", place=3 * n) for n in range(3)])
        for showing in later:
            report = life.poll(showing)
            assert report is not None
            assert not report.complete, "A5: a faulty poll was called whole"
        assert told(life) == [], "A5: something was told of what was not shown"


@examples(12)
@given(data=st.data())
def test_a06_a_running_task_gone_from_two_whole_polls_is_unlisted(new_life: NewLife, data: st.DataObject) -> None:
    with new_life() as life:
        life.happen(*[CREATE] * 9)
        life.poll()
        life.happen(Change(kind="delete", place=data.draw(st.integers(0, 8), label="deleted")))
        whole = data.draw(st.lists(st.booleans(), max_size=6), label="whole")
        for is_whole in whole:
            life.poll(Showing() if is_whole else data.draw(faulty_showings()))
            assert set(told(life)) <= {EventType.TASK_UNLISTED}, "A6: absence was taken for an outcome"
        assert len(told(life)) == int(sum(whole) > 1), "A6: not said once after two whole polls"
        life.happen(Change(kind="relist"), Change(kind="delete"))
        for _ in range(4):
            life.poll()
        life.heal()


@examples(12)
@given(data=st.data())
def test_a07_every_visible_change_of_state_is_notified_backwards_too(new_life: NewLife, data: st.DataObject) -> None:
    shown = data.draw(st.lists(changes("become", "become", "tell end", "progress"), min_size=1, max_size=12))
    with new_life() as life:
        life.poll()
        life.happen(CREATE)
        life.poll()
        for change in shown:
            life.happen(change)
            look = data.draw(LOOKS)
            life.poll(Showing(look=look))
        life.heal()


def test_a07_a_second_failure_of_a_task_is_another_notification(
    new_life: NewLife,
) -> None:
    with new_life() as life:
        life.poll()
        life.happen(Change(kind="create", status=FAILED))
        life.poll()
        life.poll(Showing(look="nulls"))
        for change in (become(FAILED), become(RUNNING), become(COMPLETED)):
            life.happen(change)
            life.poll()
        assert told(life) == ["task.failed", "task.failed", "task.restarted", "task.completed"]


@examples(10)
@given(data=st.data())
def test_a08_the_first_list_is_quiet_even_when_killed_meanwhile(new_life: NewLife, data: st.DataObject) -> None:
    with new_life() as life:
        born = [Change(kind="create", status=data.draw(st.sampled_from(STATUSES))) for _ in range(10)]
        life.happen(*born)
        for _ in range(data.draw(st.integers(0, 4), label="kills")):
            # Rows that contradict each other from poll to poll are changes, and those are told.
            showing = replace(data.draw(st.just(Showing()) | faulty_showings()), repeats="same")
            life.poll(showing, kill=data.draw(kills()))
            life.crash()
        life.poll()
        assert told(life) == [], "A8: the baseline was told"
        life.happen(become(FAILED), become(COMPLETED, 1))
        life.poll()
        life.add_channel("new")
        newcomer = ShownSource(life.clock, life.http, name="new")
        newcomer.screen = Screen(cloud=life.cloud, showing=Showing(), now=life.clock.now())
        assert life.poll_source(newcomer).events == (), "A8: a new source was told"
        life.heal()
        mine = [delivery for delivery in life.deliveries() if delivery.channel == "new"]
        assert mine == [], "A8: a new channel was told of what it had not asked for"


@examples(10)
@given(data=st.data())
def test_a09_after_an_outage_digests_name_every_job(new_life: NewLife, data: st.DataObject) -> None:
    born = data.draw(st.integers(1, 60), label="jobs")
    digest_above = data.draw(st.integers(0, 20), label="digest above")
    digest_size = data.draw(st.integers(1, 30), label="digest size")
    with new_life() as life:
        life.poll()
        everything = life.channels["all"]
        everything.digest_above, everything.digest_size = digest_above, digest_size
        life.happen(*[CREATE] * born)
        life.wait(DAY)
        if data.draw(st.booleans(), label="killed"):
            life.crash()
        life.poll()
        messages = [delivery for delivery in life.deliveries() if delivery.channel == "all"]
        digested = born > digest_above
        assert len(messages) == (-(-born // digest_size) if digested else born), (
            "A9: not as few messages as there can be"
        )
        named = sorted(event.job_id for delivery in messages for event in delivery.events)
        assert named == sorted(life.cloud.jobs), "A9: not every job is named once"
        life.heal()


def test_a09_two_thousand_changes_are_at_most_twenty_messages(new_life: NewLife) -> None:
    with new_life() as life:
        life.poll()
        everything = life.channels["all"]
        everything.digest_above, everything.digest_size = 20, 100
        life.happen(*[CREATE] * 500)
        life.poll()
        life.happen(*(become(FAILED, place) for place in range(500)))
        life.poll()
        messages = [delivery for delivery in life.deliveries() if delivery.channel == "all"]
        assert len(messages) == 10
        assert all(delivery.digest for delivery in messages)


@examples(12)
@given(data=st.data())
def test_a10_a_gap_beyond_the_apis_memory_is_notified_with_bounds(new_life: NewLife, data: st.DataObject) -> None:
    with new_life() as life:
        life.poll()
        gaps = []
        for days in data.draw(st.lists(st.integers(1, 45), min_size=1, max_size=5), label="days"):
            since = life.clock.now()
            life.wait(days * DAY)
            if data.draw(st.booleans(), label="a poll fails"):
                life.poll(Showing(fault="unreachable"))
            life.poll()
            until = life.clock.now()
            gaps += [f"{since.isoformat()}/{until.isoformat()}"] if until - since > 30 * DAY else []
        stored = life.read(lambda q: q.events(EventFilter(type="source.gap")))
        assert [item.event.detail for item in reversed(stored)] == gaps, "A10: gaps are not told with their bounds"
        life.heal()


# ---- rows that no documentation knows ----

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(("60%", "Running", "Failed")),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
KEYS = ("name", "status", "process", "created_at", "ended_at", "fail_reason", "instance_info", "unheard of")
ROWS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)


class RawScreen(Screen):
    """Shows rows as they are given, in one page."""

    rows: tuple[Any, ...] = ()

    def page(self, query: TaskQuery) -> TaskPage:
        page = self.rows[query.offset : query.offset + query.limit]
        return decode_page(json.dumps({"tasks": page, "total_count": len(self.rows)}).encode())


@examples(20)
@given(data=st.data())
def test_a11_a_row_of_any_shape_neither_stops_nor_blocks_a_poll(new_life: NewLife, data: st.DataObject) -> None:
    rows = data.draw(st.lists(ROWS, max_size=6), label="rows")
    status = data.draw(st.text(min_size=1, max_size=8).filter(str.isprintable), label="status")
    with new_life() as life:
        life.poll()
        screen = RawScreen(cloud=life.cloud, showing=Showing(), now=life.clock.now())
        odd = tuple(row | {"job_id": f"odd-{n}"} for n, row in enumerate(rows))
        screen.rows = (*odd, {"job_id": "strange", "status": status}, {"job_id": "sound", "status": FAILED})
        life.source.screen = screen
        report = life.poll_source(life.source)
        assert (report.error, report.refused, report.complete) == (None, (), True), "A11: rows stopped a poll"
        stored = {item.task.job_id: item.task for item in life.read(lambda q: q.tasks(TaskFilter()))}
        assert stored.keys() == {row["job_id"] for row in screen.rows}, "A11: rows were left out"
        assert stored["strange"].raw_status == status.strip(), "A11: a status is not shown as it is written"
        known = status.strip().lower() in ("running", "completed", "failed")
        assert known or stored["strange"].status is TaskStatus.UNKNOWN, "A11: an unknown status was given a meaning"
        assert told(life, "sound") == [EventType.TASK_FAILED], "A11: a row blocked another"


@examples(8)
@given(data=st.data())
def test_a12_of_two_rows_with_one_id_the_later_counts(new_life: NewLife, data: st.DataObject) -> None:
    with new_life() as life:
        life.poll()
        life.happen(*(Change(kind="create", status=data.draw(st.sampled_from(STATUSES))) for _ in range(6)))
        life.poll()
        for _ in range(3):
            life.happen(*data.draw(st.lists(changes("become"), max_size=3)))
            before = told(life)
            conflict = data.draw(CONFLICTS)
            report = life.poll(Showing(repeats=conflict))
            assert report is not None
            subjects = sorted(event.job_id for event in report.events)
            assert all(len(list(same)) == 1 for _, same in groupby(subjects)), "A12: one poll told twice of a job"
            assert len(told(life)) - len(before) == len(subjects)
            latest = {item.task.job_id: item.task.raw_status for item in life.read(lambda q: q.tasks(TaskFilter()))}
            truth = {
                job.job_id: RUNNING if conflict == "stale last" else job.status for job in life.cloud.jobs.values()
            }
            # A row without a status tells nothing: what was known before stays.
            told_of = {job_id: status for job_id, status in truth.items() if status}
            assert latest.keys() == truth.keys()
            assert latest | told_of == latest, "A12: not the later row counts"
        life.heal()


@examples(8)
@given(data=st.data())
def test_a13_the_same_poll_again_changes_nothing(new_life: NewLife, data: st.DataObject) -> None:
    steps = data.draw(
        st.lists(st.tuples(st.lists(changes(), max_size=4), still_showings(), st.integers(0, 3)), max_size=8)
    )
    outboxes = []
    for repeated in (False, True):
        with new_life() as life:
            life.happen(*[CREATE] * 3)
            life.poll()
            for happening, showing, repeats in steps:
                life.happen(*happening)
                life.poll(showing)
                for _ in range(repeats if repeated else 0):
                    life.look(showing)
            outboxes.append((life.deliveries(), life.read(lambda q: q.events(EventFilter(limit=10_000)))))
    assert outboxes[0] == outboxes[1], "A13: the same poll again made a difference"


# ---- what delivery and backups add ----


@examples(8)
@given(data=st.data())
def test_b03_events_found_again_after_a_restore_have_the_same_ids(new_life: NewLife, data: st.DataObject) -> None:
    with new_life() as life:
        life.happen(*[CREATE] * 3)
        life.poll()
        backup = life.backup()
        for _ in range(3):
            for _ in range(data.draw(st.integers(1, 3), label="polls")):
                life.happen(*data.draw(st.lists(changes("create", "become"), min_size=1, max_size=4)))
                life.poll()
                life.deliver("all")
            life.restore(backup)
            life.poll()
        life.heal()


def test_b02_a_process_that_slept_leaves_the_others_bytes_alone(new_life: NewLife) -> None:
    with new_life() as life:
        life.poll()
        life.happen(CREATE)
        life.poll()
        life.deliver_late("all", "swallow")  # the other has sent it and does not know what became of it
        life.happen(become(FAILED))
        life.poll()
        life.wait(10 * MINUTE)
        life.deliver("all", "stall")
        assert len(life.books.bodies) == 2
        life.heal()


@examples(10)
@given(data=st.data())
def test_b04_nothing_overtakes_what_is_older_about_the_same_job(new_life: NewLife, data: st.DataObject) -> None:
    with new_life() as life:
        life.happen(CREATE, CREATE)
        life.poll()
        for _ in range(data.draw(st.integers(2, 6), label="rounds")):
            life.happen(*data.draw(st.lists(changes("become"), min_size=1, max_size=2)))
            life.poll()
            life.deliver("all", *data.draw(ANSWERS))
            life.wait(data.draw(st.sampled_from((timedelta(seconds=3), 10 * MINUTE))))
        life.heal()


def test_b04_an_event_after_an_older_settled_one_overtook_nothing(new_life: NewLife) -> None:
    with new_life() as life:
        life.poll()
        life.happen(CREATE)
        life.poll()
        life.happen(become(FAILED))
        life.poll()
        life.deliver_late("all")  # while it sleeps another process delivers the start, and then the end
        assert [delivery.attempt for delivery in life.deliveries() if delivery.channel == "all"] == [2, 1]
        life.heal()
