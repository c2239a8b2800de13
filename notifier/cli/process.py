"""What a process does before anything else: it takes only a moment, and nothing of the program is imported yet.

1. Descriptors 0 to 2 are open. Where one is closed, the next file or socket would take its place, and what is printed
   would go into a database.
2. Signals are heard. A service may be asked to stop or to reload while it is still being imported; and the first
   process of a container hears nothing that it has no handler for.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

_OPEN = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))

SERVICE_COMMAND = "run"
"""The command that ends well when it is asked to stop, and reloads."""

hangups: list[int] = []
"""A number for each SIGHUP that came before the service could reload."""


def open_standard_descriptors() -> None:
    """Open those of 0 to 2 that are closed on nothing."""
    for number, name, mode in _OPEN:
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)  # noqa: FBT003 - its only argument
            setattr(sys, name, io.open(number, mode, encoding="utf-8", closefd=False))  # noqa: UP020, SIM115 - for as long as the process


def handle_early_signals(arguments: Sequence[str]) -> None:
    """Let SIGTERM end the process from here on, and keep a SIGHUP for the service; the event loop takes over later."""
    serving = SERVICE_COMMAND in arguments
    signal.signal(signal.SIGTERM, _exit_cleanly if serving else _exit_as_signalled)
    if serving:
        signal.signal(signal.SIGHUP, _count_hangup)


def _exit_cleanly(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _exit_as_signalled(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _count_hangup(number: int, _frame: FrameType | None) -> None:
    hangups.append(number)
