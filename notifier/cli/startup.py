"""What a process does before it imports the rest of the program.

1. It opens the descriptors 0 to 2 where they are closed. Otherwise the next file or socket would take their place, and
   printed text would end up in a database file.
2. It installs signal handlers. A service may be asked to stop or to reload while it is still being imported, and the
   first process of a container ignores every signal that it has no handler for.
3. It turns off the search for garbage while the program is imported, in which every sixth second would go into it.
"""

import gc
import io
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

_STANDARD_STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))

SERVICE_COMMAND = "run"
"""The command that exits with 0 on SIGTERM and reloads on SIGHUP."""

early_hangups: list[int] = []
"""One entry for each SIGHUP that arrived before the event loop of the service handled that signal."""


def open_standard_descriptors() -> None:
    """Open each closed descriptor of 0 to 2 on /dev/null."""
    for number, name, mode in _STANDARD_STREAMS:
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # usually the lowest free descriptor, which is `number`
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)  # noqa: FBT003 - its only argument
            setattr(sys, name, io.open(number, mode, encoding="utf-8", closefd=False))  # noqa: UP020, SIM115 - open for the life of the process


def discard_stdout() -> None:
    """Point stdout at /dev/null, so that the interpreter's flush at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def handle_early_signals(arguments: Sequence[str]) -> None:
    """Exit on SIGTERM, and count each SIGHUP that the service receives. The event loop takes over later."""
    serving = SERVICE_COMMAND in arguments
    signal.signal(signal.SIGTERM, _exit_cleanly if serving else _exit_as_signalled)
    if serving:
        signal.signal(signal.SIGHUP, _count_hangup)


def _exit_cleanly(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _exit_as_signalled(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _count_hangup(number: int, _frame: FrameType | None) -> None:
    early_hangups.append(number)


def stop_collecting_garbage() -> None:
    """Search for no garbage until `collect_garbage_again`: what is imported lasts."""
    gc.disable()


def collect_garbage_again() -> None:
    """Search for garbage from now on, but not among all that there is now: every search would take longer for it."""
    gc.freeze()
    gc.enable()
