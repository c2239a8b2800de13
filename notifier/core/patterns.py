"""Regular expressions that match in linear time, whatever the pattern and the text.

Texts come from outside, and a pattern that backtracks may never finish on forty characters.
RE2 does not backtrack. The few constructs that it would read differently from Python are translated; what it lacks is
refused with a remedy. Where there is no build of it, Python's own engine serves with patterns that are simple enough.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any, Protocol

try:
    import re2
except ImportError:  # there is none for this platform
    re2 = None

MAX_TEXT_LENGTH = 65_536
"""Maximum length of a text that is matched, in characters; more than any reason that a person reads."""

MAX_BACKTRACKING_LENGTH = 256
"""The same for the engine that backtracks."""

MAX_REPETITIONS = 3
"""Unbounded repetitions in one pattern for that engine: each multiplies the work by the length of the text."""

_MEMORY = 2 << 20
"""Bytes for one compiled pattern, which bounds the work for each character."""
_TABLE_MEMORY = 8 << 20
"""Bytes for the patterns of a `SearchTable`, all together. The built-in causes take a third of it."""
_PROBE = "\x00probe"
"""What the automaton of a table searches for as well, behind everything else, to prove that it works."""


class Pattern(Protocol):
    """A compiled pattern."""

    def fullmatch(self, text: str) -> object | None:
        """Return something where the whole text matches."""

    def search(self, text: str) -> object | None:
        """Return something where a part of the text matches."""


def check_pattern(pattern: str) -> None:
    """Raise ValueError, with a remedy, for what is no regular expression or cannot be matched in linear time."""
    try:
        re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    _compiled(pattern)


def matches_pattern(pattern: str, text: str) -> bool:
    """Return whether a pattern that was checked matches a whole text; a dot matches a line's end too."""
    return _compiled(pattern).fullmatch(_searchable(text)) is not None


class Search:
    r"""Alternatives that are searched for together in a text, whatever the case of its letters.

    `\b` is the boundary of an ASCII word, as in RE2: there is one between a Chinese character and a letter. The
    alternatives are compiled at the first search, so that a table of them costs nothing until it is used.
    """

    def __init__(self, alternatives: Sequence[str]) -> None:
        self.alternatives = tuple(alternatives)

    def check(self) -> None:
        """Raise ValueError, with a remedy, for an alternative that `check_pattern` would refuse."""
        for alternative in self.alternatives:
            check_pattern(alternative)
        _ = self._patterns

    def found_in(self, text: str) -> bool:
        """Return whether an alternative matches a part of the text. The alternatives must be valid."""
        text = _searchable(text)
        return any(pattern.search(text) for pattern in self._patterns)

    @property
    def joined(self) -> str:
        """All alternatives as one expression. Empty for none."""
        return "|".join(f"(?:{alternative})" for alternative in self.alternatives)

    @cached_property
    def _patterns(self) -> Sequence[Pattern]:
        if re2 is None:
            return [_backtracking(alternative, searched=True) for alternative in self.alternatives]
        # One automaton for all alternatives reads the text once.
        return [_linear(self.joined, case_sensitive=False)] if self.alternatives else []


class SearchTable:
    """Searches in order. One automaton for all of them reads a text once, however many there are."""

    def __init__(self, searches: Sequence[Search]) -> None:
        """Each search has an alternative."""
        self._searches = tuple(searches)

    def first_found(self, text: str) -> int | None:
        """Return the position of the first search that finds something in the text; None where none does."""
        if self._set is None:
            return next((at for at, search in enumerate(self._searches) if search.found_in(text)), None)
        at: int = min(self._set.Match(_searchable(text)) or (), default=len(self._searches))
        return at if at < len(self._searches) else None

    @cached_property
    def _set(self) -> Any:  # noqa: ANN401 - re2 has no type for it
        """The automaton; None where there is none for the platform, or where the searches are too many for one."""
        if re2 is None:
            return None
        found = re2.Set.SearchSet(_options(case_sensitive=False, memory=_TABLE_MEMORY))
        try:
            for search in self._searches:
                found.Add("".join(_translated(search.joined)))
            probe = found.Add(_PROBE)
            found.Compile()
        except re2.error:
            return None
        # With too little memory a set finds nothing, and does not say so.
        return found if probe in (found.Match(_PROBE) or ()) else None


def _searchable(text: str) -> str:
    text = text[: MAX_TEXT_LENGTH if re2 else MAX_BACKTRACKING_LENGTH]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> Pattern:
    return _backtracking(pattern) if re2 is None else _linear(pattern)


def _linear(pattern: str, *, case_sensitive: bool = True) -> Pattern:
    try:
        compiled: Pattern = re2.compile("".join(_translated(pattern)), _options(case_sensitive=case_sensitive))
    except re2.error as error:
        text = error.args[0]
        why = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        raise _refused(pattern, f"{why}. Write it more simply") from error
    return compiled


def _options(*, case_sensitive: bool, memory: int = _MEMORY) -> Any:  # noqa: ANN401 - re2's
    options = re2.Options()
    options.dot_nl, options.log_errors, options.max_mem = True, False, memory
    options.case_sensitive = case_sensitive
    return options


