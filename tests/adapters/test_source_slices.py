"""A walk over a list that stands still between slices reads what it reads at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from notifier.core.errors import CredentialsRejected
from notifier.sources.paging import WalkResult
from notifier.sources.payloads import RowKeys, TaskPage
from notifier.sources.slices import InSlices, ListSlice, SlicedWalk
from notifier.sources.walker import PAGES_IN_FLIGHT, Walker

PAGE, ROWS = 10, 95


@dataclass
class Cloud:
    """A list of numbered rows, the newest first."""

    rows: list[str] = field(default_factory=lambda: [f"row {number}" for number in range(ROWS)])
    asked: list[int] = field(default_factory=list)
    error: Exception | None = None
    in_flight: int = 0
    most_in_flight: int = 0

    async def page(self, offset: int) -> TaskPage:
        self.asked.append(offset)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0)
        self.in_flight -= 1
        if self.error:
            raise self.error
        shown = {row: row.encode() for row in self.rows[offset : offset + PAGE]}
        keys = RowKeys(fingerprints=dict(shown), unreadable=frozenset())
        return TaskPage(row_keys=keys, total=len(self.rows), read_rows=lambda: shown)

    def walk(self) -> SlicedWalk:
        async def read(in_slices: InSlices) -> WalkResult:
            return await Walker(limit=PAGE, paging="record").read(in_slices(self.page), 4)

        return SlicedWalk(read)


async def slices_of(cloud: Cloud, size: int) -> list[ListSlice]:
    walk, found = cloud.walk(), [ListSlice(pages=(), result=None)]
    while found[-1].result is None:
        before = len(cloud.asked)
        found.append(await walk.advance(size))
        assert len(cloud.asked) - before <= size
        assert cloud.in_flight == 0
    return found[1:]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 11, 100])
async def test_slices_of_any_size_show_every_row_once_and_prove_the_same(size: int) -> None:
    whole = Cloud()
    at_once = await Walker(limit=PAGE, paging="record").read(whole.page, 4)
    cloud = Cloud()
    slices = await slices_of(cloud, size)
    result = slices[-1].result
    assert result is not None
    assert (result.complete, result.total, sorted(cloud.asked)) == (True, at_once.total, sorted(whole.asked))
    assert len(slices) <= -(-len(whole.asked) // size) + 1
    shown = {row for one in slices for page in one.pages for row in page.rows}
    assert shown == set(cloud.rows)
    assert cloud.most_in_flight <= min(size, PAGES_IN_FLIGHT)


async def test_pages_of_a_scan_that_has_ended_keep_keys_and_no_rows() -> None:
    *_, last = await slices_of(Cloud(), 4)
    assert last.result is not None
    assert [*filter(None, (page.rows for page in last.result.pages()))] == []
    assert {row for page in last.result.pages() for row in page.fingerprints} == set(Cloud().rows)


async def test_a_list_that_grows_between_slices_is_read_to_its_beginning() -> None:
    cloud = Cloud()
    walk = cloud.walk()
    await walk.advance(5)
    cloud.rows[:0] = ["new 1", "new 2"]
    shown, read = set(), await walk.advance(5)
    while True:
        shown |= {row for page in read.pages for row in page.rows}
        if read.result:
            break
        read = await walk.advance(5)
    assert read.result.complete
    assert {"new 1", "new 2"} <= shown


async def test_an_error_ends_the_walk_with_the_slice_in_which_it_happens() -> None:
    cloud = Cloud()
    walk = cloud.walk()
    await walk.advance(3)
    cloud.error = CredentialsRejected("no")
    with pytest.raises(CredentialsRejected):
        await walk.advance(3)


async def test_a_cancelled_walk_asks_for_nothing_more() -> None:
    cloud = Cloud()
    walk = cloud.walk()
    await walk.advance(3)
    asked = len(cloud.asked)
    walk.cancel()
    with pytest.raises(asyncio.CancelledError):
        await walk.advance(3)
    assert len(cloud.asked) == asked
