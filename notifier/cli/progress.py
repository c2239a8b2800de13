"""A sign on stderr that work is in progress."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from notifier.cli.output import stderr


@contextmanager
def spinner(text: str) -> Iterator[None]:
    """Show a spinner on stderr while work is in progress; nothing where stderr is no terminal."""
    console = stderr()
    if not console.is_terminal:
        yield
        return
    # By default Live captures writes to stdout and prints them on stderr.
    with Live(
        Spinner("dots", Text(text)), console=console, transient=True, redirect_stdout=False, redirect_stderr=False
    ):
        yield
