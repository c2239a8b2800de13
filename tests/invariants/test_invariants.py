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
from scenario import Scenario, ScenarioFactory, ScriptedSource, sqlite_scenario
from strategies import (
    ANSWERS,
    CONFLICTS,
    ROW_STYLES,
    STATUSES,
    STEADY_ORDERS,
    changes,
    crash_points,
    examples,
    faulty_presentations,
    presentations,
    still_presentations,
)
from upstream import COMPLETED, FAILED, RUNNING, Change, ListView, Order, Presentation

from notifier.core.events import EventType
from notifier.core.model import TaskStatus
from notifier.ports import EventFilter, TaskFilter
from notifier.sources.gaussdb import TaskQuery

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
CREATE = Change(kind="create", progress=0)


@pytest.fixture(scope="module")
def new_scenario(sqlite_template: Path) -> ScenarioFactory:
    return partial(sqlite_scenario, sqlite_template)


def notified(scenario: Scenario, job_id: str | None = None) -> list[EventType]:
    """Return the types of all events, or of those about one job, the oldest first."""
    stored = scenario.read(lambda q: q.events(EventFilter(limit=10_000)))
    return [item.event.type for item in reversed(stored) if job_id in (None, item.event.job_id)]


def become(status: str, place: int = 0) -> Change:
    return Change(kind="become", status=status, place=place)


@examples(10)
@given(data=st.data())
def test_a01_every_visible_change_reaches_every_channel_once(
    new_scenario: ScenarioFactory, data: st.DataObject
) -> None:
    with new_scenario() as scenario:
        scenario.poll()
        for _ in range(data.draw(st.integers(2, 5), label="rounds")):
            scenario.apply_changes(*data.draw(st.lists(changes(), min_size=1, max_size=6)))
            scenario.poll(data.draw(presentations()), crash_at=data.draw(st.none() | crash_points()))
            for channel in list(scenario.channels):
                answers = data.draw(ANSWERS)
                scenario.deliver(channel, *answers, crash_at=data.draw(st.none() | crash_points()))
        scenario.heal()


@examples(12)
@given(data=st.data())
def test_a02_a_lasting_state_is_notified_however_old_the_task_is(
    new_scenario: ScenarioFactory, data: st.DataObject
) -> None:
    """The list can be filtered by time, and what the filter compares with nobody knows: a window is no cursor."""
    with new_scenario(long=data.draw(st.booleans(), label="long")) as scenario:
        scenario.apply_changes(*[CREATE] * data.draw(st.integers(1, 9), label="jobs"))
        scenario.poll()
        for _ in range(data.draw(st.integers(1, 3), label="rounds")):
            scenario.wait(data.draw(st.integers(1, 9), label="days") * DAY)
            scenario.apply_changes(*data.draw(st.lists(changes("become"), min_size=1, max_size=4)))
            order = data.draw(STEADY_ORDERS)
            for _ in range(2):
                scenario.wait(10 * MINUTE)
                scenario.poll(Presentation(order=order))
            scenario.check_convergence()


@examples(12)
@given(data=st.data())
def test_a03_a_start_and_end_between_two_polls_is_notified(new_scenario: ScenarioFactory, data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.sampled_from((COMPLETED, FAILED)), min_size=1, max_size=12), label="ends")
    with new_scenario(long=data.draw(st.booleans(), label="long")) as scenario:
        scenario.poll()
        scenario.apply_changes(*(Change(kind="create", status=status) for status in ends))
        scenario.wait(10 * MINUTE)
        scenario.poll()
        assert notified(scenario) == [f"task.{status.lower()}" for status in ends]
        scenario.heal()


@examples(15)
@given(data=st.data())
def test_a04_a_shifting_page_hides_no_task_from_a_whole_poll(
    new_scenario: ScenarioFactory, data: st.DataObject
) -> None:
    by_pages = data.draw(st.booleans(), label="by pages")
    with new_scenario(by_pages=by_pages) as scenario:
        scenario.apply_changes(*[CREATE] * data.draw(st.integers(0, 4) | st.integers(9, 20), label="jobs"))
        # By page numbers only a list whose new rows come first can be proven whole.
        order: Order = "newest" if by_pages else data.draw(STEADY_ORDERS)
        for _ in range(data.draw(st.integers(1, 4), label="polls")):
            shifts = st.tuples(st.integers(0, 12), changes("create", "delete", "delete", "become"))
            scenario.poll(Presentation(order=order, moves=tuple(data.draw(st.lists(shifts, min_size=1, max_size=12)))))
        report = scenario.poll(Presentation(order=order))
        assert report is not None
        assert report.complete, "A4: a list that stands still is not seen whole"
        scenario.heal()


