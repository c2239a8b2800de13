"""An event loop in which time passes only when nobody can do anything, and then at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any


class Stuck(Exception):
    """Everybody waits for something that will never happen."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs coroutines in virtual time. The order of everything follows from the order in which things are asked for."""

    def __init__(self) -> None:
        self._virtual = 0.0
        super().__init__(_Instant(self))

    def time(self) -> float:
        return self._virtual

    def advance(self, seconds: float) -> None:
        self._virtual += seconds


class _Instant(selectors.BaseSelector):
    """Waits for no file, and for no time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._files: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._files[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return self._files[fileobj]

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._files.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck
        self._loop.advance(max(timeout, 0.0))
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._files

    def close(self) -> None:
        self._files.clear()
