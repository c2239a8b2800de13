"""Named moments on the wire, counted: a test waits for them or acts in the middle of one, instead of sleeping."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

Action = Callable[[], Awaitable[None]]


class Moments:
    """Counts named moments. The servers of one test share it."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self._actions: dict[tuple[str, int], Action] = {}
        self._news = asyncio.Event()

    def at(self, name: str, number: int, action: Action) -> None:
        """Run `action` when `name` happens for the `number`th time (from 1). The moment waits for its end."""
        self._actions[name, number] = action

    def next(self, name: str, action: Action) -> None:
        """Run `action` when `name` happens next."""
        self.at(name, self.count[name] + 1, action)

    async def happen(self, name: str) -> None:
        """Count a moment, notify waiting tasks, and run its action."""
        self.count[name] += 1
        self._news.set()
        self._news = asyncio.Event()
        action = self._actions.pop((name, self.count[name]), None)
        if action is not None:
            await action()

    async def news(self) -> None:
        """Wait for the next moment of any name."""
        await self._news.wait()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition holds that only changes when something happens."""
        while not holds():
            await self.news()

    async def times(self, name: str, more: int) -> None:
        """Wait until `name` has happened that many more times."""
        wanted = self.count[name] + more
        await self.until(lambda: self.count[name] >= wanted)
