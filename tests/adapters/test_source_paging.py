"""Paging over a list that other people change while it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.core.errors import CredentialsRejected, SourceError, SourceUnreachable
from notifier.sources.paging import MAX_LIST_PAGES, OffsetUnit, Walk, WalkResult, detect_offset_unit, stride
from notifier.sources.payloads import RowKeys, TaskPage
from notifier.sources.walker import MAX_BARREN_PAGES, PAGES_IN_FLIGHT, Walker

Offset = Literal["record", "page", "page0"]
Change = Callable[[list[str]], None]


def page_of(rows: Sequence[str], total: int | None) -> TaskPage:
    return TaskPage(row_keys=RowKeys({row: row.encode() for row in rows}, frozenset()), total=total)


@dataclass
class Cloud:
    """A list, how it takes `offset`, and what happens to it before each of the coming requests."""

    rows: list[str]
    limit: int = 10
    offset: Offset = "record"
    changes: list[Change] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def read(self, offset: int) -> TaskPage:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0)
        self.in_flight -= 1
        self.asked.append(offset)
        if self.changes:
            self.changes.pop(0)(self.rows)
        start = self.start(offset)
        return page_of(self.rows[start : start + self.limit], len(self.rows))

    def start(self, offset: int) -> int:
        if self.offset == "record":
            return offset
        return (max(offset - 1, 0) if self.offset == "page" else offset) * self.limit


def cloud(rows: int, offset: Offset = "record", *changes: Change, limit: int = 10) -> Cloud:
    return Cloud(rows=[f"task-{number}" for number in range(rows)], limit=limit, offset=offset, changes=list(changes))


async def listing_of(source: Cloud, walks: int = 4) -> WalkResult:
    return await Walker(limit=source.limit, paging="auto").read(source.read, walks)


def seen(listing: WalkResult) -> set[str]:
    return {row for page in listing.pages() for row in page.fingerprints}


# ---- a list that stands still ----


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 11, 18, 19, 20, 21, 25, 95, 100, 101, 1000])
@pytest.mark.parametrize("offset", ["record", "page", "page0"])
async def test_every_row_is_seen_under_every_reading_of_offset(rows: int, offset: Offset) -> None:
    source = cloud(rows, offset)
    listing = await listing_of(source)
    assert seen(listing) == set(source.rows)
    assert listing.complete


@pytest.mark.parametrize(("rows", "calls"), [(1, 1), (10, 1), (11, 2), (19, 2), (20, 3), (91, 10), (100, 11)])
async def test_a_list_costs_as_few_calls_as_pages_with_one_row_of_overlap(rows: int, calls: int) -> None:
    source = cloud(rows)
    assert (await listing_of(source)).complete
    assert len(source.asked) == calls


@pytest.mark.parametrize(
    ("rows", "calls"),
    [(100, 1), (101, 2), (199, 2), (200, 3), (298, 3), (299, 4), (991, 10), (992, 11), (3000, 34), (10_000, 111)],
)
async def test_only_lists_above_ten_pages_pay_for_a_tenth_of_overlap(rows: int, calls: int) -> None:
    source = cloud(rows, limit=100)
    assert (await listing_of(source)).complete
    assert len(source.asked) == calls


async def test_the_reading_that_proved_right_is_remembered() -> None:
    walker, source = Walker(limit=10, paging="auto"), cloud(30, "page")
    await walker.read(source.read, 4)
    source.asked.clear()
    assert (await walker.read(source.read, 4)).complete
    assert source.asked == [0, 1, 2, 3]


@pytest.mark.parametrize("offset", ["record", "page", "page0"])
async def test_a_reading_can_be_forced(offset: Offset) -> None:
    source = cloud(30, offset)
    walker = Walker(limit=10, paging="record" if offset == "record" else "page")
    assert (await walker.read(source.read, 4)).complete
    assert source.asked in ([0, 9, 18, 27], [0, 1, 2, 3])


async def test_a_wrong_forced_meaning_of_offset_is_never_whole() -> None:
    listing = await Walker(limit=10, paging="page").read(cloud(30, "record").read, 4)
    assert not listing.complete


async def test_a_wrong_first_verdict_is_dropped() -> None:
    """The probe answers with an empty page, as if offset were a page number, and never again."""
    source = cloud(30)
    whole = list(source.rows)
    source.changes = [lambda _: None, list[str].clear, lambda rows: rows.extend(whole)]
    assert (await listing_of(source)).complete


async def test_pages_are_fetched_ahead_but_never_too_many_at_once() -> None:
    source = cloud(1000)
    await listing_of(source)
    assert source.most_in_flight == PAGES_IN_FLIGHT


# ---- a list that says strange things ----


@pytest.mark.parametrize("total", [None, 11])
async def test_an_empty_first_page_of_a_nonempty_list_proves_nothing(total: int | None) -> None:
    async def read(_offset: int) -> TaskPage:
        return page_of([], total)

    assert not (await Walker(limit=10, paging="auto").read(read, 4)).complete


async def test_an_empty_list_is_believed_only_the_second_time() -> None:
    source = cloud(0)
    assert (await listing_of(source)).complete
    assert source.asked == [0, 0]
    blank = cloud(5)
    whole = list(blank.rows)
    blank.changes = [list[str].clear, lambda rows: rows.extend(whole)]
    listing = await listing_of(blank)
    assert (listing.complete, seen(listing)) == (True, set(whole))


async def test_without_a_total_nothing_is_complete_and_the_walk_ends() -> None:
    source = cloud(25)

    async def read(offset: int) -> TaskPage:
        page = await source.read(offset)
        return page_of(list(page.fingerprints), None)

    listing = await Walker(limit=10, paging="auto").read(read, 1)
    assert seen(listing) == set(source.rows)
    assert not listing.complete
    assert len(source.asked) < 5 + PAGES_IN_FLIGHT + MAX_BARREN_PAGES


async def test_a_service_that_ignores_offset_is_given_up_on() -> None:
    source = cloud(10)

    async def read(_offset: int) -> TaskPage:
        page = await source.read(0)
        return page_of(list(page.rows), 10**9)

    assert not (await Walker(limit=10, paging="auto").read(read, 4)).complete
    assert len(source.asked) < 4 * (2 + PAGES_IN_FLIGHT + MAX_BARREN_PAGES)


@pytest.mark.parametrize("paging", ["record", "page"])
async def test_a_list_that_never_ends_does_not_bring_endless_requests(paging: OffsetUnit) -> None:
    asked: list[int] = []

    async def read(offset: int) -> TaskPage:
        asked.append(offset)
        start = offset * (10 if paging == "page" else 1)
        return page_of([str(row) for row in range(start, start + 10)], 2**31 - 1)

    assert not (await Walker(limit=10, paging=paging).read(read, 1)).complete
    assert len(asked) == 1 + MAX_LIST_PAGES


async def test_a_service_with_smaller_pages_is_read_whole() -> None:
    source = cloud(50)
    source.limit = 4
    listing = await Walker(limit=10, paging="auto").read(source.read, 4)
    assert (listing.complete, seen(listing)) == (True, set(source.rows))


async def test_an_unordered_list_is_complete_once_its_count_is_reached() -> None:
    source = cloud(200)
    source.changes = [Random(7).shuffle] * 2000
    listing = await listing_of(source, walks=50)
    assert (listing.complete, seen(listing)) == (True, set(source.rows))
    assert not any(walk.gapless for walk in listing.walks)


async def test_a_short_page_without_a_total_is_the_last() -> None:
    source = cloud(5)

    async def read(offset: int) -> TaskPage:
        return page_of(list((await source.read(offset)).rows), None)

    await Walker(limit=10, paging="auto").read(read, 1)
    assert source.asked == [0]


# ---- pages that cannot be read ----


async def test_an_unreadable_page_ends_the_walk_and_loses_no_row_read() -> None:
    source = cloud(200)

    async def read(offset: int) -> TaskPage:
        page = await source.read(offset)
        if offset == 99:
            raise SourceUnreachable
        return page

    listing = await Walker(limit=10, paging="auto").read(read, 4)
    assert not listing.complete
    assert len(seen(listing)) >= 100
    assert len(listing.walks) == 1


async def test_a_refusal_midway_is_raised_and_the_other_readers_stop() -> None:
    source = cloud(1000)

    async def read(offset: int) -> TaskPage:
        page = await source.read(offset)
        if offset == 99:
            raise CredentialsRejected
        return page

    with pytest.raises(CredentialsRejected):
        await Walker(limit=10, paging="auto").read(read, 4)
    assert len(source.asked) < 40


async def test_a_first_page_that_cannot_be_read_is_raised() -> None:
    async def read(_offset: int) -> TaskPage:
        raise SourceUnreachable

    with pytest.raises(SourceUnreachable):
        await Walker(limit=10, paging="auto").read(read, 4)


# ---- a list that moves ----


def insert(row: str, place: float) -> Change:
    return lambda rows: rows.insert(round(place * len(rows)), row)


def delete(place: float) -> Change:
    def change(rows: list[str]) -> None:
        if rows:
            rows.pop(int(place * len(rows)))

    return change


def both(*changes: Change) -> Change:
    def change(rows: list[str]) -> None:
        for one in changes:
            one(rows)

    return change


def unchanged(_rows: list[str]) -> None:
    """Let a request pass without a change."""


def added_first(count: int) -> list[Change]:
    return [insert(f"new-{number}", 0) for number in range(count)]


def added_last(count: int) -> list[Change]:
    return [insert(f"new-{number}", 1) for number in range(count)]


@pytest.mark.parametrize("rows", [15, 100, 300, 1000])
async def test_a_growing_list_is_whole_after_one_walk_and_its_head_again(rows: int) -> None:
    source = cloud(rows, "record", *added_first(1000))
    listing = await listing_of(source)
    assert (listing.complete, len(listing.walks)) == (True, 1)
    assert seen(listing) >= stays(source)


async def test_a_head_of_several_pages_is_read_again_up_to_the_walk() -> None:
    first, *flood = added_first(51)
    source = cloud(300, "record", *[unchanged] * 33, first, both(*flood))
    listing = await listing_of(source)
    assert (listing.complete, seen(listing)) == (True, set(source.rows))
    assert len(source.asked) == 34 + 6


@pytest.mark.parametrize("offset", ["record", "page", "page0"])
async def test_a_list_that_grows_by_pages_is_read_to_its_end(offset: Offset) -> None:
    growth = added_last(60)
    source = cloud(100, offset, *(both(*growth[start : start + 20]) for start in (0, 20, 40)))
    listing = await listing_of(source, walks=1)
    assert seen(listing) == set(source.rows)
    assert listing.complete or offset != "record"


@pytest.mark.parametrize("paging", ["record", "page"])
async def test_growth_stated_by_the_last_page_is_read_too(paging: OffsetUnit) -> None:
    source = cloud(10, paging, unchanged, both(*added_last(35)))
    source.rows.append("task-10")
    listing = await Walker(limit=10, paging=paging).read(source.read, 1)
    assert seen(listing) == set(source.rows)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.999])
async def test_one_deletion_in_a_long_list_costs_one_call_more_at_most(place: float) -> None:
    source = cloud(3000, "record", *[unchanged] * 10, delete(place), limit=100)
    listing = await listing_of(source)
    assert listing.complete
    assert seen(listing) >= set(source.rows)
    assert len(source.asked) <= 34 + 1


async def test_a_list_losing_its_end_while_growing_is_whole_after_one_walk() -> None:
    source = cloud(3000, "record", *(both(change, delete(0.999)) for change in added_first(100)), limit=100)
    listing = await listing_of(source)
    assert (listing.complete, len(listing.walks)) == (True, 1)
    assert seen(listing) >= set(source.rows)


async def test_a_list_that_loses_its_last_pages_is_whole_after_one_walk() -> None:
    source = cloud(300, "record", *[unchanged] * 5, both(*[delete(0.999)] * 50))
    listing = await listing_of(source)
    assert (listing.complete, len(listing.walks)) == (True, 1)
    assert seen(listing) >= set(source.rows)


@pytest.mark.parametrize("failure", [SourceUnreachable, CredentialsRejected])
async def test_a_head_that_cannot_be_read_again_is_incomplete(failure: type[SourceError]) -> None:
    source = cloud(30, "record", *added_first(50))

    async def read(offset: int) -> TaskPage:
        if source.asked.count(0) and not offset:
            raise failure
        return await source.read(offset)

    offset_unit = Walker(limit=10, paging="auto").read(read, 4)
    if failure is CredentialsRejected:
        with pytest.raises(CredentialsRejected):
            await offset_unit
        return
    listing = await offset_unit
    assert not listing.complete
    assert len(seen(listing)) >= 30
    assert len(listing.walks) == 1


places = st.floats(0, 0.999)


@st.composite
def moves(draw: st.DrawFn, inserts: st.SearchStrategy[float] = places) -> list[Change]:
    """Some insertions and deletions before each of some requests. A row that is inserted is a new one."""
    fresh = iter(range(10_000))
    step = st.lists(st.booleans(), max_size=4)
    return [
        both(*(insert(f"new-{next(fresh)}", draw(inserts)) if new else delete(draw(places)) for new in draw(step)))
        for _ in range(draw(st.integers(0, 30)))
    ]


def stays(source: Cloud) -> set[str]:
    """Return the rows that are there throughout: run after the reading, what was there first and still is."""
    return {row for row in source.rows if row.startswith("task-")}


@settings(max_examples=600)
@given(st.integers(0, 60), moves())
def test_by_records_a_complete_list_lacks_no_staying_row(rows: int, changes: list[Change]) -> None:
    """Rows come and go anywhere, as long as those that stay keep their order."""
    source = cloud(rows, "record", *changes)
    listing = asyncio.run(listing_of(source))
    if listing.complete:
        assert seen(listing) >= stays(source)


@settings(max_examples=600)
@given(st.integers(0, 60), st.sampled_from(["page", "page0"]), moves(inserts=st.just(0.0)))
def test_by_pages_no_staying_row_is_missing_while_new_rows_come(
    rows: int, offset: Offset, changes: list[Change]
) -> None:
    source = cloud(rows, offset, *changes)
    listing = asyncio.run(listing_of(source))
    if listing.complete:
        assert seen(listing) >= stays(source)


@settings(max_examples=300)
@given(st.integers(0, 60), st.sampled_from(["record", "page", "page0"]), moves())
def test_once_a_list_stands_still_every_row_is_seen(rows: int, offset: Offset, changes: list[Change]) -> None:
    source = cloud(rows, offset, *changes)
    walker = Walker(limit=10, paging="auto")

    async def poll_twice() -> WalkResult:
        await walker.read(source.read, 4)
        source.changes.clear()
        return await walker.read(source.read, 4)

    listing = asyncio.run(poll_twice())
    assert (listing.complete, seen(listing)) == (True, set(source.rows))


@settings(max_examples=300)
@given(st.integers(0, 60), st.permutations(range(60)), st.sampled_from(["record", "page", "page0"]))
def test_any_order_will_do(rows: int, order: list[int], offset: Offset) -> None:
    source = Cloud(rows=[f"task-{n}" for n in order if n < rows], offset=offset)
    listing = asyncio.run(listing_of(source))
    assert (listing.complete, seen(listing)) == (True, set(source.rows))


# ---- the decisions alone ----


@pytest.mark.parametrize(
    ("first", "total", "probe", "expected"),
    [
        (range(10), 30, range(9, 19), "record"),
        (range(10), 30, [], "page"),
        (range(10), 30, range(10), "page"),
        (range(10), 30, range(10, 20), "record"),
        (range(10), 500, range(9, 19), "record"),
        (range(10), 500, range(90, 100), "page"),
        (range(10), None, range(90, 100), "page"),
    ],
)
def test_the_second_page_proves_how_offset_is_read(
    first: Sequence[int], total: int | None, probe: Sequence[int], expected: OffsetUnit
) -> None:
    """Where a page of that number can exist, only a shared row speaks for records."""
    one, other = (page_of([str(n) for n in numbers], total) for numbers in (first, probe))
    assert detect_offset_unit(one, other, 9) == expected


def test_pages_that_share_no_row_are_not_whole_even_at_the_count() -> None:
    pages = {0: page_of(["a", "b", "c"], 5), 2: page_of(["d", "e", "f"], 5)}
    assert not Walk(limit=3, offset_unit="record", pages=pages).gapless
    pages[2] = page_of(["c", "d", "e"], 5)
    assert Walk(limit=3, offset_unit="record", pages=pages).gapless


def test_pages_that_share_rows_by_chance_are_not_whole() -> None:
    assert Walk(limit=4, offset_unit="record", pages={0: page_of(list("abcd"), 6), 2: page_of(list("cdef"), 6)}).gapless
    assert not Walk(
        limit=4, offset_unit="record", pages={0: page_of(list("abcd"), 6), 2: page_of(list("dcef"), 6)}
    ).gapless


def walk_of(*pages: str, total: int = 6, offset_unit: OffsetUnit = "record") -> Walk:
    """Return a walk over pages of single-letter rows, each two rows further on."""
    return Walk(
        limit=3, offset_unit=offset_unit, pages={2 * n: page_of(list(page), total) for n, page in enumerate(pages)}
    )


def test_a_walk_that_stops_early_is_not_whole_despite_an_earlier_one() -> None:
    assert WalkResult([walk_of("abc", "cde", "ef")]).complete
    assert not WalkResult([walk_of("abc", "def"), walk_of("abc", "cde")]).complete


def test_earlier_walk_rows_count_towards_the_total_without_gaps() -> None:
    assert WalkResult([walk_of("abc", "def"), walk_of("abc", "cde", "ef")]).complete
    assert not WalkResult([walk_of("abc", "cde", "ef", total=7)]).complete


def test_a_gap_is_forgiven_only_to_a_list_proven_unordered() -> None:
    assert not WalkResult([walk_of("abc", "def"), walk_of("abc", "def")]).complete
    assert WalkResult([walk_of("abc", "def"), walk_of("bac", "def")]).complete
    assert not WalkResult([walk_of("abc", "def", total=5), walk_of("bac", "def")]).complete


def test_the_largest_total_of_a_walk_has_to_be_reached() -> None:
    walk = walk_of("abc", "cde")
    walk.pages[0] = page_of(list("abc"), 5)
    assert walk.total == 6
    walk.pages[2] = page_of(list("cde"), None)
    assert walk.total is None


@pytest.mark.parametrize(
    ("head", "complete"),
    [
        (("abc",), True),
        (("xab",), True),
        (("xyz", "zab"), True),
        (("bac",), False),
        (("xyz",), False),
        (("xyz", "abc"), False),
        ((), False),
    ],
)
def test_only_a_head_that_joins_the_walk_in_order_has_the_last_word(head: Sequence[str], *, complete: bool) -> None:
    """The walk saw five rows, and a sixth in its total that went before it was seen."""
    walk = walk_of("abc", "cde", total=5)
    walk.pages[0] = page_of(list("abc"), 9)
    walk.head = walk_of(*head, total=5)
    assert WalkResult([walk]).complete is complete


def test_a_head_that_states_more_rows_than_seen_is_not_whole() -> None:
    walk = walk_of("abc", "cde", total=5)
    walk.head = walk_of("xab", total=7)
    assert not WalkResult([walk]).complete
    walk.head = walk_of("xab", total=6)
    assert WalkResult([walk]).complete


@pytest.mark.parametrize(
    ("pages", "total", "whole"),
    [(("abc", "cde", ""), 5, True), (("abc", "cde", ""), 6, False), (("abc", "", "efg"), 7, False)],
)
def test_pages_without_rows_break_a_walk_only_if_the_list_continues(
    pages: Sequence[str], total: int, *, whole: bool
) -> None:
    assert walk_of(*pages, total=total).gapless is whole


def test_by_pages_a_total_that_moves_is_not_whole() -> None:
    still = {0: page_of(["a", "b"], 4), 2: page_of(["c", "d"], 4)}
    moved = {0: page_of(["a", "b"], 3), 2: page_of(["c", "d"], 4)}
    assert Walk(limit=2, offset_unit="page", pages=still).gapless
    assert not Walk(limit=2, offset_unit="page", pages=moved).gapless


def test_single_rows_can_be_paged_through() -> None:
    source = cloud(5)
    source.limit = 1
    listing = asyncio.run(Walker(limit=1, paging="auto").read(source.read, 4))
    assert (listing.complete, seen(listing)) == (True, set(source.rows))


def test_pages_share_a_tenth_of_their_rows_and_the_stride_is_bounded() -> None:
    assert stride(page_of([str(n) for n in range(100)], 2000), 100) == 90
    assert stride(page_of([str(n) for n in range(100)], None), 100) == 90
    assert stride(page_of(["only"], 500), 100) == 10
    assert stride(page_of(["only"], 500), 1) == 1


def test_the_pages_of_a_short_list_share_what_costs_no_page_more() -> None:
    first = [str(n) for n in range(100)]
    assert [stride(page_of(first, total), 100) for total in (101, 195, 199, 200, 298)] == [90, 95, 99, 90, 99]
