"""A clock and a store for a loop in virtual time, in which database statements take no time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from fakes import START

from notifier.store.engine import SqlStore
from notifier.store.queries import Queries
from notifier.store.transaction import Transaction

T = TypeVar("T")


class VirtualClock:
    """The time of the loop; the system's clock is `ahead` of it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def steady(self) -> datetime:
        """Return the time without the steps of the system's clock."""
        return START + timedelta(seconds=self.monotonic())

    def now(self) -> datetime:
        return self.steady() + self.ahead

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class InstantStore:
    """A real store whose statements run in the caller's thread and take no virtual time."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.serial = store.serial

    async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:  # noqa: ARG002 - there are no threads
        await asyncio.sleep(0)
        (result,) = self._store._transact([fn])
        return result

    async def read(self, fn: Callable[[Queries], T]) -> T:
        await asyncio.sleep(0)
        return self._store._read(fn)

    async def listen(self, wake: Callable[[], None]) -> None:  # noqa: ARG002 - nobody else can write
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        await self._store.aclose()
