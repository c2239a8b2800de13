"""Matchers: `field op value`, read from text and compared with the fields of an event.

One notation serves routes, mutes, subscriptions and every other filter. Whatever the pattern and the text, a comparison
takes time in proportion to the length of the text.
"""

import difflib
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from notifier.core import patterns
from notifier.core.fields import CLOSED_FIELDS, FIELDS, LABEL_PREFIX, NUMBER_FIELDS, OPERATION_KINDS
from notifier.core.severity import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """`field op value`. See docs/routing.md for what each op means.

    `=` and `!=` take a glob (`*` for any text, `?` for one character) over the whole value, `=~` and `!~` a regular
    expression over the whole value, `<` `<=` `>` `>=` a number or a duration, `in` and `not in` a list of globs.
    """

    field: str
    op: str
    value: str
    """As it was written; of a list with its brackets."""

    def __str__(self) -> str:
        return f"{self.field} {self.op} {self.value}" if self.op in _LIST_OPS else f"{self.field}{self.op}{self.value}"

    @property
    def members(self) -> tuple[str, ...]:
        """The values that it names: those of its list, or its value."""
        return _members(self.value) if self.op in _LIST_OPS else (self.value,)

    @property
    def negative(self) -> bool:
        """True where it fits what its positive form does not: `!=`, `!~`, `not in`."""
        return self.op in _POSITIVE_FORMS


