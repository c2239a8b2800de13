"""Read a complete list through pages that shift: which pages to request, and what they prove.

The documentation of the API defines `offset` as a number of records; samples and clients of the vendor use it as a page
number. `offset=0` is the first page in both cases; the second request tells them apart.

When a walk is gapless. One page with as many rows as its stated total is proof by itself. For several pages, read one
after the other while rows are added and deleted, the count is no proof: a row deleted from an early page and one added
at the end keep the count, while a third row is missed between two pages. If `offset` counts records, each page
therefore begins with the last rows of the one before. Two pages that share rows in the same order leave no gap,
whatever was added or deleted in between, as long as the list keeps its order. Numbered pages cannot overlap: there the
total must not change, and the walk alone must reach it. A list in another order each time proves nothing but its count.

A list that changes faster than it is read never reaches the total of its own walk. After a gapless walk its head is
therefore read again until a page shares a row with the walk, because new rows come first. If the head leads into the
walk, in the order of the walk, the total that its first page states is the one to reach: larger totals from before
count deleted rows, larger totals from after count rows for the next scan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import ceil
from typing import Literal

from notifier.sources.payloads import TaskPage

OffsetUnit = Literal["record", "page"]
"""The unit that `offset` counts."""

MAX_LIST_PAGES = 2_000
"""Maximum number of pages that one walk requests, whatever total the API states."""
_TENTH = 10
"""Pages of records share one tenth of their rows, and advance by at least one tenth of the requested rows."""
_FEW_PAGES = 10
"""Up to this number of pages, a list shares fewer rows rather than needing one page more: it is cheap to read again."""


def stride(first: TaskPage, limit: int) -> int:
    """Return by how many records to advance after a first page, which may be shorter than requested.

    All shared rows of two pages but one may be deleted between the requests without a gap.
    """
    shown, least = len(first.keys), max(limit // _TENTH, 1)
    longest = max(shown - 1, least)
    usual = max(shown - max(shown // _TENTH, 1), least)
    rest = (first.total or 0) - shown
    more = ceil(rest / longest)
    return max(usual, ceil(rest / more)) if 0 < more < _FEW_PAGES else usual


def detect_offset_unit(first: TaskPage, probe: TaskPage, offset: int) -> OffsetUnit:
    """Detect the unit of `offset` from the page at `offset`, the stride.

    Used as a page number it is beyond the end and gives no rows, unless the list is long enough to have such a page.
    Then that page shares no row with the first, whereas a page of records does.
    """
    fresh = probe.keys - first.keys
    could_be_page = first.total is None or first.total > (offset - 1) * len(first.keys)
    if not fresh or (could_be_page and len(fresh) == len(probe.keys)):
        return "page"
    return "record"


@dataclass(slots=True)
class Walk:
    """The pages of one walk over the list, by offset."""

    limit: int
    offset_unit: OffsetUnit | None = None
    pages: dict[int, TaskPage] = field(default_factory=dict)
    cut_short: bool = False
    """Whether a page could not be read."""
    last_offset: int = 0
    """The largest offset that `next_offset` returned."""
    head: Walk | None = None
    """The pages that were read again after a gapless walk, from the first on."""

    def next_offset(self) -> int | None:
        """Return the offset of the next page to request; None beyond the end that the pages read so far state.

        A later page may state another end, so this is called again after each page.
        """
        # Numbered pages start at 1 here: the API may count from 0 or 1, and a repeated page does no harm.
        step = 1 if self.offset_unit == "page" else stride(self.pages[0], self.limit)
        offset = self.last_offset + step
        while offset in self.pages:
            offset += step
        if offset > MAX_LIST_PAGES * step or not self._continues_after(offset - step):
            return None
        self.last_offset = offset
        return offset

    def _continues_after(self, offset: int) -> bool:
        """Return whether the list continues after the page at an offset, if that is as long as the first."""
        shown = max(len(self.pages[0].keys), 1)
        end = offset * shown if self.offset_unit == "page" else offset + shown
        return any(page.total is None or page.total > end for page in self.pages.values())

    def ordered_pages(self) -> Sequence[TaskPage]:
        """Return the pages in the order of the list."""
        return [self.pages[offset] for offset in sorted(self.pages)]

    @property
    def total(self) -> int | None:
        """The largest total that a page stated; None if one stated none."""
        return _largest_total(self.pages.values())

    @property
    def steady(self) -> bool:
        """Whether every page stated the same total."""
        again = self.head.pages.values() if self.head else ()
        return len({page.total for page in (*self.pages.values(), *again)}) == 1

    @property
    def keys(self) -> set[str | bytes]:
        """Keys of all rows of the walk."""
        return _keys_of(self.pages.values())

    @property
    def exhausted(self) -> bool:
        """Whether no further page needs to be requested."""
        last = self.pages[max(self.pages)]
        return self.gapless or not last.keys or (last.total is None and len(last.keys) < self.limit)

    @property
    def gapless(self) -> bool:
        """Whether there is no gap between the pages, by the rule at the head of this module."""
        if self.total is None or self.cut_short:
            return False
        if self.offset_unit == "record" and self.limit > 1 and len(self.pages) > 1:
            return self._reaches_end_without_gap()
        return self.steady and len(self.keys) >= self.total

    def _reaches_end_without_gap(self) -> bool:
        """Return whether the pages overlap, up to one that reaches the end that it states.

        Pages without rows were requested before the list became shorter; in the middle they would leave a gap.
        """
        shown = {offset: page for offset, page in sorted(self.pages.items()) if page.keys}
        last = max(shown, default=0)
        reaches_end = last + len(self.pages[last].keys) >= (self.pages[last].total or 0)
        return reaches_end and _overlap_in_order(shown.values())

    @property
    def target_total(self) -> int | None:
        """The total to reach: that of the head read again if it leads into the walk, else the largest stated one."""
        again = self.head.ordered_pages() if self.head else ()
        if self._leads_into_walk(again):
            return again[0].total
        return _largest_total([*self.pages.values(), *again])

    def _leads_into_walk(self, again: Sequence[TaskPage]) -> bool:
        """Return whether pages lead into the walk without a gap, with the shared rows in the order of the walk."""
        if not again:
            return False
        seen = self.keys
        if again[-1].keys.isdisjoint(seen) or not _overlap_in_order(again):
            return False
        order = self._in_order(seen & _keys_of(again))
        return not any(_reordered(order, page.fingerprints) for page in again)

    def _in_order(self, keys: AbstractSet[str | bytes]) -> Mapping[str, None]:
        """Return keys of rows of the walk in its order. The walk is read only as far as they are found."""
        order: dict[str, None] = {}
        for page in self.ordered_pages():
            if len(order) == len(keys):
                break
            order.update((key, None) for key in page.fingerprints if key in keys)
        return order

    def contradicts(self, earlier: Walk) -> bool:
        """Return whether two rows of one page have changed places since an earlier walk."""
        shared = self.pages.keys() & earlier.pages.keys()
        return any(_reordered(earlier.pages[offset].fingerprints, self.pages[offset].fingerprints) for offset in shared)


def _keys_of(pages: Iterable[TaskPage]) -> set[str | bytes]:
    """Return the keys of all rows of pages."""
    return set[str | bytes]().union(*(part for page in pages for part in page.row_keys))


def _overlap_in_order(pages: Iterable[TaskPage]) -> bool:
    """Return whether each page shares rows with the one before, in the same order."""
    pairs = pairwise(pages)
    return not any(
        one.keys.isdisjoint(other.keys) or _reordered(one.fingerprints, other.fingerprints) for one, other in pairs
    )


def _largest_total(pages: Iterable[TaskPage]) -> int | None:
    totals = [page.total for page in pages]
    return None if None in totals else max(total for total in totals if total is not None)


def _reordered(before: Mapping[str, object], after: Mapping[str, object]) -> bool:
    """Return whether keys that both have are in another order in one of them."""
    shared = before.keys() & after.keys()
    # Nearly always the last keys of one are the first of the other: then no key needs to be looked at by itself.
    if [*before][-len(shared) :] == [*after][: len(shared)]:
        return False
    return [key for key in before if key in shared] != [key for key in after if key in shared]


@dataclass(frozen=True)
class WalkResult:
    """The result of one or more walks over the same list."""

    walks: Sequence[Walk]

    @cached_property
    def total(self) -> int | None:
        """Number of rows that the API states; None if it states none."""
        return self.walks[-1].target_total

    def pages(self) -> Iterator[TaskPage]:
        """Yield every page in the order of the requests: of two rows with one id, the later one counts."""
        for walk in self.walks:
            yield from walk.ordered_pages()
            if walk.head:
                yield from walk.head.ordered_pages()

    @cached_property
    def complete(self) -> bool:
        """Whether everything that the API listed was read.

        The distinct rows reach the total, and the last walk is gapless; or the list has no order and its total did not
        change.
        """
        if self.total is None or len(_keys_of(self.pages())) < self.total:
            return False
        if self.total == 0:
            # A failing service may also show an empty list: it has to do so twice.
            return len(self.walks) > 1 and self.walks[-2].total == 0
        return self.walks[-1].gapless or self._is_orderless()

    def _is_orderless(self) -> bool:
        last, *earlier = reversed(self.walks)
        still = all(walk.steady and walk.total == last.total for walk in self.walks)
        return still and any(last.contradicts(walk) for walk in earlier)