@examples(15)
@given(data=st.data())
def test_a05_nothing_is_concluded_from_absence_in_a_faulty_poll(
    new_scenario: ScenarioFactory, data: st.DataObject
) -> None:
    first = data.draw(st.lists(faulty_presentations(), max_size=3), label="before the baseline")
    later = data.draw(st.lists(faulty_presentations(), min_size=2, max_size=5), label="after it")
    with new_scenario() as scenario:
        scenario.apply_changes(*[CREATE] * 12)
        for presentation in first:
            scenario.poll(presentation)
            assert notified(scenario) == [], "A5: told during a baseline"
        report = scenario.poll()
        assert report is not None
        assert report.baseline, "A5: a faulty poll passed for the baseline"
        scenario.apply_changes(*[Change(kind="delete", place=3 * n) for n in range(3)])
        for presentation in later:
            report = scenario.poll(presentation)
            assert report is not None
            assert not report.complete, "A5: a faulty poll was called whole"
        assert notified(scenario) == [], "A5: something was told of what was not shown"


@examples(12)
@given(data=st.data())
def test_a06_a_running_task_gone_from_two_whole_polls_is_unlisted(
    new_scenario: ScenarioFactory, data: st.DataObject
) -> None:
    with new_scenario() as scenario:
        scenario.apply_changes(*[CREATE] * 9)
        scenario.poll()
        scenario.apply_changes(Change(kind="delete", place=data.draw(st.integers(0, 8), label="deleted")))
        whole = data.draw(st.lists(st.booleans(), max_size=6), label="whole")
        for is_whole in whole:
            scenario.poll(Presentation() if is_whole else data.draw(faulty_presentations()))
            assert set(notified(scenario)) <= {EventType.TASK_UNLISTED}, "A6: absence was taken for an outcome"
        assert len(notified(scenario)) == int(sum(whole) > 1), "A6: not said once after two whole polls"
        scenario.apply_changes(Change(kind="relist"), Change(kind="delete"))
        for _ in range(4):
            scenario.poll()
        scenario.heal()


@examples(12)
@given(data=st.data())
def test_a07_every_visible_change_of_state_is_notified_backwards_too(
    new_scenario: ScenarioFactory, data: st.DataObject
) -> None:
    shown = data.draw(st.lists(changes("become", "become", "tell end", "progress"), min_size=1, max_size=12))
    with new_scenario() as scenario:
        scenario.poll()
        scenario.apply_changes(CREATE)
        scenario.poll()
        for change in shown:
            scenario.apply_changes(change)
            style = data.draw(ROW_STYLES)
            scenario.poll(Presentation(style=style))
        scenario.heal()


def test_a07_a_second_failure_of_a_task_is_another_notification(
    new_scenario: ScenarioFactory,
) -> None:
    with new_scenario() as scenario:
        scenario.poll()
        scenario.apply_changes(Change(kind="create", status=FAILED))
        scenario.poll()
        scenario.poll(Presentation(style="nulls"))
        for change in (become(FAILED), become(RUNNING), become(COMPLETED)):
            scenario.apply_changes(change)
            scenario.poll()
        assert notified(scenario) == ["task.failed", "task.failed", "task.restarted", "task.completed"]


@examples(10)
@given(data=st.data())
def test_a08_the_first_list_is_quiet_even_when_killed_meanwhile(
    new_scenario: ScenarioFactory, data: st.DataObject
) -> None:
    with new_scenario() as scenario:
        born = [Change(kind="create", status=data.draw(st.sampled_from(STATUSES))) for _ in range(10)]
        scenario.apply_changes(*born)
        for _ in range(data.draw(st.integers(0, 4), label="kills")):
            # Rows that contradict each other from poll to poll are changes, and those are told.
            presentation = replace(data.draw(st.just(Presentation()) | faulty_presentations()), repeats="same")
            scenario.poll(presentation, crash_at=data.draw(crash_points()))
            scenario.crash()
        scenario.poll()
        assert notified(scenario) == [], "A8: the baseline was told"
        scenario.apply_changes(become(FAILED), become(COMPLETED, 1))
        scenario.poll()
        scenario.add_channel("new")
        newcomer = ScriptedSource(scenario.clock, scenario.http, name="new")
        newcomer.view = ListView(cloud=scenario.cloud, presentation=Presentation(), now=scenario.clock.now())
        assert scenario.poll_source(newcomer).events == (), "A8: a new source was told"
        scenario.heal()
        mine = [delivery for delivery in scenario.deliveries() if delivery.channel == "new"]
        assert mine == [], "A8: a new channel was told of what it had not asked for"


