"""Turn errors of the data into problems of the file: positions are added, environment values are masked."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import ValidationError

from notifier.config.checks import find_cross_problems
from notifier.config.document import Document, EnvironmentValue, Path, Problem
from notifier.settings.explain import Loc

_SHORTEST_WORD = 6
"""Length in characters from which a word that a message shares with an environment value counts as a quote of it."""


def collect_problems(document: Document, error: ValidationError | None) -> list[Problem]:
    """Return all problems of a document, in the order of the file."""
    found = {
        Problem(what=what, place=document.place(path, on_key=on_key), path=path)
        for path, what, on_key in _located_problems(document, error)
        if on_key or not _follows_from(path, document.problems)
    }
    return sorted({*document.problems, *found}, key=lambda problem: (problem.place, str(problem)))


def _located_problems(document: Document, error: ValidationError | None) -> Iterator[tuple[Path, str, bool]]:
    errors = error.errors(include_url=False) if error else []
    paths = [_path(document.data, found["loc"]) for found in errors]
    for path, found in zip(paths, errors, strict=True):
        if not _has_inner(path, paths):
            about = found["ctx"]
            what = _mask_environment(found["msg"], path, document) if about["quotes"] else found["msg"]
            yield path, what, about["on_key"]
    for path, what in find_cross_problems(document.data):
        yield path, _mask_environment(what, path, document), False


def _has_inner(path: Path, paths: list[Path]) -> bool:
    """Return whether something inside is wrong: a list is then too short only because entries were dropped."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in paths)


def _path(data: object, loc: Loc) -> Path:
    """Return the place of an error in the data: pydantic's location without the names of models."""
    path: Path = ()
    for position, step in enumerate(loc, start=1):
        if isinstance(data, dict) and step not in data:
            path = (*path, step) if position == len(loc) else path
        elif isinstance(data, dict | list):
            path = (*path, step)
            data = data[step]  # type: ignore[index]  # an index where it is a list
    return path


def _follows_from(path: Path, problems: tuple[Problem, ...]) -> bool:
    """Return whether an unreadable value causes the problem at a path."""
    return any(problem.path and path[: len(problem.path)] == problem.path for problem in problems)


# ---- environment values are masked ----


def _mask_environment(what: str, path: Path, document: Document) -> str:
    for inner, borrowed in document.borrowed.items():
        if inner[: len(path)] == path:
            for one in borrowed:
                what = _mask_value(what, one)
    return what


def _mask_value(what: str, borrowed: EnvironmentValue) -> str:
    """Replace the value of a variable by its reference; replace a message that shows parts of the value entirely."""
    reference, value = f"${{{borrowed.name}}}", borrowed.value.strip()
    if len(value) >= _SHORTEST_WORD:
        what = what.replace(value, reference)
    what = what.replace(repr(borrowed.value), reference)
    words = re.findall(rf"\w{{{_SHORTEST_WORD},}}", re.sub(r"^\w+://", "", value))
    return f"the value of {reference} is not accepted here." if any(word in what for word in words) else what
