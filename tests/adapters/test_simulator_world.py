"""The simulated past and future: repeatable, plausible, and lively enough to watch."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from notifier.core.causes import error_code
from notifier.core.errors import ConfigurationError
from notifier.simulator import Options, catalogue
from notifier.simulator.faults import Faults, parse_faults
from notifier.simulator.history import evolving_world, static_world
from notifier.simulator.listing import ListQuery, TaskListing, wire_row, write_row
from notifier.simulator.world import AnyRow, TaskRow, World
from notifier.wording.causes import builtin_catalogue

START = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def after(minutes: float, **chosen: Any) -> dict[str, AnyRow]:
    world = evolving_world(Options(**chosen), START)
    world.advance(START + minutes * MINUTE)
    return world.rows


def changes(seed: int, minutes: int) -> list[tuple[int, str]]:
    """What happened in each of the first minutes, as (minute, status it came to)."""
    world = evolving_world(Options(seed=seed), START)
    seen: dict[str, str] = {}
    found: list[tuple[int, str]] = []
    for minute in range(minutes + 1):
        world.advance(START + minute * MINUTE)
        now = {job_id: row.status for job_id, row in world.rows.items()}
        found += [(minute, status) for job_id, status in now.items() if minute and seen.get(job_id) != status]
        seen = now
    return found


# ---- repeatable ----


def test_one_seed_gives_the_same_rows_however_often_they_are_read() -> None:
    often = evolving_world(Options(seed=7), START)
    for minute in range(600):
        often.advance(START + minute * MINUTE)
    assert often.rows == after(599, seed=7)


def test_another_seed_gives_other_rows() -> None:
    assert set(after(0, seed=1)).isdisjoint(after(0, seed=2))


# ---- plausible ----


def test_progress_only_grows_until_a_task_ends() -> None:
    world = evolving_world(Options(), START)
    last: dict[str, int] = {}
    for minute in range(300):
        world.advance(START + minute * MINUTE)
        for row in world.rows.values():
            assert isinstance(row, TaskRow)
            assert (row.progress is None) == (row.status != "Running") == (row.ended_at is not None)
            assert (row.reason is not None) == (row.status == "Failed")
            if row.progress is not None:
                assert last.get(row.job_id, 0) <= row.progress < 100
                last[row.job_id] = row.progress


def test_every_documented_name_comes_up_and_no_other() -> None:
    assert {row.name for row in after(0, backlog=500).values()} == catalogue.NAMES


def test_an_instance_that_is_being_created_sees_no_other_task() -> None:
    world = evolving_world(Options(), START)
    for minute in range(600):
        world.advance(START + minute * MINUTE)
        running = [row for row in world.rows.values() if isinstance(row, TaskRow) and row.status == "Running"]
        creating = [row.instance.id for row in running if row.instance and row.instance.status == "creating"]
        everywhere = [row.instance.id for row in running if row.instance]
        assert all(everywhere.count(instance) == 1 for instance in creating)


def test_rows_are_listed_for_thirty_days_at_most() -> None:
    days = 40
    rows = after(days * 24 * 60, every=timedelta(hours=1))
    now = START + timedelta(days=days)
    assert min(row.created_at for row in rows.values()) > now - timedelta(days=30)
    assert len(rows) > 600


def test_some_rows_are_deleted_earlier() -> None:
    assert len(after(0, backlog=500, deleting=0.5)) < 400 < len(after(0, backlog=500, deleting=0))


def test_failed_tasks_run_again_when_asked_for() -> None:
    world = evolving_world(Options(regress=1.0, failing=1.0), START)
    seen: dict[str, list[str]] = {}
    for minute in range(300):
        world.advance(START + minute * MINUTE)
        for job_id, row in world.rows.items():
            history = seen.setdefault(job_id, [])
            if history[-1:] != [row.status]:
                history.append(row.status)
    assert ["Running", "Failed", "Running", "Completed"] in seen.values()


def test_undocumented_names_and_statuses_come_up_when_asked_for() -> None:
    rows = after(0, backlog=300, strange=0.4).values()
    assert {row.name for row in rows} > catalogue.NAMES
    assert "Canceled" in {row.status for row in rows}


def test_each_reason_is_in_both_languages_and_half_have_a_code() -> None:
    assert len(set(catalogue.REASONS)) >= 15
    assert all(reason.en.isascii() and not reason.zh.isascii() for reason in catalogue.REASONS)
    codes = [(error_code(reason.en), error_code(reason.zh)) for reason in catalogue.REASONS]
    assert all(en == zh for en, zh in codes)
    assert sum(en is not None for en, _ in codes) >= len(codes) / 2


@pytest.mark.parametrize("reason", catalogue.REASONS, ids=lambda reason: reason.en[:30])
def test_each_reason_has_one_known_cause_in_both_languages(reason: catalogue.Reason) -> None:
    en, zh = (builtin_catalogue().explain(text) for text in (reason.en, reason.zh))
    assert en.cause is not None
    assert (en.cause, en.code) == (zh.cause, zh.code)
    without_code = re.sub(r" ?Error code: \S+\.\d+[.]?", "", reason.en)
    assert builtin_catalogue().explain(without_code).cause is en.cause, "the words and the code mean the same"


# ---- lively: at speed 60 a minute here is a second there ----


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_each_kind_of_change_is_seen_in_the_first_six_minutes(seed: int) -> None:
    assert {status for _, status in changes(seed, 6)} == {"Running", "Completed", "Failed"}


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_three_minutes_never_pass_without_a_change(seed: int) -> None:
    minutes = [0, *(minute for minute, _ in changes(seed, 120))]
    assert max(later - earlier for earlier, later in pairwise(minutes)) <= 3


# ---- by hand ----


def test_a_row_put_in_by_hand_goes_out_as_it_was_written() -> None:
    world = static_world(Options(), START, 0)
    text = b'{"job_id":"a","status":"Running","status":"\\ud83d","process":60}'
    world.put(text)
    assert [write_row(row, "en-us", Options()) for row in world.rows.values()] == [text]


def test_rows_without_a_usable_id_are_all_listed() -> None:
    world = static_world(Options(), START, 0)
    world.put({"job_id": None, "name": "x"})
    world.put({"name": "y"})
    assert TaskListing(Options(), world).page(ListQuery()).total == 2


def test_a_row_changed_by_hand_no_longer_evolves() -> None:
    world = evolving_world(Options(), START)
    running = next(row for row in world.rows.values() if row.status == "Running")
    removed = next(row for row in world.rows.values() if row.status == "Running" and row is not running)
    world.put({"job_id": running.job_id, "status": "Paused"})
    world.remove(removed.job_id)
    world.advance(START + timedelta(days=1))
    assert world.rows[running.job_id].status == "Paused"
    assert removed.job_id not in world.rows


def test_touching_changes_the_status_of_the_requested_rows() -> None:
    world = static_world(Options(), START, 1000)
    before = dict(world.rows)
    touched = world.touch(10, START)
    changed = {job_id for job_id, row in world.rows.items() if row.status != before[job_id].status}
    assert changed == set(touched)
    assert len(changed) == 10


def test_a_static_world_changes_only_by_hand() -> None:
    world = static_world(Options(), START, 100)
    before = dict(world.rows)
    world.advance(START + timedelta(days=365))
    assert world.rows == before
    world.insert(START)
    world.drop(Random(1))
    assert len(world.rows) == 100
    assert world.rows != before


# ---- as written ----


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("plain", "60"), ("percent", "60%"), ("number", 60), ("null", None), ("empty", ""), ("absent", "absent")],
)
def test_the_progress_of_a_running_row_is_written_as_chosen(choice: Any, expected: object) -> None:
    row = TaskRow(job_id="a", name="n", status="Running", progress=60)
    assert wire_row(row, "en-us", Options(running_process=choice)).get("process", "absent") == expected


@pytest.mark.parametrize(("choice", "expected"), [("null", None), ("empty", ""), ("absent", "absent")])
def test_the_end_of_a_running_row_is_written_as_chosen(choice: Any, expected: object) -> None:
    row = TaskRow(job_id="a", name="n", status="Running", created_at=START)
    written = wire_row(row, "en-us", Options(running_ended=choice))
    assert written.get("ended_at", "absent") == expected
    assert written["created_at"] == "2026-01-15T16:30:00+0800"


def test_old_deployments_write_no_times() -> None:
    row = TaskRow(job_id="a", name="n", status="Failed", created_at=START, ended_at=START)
    assert not {"created_at", "ended_at"} & wire_row(row, "en-us", Options(timestamps=False)).keys()


def listed(options: Options, world: World) -> list[str]:
    listing = TaskListing(options, world)
    size = len(world.rows)
    pages = (listing.page(ListQuery(offset=first)) for first in range(0, size, 100))
    return [json.loads(row)["job_id"] for page in pages for row in page.rows]


def test_newest_and_oldest_are_each_other_reversed() -> None:
    world = static_world(Options(), START, 250)
    newest = listed(Options(order="newest"), world)
    assert newest == listed(Options(order="oldest"), world)[::-1]
    assert world.rows[newest[0]].created_at > world.rows[newest[-1]].created_at


def test_a_shuffled_order_stays_and_an_unstable_one_does_not() -> None:
    world = static_world(Options(), START, 250)
    shuffled = listed(Options(order="shuffled"), world)
    assert shuffled == listed(Options(order="shuffled"), world)
    assert sorted(shuffled) == sorted(listed(Options(order="newest"), world)) != shuffled
    assert len(set(listed(Options(order="unstable"), world))) < 250


@pytest.mark.parametrize(("time_filter", "expected"), [("created", {"b"}), ("ended", {"a"}), ("overlap", {"a", "b"})])
def test_which_time_is_filtered_by_is_a_choice(time_filter: Any, expected: set[str]) -> None:
    world = static_world(Options(), START, 0)
    world.put(TaskRow(job_id="a", name="n", status="Failed", created_at=START - 5 * MINUTE, ended_at=START))
    world.put(TaskRow(job_id="b", name="n", status="Running", created_at=START))
    world.put(TaskRow(job_id="c", name="n", status="Failed", created_at=START - 5 * MINUTE, ended_at=START - MINUTE))
    page = TaskListing(Options(time_filter=time_filter), world).page(ListQuery(since=START, until=START + MINUTE))
    assert {json.loads(row)["job_id"] for row in page.rows} == expected


# ---- options and faults ----


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"speed": 0}, "speed is 0; it must be more than 0"),
        ({"port": 70000}, "port is 70000"),
        ({"static": 100_001}, "static is 100001; it must be from 0 to 100000"),
        ({"backlog": -1}, "backlog is -1"),
        ({"failing": 1.5}, "failing is 1.5; it is a share"),
        ({"order": "sideways"}, "order is 'sideways'; it must be one of newest, oldest, shuffled, unstable"),
        ({"calls_per_minute": -3}, "calls_per_minute must be more than 0"),
        ({"every": timedelta(0)}, "the time between two new tasks must be more than 0"),
    ],
)
def test_options_that_cannot_work_are_refused(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Options(**chosen)
    assert message in str(caught.value)


def test_options_do_not_show_secrets() -> None:
    shown = repr(Options(secret_key="s3cret-a", password="s3cret-b", security_token="s3cret-c"))
    assert "s3cret" not in shown


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("teapot:0.1", "there is no fault 'teapot'; there are 401, 403, 408, 429"),
        ("429=x:0.1", "cannot read '429=x:0.1'; write kind[=seconds][@service][:share], for example 429=30:0.1"),
        ("500@dns", "there is no service 'dns'; there are gaussdb, cts, ces, iam, smn"),
        ("500:0.6,502:0.6", "add up to 1.2"),
    ],
)
def test_faults_that_cannot_be_read_are_refused(spec: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_faults(spec)
    assert message in str(caught.value)


def test_fault_rates_are_as_requested_and_equal_for_equal_seeds() -> None:
    def drawn(seed: int) -> list[str]:
        faults = Faults(parse_faults("429=30:0.2,truncate:0.1"), Random(seed))
        return [faults.next().kind for _ in range(2000)]

    kinds = drawn(1)
    assert kinds == drawn(1)
    assert 300 < kinds.count("429") < 500
    assert 130 < kinds.count("truncate") < 270
    assert kinds.count("pass") == 2000 - kinds.count("429") - kinds.count("truncate")


def test_a_script_precedes_chance_and_is_applied_whole_or_not_at_all() -> None:
    faults = Faults(parse_faults("500"), Random(1))
    faults.script("pass", "slow=2")
    with pytest.raises(ConfigurationError):
        faults.script("401", "nonsense")
    assert [(fault.kind, fault.amount) for fault in (faults.next(), faults.next(), faults.next())] == [
        ("pass", 0.0),
        ("slow", 2.0),
        ("500", 0.0),
    ]


def test_rows_can_carry_the_times_at_which_they_are_really_shown() -> None:
    start = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
    world = evolving_world(Options(speed=60, stamps="real"), start)
    world.advance(start + timedelta(minutes=10))
    times = [time for row in world.rows.values() for time in (row.created_at, row.ended_at) if time]
    assert start + timedelta(seconds=5) < max(times) <= start + timedelta(seconds=10)