@examples(10)
@given(data=st.data())
def test_a09_after_an_outage_digests_name_every_job(new_scenario: ScenarioFactory, data: st.DataObject) -> None:
    born = data.draw(st.integers(1, 60), label="jobs")
    digest_above = data.draw(st.integers(0, 20), label="digest above")
    digest_size = data.draw(st.integers(1, 30), label="digest size")
    with new_scenario() as scenario:
        scenario.poll()
        everything = scenario.channels["all"]
        everything.digest_above, everything.digest_size = digest_above, digest_size
        scenario.apply_changes(*[CREATE] * born)
        scenario.wait(DAY)
        if data.draw(st.booleans(), label="killed"):
            scenario.crash()
        scenario.poll()
        messages = [delivery for delivery in scenario.deliveries() if delivery.channel == "all"]
        digested = born > digest_above
        assert len(messages) == (-(-born // digest_size) if digested else born), (
            "A9: not as few messages as there can be"
        )
        named = sorted(event.job_id for delivery in messages for event in delivery.events)
        assert named == sorted(scenario.cloud.jobs), "A9: not every job is named once"
        scenario.heal()


def test_a09_two_thousand_changes_are_at_most_twenty_messages(new_scenario: ScenarioFactory) -> None:
    with new_scenario() as scenario:
        scenario.poll()
        everything = scenario.channels["all"]
        everything.digest_above, everything.digest_size, everything.storm_size = 20, 100, 100
        scenario.apply_changes(*[CREATE] * 500)
        scenario.poll()
        scenario.apply_changes(*(become(FAILED, place) for place in range(500)))
        scenario.poll()
        messages = [delivery for delivery in scenario.deliveries() if delivery.channel == "all"]
        assert len(messages) == 10
        assert all(delivery.digest for delivery in messages)


@examples(12)
@given(data=st.data())
def test_a10_a_gap_beyond_the_apis_memory_is_notified_with_bounds(
    new_scenario: ScenarioFactory, data: st.DataObject
) -> None:
    with new_scenario() as scenario:
        scenario.poll()
        gaps = []
        for days in data.draw(st.lists(st.integers(1, 45), min_size=1, max_size=5), label="days"):
            since = scenario.clock.now()
            scenario.wait(days * DAY)
            if data.draw(st.booleans(), label="a poll fails"):
                scenario.poll(Presentation(fault="unreachable"))
            scenario.poll()
            until = scenario.clock.now()
            gaps += [f"{since.isoformat()}/{until.isoformat()}"] if until - since > 30 * DAY else []
        stored = scenario.read(lambda q: q.events(EventFilter(type="source.gap")))
        assert [item.event.detail for item in reversed(stored)] == gaps, "A10: gaps are not told with their bounds"
        scenario.heal()


# ---- rows that no documentation knows ----

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(("60%", "Running", "Failed")),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
KEYS = ("name", "status", "process", "created_at", "ended_at", "fail_reason", "instance_info", "unheard of")
ROWS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)


class RawScreen(ListView):
    """Shows rows as they are given, in one page."""

    rows: tuple[Any, ...] = ()

    def page(self, query: TaskQuery, offset: int) -> bytes:
        page = self.rows[offset : offset + query.limit]
        return json.dumps({"tasks": page, "total_count": len(self.rows)}).encode()


@examples(20)
@given(data=st.data())
def test_a11_a_row_of_any_shape_neither_stops_nor_blocks_a_poll(
    new_scenario: ScenarioFactory, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(ROWS, max_size=6), label="rows")
    status = data.draw(st.text(min_size=1, max_size=8).filter(str.isprintable), label="status")
    with new_scenario() as scenario:
        scenario.poll()
        view = RawScreen(cloud=scenario.cloud, presentation=Presentation(), now=scenario.clock.now())
        odd = tuple(row | {"job_id": f"odd-{n}"} for n, row in enumerate(rows))
        view.rows = (*odd, {"job_id": "strange", "status": status}, {"job_id": "sound", "status": FAILED})
        scenario.source.view = view
        report = scenario.poll_source(scenario.source)
        assert (report.error, report.refused, report.complete) == (None, (), True), "A11: rows stopped a poll"
        stored = {item.task.job_id: item.task for item in scenario.read(lambda q: q.tasks(TaskFilter()))}
        assert stored.keys() == {row["job_id"] for row in view.rows}, "A11: rows were left out"
        assert stored["strange"].raw_status == status.strip(), "A11: a status is not shown as it is written"
        known = status.strip().lower() in ("running", "completed", "failed")
        assert known or stored["strange"].status is TaskStatus.UNKNOWN, "A11: an unknown status was given a meaning"
        assert notified(scenario, "sound") == [EventType.TASK_FAILED], "A11: a row blocked another"


