"""YAML with positions: text in, plain data out, with the line and column of every value.

Scalars stay text: the settings decide their types, so `no` can be a name, an all-digit project id keeps its zeros, and
the value of an environment variable is never parsed as YAML. Only a plain `null`, `~` or an empty value is null.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import yaml

from notifier.settings.interpolated import InterpolatedStr, PlainScalar

Path = tuple[str | int, ...]
"""Keys and indexes from the top of a document: ("channels", 1, "port")."""

_ALWAYS_READ = 20_000
"""Number of values that a document of any size may have, each use of an alias counted."""
_SHORTEST_VALUE = 4
"""Characters that a value takes at least where it means anything: a key, a colon, a space and a character."""
_LIMIT = 1_000_000
"""Maximum number of values of a document. Fifty thousand sources have fewer."""
_LARGE = 65_536
"""Size in characters from which the fast parser is tried first. The other one has precise errors and takes seconds."""
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "map", "seq"))


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file, counted from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem of a configuration, with its remedy."""

    what: str
    place: Place
    path: Path = ()

    def __str__(self) -> str:
        """Return `12:5: channels[1].prot: unknown key. Did you mean port?`."""
        where = f"{self.place.line}:{self.place.column}"
        return ": ".join(filter(None, (where, dotted(self.path), self.what)))


def dotted(path: Path) -> str:
    """Return a path as `channels[1].port`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlDocument:
    """The data of a text, its values and keys with their positions, and the problems of reading it."""

    data: object = None
    problems: tuple[Problem, ...] = ()
    values: Mapping[Path, yaml.Node] = field(default_factory=dict)
    keys: Mapping[Path, yaml.Node] = field(default_factory=dict)
    unset: frozenset[Path] = frozenset()
    """The texts with a reference to the environment that cannot be replaced. Each has a problem."""
    borrowed: Mapping[Path, tuple[EnvironmentValue, ...]] = field(default_factory=dict)
    """The environment values in each text; they must not be shown."""

    @property
    def misread(self) -> bool:
        """True where anything but a reference to the environment is wrong."""
        return any(problem.path not in self.unset for problem in self.problems)

    def place(self, path: Path, *, on_key: bool = False) -> Place:
        """Return the position of a path; for a missing one, that of the nearest enclosing value."""
        first, second = (self.keys, self.values) if on_key or path not in self.values else (self.values, self.keys)
        while path and path not in first and path not in second:
            path = path[:-1]
        node = first.get(path) or second.get(path)
        return _place_of(node.start_mark) if node else Place()


# ---- environment ----


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentValue:
    """The value of an environment variable that was inserted into a text."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Substituted:
    """A text with its references replaced."""

    text: str
    borrowed: tuple[EnvironmentValue, ...] = ()
    problems: tuple[str, ...] = ()


_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\})?")


def substitute(text: str, environ: Mapping[str, str]) -> Substituted:
    """Replace `${NAME}` and `${NAME:-default}`; `$${` stands for `${`.

    The default applies when the variable is unset or empty. References in the value of a variable are not replaced.
    """
    borrowed: list[EnvironmentValue] = []
    problems: list[str] = []

    def fill(found: re.Match[str]) -> str:
        name, default = found["name"], found["default"]
        if found[0] == "$${":
            return "${"
        if name is None:
            what = "${ begins no reference here. Write ${NAME} or ${NAME:-default}, or $${ for the two characters."
            problems.append(what)
        elif default is None and name not in environ:
            problems.append(f"environment variable {name} is not set. Set it, or give a default: ${{{name}:-default}}.")
        else:
            # Shells and secret stores append a line end to a value.
            value = environ.get(name, "").rstrip("\r\n") or default or ""
            borrowed.extend([EnvironmentValue(name=name, value=value)] if name in environ else [])
            return value
        return found[0]

    return Substituted(text=_REFERENCE.sub(fill, text), borrowed=tuple(borrowed), problems=tuple(problems))


# ---- YAML ----


