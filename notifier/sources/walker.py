"""Read a list page by page, in walks, until one of them is gapless. `notifier.sources.paging` defines gapless."""

import asyncio
from collections.abc import Awaitable, Callable

from notifier.core.errors import SourceError
from notifier.sources.gaussdb_settings import Paging
from notifier.sources.paging import OffsetUnit, Walk, WalkResult, detect_offset_unit, stride
from notifier.sources.payloads import TaskPage

PAGES_IN_FLIGHT = 8
MAX_BARREN_PAGES = PAGES_IN_FLIGHT
"""Consecutive pages without a new row after which a walk stops."""

ReadPage = Callable[[int], Awaitable[TaskPage]]
"""Returns the page at an offset. Raises SourceError."""


class Walker:
    """Reads the lists of one API, and remembers how it interprets `offset` once that gave a complete list."""

    def __init__(self, *, limit: int, paging: Paging) -> None:
        self._limit = limit
        self._configured: OffsetUnit | None = None if paging == "auto" else paging
        self._detected: OffsetUnit | None = None

    async def read(self, read_page: ReadPage, walks: int) -> WalkResult:
        """Walk over the list until the result is complete, at most `walks` times.

        Raises SourceError when the first page of a walk cannot be read, or any page for a permanent reason.
        """
        done: list[Walk] = []
        while True:
            walk = await self._walk(read_page)
            listing = WalkResult((*done, walk))
            if not listing.complete and walk.offset_unit == "record" and walk.gapless:
                await _read_head(walk, read_page)
                listing = WalkResult((*done, walk))
            done.append(walk)
            if listing.complete or walk.cut_short:
                return listing
            self._detected = None
            if len(done) >= walks:
                return listing

    async def _walk(self, read_page: ReadPage) -> Walk:
        first = await read_page(0)
        walk = Walk(limit=self._limit, pages={0: first})
        if walk.exhausted:
            return walk
        walk.offset_unit = self._detected = (
            self._configured or self._detected or await self._detect_offset_unit(walk, read_page)
        )
        if walk.offset_unit:
            await _read_ahead(walk, read_page)
        return walk

    async def _detect_offset_unit(self, walk: Walk, read_page: ReadPage) -> OffsetUnit | None:
        first = walk.pages[0]
        offset = stride(first, self._limit)
        probe = await _read_into(walk, read_page, offset)
        return detect_offset_unit(first, probe, offset) if probe else None


async def _read_ahead(walk: Walk, read_page: ReadPage) -> None:
    """Read pages, several at a time, until all are read, none brings new rows, or one fails: that ends the walk."""
    seen, barren = walk.keys, 0

    async def read_some() -> None:
        nonlocal barren
        while barren < MAX_BARREN_PAGES and not walk.cut_short:
            offset = walk.next_offset()
            if offset is None:
                return
            page = await _read_into(walk, read_page, offset)
            before = len(seen)
            seen.update(page.keys if page else ())
            barren = 0 if len(seen) > before else barren + 1

    results = await asyncio.gather(*(read_some() for _ in range(PAGES_IN_FLIGHT)), return_exceptions=True)
    for failure in filter(None, results):
        raise failure


async def _read_head(walk: Walk, read_page: ReadPage) -> None:
    """Read the beginning of the list again until a page shares a row with the walk, at most as many pages as it."""
    head = walk.head = Walk(limit=walk.limit, offset_unit=walk.offset_unit)
    seen = walk.keys
    for offset in sorted(walk.pages):
        page = await _read_into(head, read_page, offset)
        if not page or not page.keys or not page.keys.isdisjoint(seen):
            break
    walk.cut_short = head.cut_short


async def _read_into(walk: Walk, read_page: ReadPage, offset: int) -> TaskPage | None:
    try:
        page = await read_page(offset)
    except SourceError as error:
        walk.cut_short = True
        if error.retryable:
            return None
        raise
    walk.pages[offset] = page
    return page
