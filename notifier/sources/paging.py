"""Reading a whole list through pages that shift: which pages to ask for, and what they prove.

The documentation of the API reads `offset` as a number of records, samples and clients of the vendor as a page
number. `offset=0` is the first page under both readings; the second request tells them apart.

What makes a walk whole. One page that shows as many rows as it says there are is proof by itself. Of several pages,
read one after the other while rows come and go, the count alone is not: a row deleted from an early page and one added
at the end keep it, while a third slips through between two pages. So under the record reading each page begins with
the last rows of the one before. Two pages that share rows, in one order, leave no gap, whatever was added or deleted
meanwhile, as long as the list keeps its order. Pages by number cannot overlap; there the total must stand still and
the walk reach it alone. A list that answers in another order each time proves nothing but its count.

A list that moves faster than it is read never stands still at the total of its own walk. After a walk without a gap
its head is therefore read again, until a page shares a row with the walk: what was added meanwhile comes first. Where
the head goes over into the walk, in the order of the walk, the total that its first page states is the one to reach:
larger ones from before counted rows that are gone, larger ones from after rows that the next look is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from typing import Literal

from notifier.sources.payloads import TaskPage

OffsetUnit = Literal["record", "page"]
"""What `offset` counts."""

MAX_PAGES = 2_000
"""Pages that one walk asks for at most, whatever total the API states."""
_TENTH = 10
"""Pages of records share a tenth of their rows, and go on by at least a tenth of what was asked for."""
_FEW_PAGES = 10
"""Lists of so many pages are read often and cheap to read again: they share fewer rows rather than take a page more."""


def stride(first: TaskPage, limit: int) -> int:
    """Return how many records to go on by, after a first page that may be shorter than was asked for.

    The rows that two pages share may be deleted between them, all but one, without a gap.
    """
    shown, least = len(first.keys), max(limit // _TENTH, 1)
    longest = max(shown - 1, least)
    usual = max(shown - max(shown // _TENTH, 1), least)
    rest = (first.total or 0) - shown
    more = ceil(rest / longest)
    return max(usual, ceil(rest / more)) if 0 < more < _FEW_PAGES else usual


def detect_offset_unit(first: TaskPage, probe: TaskPage, offset: int) -> OffsetUnit:
    """Tell how `offset` is read from the page that `offset`, the stride, brought.

    Read as a page number it lies beyond the end and brings nothing, unless the list is so long that there is such a
    page; then that page shares no row with the first, which a page of records does.
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
    """True when pages could not be read."""
    last_offset: int = 0
    """The largest offset that `next_offset` returned."""
    head: Walk | None = None
    """The pages that were read again after a walk without a gap, from the first on."""

    def next_offset(self) -> int | None:
        """Return the offset of the next page to ask for; None beyond the end, as far as any page has told by now.

        That a page moved the end is known when it is read: whoever reads pages asks again after each.
        """
        # By number pages begin at 1, not 2: they are counted from 0 or from 1, and one that repeats does no harm.
        step = 1 if self.offset_unit == "page" else stride(self.pages[0], self.limit)
        offset = self.last_offset + step
        while offset in self.pages:
            offset += step
        if offset > MAX_PAGES * step or not self._continues_after(offset - step):
            return None
        self.last_offset = offset
        return offset

    def _continues_after(self, offset: int) -> bool:
        """Tell whether the list goes on after the page at an offset, if that is as long as the first."""
        shown = max(len(self.pages[0].keys), 1)
        end = offset * shown if self.offset_unit == "page" else offset + shown
        return any(page.total is None or page.total > end for page in self.pages.values())

    def ordered_pages(self) -> Sequence[TaskPage]:
        """Return the pages in the order of the list."""
        return [self.pages[offset] for offset in sorted(self.pages)]

    @property
    def total(self) -> int | None:
        """The largest total that a page stated; None when one stated none."""
        return _largest_total(self.pages.values())

    @property
    def steady(self) -> bool:
        """True when every page stated the same total."""
        again = self.head.pages.values() if self.head else ()
        return len({page.total for page in (*self.pages.values(), *again)}) == 1

    @property
    def keys(self) -> set[str | bytes]:
        """Everything seen on the way."""
        return set[str | bytes]().union(*(page.keys for page in self.pages.values()))

    @property
    def exhausted(self) -> bool:
        """True when there is no reason to ask for another page after those read."""
        last = self.pages[max(self.pages)]
        return self.gapless or not last.keys or (last.total is None and len(last.keys) < self.limit)

    @property
    def gapless(self) -> bool:
        """True when the pages leave no gap between them, by the rule at the head of this module."""
        if self.total is None or self.cut_short:
            return False
        if self.offset_unit == "record" and self.limit > 1 and len(self.pages) > 1:
            return self._reaches_end_without_gap()
        return self.steady and len(self.keys) >= self.total

    def _reaches_end_without_gap(self) -> bool:
        """Tell whether the pages hang together, up to one that reaches the end it states.

        Pages without rows were asked for before the list became so short; in the middle they would leave a gap.
        """
        shown = {offset: page for offset, page in sorted(self.pages.items()) if page.keys}
        last = max(shown, default=0)
        reaches_end = last + len(self.pages[last].keys) >= (self.pages[last].total or 0)
        return reaches_end and _overlap_in_order(shown.values())

    @property
    def target_total(self) -> int | None:
        """The total to reach: what the list held when its head was read again, if that leads to the walk."""
        again = self.head.ordered_pages() if self.head else ()
        if self._leads_into_walk(again):
            return again[0].total
        return _largest_total([*self.pages.values(), *again])

    def _leads_into_walk(self, again: Sequence[TaskPage]) -> bool:
        """Tell whether pages lead without a gap to a row of the walk, and show what they share with it in its order."""
        order = dict.fromkeys(key for page in self.ordered_pages() for key in page.rows)
        return (
            bool(again)
            and not again[-1].keys.isdisjoint(self.keys)
            and _overlap_in_order(again)
            and not any(_reordered(order, page.rows) for page in again)
        )

    def contradicts(self, earlier: Walk) -> bool:
        """Tell whether the list answers in another order than before: two rows of one page have changed places."""
        shared = self.pages.keys() & earlier.pages.keys()
        return any(_reordered(earlier.pages[offset].rows, self.pages[offset].rows) for offset in shared)