_LIST_OPS = ("in", "not in")
_REGEX_OPS = ("=~", "!~")
_POSITIVE_FORMS: Mapping[str, str] = {"!=": "=", "!~": "=~", "not in": "in"}
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_LABEL_FIELD = re.compile(r"label\.[a-z][a-z0-9_]{0,39}")
_FIELD = r"(?P<field>[\w.]+)"
_MATCHER = re.compile(rf"{_FIELD}\s*(?P<op>=~|!~|!=|<=|>=|=|<|>)\s*(?P<value>.*)", re.DOTALL)
_LIST = re.compile(rf"{_FIELD}\s+(?P<op>in|not\s+in)(?![\w.])\s*(?P<value>.*)", re.DOTALL)
_MEMBER = re.compile(r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<plain>[^"'\[\],]*))\s*""")

_FORMS = "write field=value, field!=value, field=~regex, field!~regex, field>number or field in [a, b]"


def parse_matcher(text: str) -> Matcher:
    """Read `field op value`. Raises ValueError, with what would be right, for what can be no matcher or never fits."""
    found = _MATCHER.fullmatch(text.strip()) or _LIST.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a matcher; {_FORMS}")
    matcher = Matcher(field=found["field"], op=" ".join(found["op"].split()), value=found["value"])
    check_field(matcher.field)
    _check(matcher)
    return matcher


def check_field(name: str) -> None:
    """Raise ValueError, with the fields that there are, where no event has a field of this name."""
    if name not in FIELDS and not _LABEL_FIELD.fullmatch(name):
        known = f"{', '.join(FIELDS)} and {LABEL_PREFIX}NAME"
        raise ValueError(f"unknown field {name!r}{_guess(name, FIELDS)}; fields are {known}")


def _guess(word: str, options: Collection[str]) -> str:
    near = difflib.get_close_matches(word, options, n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def _check(matcher: Matcher) -> None:
    """Raise ValueError for a matcher that cannot be compared, or that can fit no event."""
    if matcher.op in _LIST_OPS and not _members(matcher.value):
        raise ValueError(f"the list of {matcher.field} is empty; name values, for example {matcher.field} in [a, b]")
    if matcher.op in _REGEX_OPS:
        patterns.check_pattern(matcher.value)
    if matcher.field in NUMBER_FIELDS:
        _check_number(matcher)
    elif matcher.op in _COMPARISONS:
        raise ValueError(_not_a_number(matcher))
    elif matcher.field in CLOSED_FIELDS:
        _check_closed(matcher, CLOSED_FIELDS[matcher.field])


_LIMITS: Mapping[str, tuple[float, float]] = {"progress": (0, 100), "duration": (0, float("inf"))}


def _check_number(matcher: Matcher) -> None:
    field, op = matcher.field, matcher.op
    if op in _REGEX_OPS:
        raise ValueError(f"{field} is a number, and {op} compares texts; write for example {_EXAMPLES[field]}")
    for member in matcher.members:
        if not member and op not in _COMPARISONS:
            continue  # fits, or does not fit, what is not known
        try:
            number = NUMBER_FIELDS[field](member)
        except ValueError as error:
            raise ValueError(f"{matcher}: {error}. For example {_EXAMPLES[field]}") from error
        least, most = _LIMITS[field]
        if (op == "<" and number <= least) or (op == ">" and number >= most):
            raise ValueError(f"{matcher} fits nothing: {field} is never {'below' if op == '<' else 'above'} {member}")


_EXAMPLES: Mapping[str, str] = {"progress": "progress<50", "duration": "duration>30m"}


def _not_a_number(matcher: Matcher) -> str:
    field, op, value = matcher.field, matcher.op, matcher.value
    if field == "severity" and value in CLOSED_FIELDS[field]:
        # The worst is named first, and a worse one counts as more.
        worst_first = list(Severity)
        at = worst_first.index(Severity(value))
        chosen = [one for n, one in enumerate(worst_first) if _COMPARISONS[op](at, n)]
        remedy = f"severity in [{', '.join(chosen)}]" if chosen else "severity in [error, critical]"
        return f"severities are named, not compared; write {remedy}"
    numbers = " and ".join(NUMBER_FIELDS)
    return f"{field} is a text, and {op} compares numbers ({numbers}); write {field}=value or {field} in [a, b]"


def _check_closed(matcher: Matcher, known: Collection[str]) -> None:
    field = matcher.field
    if matcher.op not in _REGEX_OPS:
        for member in matcher.members:
            glob = _glob(member)
            if not any(map(glob, known)):
                near = difflib.get_close_matches(member.casefold(), known, n=1)
                hint = f"Did you mean {near[0]}?" if near else f"It is one of: {', '.join(known)}."
                raise ValueError(f"{field} is never {member!r}. {hint}")
    elif matcher.op == "=~" and not any(map(_comparison(matcher), known)):
        raise ValueError(f"matches no {field}. The whole value must match; it is one of {', '.join(known)}.")


@lru_cache(maxsize=1024)
def _members(text: str) -> tuple[str, ...]:
    """Return the members of a list in brackets, without their quotes. Raises ValueError with what would be right."""
    if not text.startswith("["):
        raise ValueError(f"the values of a list are in brackets; write [{text.rstrip(']') or 'a, b'}]")
    return tuple(_each_member(text))


def _each_member(text: str) -> Iterator[str]:
    place, end = 1, ","
    while end == ",":
        found = _MEMBER.match(text, place)
        end = text[found.end() : found.end() + 1] if found else ""
        if found is None or end not in (",", "]"):
            raise ValueError(f"{text} is not a list: {_wrong_in_list(end)}")
        quoted, plain = found["double"] or found["single"] or "", found["plain"]
        if plain is None or plain.strip():
            yield quoted if plain is None else plain.strip()
        elif end == "," or text[1 : found.start()].strip():
            raise ValueError(f'a value is missing in {text}; remove the comma, or write "" for what is not known')
        place = found.end() + 1
    if text[place:]:
        raise ValueError(f"{text} is not a list: nothing may follow its closing bracket")


def _wrong_in_list(stopped_at: str) -> str:
    if not stopped_at:
        return "its closing bracket is missing"
    return 'separate values by commas, and quote a value that has commas, brackets or quotes in it: ["a, b", c]'


# ---- comparing ----


def fits(matcher: Matcher, fields: Mapping[str, str]) -> bool:
    """Return whether the fields of an event satisfy a matcher. `fields` has every field of events that it names."""
    return _comparison(matcher)(value_of(matcher, fields))


def value_of(matcher: Matcher, fields: Mapping[str, str]) -> str:
    """Return what an event has in the field of a matcher; the empty string where it is not known."""
    return fields.get(matcher.field, "") if matcher.field.startswith(LABEL_PREFIX) else fields[matcher.field]


def first_misfit(match: Iterable[Matcher], fields: Mapping[str, str]) -> Matcher | None:
    """Return the first matcher that the fields of an event do not satisfy; None where all are satisfied."""
    for matcher in match:
        if not fits(matcher, fields):
            return matcher
    return None


def fitting(match: Iterable[Matcher]) -> Callable[[Mapping[str, str]], bool]:
    """Return what tells whether the fields of an event satisfy all of these matchers, for many events."""
    tests = [(matcher.field, _comparison(matcher)) for matcher in match]

    def fits_all(fields: Mapping[str, str]) -> bool:
        for field, compare in tests:  # noqa: SIM110 - a generator takes twice the time
            if not compare(fields.get(field, "")):
                return False
        return True

    return fits_all


Comparison = Callable[[str], bool]


@lru_cache(maxsize=4096)
def _comparison(matcher: Matcher) -> Comparison:
    """Return what compares the value of an event with a matcher that was checked."""
    if positive := _POSITIVE_FORMS.get(matcher.op):
        opposite = _comparison(Matcher(field=matcher.field, op=positive, value=matcher.value))
        return lambda actual: not opposite(actual)
    if matcher.op == "=~":
        return lambda actual: patterns.matches_pattern(matcher.value, actual)
    if read := NUMBER_FIELDS.get(matcher.field):
        return _number_comparison(matcher, read)
    return _one_of([_glob(member) for member in matcher.members])


def _one_of(comparisons: Sequence[Comparison]) -> Comparison:
    if len(comparisons) == 1:
        return comparisons[0]
    return lambda actual: any(compare(actual) for compare in comparisons)


def _equal(actual: float, wanted: float) -> bool:
    return actual == wanted


def _number_comparison(matcher: Matcher, read: Callable[[str], float]) -> Comparison:
    """Return what compares numbers. What is not known is neither more nor less than anything."""
    compare = _COMPARISONS.get(matcher.op, _equal)
    unknown = matcher.op not in _COMPARISONS and "" in matcher.members
    wanted = [read(member) for member in matcher.members if member]

    def holds(actual: str) -> bool:
        if not actual:
            return unknown
        number = read(actual)
        return any(compare(number, one) for one in wanted)

    return holds


def is_glob(value: str) -> bool:
    """Return whether a value is a pattern: `*` stands for any text, `?` for one character."""
    return "*" in value or "?" in value


def _glob(value: str) -> Comparison:
    if not is_glob(value):
        return partial(operator.eq, value)
    pattern = re.compile(_glob_pattern(value), re.DOTALL)
    return lambda actual: pattern.fullmatch(actual) is not None


def _glob_pattern(glob: str) -> str:
    """Return a regular expression for a glob. It gives no repetition back, so that its time does not explode.

    Each piece between two asterisks is taken where it first appears, which leaves the most for those that follow: an
    atomic group keeps that choice. Only the last asterisk chooses again, for the last piece has to end the text.
    """
    first, *rest = ["".join("." if c == "?" else re.escape(c) for c in piece) for piece in re.split(r"\*+", glob)]
    if not rest:
        return first
    *middle, last = rest
    return "".join([first, *(f"(?>.*?{piece})" for piece in middle), ".*", last])


# ---- words that people type ----

_TYPED = re.compile(
    r"""
    (?P<list>[\w.]+\s+(?:not\s+)?in\s*\[(?:"[^"]*"|'[^']*'|[^\]"'])*\]?)
    | (?P<pair>[\w.]+\s*(?:=~|!~|!=|<=|>=|=|<|>)\s*(?P<value>"[^"]*"|'[^']*'|\S*))
    | (?P<word>"[^"]*"|'[^']*'|\S+)
    """,
    re.VERBOSE,
)
_STRAIGHT_QUOTES = str.maketrans("\u201c\u201d\u2018\u2019", "\"\"''")
"""Telephones type the others."""
_INSTANCE_ID = re.compile(r"[0-9a-f]{32}in\d{2}")


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Read words that a person typed: `prod-* failed`, `source=prod operation=backup`, `instance in [a, b]`.

    A bare word is a status, a severity, a type of event (`task.failed`, `task.*`), a kind of operation (`backup`), an
    id of an instance, or else the name of an instance; it may be a glob. Several bare words of one kind are
    alternatives. `type=backup` is read as `operation=backup`. A value with blanks is quoted. Raises ValueError, with
    what would be right, for a wrong matcher and where there is no word at all.
    """
    bare: dict[str, list[str]] = {}
    found: list[Matcher] = []
    for typed in _TYPED.finditer(text.translate(_STRAIGHT_QUOTES)):
        if word := typed["word"]:
            word = _unquoted(word)
            bare.setdefault(_field_of_word(word), []).append(word)
        else:
            found.append(_typed_matcher(typed))
    found[:0] = [_alternatives(field, words) for field, words in bare.items()]
    if not found:
        raise ValueError("name what is meant, for example prod-* failed, or source=prod operation=backup")
    return tuple(dict.fromkeys(found))


def _typed_matcher(typed: re.Match[str]) -> Matcher:
    text, value = typed[0], typed["value"]
    if value is not None:
        text = text[: len(text) - len(value)] + _unquoted(value)
        if value in OPERATION_KINDS:
            text = re.sub(r"^type(?=\s*!?=(?!~))", "operation", text)
    return parse_matcher(text)


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] in "\"'" and text[-1] == text[0]
    return text[1:-1] if quoted else text


def _field_of_word(word: str) -> str:
    if word in ("", "in", "not") or word[0] in "[=<>!":
        raise ValueError(f"{word!r} stands alone; {_FORMS}")
    for field in ("status", "severity"):
        if word in CLOSED_FIELDS[field]:
            return field
    if word.partition(".")[0] in {kind.partition(".")[0] for kind in CLOSED_FIELDS["type"]} and "." in word:
        return "type"
    if word in OPERATION_KINDS:
        return "operation"
    return "instance_id" if _INSTANCE_ID.fullmatch(word) else "instance"


def _alternatives(field: str, words: Sequence[str]) -> Matcher:
    words = list(dict.fromkeys(words))
    if len(words) == 1:
        return parse_matcher(f"{field}={words[0]}")
    members = ", ".join(f'"{word}"' if re.search(r"[\s,\[\]']", word) else word for word in words)
    return parse_matcher(f"{field} in [{members}]")
