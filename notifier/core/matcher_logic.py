"""What follows from matchers without an event: that some exclude each other, or that some include another. Pure.

Both are said only where they are certain. Whether two regular expressions exclude each other is not looked into.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

from notifier.core.fields import CLOSED_FIELDS, NUMBER_FIELDS
from notifier.core.matchers import Matcher, fits, is_glob

_EMPTY_TOO = frozenset({"status", "started_via", "level"})
"""Closed fields that are empty in some events: about no task, about no alarm, or of whose start nothing is known."""
_NUMBERS_ABOVE, _NUMBERS_BELOW = (">", ">="), ("<", "<=")


def exclusion(match: Sequence[Matcher]) -> tuple[Matcher, ...] | None:
    """Return matchers of a route that no event can fit together; None where there may be one that fits all."""
    for own in _by_field(match).values():
        for pair in itertools.combinations(own, 2):
            if _exclude(pair):
                return pair
        if len(own) > 1 and _exclude(own):
            return tuple(own)
    return None


def fits_everything(matcher: Matcher) -> bool:
    """Return whether every event fits a matcher, such as `instance=*`."""
    return matcher.op in ("=", "in") and matcher.field not in NUMBER_FIELDS and any(map(_is_any, matcher.members))


def includes(matcher: Matcher, match: Sequence[Matcher]) -> bool:
    """Return whether every event that fits all of `match` certainly fits a matcher as well."""
    if fits_everything(matcher):
        return True
    own = _by_field(match).get(matcher.field, [])
    if matcher in own:
        return True
    values = _values(own)
    if values is not None:
        return all(fits(matcher, {matcher.field: value}) for value in values)
    if matcher.field in NUMBER_FIELDS:
        return _limits_include(matcher, own)
    return _prefix_includes(matcher, own)


def _by_field(match: Iterable[Matcher]) -> Mapping[str, list[Matcher]]:
    found: dict[str, list[Matcher]] = {}
    for matcher in match:
        found.setdefault(matcher.field, []).append(matcher)
    return found


def _is_any(value: str) -> bool:
    return value != "" and not value.strip("*")


def _exclude(own: Sequence[Matcher]) -> bool:
    """Return whether matchers of one field exclude each other."""
    values = _values(own)
    if values is not None:
        return not values
    if own[0].field in NUMBER_FIELDS:
        return _limits_exclude(own)
    globs = [matcher.members for matcher in own if matcher.op in ("=", "in")]
    if len(globs) < 2 or math.prod(map(len, globs)) > _MAX_COMBINATIONS:  # noqa: PLR2004 - one excludes nothing
        return False
    return not any(
        all(_may_agree(one, other) for one, other in itertools.combinations(chosen, 2))
        for chosen in itertools.product(*globs)
    )


_MAX_COMBINATIONS = 10_000
"""Combinations of globs that are compared; with more of them nothing is certain."""


def _values(own: Sequence[Matcher]) -> list[str] | None:
    """Return the values of a field that fit all of these matchers; None where they are not finitely many."""
    if not own:
        return None
    field = own[0].field
    if field in CLOSED_FIELDS:
        known: Iterable[str] = (*CLOSED_FIELDS[field], *([""] if field in _EMPTY_TOO else []))
    else:
        listed = [matcher.members for matcher in own if matcher.op in ("=", "in")]
        finite = [members for members in listed if field in NUMBER_FIELDS or not any(map(is_glob, members))]
        if not finite:
            return None
        known = finite[0]
    return [value for value in known if all(fits(matcher, {field: value}) for matcher in own)]


# ---- globs ----


def _may_agree(one: str, other: str) -> bool:
    """Return whether a text may fit two globs: how they begin and how they end must not differ."""
    return _agree(_beginning(one), _beginning(other)) and _agree(_beginning(one[::-1]), _beginning(other[::-1]))


def _beginning(glob: str) -> tuple[str, bool]:
    """Return the text with which a value begins, and whether it is the whole value."""
    literal = next((glob[:at] for at, letter in enumerate(glob) if letter in "*?"), glob)
    return literal, len(literal) == len(glob)


def _agree(one: tuple[str, bool], other: tuple[str, bool]) -> bool:
    (short, whole), (long, _) = sorted((one, other), key=lambda pair: len(pair[0]))
    return long.startswith(short) and (not whole or len(short) == len(long))


def _prefix_includes(matcher: Matcher, own: Sequence[Matcher]) -> bool:
    if matcher.op not in ("=", "in"):
        return False
    beginnings = [value[:-1] for value in matcher.members if value.endswith("*") and not is_glob(value[:-1])]
    return any(
        all(any(_beginning(value)[0].startswith(begins) for begins in beginnings) for value in other.members)
        for other in own
        if other.op in ("=", "in")
    )


# ---- numbers ----


def _limits_exclude(own: Sequence[Matcher]) -> bool:
    lowest, highest = _limits(own)
    if lowest is None or highest is None:
        return False
    (low, above), (high, below) = lowest, highest
    return low > high or (low == high and (above or below))


def _limits(own: Iterable[Matcher]) -> tuple[tuple[float, bool] | None, tuple[float, bool] | None]:
    """Return the highest lower limit and the lowest upper limit, each with whether it is left out itself."""
    lower = [(_number(one), one.op == ">") for one in own if one.op in _NUMBERS_ABOVE]
    upper = [(_number(one), one.op == "<") for one in own if one.op in _NUMBERS_BELOW]
    return max(lower, default=None), min(upper, key=lambda limit: (limit[0], not limit[1]), default=None)


def _limits_include(matcher: Matcher, own: Iterable[Matcher]) -> bool:
    lowest, highest = _limits(own)
    number = _number(matcher) if matcher.op in (*_NUMBERS_ABOVE, *_NUMBERS_BELOW) else 0
    if matcher.op in _NUMBERS_ABOVE and lowest:
        return lowest[0] > number or (lowest[0] == number and (lowest[1] or matcher.op == ">="))
    if matcher.op in _NUMBERS_BELOW and highest:
        return highest[0] < number or (highest[0] == number and (highest[1] or matcher.op == "<="))
    return False


def _number(matcher: Matcher) -> float:
    return NUMBER_FIELDS[matcher.field](matcher.value)