def parse(
    text: str, environ: Mapping[str, str] | None, *, remedy: str = "Write one with: notifier init"
) -> YamlDocument:
    """Read a text. Never fails: errors become the document's problems.

    `environ` replaces `${NAME}`; with None, references are left as they are. `remedy` is for an empty text.
    """
    limit = _values_allowed(text)
    try:
        node = _compose(text)
        if node is not None:
            return _Reader(environ, limit).document(node)
        what = f"the file is empty. {remedy}"
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two for impossible escapes
        return YamlDocument(problems=(_syntax_problem(error, text),))
    except RecursionError:
        what = "is nested too deeply."
    except _TooLargeError:
        what = (
            f"has more than {limit:,} values, each use of an alias counted. "
            "Use fewer aliases, or split the sources over several services."
        )
    return YamlDocument(problems=(Problem(what=what, place=Place()),))


def _values_allowed(text: str) -> int:
    """Return how many values a text may have, each use of an alias counted.

    It follows the length of the text, for only nested aliases, which grow exponentially, make many values of few words.
    """
    return min(max(_ALWAYS_READ, len(text) // _SHORTEST_VALUE), _LIMIT)


class _TooLargeError(Exception):
    """The document has more values than its text may have."""


class _AnchorError(yaml.MarkedYAMLError):
    """A text value has an anchor."""


class _Loader(yaml.BaseLoader):
    """Composes nodes without resolving or constructing values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse an anchor on text: a value that begins with & would silently lose its first word."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it untyped
        if isinstance(event, yaml.ScalarEvent) and event.anchor is not None:
            raise _AnchorError(problem="found an anchor", problem_mark=event.start_mark)  # type: ignore[arg-type]  # never the C parser's
        return super().compose_node(parent, index)


def _compose(text: str) -> yaml.Node | None:
    fast = getattr(yaml, "CBaseLoader", None)
    if fast and len(text) >= _LARGE and "&" not in text:  # it would not notice an anchor on text
        with suppress(yaml.YAMLError, ValueError, OverflowError):
            found: yaml.Node | None = fast(text).get_single_node()
            return found
    return _Loader(text).get_single_node()


def _names(pairs: Iterable[tuple[yaml.Node, yaml.Node]]) -> set[str]:
    return {key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)}


def _is_merge(key: yaml.Node) -> bool:
    return key.value == "<<" and isinstance(key, yaml.ScalarNode) and key.style is None


def _place_of(mark: yaml.Mark) -> Place:
    return Place(line=mark.line + 1, column=mark.column + 1)


class _Reader:
    """Turns the nodes of one document into data."""

    def __init__(self, environ: Mapping[str, str] | None, limit: int) -> None:
        """Replace references by `environ`, where given; read at most `limit` values."""
        self._environ = environ
        self._limit = limit
        self._problems: list[Problem] = []
        self._values: dict[Path, yaml.Node] = {}
        self._keys: dict[Path, yaml.Node] = {}
        self._unset: set[Path] = set()
        self._borrowed: dict[Path, tuple[EnvironmentValue, ...]] = {}
        self._open: set[int] = set()

    def document(self, node: yaml.Node) -> YamlDocument:
        data = self._read(node, ())
        return YamlDocument(
            data=data,
            problems=tuple(self._problems),
            values=self._values,
            keys=self._keys,
            unset=frozenset(self._unset),
            borrowed=self._borrowed,
        )

    def _add_problem(self, node: yaml.Node, path: Path, what: str) -> None:
        self._problems.append(Problem(what=what, place=_place_of(node.start_mark), path=path))

    def _read(self, node: yaml.Node, path: Path) -> object:
        self._values[path] = node
        if node.tag not in _TAGS:
            self._add_problem(node, path, "a value cannot start with !. Put it in quotes.")
        elif id(node) in self._open:
            self._add_problem(node, path, "refers to itself.")
        elif len(self._values) > self._limit:
            raise _TooLargeError
        elif isinstance(node, yaml.ScalarNode):
            return self._text(node, path)
        else:
            return self._collection(node, path)
        return None

    def _collection(self, node: yaml.Node, path: Path) -> object:
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self._read(item, (*path, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in self._pairs(node, path):
            inner = (*path, key.value) if isinstance(key, yaml.ScalarNode) else path
            if inner == path:
                self._add_problem(key, path, "a key must be text. Put a value that starts with { or [ in quotes.")
            elif inner in self._keys:
                first = _place_of(self._keys[inner].start_mark)
                self._add_problem(key, inner, f"is given twice; the first is on line {first.line}.")
            else:
                self._keys[inner] = key
                found[key.value] = self._read(value, inner)
        return found

    def _pairs(self, node: yaml.MappingNode, path: Path) -> list[tuple[yaml.Node, yaml.Node]]:
        """Return keys and values, merged ones last: keys beside `<<` take precedence."""
        own = [pair for pair in node.value if not _is_merge(pair[0])]
        if len(own) == len(node.value):
            return own
        taken = _names(own)
        for key, value in node.value:
            for part in self._merged(key, value, path) if _is_merge(key) else ():
                fresh = [pair for pair in self._pairs(part, path) if not _names([pair]) & taken]
                taken |= _names(fresh)
                own += fresh
                self._open.discard(id(part))
        return own

    def _merged(self, key: yaml.Node, value: yaml.Node, path: Path) -> Iterator[yaml.MappingNode]:
        for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if not isinstance(part, yaml.MappingNode):
                self._add_problem(key, path, "<< takes the keys of mappings: write <<: *NAME, or <<: [*ONE, *ANOTHER].")
            elif id(part) in self._open:
                self._add_problem(key, path, "refers to itself.")
            else:
                self._open.add(id(part))
                yield part

    def _text(self, node: yaml.ScalarNode, path: Path) -> str | None:
        if node.style is None and node.value in _NULLS:
            return None
        if self._environ is None:
            return str(node.value)
        if "${" not in node.value:
            return PlainScalar.of(node.value) if node.style is None else str(node.value)
        filled = substitute(node.value, self._environ)
        for what in filled.problems:
            self._unset.add(path)
            self._add_problem(node, path, what)
        if filled.borrowed:
            self._borrowed[path] = filled.borrowed
            return InterpolatedStr(filled.text, node.value, {one.name: one.value for one in filled.borrowed})
        return filled.text


# ---- YAML's own errors ----

_SYNTAX: tuple[tuple[str, str], ...] = (
    (r"found character '\\t'", "a tab. Indent with spaces."),
    (r"found character '(.)'", r"a value cannot start with \1. Put it in quotes."),
    (r"found undefined alias", "a value cannot start with *. Put it in quotes."),
    (r"found an anchor", "a value cannot start with &. Put it in quotes."),
    (r"found undefined tag handle", "a value cannot start with !. Put it in quotes."),
    (
        r"mapping values are not allowed",
        "a colon that does not fit here. The line above has none, the value needs quotes, or the indentation is off.",
    ),
    (r"sequence entries are not allowed", "a dash that does not fit here. Begin a list on a line of its own."),
    (r"could not find expected ':'", "a key without a colon."),
    (
        r"expected (<block end>|'<document start>')",
        "does not fit the lines above. Correct the indentation or the quotes.",
    ),
    (r"found unexpected end of stream", "a quote that is not closed."),
    (r"expected ',' or '(\]|\})'", r"a list or mapping whose \1 is missing."),
    (r"expected the node content, but found '(.)'", r"a \1 that does not fit here. Put text with it in quotes."),
    (r"expected the node content", "ends too early: a list, mapping or value is missing."),
    (r"found another document", "a second document after ---. One file holds one configuration."),
    (r"unknown escape character", "an unknown escape after a backslash. Put the value in single quotes."),
    (r"special characters are not allowed", "a control character. Remove it."),
    (r"", "is not YAML."),
)
"""Pattern of the parser's message, and our sentence. The sentences do not quote the file."""

_BEGINS_EARLIER = ("found unexpected end of stream", "expected ',' or")
"""Errors that are reported at the beginning of the unclosed element."""


def _syntax_problem(error: Exception, text: str) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        place = Place(line=before.count("\n") + 1, column=len(before) - before.rfind("\n"))
        return Problem(what=_in_words(error.reason), place=place)
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(what=_in_words(""), place=Place())
    message = error.problem or ""
    mark = error.context_mark if message.startswith(_BEGINS_EARLIER) else error.problem_mark
    return Problem(what=_in_words(message), place=_place_of(mark) if mark else Place())


def _in_words(message: str) -> str:
    found, words = next((found, words) for pattern, words in _SYNTAX if (found := re.search(pattern, message)))
    return found.expand(words)
