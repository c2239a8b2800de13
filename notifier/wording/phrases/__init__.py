"""What the notifier writes to people, in English and in Chinese: `en.toml` and `zh.toml`, by dotted keys."""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from string import Formatter
from types import MappingProxyType
from typing import Any, Literal

Language = Literal["en", "zh"]


@cache
def phrases(language: Language) -> Mapping[str, str]:
    """Return the phrases of a language by key, with their `str.format` placeholders."""
    text = Path(__file__).with_name(f"{language}.toml").read_text(encoding="utf-8")
    return MappingProxyType(dict(_flattened(tomllib.loads(text))))


def text(language: Language, key: str, **values: object) -> str:
    """Return a phrase with its placeholders filled. Raises KeyError for an unknown key or a missing value."""
    return templates(language)[key] % values


@cache
def templates(language: Language) -> Mapping[str, str]:
    """Return the phrases of a language by key, as templates of the operator %, which are filled faster."""
    return _Templates(language)


class _Templates(dict[str, str]):
    """Phrases as templates of %. Each is made when it is first used."""

    def __init__(self, language: Language) -> None:
        super().__init__()
        self._phrases = phrases(language)

    def __missing__(self, key: str) -> str:
        parts = Formatter().parse(self._phrases[key])
        template = "".join(text.replace("%", "%%") + (f"%({name})s" if name else "") for text, name, _, _ in parts)
        self[key] = template
        return template


def _flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, str):
            yield f"{prefix}{key}", value
        else:
            yield from _flattened(value, f"{prefix}{key}.")