def _refused(pattern: str, why: str) -> ValueError:
    return ValueError(f"{pattern!r} cannot be matched in linear time: {why}.")


# ---- from Python's notation to RE2's ----

_TOKENS = re.compile(
    r"\\(?:u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)"  # an escape
    r"|\[\^?\]?"  # the beginning of a class, with a bracket that it may begin with
    r"|\(\?(?:P=|<?[=!]|\(|>|\#)"  # a group that RE2 does not have
    r"|(?:[*+?]|\{[0-9,]+\})\+"  # a repetition that gives nothing back
    r"|.",
    re.DOTALL,
)
_LETTERS, _SPACE = r"\p{L}\p{N}_", r"\s\x1c-\x1f\x{85}\p{Z}"
_OUTSIDE = {
    r"\w": f"[{_LETTERS}]",
    r"\W": f"[^{_LETTERS}]",
    r"\s": f"[{_SPACE}]",
    r"\S": f"[^{_SPACE}]",
    r"\d": r"\p{Nd}",
    r"\D": r"\P{Nd}",
    r"\Z": r"\z",
}
"""What RE2 would read as ASCII alone, or does not know."""
_INSIDE = {r"\w": _LETTERS, r"\s": _SPACE, r"\d": r"\p{Nd}", r"\D": r"\P{Nd}"}
_REFERENCE = "write the alternatives out instead of referring back"
_GREEDY = "leave out what keeps a repetition from giving back: nothing is ever tried again here"
_REMEDIES = {
    **dict.fromkeys(
        ("(?=", "(?!", "(?<=", "(?<!"),
        "write it without a look-around (a route can have a second matcher, with =~ or !~)",
    ),
    "(?P=": _REFERENCE,
    "(?(": _REFERENCE,
    "(?>": _GREEDY,
    "(?#": "leave the comment out",
}


def _translated(pattern: str) -> Iterator[str]:
    """Yield the parts of a pattern as RE2 writes them. Raises ValueError for what it lacks."""
    inside = False
    for token in _TOKENS.findall(pattern):
        if inside:
            yield _in_class(pattern, token)
            inside = not token.endswith("]") or token.startswith("\\")
        else:
            yield _out_of_class(pattern, token)
            inside = token.startswith("[")


def _in_class(pattern: str, token: str) -> str:
    if token in (r"\W", r"\S"):
        raise _refused(pattern, f"write [^{token.lower()}] or list the characters instead of {token} in brackets")
    # A bracket in a class is one: RE2 would take [: for the beginning of a name.
    return _INSIDE.get(token) or _literal(token.replace("[", r"\[") if token.startswith("[") else token)


def _out_of_class(pattern: str, token: str) -> str:
    if remedy := _REMEDIES.get(token):
        raise _refused(pattern, remedy)
    if token[0] == "\\" and token[1] in "123456789":
        raise _refused(pattern, _REFERENCE)
    if len(token) > 1 and token[-1] == "+" and token[0] != "\\":
        raise _refused(pattern, _GREEDY)
    return _OUTSIDE.get(token) or _literal(token)


def _literal(token: str) -> str:
    if token[:2] in (r"\u", r"\U"):
        return rf"\x{{{token[2:]}}}"
    if token[0] == "\\" and (token[1:] == "_" or not token.isascii()):
        return token[1:]
    return token


# ---- where there is no RE2 ----


def _backtracking(pattern: str, *, searched: bool = False) -> Pattern:
    """Compile with Python's engine what takes it no more than a moment over MAX_BACKTRACKING_LENGTH characters.

    A search begins at each character, which costs as much as one more repetition. It ignores case.
    """
    steps, inside = MAX_BACKTRACKING_LENGTH if searched else 1, False
    repeated, last = [0], 0
    parts: list[str] = []
    for token in _TOKENS.finditer(pattern):
        # RE2's word boundary knows ASCII alone: a code between two Chinese characters is a word.
        parts.append(r"(?a:\b)" if searched and not inside and token[0] == r"\b" else token[0])
        if inside:
            inside = not token[0].endswith("]") or token[0].startswith("\\")
            continue
        _out_of_class(pattern, token[0])
        closed, last = last, 0
        match token[0][0]:
            case "[":
                inside = True
            case "(":
                repeated.append(0)
            case ")":
                last = repeated.pop()
                repeated[-1] += last
            case "|":
                repeated[-1] += 1
            case "*" | "+" | "{":
                if closed:
                    raise _refused(pattern, "repeat no group that has a repetition or an alternative in it")
                steps *= _times(pattern[token.start() :])
                repeated[-1] += 1
    if steps > MAX_BACKTRACKING_LENGTH**MAX_REPETITIONS:
        most = MAX_REPETITIONS - searched
        raise _refused(pattern, f"use at most {most} repetitions without a limit on this platform, which has no RE2")
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if searched else 0))


def _times(repetition: str) -> int:
    """Return how often the repetition at the beginning of a text repeats at most."""
    limited = re.match(r"\{(?:\d*,)?(\d+)\}", repetition)
    return min(int(limited[1]), MAX_BACKTRACKING_LENGTH) if limited else MAX_BACKTRACKING_LENGTH
