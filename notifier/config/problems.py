"""From what is wrong with the data to what is wrong with the file: places added, the environment taken out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import ValidationError

from notifier.config.checks import find_cross_problems
from notifier.config.document import Document, EnvironmentValue, Path, Problem
from notifier.settings.explain import Loc

_SHORTEST_WORD = 6
"""Characters. Words this long that a message shares with a value from the environment are taken to come from it."""


def collect_problems(document: Document, error: ValidationError | None) -> list[Problem]:
    """Return everything that is wrong with a document, in the order of the file."""
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
    """Tell whether something inside is wrong: a list is then only too short because its entries were dropped."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in paths)


def _path(data: object, loc: Loc) -> Path:
    """Return where in the data an error is: pydantic's location without the names of the models it went through."""
    path: Path = ()
    for position, step in enumerate(loc, start=1):
        if isinstance(data, dict) and step not in data:
            path = (*path, step) if position == len(loc) else path
        elif isinstance(data, dict | list):
            path = (*path, step)
            data = data[step]  # type: ignore[index]  # an index where it is a list
    return path


def _follows_from(path: Path, problems: tuple[Problem, ...]) -> bool:
    """Tell whether a value that could not be read is to blame."""
    return any(problem.path and path[: len(problem.path)] == problem.path for problem in problems)


# ---- the environment is not shown ----


def _mask_environment(what: str, path: Path, document: Document) -> str:
    for inner, borrowed in document.borrowed.items():
        if inner[: len(path)] == path:
            for one in borrowed:
                what = _mask_value(what, one)
    return what


def _mask_value(what: str, borrowed: EnvironmentValue) -> str:
    """Name the variable where a message quotes its value; a message that shows parts of it is not shown at all."""
    reference, value = f"${{{borrowed.name}}}", borrowed.value.strip()
    if len(value) >= _SHORTEST_WORD:
        what = what.replace(value, reference)
    what = what.replace(repr(borrowed.value), reference)
    words = re.findall(rf"\w{{{_SHORTEST_WORD},}}", re.sub(r"^\w+://", "", value))
    return f"the value of {reference} is not accepted here." if any(word in what for word in words) else what
