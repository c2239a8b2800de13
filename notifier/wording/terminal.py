"""What a terminal can show."""

from typing import TextIO


def shows_colours(stream: TextIO) -> bool:
    """Return whether a stream is a terminal with colours: not with NO_COLOR or TERM=dumb."""
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it

    if not stream.isatty():
        return False
    console = Console(file=stream)
    return not (console.no_color or console.is_dumb_terminal)
