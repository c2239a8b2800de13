"""Values of the command line that need no library to be understood.

Typer converts every value, also one that is not given, with pydantic, which takes longer to import than a query takes.
Here the plain ones are converted without it. Typer gets the others, so every error is in its words.
"""

import os
from enum import Enum
from pathlib import Path
from typing import Any, Final

from typer.core import TyperArgument, TyperOption

_NOT_PLAIN: Final = object()


def plain_first(parameters: list[Any]) -> list[Any]:
    """Return the parameters of a command. They convert plain values without pydantic."""
    for parameter in parameters:
        if isinstance(parameter, TyperOption | TyperArgument):
            vars(parameter)["get_runtime_param"] = _PlainFirst  # typer has no setting for it
    return parameters


class _PlainFirst:
    """Stands in for what typer converts the values of a parameter with."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:  # noqa: ANN401 - typer's own types are private
        """Return a value as its parameter declares it. Raises typer.BadParameter."""
        listed = param.multiple or param.nargs == -1
        found = _plain(value, param.type_descriptor, listed=listed)
        return (
            type(param).get_runtime_param(param).coerce(value, param=param, ctx=ctx) if found is _NOT_PLAIN else found
        )


def _plain(value: object, descriptor: Any, *, listed: bool) -> object:  # noqa: ANN401 - as above
    annotation, info = descriptor.annotation, descriptor.parameter_info
    if value is None and not listed:
        return None
    if listed:
        texts = isinstance(value, tuple) and all(isinstance(one, str) for one in value)
        return value if texts and annotation == list[str] and info.parser is None else _NOT_PLAIN
    if not isinstance(value, str):  # a default
        return value if type(value) is annotation and info.parser is None else _NOT_PLAIN
    if info.parser is not None:
        return info.parser(value)
    return _of_text(value, annotation, info)


def _of_text(text: str, annotation: Any, info: Any) -> object:  # noqa: ANN401 - as above
    if annotation is str:
        return text
    if annotation is Path:
        return Path(text) if not Path(text).exists() or os.access(text, os.R_OK) else _NOT_PLAIN
    if annotation is int and text.isdecimal() and text.isascii():
        number = int(text)
        low, high = (number if bound is None else bound for bound in (info.min, info.max))
        return number if low <= number <= high else _NOT_PLAIN
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return next((choice for choice in annotation if choice.value == text), _NOT_PLAIN)
    return _NOT_PLAIN
