"""Reading a whole list through pages that shift: which pages to ask for, and what they prove.

The documentation of the API reads `offset` as a number of records, samples and clients of the vendor as a page
number. `offset=0` is the first page under both readings; the second request tells them apart.

What makes a walk whole. One page that shows as many rows as it says there are is proof by itself. Of several pages,
read one after the other while rows come and go, the count alone is not: a row deleted from an early page and one added
at the end keep it, while a third slips through between two pages. So under the record reading each page begins with
the last row of the one before. Two pages that share a row leave no gap, whatever was added or deleted meanwhile, as
long as the list keeps its order. Pages by number cannot overlap; there the total must stand still and the walk reach it
alone. A list that answers in another order each time proves nothing but its count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from typing import Literal

from notifier.sources.payloads import Page

Reading = Literal["record", "page"]
"""What `offset` counts."""
Paging = Literal["auto", "record", "page"]
"""What is configured; auto finds the reading out."""

MOST_PAGES = 2_000
"""Pages that one walk asks for at most, whatever total the API states."""
_OVERLAP = 1
_SMALLEST_STRIDE = 10


def stride(first: Page, limit: int) -> int:
    """Return how many records to go on by, after a first page that may be shorter than was asked for."""
    return max(len(first.keys) - _OVERLAP, limit // _SMALLEST_STRIDE, 1)


def reading_of(first: Page, probe: Page, offset: int) -> Reading:
    """Tell how `offset` is read from the page that `offset`, the stride, brought.

    Read as a page number it lies beyond the end and brings nothing, unless the list is so long that there is such a
    page; then that page shares no row with the first, which a page of records does.
    """
    fresh = probe.keys - first.keys
    could_be_page = first.total is None or first.total > (offset - 1) * len(first.keys)
    if not fresh or (could_be_page and len(fresh) == len(probe.keys)):
        return "page"
    return "record"


def offsets(first: Page, limit: int, reading: Reading) -> range:
    """Return the offsets of the pages after the first, as far as the total that the first page states."""
    shown = max(len(first.keys), 1)
    total = MOST_PAGES * shown if first.total is None else first.total
    if reading == "record":
        step = stride(first, limit)
        return range(step, total - shown + step, step)[:MOST_PAGES]
    # From 1, not 2: pages are counted from 0 or from 1, and a page that repeats does no harm.
    return range(1, ceil(total / shown) + 1)[:MOST_PAGES]


@dataclass(slots=True)
class Walk:
    """The pages of one walk over the list, by offset."""

    limit: int
    reading: Reading | None = None
    pages: dict[int, Page] = field(default_factory=dict)
    cut_short: bool = False
    """True when pages could not be read."""

    def in_order(self) -> Sequence[Page]:
        """Return the pages in the order of the list."""
        return [self.pages[offset] for offset in sorted(self.pages)]

    @property
    def total(self) -> int | None:
        """The largest total that a page stated; None when one stated none."""
        totals = [page.total for page in self.pages.values()]
        return None if None in totals else max(total for total in totals if total is not None)

    @property
    def steady(self) -> bool:
        """True when every page stated the same total."""
        return len({page.total for page in self.pages.values()}) == 1

    @property
    def keys(self) -> set[str | bytes]:
        """Everything seen on the way."""
        return set[str | bytes]().union(*(page.keys for page in self.pages.values()))

    @property
    def nothing_more(self) -> bool:
        """True when there is no reason to ask for another page after those read."""
        last = self.pages[max(self.pages)]
        return self.whole or not last.keys or (last.total is None and len(last.keys) < self.limit)

    @property
    def whole(self) -> bool:
        """True when the pages leave no gap between them, by the rule at the head of this module."""
        if self.total is None or self.cut_short:
            return False
        if self.reading == "record" and self.limit > _OVERLAP and len(self.pages) > 1:
            return self._unbroken()
        return self.steady and len(self.keys) >= self.total

    def _unbroken(self) -> bool:
        last = max(self.pages)
        reaches_end = last + len(self.pages[last].keys) >= (self.pages[last].total or 0)
        return reaches_end and not any(
            before.keys.isdisjoint(after.keys) for before, after in pairwise(self.in_order())
        )

    def contradicts(self, earlier: Walk) -> bool:
        """Tell whether the list answers in another order than before: two rows of one page have changed places."""
        shared = self.pages.keys() & earlier.pages.keys()
        return any(_reordered(earlier.pages[offset], self.pages[offset]) for offset in shared)


def _reordered(before: Page, after: Page) -> bool:
    return [key for key in before.rows if key in after.rows] != [key for key in after.rows if key in before.rows]


@dataclass(slots=True)
class Listing:
    """What one or more walks over the same list found."""

    walks: list[Walk] = field(default_factory=list)

    @property
    def total(self) -> int | None:
        """The largest total of the last walk."""
        return self.walks[-1].total

    def pages(self) -> Iterator[Page]:
        """Yield every page in the order it was asked for: of two rows with one id the later counts."""
        for walk in self.walks:
            yield from walk.in_order()

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
        return self.walks[-1].whole or self._orderless()

    def _keys(self) -> set[str | bytes]:
        return set[str | bytes]().union(*(page.keys for page in self.pages()))

    def _orderless(self) -> bool:
        last, *earlier = reversed(self.walks)
        still = all(walk.steady and walk.total == last.total for walk in self.walks)
        return still and any(last.contradicts(walk) for walk in earlier)
