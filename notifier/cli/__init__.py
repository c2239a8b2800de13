"""The command line. `main` is the entry point; a command's module is imported when the command runs.

Importing this package imports next to nothing, so that `startup` runs before the rest is imported.
"""

import sys
from contextlib import suppress

from notifier.cli import startup

EXIT_BROKEN_PIPE = 141
"""Exit code when the reader of our output went away: 128 + SIGPIPE, as a shell expects."""


def main() -> None:
    """Run the command line. Characters that the terminal's encoding lacks are escaped."""
    startup.open_standard_descriptors()
    startup.handle_early_signals(sys.argv[1:])
    startup.stop_collecting_garbage()
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")
    sys.exit(_run())


def _run() -> int | str | None:
    """Run the command that the arguments name, flush its output, and return its exit code."""
    from notifier.cli.root import app  # noqa: PLC0415 - a signal that arrives during this import has its handler

    code: int | str | None = 0
    try:
        try:
            app()
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
    except BrokenPipeError:
        startup.discard_stdout()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        startup.discard_stdout()
        with suppress(OSError):
            sys.stderr.write(f"error: cannot write to stdout: {error.strerror or error}\n")
        return 1
    return code
