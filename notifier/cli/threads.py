"""Threads for work that may never return, such as reading a file on a mount that hangs."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_thread_within(seconds: float, work: Callable[[], T]) -> T:
    """Run a function in a daemon thread. Raises TimeoutError when it takes longer."""
    return start(work).result(seconds)


def start(work: Callable[[], T]) -> Future[T]:
    """Run a function in a daemon thread. The end of the process does not wait for it."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - the caller receives it
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, daemon=True, name="in-thread").start()
    return future