@examples(8)
@given(data=st.data())
def test_a12_of_two_rows_with_one_id_the_later_counts(new_scenario: ScenarioFactory, data: st.DataObject) -> None:
    with new_scenario() as scenario:
        scenario.poll()
        scenario.apply_changes(*(Change(kind="create", status=data.draw(st.sampled_from(STATUSES))) for _ in range(6)))
        scenario.poll()
        for _ in range(3):
            scenario.apply_changes(*data.draw(st.lists(changes("become"), max_size=3)))
            before = notified(scenario)
            conflict = data.draw(CONFLICTS)
            report = scenario.poll(Presentation(repeats=conflict))
            assert report is not None
            subjects = sorted(event.job_id for event in report.events)
            assert all(len(list(same)) == 1 for _, same in groupby(subjects)), "A12: one poll told twice of a job"
            assert len(notified(scenario)) - len(before) == len(subjects)
            latest = {item.task.job_id: item.task.raw_status for item in scenario.read(lambda q: q.tasks(TaskFilter()))}
            truth = {
                job.job_id: RUNNING if conflict == "stale last" else job.status for job in scenario.cloud.jobs.values()
            }
            # A row without a status tells nothing: what was known before stays.
            told_of = {job_id: status for job_id, status in truth.items() if status}
            assert latest.keys() == truth.keys()
            assert latest | told_of == latest, "A12: not the later row counts"
        scenario.heal()


@examples(8)
@given(data=st.data())
def test_a13_the_same_poll_again_changes_nothing(new_scenario: ScenarioFactory, data: st.DataObject) -> None:
    steps = data.draw(
        st.lists(st.tuples(st.lists(changes(), max_size=4), still_presentations(), st.integers(0, 3)), max_size=8)
    )
    outboxes = []
    for repeated in (False, True):
        with new_scenario() as scenario:
            scenario.apply_changes(*[CREATE] * 3)
            scenario.poll()
            for happening, presentation, repeats in steps:
                scenario.apply_changes(*happening)
                scenario.poll(presentation)
                for _ in range(repeats if repeated else 0):
                    scenario.poll_now(presentation)
            outboxes.append((scenario.deliveries(), scenario.read(lambda q: q.events(EventFilter(limit=10_000)))))
    assert outboxes[0] == outboxes[1], "A13: the same poll again made a difference"


# ---- what delivery and backups add ----


@examples(8)
@given(data=st.data())
def test_b03_events_found_again_after_a_restore_have_the_same_ids(
    new_scenario: ScenarioFactory, data: st.DataObject
) -> None:
    with new_scenario() as scenario:
        scenario.apply_changes(*[CREATE] * 3)
        scenario.poll()
        backup = scenario.backup()
        for _ in range(3):
            for _ in range(data.draw(st.integers(1, 3), label="polls")):
                scenario.apply_changes(*data.draw(st.lists(changes("create", "become"), min_size=1, max_size=4)))
                scenario.poll()
                scenario.deliver("all")
            scenario.restore(backup)
            scenario.poll()
        scenario.heal()


def test_b02_a_process_that_slept_leaves_the_others_bytes_alone(new_scenario: ScenarioFactory) -> None:
    with new_scenario() as scenario:
        scenario.poll()
        scenario.apply_changes(CREATE)
        scenario.poll()
        scenario.deliver_late("all", "swallow")  # the other has sent it and does not know what became of it
        scenario.apply_changes(become(FAILED))
        scenario.poll()
        scenario.wait(10 * MINUTE)
        scenario.deliver("all", "stall")
        assert len(scenario.expectations.bodies) == 2
        scenario.heal()


@examples(10)
@given(data=st.data())
def test_b04_nothing_overtakes_what_is_older_about_the_same_job(
    new_scenario: ScenarioFactory, data: st.DataObject
) -> None:
    with new_scenario() as scenario:
        scenario.apply_changes(CREATE, CREATE)
        scenario.poll()
        for _ in range(data.draw(st.integers(2, 6), label="rounds")):
            scenario.apply_changes(*data.draw(st.lists(changes("become"), min_size=1, max_size=2)))
            scenario.poll()
            scenario.deliver("all", *data.draw(ANSWERS))
            scenario.wait(data.draw(st.sampled_from((timedelta(seconds=3), 10 * MINUTE))))
        scenario.heal()


def test_b04_an_event_after_an_older_settled_one_overtook_nothing(new_scenario: ScenarioFactory) -> None:
    with new_scenario() as scenario:
        scenario.poll()
        scenario.apply_changes(CREATE)
        scenario.poll()
        scenario.apply_changes(become(FAILED))
        scenario.poll()
        scenario.deliver_late("all")  # while it sleeps another process delivers the start, and then the end
        assert [delivery.attempt for delivery in scenario.deliveries() if delivery.channel == "all"] == [2, 1]
        scenario.heal()