def _overlap_in_order(pages: Iterable[TaskPage]) -> bool:
    """Tell whether each page shares rows with the one before, and in the same order: by chance is not enough."""
    return not any(
        before.keys.isdisjoint(after.keys) or _reordered(before.rows, after.rows) for before, after in pairwise(pages)
    )


def _largest_total(pages: Iterable[TaskPage]) -> int | None:
    totals = [page.total for page in pages]
    return None if None in totals else max(total for total in totals if total is not None)


def _reordered(before: Mapping[str, object], after: Mapping[str, object]) -> bool:
    return [key for key in before if key in after] != [key for key in after if key in before]


@dataclass(slots=True)
class WalkResult:
    """What one or more walks over the same list found."""

    walks: list[Walk] = field(default_factory=list)

    @property
    def total(self) -> int | None:
        """How many rows the API says there are; None when it does not say."""
        return self.walks[-1].target_total

    def pages(self) -> Iterator[TaskPage]:
        """Yield every page in the order it was asked for: of two rows with one id the later counts."""
        for walk in self.walks:
            yield from walk.ordered_pages()
            if walk.head:
                yield from walk.head.ordered_pages()

    @property
    def complete(self) -> bool:
        """True when all that the API listed is here.

        The distinct rows reach the total, and the last walk left no gap; or the list has no order to leave gaps in,
        and nothing moved.
        """
        if self.total is None or len(self._keys()) < self.total:
            return False
        if self.total == 0:
            # An empty list is also what a service shows that has lost its way: it has to say so twice.
            return len(self.walks) > 1 and self.walks[-2].total == 0
        return self.walks[-1].gapless or self._is_orderless()

    def _keys(self) -> set[str | bytes]:
        return set[str | bytes]().union(*(page.keys for page in self.pages()))

    def _is_orderless(self) -> bool:
        last, *earlier = reversed(self.walks)
        still = all(walk.steady and walk.total == last.total for walk in self.walks)
        return still and any(last.contradicts(walk) for walk in earlier)
