"""How wide text is on a terminal or in a list of mails, where wide characters take two columns."""

from collections.abc import Sequence

_OPENS = "([{<（［｛〈《「『【“‘"
_CLOSES = ")]}>）］｝〉》」』】”’,.;:!?%，。；：！？、％…·"
_MIDDLE = "…"


def columns(text: str) -> int:
    """Return the number of columns that a line takes."""
    if text.isascii() and text.isprintable():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - reading settings must not load it

    return cell_len(text)


def shortened(text: str, limit: int) -> str:
    """Return a name of at most `limit` columns: both ends of one that is longer, since names differ at either."""
    if columns(text) <= limit:
        return text
    room = max(limit - 1, 0)
    end = _fitting(text[::-1], room // 2)
    begin = _fitting(text, room - columns(text[len(text) - end :]))
    return text[:begin] + _MIDDLE + text[len(text) - end :]


def wrapped(
    text: str, room: int, *, first: int | None = None, whole: Sequence[tuple[int, int]] = ()
) -> list[tuple[int, int]]:
    """Return the bounds of the lines of at most `room` columns into which a text without line breaks is divided.

    The first line may have another width. A line ends at a space, or beside a wide character where punctuation allows
    it. It never ends within a word or between the bounds of `whole`, except where these are wider than a line. The
    spaces at an end belong to no line.
    """
    lines: list[tuple[int, int]] = []
    begin = 0
    while True:
        fits = begin + _fitting(text[begin:], room if lines or first is None else first)
        if fits >= len(text):
            lines.append((begin, len(text)))
            return lines
        end = _last_break(text, begin, fits, whole) or _last_break(text, begin, fits, ()) or max(fits, begin + 1)
        lines.append((begin, begin + len(text[begin:end].rstrip(" "))))
        begin = end + len(text[end:]) - len(text[end:].lstrip(" "))
        if begin >= len(text):
            return lines


def _fitting(text: str, room: int) -> int:
    """Return how many of the first characters fit into the columns."""
    # One character takes at most two columns and may take none: combining marks stay with what they mark.
    used = 0
    for number, char in enumerate(text):
        used += columns(char)
        if used > room:
            return number
    return len(text)


def _last_break(text: str, begin: int, fits: int, whole: Sequence[tuple[int, int]]) -> int | None:
    """Return the last position up to `fits` at which a line may end; None where there is none after `begin`."""
    indent = len(text[begin:]) - len(text[begin:].lstrip(" "))
    for at in range(fits, begin + indent, -1):
        if _may_break(text, at) and not any(first < at < last for first, last in whole):
            return at
    return None


def _may_break(text: str, at: int) -> bool:
    before, after = text[at - 1], text[at]
    if " " in (before, after):
        return True
    if before in _OPENS or after in _CLOSES or columns(after) == 0:
        return False
    return _is_wide(before) or _is_wide(after)


def _is_wide(char: str) -> bool:
    return columns(char) == 2  # noqa: PLR2004 - columns
