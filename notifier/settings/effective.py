"""The values of settings as people may read them: secrets hidden, and where each value comes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import timedelta
from enum import Enum, StrEnum
from typing import Any, TypeAlias

from pydantic import BaseModel, SecretStr

from notifier.core.durations import format_duration
from notifier.settings.secrets import twin_of

MAX_SHOWN_LENGTH = 160
"""Maximum length of a value that is shown, in characters."""

SettingPath: TypeAlias = "tuple[str | int, ...]"


class ValueOrigin(StrEnum):
    """Where the value of a setting comes from."""

    FILE = "file"
    """It is written in the configuration."""
    ENVIRONMENT = "environment"
    """It is written there as a reference to variables of the environment."""
    SECRET_FILE = "secret_file"  # noqa: S105 - a word
    """The configuration names a file that holds it."""
    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenValue:
    """A value as the configuration has it."""

    line: int
    variables: tuple[str, ...] = ()
    """Names of the environment variables that were inserted into it."""


WrittenPlaces: TypeAlias = Callable[[SettingPath], WrittenValue | None]
"""Returns how a value is written; None where it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveValue:
    """One setting, without anything that must not be shown."""

    path: SettingPath
    value: str
    """Empty for what is hidden."""
    hidden: bool
    """Whether it is a secret, or was taken from the environment."""
    origin: ValueOrigin
    line: int | None = None
    """Of the configuration; None for a default."""
    variables: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its path: `channels[1].port`."""
        return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path).removeprefix(".")


def effective_values(settings: BaseModel, written: WrittenPlaces) -> Iterator[EffectiveValue]:
    """Yield every setting, in the order of the classes.

    A secret is never read, whatever it is in. Neither is a value that comes from the environment: there is no telling
    what operators keep there.
    """
    yield from _values(settings, (), written)


def _values(value: object, path: SettingPath, written: WrittenPlaces) -> Iterator[EffectiveValue]:
    inner = list(_parts(value, path))
    if inner:
        for part, at in inner:
            yield from _values(part, at, written)
    elif path:
        yield _leaf(value, path, written)


def _parts(value: object, path: SettingPath) -> Iterator[tuple[object, SettingPath]]:
    if isinstance(value, BaseModel):
        unused = getattr(value, "unused_settings", ())
        for name, about in type(value).model_fields.items():
            if name in unused:
                continue
            yield getattr(value, name), (*path, about.alias or name)
    elif is_dataclass(value) and not isinstance(value, type) and type(value).__str__ is object.__str__:
        yield from ((getattr(value, one.name), (*path, one.name)) for one in fields(value))
    elif isinstance(value, Mapping):
        yield from ((one, (*path, str(key))) for key, one in value.items())
    elif isinstance(value, list | tuple) and any(_is_deep(one) for one in value):
        yield from ((one, (*path, number)) for number, one in enumerate(value))


def _is_deep(value: object) -> bool:
    return isinstance(value, BaseModel | Mapping | SecretStr) or (
        is_dataclass(value) and type(value).__str__ is object.__str__
    )


_NOT_SHOWN = frozenset({"access_key", "body_template", "templates"})
"""Keys of what is no secret by itself, and may hold one or is half of one."""


def _leaf(value: object, path: SettingPath, written: WrittenPlaces) -> EffectiveValue:
    found, twin = written(path), written((*path[:-1], twin_of(str(path[-1]))))
    secret = isinstance(value, SecretStr) or not _NOT_SHOWN.isdisjoint(path)
    if found is None and twin is not None and secret:
        return EffectiveValue(path=path, value="", hidden=True, origin=ValueOrigin.SECRET_FILE, line=twin.line)
    if found is None:
        shown = "" if secret else _shown(value)
        return EffectiveValue(path=path, value=shown, hidden=secret, origin=ValueOrigin.DEFAULT)
    hidden = secret or bool(found.variables)
    return EffectiveValue(
        path=path,
        value="" if hidden else _shown(value),
        hidden=hidden,
        origin=ValueOrigin.ENVIRONMENT if found.variables else ValueOrigin.FILE,
        line=found.line,
        variables=found.variables,
    )


_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*://)(?:[^/@\s]*@)?([^/?#\s]*)([/?#]\S*)?", re.IGNORECASE)
"""An address. Its path is where services put tokens, whatever a field is called; so are the name and the password."""


def _without_path(address: re.Match[str]) -> str:
    scheme, host, rest = address.groups()
    return f"{scheme}{host}{'/…' if rest and rest != '/' else ''}"


def _shown(value: Any) -> str:  # noqa: ANN401 - of any setting
    match value:
        case None:
            text = "–"
        case bool():
            text = "true" if value else "false"
        case timedelta():
            text = format_duration(value)
        case Enum():
            text = str(value.value)
        case list() | tuple() | frozenset() | set():
            text = ", ".join(map(_shown, value if isinstance(value, list | tuple) else sorted(value))) or "–"
        case Mapping():
            text = "–"
        case _:
            text = _ADDRESS.sub(_without_path, str(value))
    return text if len(text) <= MAX_SHOWN_LENGTH else f"{text[:MAX_SHOWN_LENGTH]}…"
