"""The projects of an account: names of their sources, and what a read of the list changes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.projects import (
    ALARMS_SUFFIX,
    MAX_PROJECTS,
    MAX_SOURCE_NAME,
    MISSING_FOR,
    MISSING_READS,
    FoundProject,
    ProjectChanges,
    ProjectListing,
    compare_projects,
    present,
    region_of,
    source_name,
)
from notifier.settings.words import NAME_PATTERN
from notifier.sources.regions import ENDPOINTS

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
ID = "0611f1bd8b00d5d32f17c017f15b599f"
ORDERS = ProjectListing(id="1" * 32, name="cn-north-4_orders")
PLAIN = ProjectListing(id="2" * 32, name="cn-north-4")


def compare(
    known: Sequence[FoundProject], *listed: ProjectListing, now: datetime = NOW, taken: Sequence[str] = ()
) -> ProjectChanges:
    return compare_projects("acme", known, listed, taken=taken, now=now)


@pytest.mark.parametrize("region", ENDPOINTS)
def test_a_region_is_what_the_name_begins_with(region: str) -> None:
    assert region_of(region) == region
    assert region_of(f"{region}_payments") == region
    assert region_of(f"{region}payments") is None


@pytest.mark.parametrize(
    "name", ["MOS", "", "cn-north", "cn-north-", "CN-NORTH-4", "xcn-north-4", "payments_cn-north-4"]
)
def test_a_project_of_no_region_has_none(name: str) -> None:
    assert region_of(name) is None


@pytest.mark.parametrize(
    ("project", "expected"),
    [
        ("cn-north-4", "acme-cn-north-4"),
        ("cn-north-4_payments", "acme-cn-north-4-payments"),
        ("cn-north-4_Payments Team", "acme-cn-north-4-payments-team"),
        ("cn-north-4_a_b", "acme-cn-north-4-a_b"),
        ("cn-north-4_支付", "acme-cn-north-4-0611f1bd"),
        ("cn-north-4_支付 2", "acme-cn-north-4-2"),
        ("cn-north-4_", "acme-cn-north-4"),
    ],
)
def test_a_source_is_named_after_its_account_region_and_project(project: str, expected: str) -> None:
    assert source_name("acme", ProjectListing(id=ID, name=project), ()) == expected


def test_a_name_that_is_taken_ends_with_the_id() -> None:
    project = ProjectListing(id=ID, name="cn-north-4")
    first = source_name("acme", project, {"acme-cn-north-4"})
    second = source_name("acme", project, {"acme-cn-north-4", first})
    assert (first, second) == ("acme-cn-north-4-0611f1bd", f"acme-cn-north-4-{ID}")
    third = source_name("acme", project, {"acme-cn-north-4", first, second})
    assert third not in {first, second}


names = st.from_regex(re.compile(NAME_PATTERN.replace("*$", "{0,63}$")), fullmatch=True)


@given(
    account=names,
    projects=st.lists(st.tuples(st.sampled_from(sorted(ENDPOINTS)), st.text(max_size=80)), max_size=12),
    taken=st.sets(names, max_size=3),
)
def test_names_are_valid_unique_and_leave_room_for_more(
    account: str, projects: list[tuple[str, str]], taken: set[str]
) -> None:
    listed = [ProjectListing(id=f"{n:032x}", name=f"{region}_{rest}") for n, (region, rest) in enumerate(projects)]
    found = [one.source for one in compare_projects(account, (), listed, taken=taken, now=NOW).found]
    assert len({*found, *taken}) == len(found) + len(taken)
    longest = len(ALARMS_SUFFIX) + 1
    assert all(re.search(NAME_PATTERN, name) and len(name) + longest <= MAX_SOURCE_NAME for name in found)


def test_new_projects_are_found_in_the_order_of_their_names() -> None:
    changes = compare(
        (), ORDERS, PLAIN, ProjectListing(id="3", name="MOS"), ProjectListing(id="4", name="x", enabled=False)
    )
    assert [one.source for one in changes.found] == ["acme-cn-north-4", "acme-cn-north-4-orders"]
    assert changes.saved == changes.found
    assert changes.alters_sources


def test_an_unchanged_list_changes_nothing() -> None:
    known = compare((), ORDERS, PLAIN).saved
    changes = compare(known, PLAIN, ORDERS, now=NOW + MISSING_FOR)
    assert (list(changes.saved), changes.alters_sources) == ([], False)


def test_a_project_is_retired_after_several_reads_and_some_time() -> None:
    known = compare((), ORDERS).saved
    said = []
    for read in range(MISSING_READS + 2):
        changes = compare(known, PLAIN, now=NOW + read * MISSING_FOR / 2, taken=["acme-cn-north-4"])
        known = [*(one for one in changes.saved if one.project_id == ORDERS.id)] or known
        said.append((len(changes.missing), len(changes.gone)))
    assert said == [(1, 0), (0, 0), (0, 1), (0, 0), (0, 0)]
    assert not present(known)


def test_reads_in_quick_succession_retire_nothing() -> None:
    known = compare((), ORDERS).saved
    for read in range(5 * MISSING_READS):
        changes = compare(known, PLAIN, now=NOW + read * timedelta(minutes=1))
        assert not changes.gone
        known = [one for one in changes.saved if one.project_id == ORDERS.id] or known


def test_a_project_that_is_listed_again_was_never_missing() -> None:
    known = compare((), ORDERS).saved
    missing = compare(known, PLAIN).saved[0]
    again = compare([missing], ORDERS, now=NOW + timedelta(days=1))
    assert (again.saved, again.alters_sources) == (known, False)


def test_a_disabled_project_is_missing() -> None:
    known = compare((), ORDERS).saved
    off = ProjectListing(id=ORDERS.id, name=ORDERS.name, enabled=False)
    assert [one.source for one in compare(known, off).missing] == ["acme-cn-north-4-orders"]


def test_a_project_that_returns_keeps_its_name() -> None:
    (known,) = compare((), ORDERS, taken=["acme-cn-north-4-orders"]).saved
    gone = FoundProject(**{name: getattr(known, name) for name in known.__slots__} | {"gone_at": NOW, "missed": 3})
    (back,) = compare([gone], ORDERS).found
    assert back == known
    assert back.source == "acme-cn-north-4-orders-11111111"


def test_a_renamed_project_keeps_the_name_of_its_source() -> None:
    known = compare((), ORDERS).saved
    renamed = compare(known, ProjectListing(id=ORDERS.id, name="cn-north-4_sales"))
    assert [(one.name, one.source) for one in renamed.saved] == [("cn-north-4_sales", "acme-cn-north-4-orders")]
    assert not renamed.alters_sources


def test_too_many_projects_are_left_out() -> None:
    listed = [ProjectListing(id=f"p{n}", name=f"cn-north-4_{n}") for n in range(MAX_PROJECTS + 2)]
    changes = compare((), *listed)
    assert (len(changes.saved), changes.left_out) == (MAX_PROJECTS, 2)
