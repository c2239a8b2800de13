"""Patterns of names, an error that any part can raise, and near names. Light: the standard library alone."""

import difflib
from collections.abc import Collection, Iterable
from typing import Final

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]*$"
LINK_PATTERN: Final = r"^https?://[^\s<>|]+$"
LABEL_PATTERN: Final = r"^[a-z][a-z0-9_]{0,39}$"
SLACK_ID_PATTERN: Final = r"^[UWS][A-Z0-9]{2,30}$"
SLACK_WORKSPACE_PATTERN: Final = r"^[TE][A-Z0-9]{2,30}$"
PROJECT_ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
HEADER_PATTERN: Final = r"^[A-Za-z0-9-]{1,100}$"
HOST_PATTERN: Final = r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?$"
REGION_PATTERN: Final = r"^[a-z0-9][a-z0-9-]*$"
TOPIC_URN_PATTERN: Final = r"^urn:smn:[a-z0-9][a-z0-9-]{1,62}:[A-Za-z0-9_-]{1,64}:[A-Za-z0-9_-]{1,255}$"


class FixedMessageError(ValueError):
    """An error whose message repeats nothing of the value, so that it can be shown where the value must not be."""


def closest_match(word: str, options: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """Return the option most similar to a word, if any is similar enough. 1.0 means equal except for case."""
    by_folded = {option.casefold(): option for option in options}
    found = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=likeness)
    return by_folded[found[0]] if found else None


def did_you_mean(word: str, options: Collection[str], *, otherwise: str) -> str:
    """Return `Did you mean X?`, or all the options after `otherwise`."""
    guess = closest_match(word, options)
    return f"Did you mean {guess}?" if guess else f"{otherwise}: {', '.join(options) or 'none'}."
