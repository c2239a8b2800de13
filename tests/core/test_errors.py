"""The drawing of the errors in `notifier.core.errors` is what the classes are."""

from __future__ import annotations

import re
from collections.abc import Iterator

from notifier.core import errors
from notifier.core.errors import NotifierError

_LINE = re.compile(r"^(?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+) +exit (?P<code>\d)  +\S", re.MULTILINE)


def tree(kind: type[NotifierError], before: str = "") -> Iterator[tuple[str, str, int]]:
    """Yield each class of the module as it is drawn: the branch before its name, the name, the exit code."""
    yield before, kind.__name__, kind.exit_code
    below = [each for each in kind.__subclasses__() if each.__module__ == errors.__name__]
    trunk = before.replace("├── ", "│   ").replace("└── ", "    ")
    for each in below:
        yield from tree(each, trunk + ("└── " if each is below[-1] else "├── "))


def test_the_drawing_shows_every_error_in_its_place_with_its_exit_code() -> None:
    drawn = [(line["branch"], line["name"], int(line["code"])) for line in _LINE.finditer(errors.__doc__ or "")]
    assert drawn == list(tree(NotifierError))
