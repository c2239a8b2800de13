"""The event loop of a command, and its stop signals."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from types import FrameType
from typing import Any, TypeVar

from notifier.cli import threads

T = TypeVar("T")

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as `asyncio.run` does, on uvloop where it is installed: every request costs less CPU there."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def run_until_signalled(main: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    """Run `main` with an event that SIGINT and SIGTERM set. A second signal ends the process immediately."""

    async def watched() -> T:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, partial(_request_stop, stop, loop))
        return await main(stop)

    return run(watched())


def _request_stop(stop: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    stop.set()
    for number in _STOP_SIGNALS:
        loop.remove_signal_handler(number)
    signal.signal(signal.SIGINT, _exit_immediately)  # SIGTERM ends a process by default


def _exit_immediately(number: int, _frame: FrameType | None) -> None:
    # KeyboardInterrupt would be lost where the interpreter ignores exceptions, for example in a finalizer.
    os._exit(128 + number)


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Run a function in a daemon thread. The end of the process does not wait for it.

    For work that may never return, such as reading a file on a mount that hangs.
    """
    return asyncio.wrap_future(threads.start(work))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415 - not available on every platform, and not needed to show the help
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
