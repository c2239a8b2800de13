"""The command line. `main` is the entry point; a command's module is imported when the command runs.

Importing this package imports next to nothing: see `process` for what comes before the rest.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from notifier.cli import process

if TYPE_CHECKING:
    from notifier.cli.root import app as app

EXIT_BROKEN_PIPE = 141
"""128 + SIGPIPE: what a shell expects of a program whose reader closed the pipe."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever it is
    """Import the commands when they are asked for."""
    if name == "app":
        from notifier.cli.root import app  # noqa: PLC0415 - it takes a while

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main() -> None:
    """Run the command line. Text that the terminal's encoding lacks is escaped rather than fatal."""
    process.open_standard_descriptors()
    process.handle_early_signals(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")
    sys.exit(_run())


def _run() -> int | str | None:
    """Run the command that the arguments name; return its exit code, with all that it printed written."""
    from notifier.cli.root import app  # noqa: PLC0415 - it takes a while, and a signal must not come before it is heard

    code: int | str | None = 0
    try:
        try:
            app()
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        _discard_stdout()
        with suppress(OSError):
            sys.stderr.write(f"error: cannot write to stdout: {error.strerror or error}\n")
        return 1
    return code


def _discard_stdout() -> None:
    from notifier.cli.output import discard_stdout  # noqa: PLC0415 - as above

    discard_stdout()
