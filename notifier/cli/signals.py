"""Commands that run until they are asked to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import TypeVar

from notifier.cli import loop

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_until_signalled(main: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    """Run `main` with an event that SIGINT and SIGTERM set, for it to end then. A second signal ends it at once."""

    async def run() -> T:
        stop = asyncio.Event()
        running = asyncio.get_running_loop()
        for number in _SIGNALS:
            running.add_signal_handler(number, partial(_ask_to_stop, stop, running))
        return await main(stop)

    return loop.run(run())


def _ask_to_stop(stop: asyncio.Event, running: asyncio.AbstractEventLoop) -> None:
    stop.set()
    for number in _SIGNALS:
        running.remove_signal_handler(number)
    signal.signal(signal.SIGINT, _exit_immediately)  # SIGTERM ends a process by itself


def _exit_immediately(number: int, _frame: FrameType | None) -> None:
    # Not by KeyboardInterrupt: raised where the interpreter ignores exceptions, in a finalizer, it would be lost.
    os._exit(128 + number)
