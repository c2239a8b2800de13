"""Read a long list in slices, so that other scans of it go on in between.

The walk over the list is one coroutine, as always. It stands still where a slice ends and goes on with the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from notifier.core.errors import SourceError
from notifier.sources.paging import WalkResult
from notifier.sources.payloads import TaskPage
from notifier.sources.walker import ReadPage

InSlices: TypeAlias = Callable[[ReadPage], ReadPage]
"""Returns a function that reads the same pages, each as soon as a slice has room for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSlice:
    """What one slice of a scan has read."""

    pages: tuple[TaskPage, ...]
    """In the order of the requests."""
    result: WalkResult | None
    """The whole scan, where this was its last slice. Its pages have no rows."""


class SlicedWalk:
    """A walk over a list that reads so many pages at a time. It keeps the keys of all pages and the rows of none.

    Args:
        walk: reads the list. It passes the function that reads a page through the one that it is given.
    """

    def __init__(self, walk: Callable[[InSlices], Awaitable[WalkResult]]) -> None:
        self._allowed = self._in_flight = self._waiting = self._requested = 0
        self._pages: dict[int, TaskPage] = {}
        self._error: SourceError | None = None
        self._more = asyncio.Event()
        self._changed = asyncio.Event()
        self._walking = asyncio.ensure_future(walk(lambda read_page: partial(self._read_when_allowed, read_page)))
        self._walking.add_done_callback(self._finish)

    async def advance(self, pages: int) -> ListSlice:
        """Read at most so many pages more. Raises the SourceError that ended the walk."""
        self._allowed, self._pages = pages, {}
        self._more.set()
        while not self._walking.done() and not self._is_at_rest:
            self._changed.clear()
            await self._changed.wait()
        result = self._walking.result() if self._walking.done() else None
        return ListSlice(pages=tuple(page for _, page in sorted(self._pages.items())), result=result)

    def cancel(self) -> None:
        """End the walk where it is."""
        self._walking.cancel()

    @property
    def _is_at_rest(self) -> bool:
        """Whether the walk waits for the next slice. A page that is being read may still end it."""
        return self._waiting > 0 and not self._in_flight and not self._allowed and not self._error

    async def _read_when_allowed(self, read_page: ReadPage, offset: int) -> TaskPage:
        await self._wait_for_slice()
        self._allowed -= 1
        self._in_flight += 1
        self._requested += 1
        number = self._requested
        try:
            page = await read_page(offset)
        except SourceError as error:
            self._error = error
            self._more.set()
            raise
        finally:
            self._in_flight -= 1
            if self._is_at_rest:
                self._changed.set()
        self._pages[number] = page
        return replace(page, read_rows=dict)

    async def _wait_for_slice(self) -> None:
        self._waiting += 1
        try:
            while not self._allowed:
                if self._error:  # it ends the walk: pages that were to follow need not be waited for
                    raise self._error
                self._more.clear()
                if self._is_at_rest:
                    self._changed.set()
                await self._more.wait()
        finally:
            self._waiting -= 1

    def _finish(self, walking: "asyncio.Future[WalkResult]") -> None:
        if not walking.cancelled():
            walking.exception()  # one that nobody waits for any more is no news
        self._changed.set()
