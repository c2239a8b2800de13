"""Reasons and remedies that the notifier itself writes, in the reader's language.

They are English in the database and in logs, and are translated when they are shown. `phrases/reasons.zh.toml` has a
template for each. A part that comes from outside stays as it is; a reason that is quoted in another is translated too.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from notifier.wording.phrases import Language

TRANSLATED_LENGTH = 2_000
"""Longer texts are not of our own. They stay as they are."""
MAX_DEPTH = 6
"""Maximum number of reasons that quote one another."""

_PLACEHOLDER = re.compile(r"\{(\w+)(?::(\w+))?\}")
_SHAPES: Mapping[str, re.Pattern[str]] = {
    "number": re.compile(r"[0-9][0-9.,]*"),
    "addresses": re.compile(r"[^\s,:;]+@[^\s,:;]+(?:, [^\s,:;]+@[^\s,:;]+)*"),
}
_TRANSLATED = frozenset({"reason", "known", "host"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonTemplate:
    """A kind of reason: literal parts with values between them, and its translation."""

    literals: tuple[str, ...]
    """The text before, between and after the values: one more than there are values."""
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    """For each value `text`, `number`, `addresses`, `greedy`, `host`, `reason` or `known`; see the data file."""
    translation: str
    """With `str.format` placeholders of the same names."""

    def values(self, text: str) -> Sequence[str] | None:
        """Return the values of a reason of this kind; None for any other. Linear in the length of the text."""
        if not text.startswith(self.literals[0]) or not text.endswith(self.literals[-1]):
            return None
        found: list[str] = []
        begin, limit = len(self.literals[0]), len(text) - len(self.literals[-1])
        for kind, literal in zip(self.kinds[:-1], self.literals[1:-1], strict=True):
            find = text.rfind if kind == "greedy" else text.find
            end = find(literal, begin, limit)
            if end < 0:
                return None
            found.append(text[begin:end])
            begin = end + len(literal)
        if self.kinds:
            found.append(text[begin:limit])
        fits = begin <= limit if self.kinds else text == self.literals[0]
        return found if fits and all(map(_fits, self.kinds, found)) else None


def _fits(kind: str, value: str) -> bool:
    return bool(_SHAPES[kind].fullmatch(value)) if kind in _SHAPES else bool(value)


@cache
def reason_templates(language: Language) -> tuple[ReasonTemplate, ...]:
    """Return the templates of a language. The first that fits a reason is used. English needs none."""
    if language == "en":
        return ()
    path = Path(__file__).with_name("phrases") / f"reasons.{language}.toml"
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(_template(*row) for table in tables.values() for row in table.items())


def _template(english: str, translation: str) -> ReasonTemplate:
    fields = [*_PLACEHOLDER.finditer(english)]
    bounds = [0, *(bound for field in fields for bound in field.span()), len(english)]
    return ReasonTemplate(
        literals=tuple(english[begin:end] for begin, end in zip(bounds[::2], bounds[1::2], strict=True)),
        names=tuple(field[1] for field in fields),
        kinds=tuple(field[2] or "text" for field in fields),
        translation=translation,
    )


@lru_cache(maxsize=1024)
def localized_reason(text: str, language: Language) -> str:
    """Return a reason of the notifier's own in a language. Any other text is returned as it is."""
    if len(text) > TRANSLATED_LENGTH:
        return text
    return _localized(text, language, MAX_DEPTH) or text


def _localized(text: str, language: Language, depth: int) -> str | None:
    """Return the translation of a reason; None for a text that is not one of ours."""
    if not depth:
        return None
    for template in reason_templates(language):
        values = template.values(text)
        if values is None:
            continue
        shown = [_shown(kind, value, language, depth - 1) for kind, value in zip(template.kinds, values, strict=True)]
        if None not in shown:
            return template.translation.format(**dict(zip(template.names, shown, strict=True)))
    return None


def _shown(kind: str, value: str, language: Language, depth: int) -> str | None:
    """Return a value as the translation shows it; None where it does not fit."""
    if kind not in _TRANSLATED or (kind == "host" and " " not in value):
        return value
    translated = _localized(value, language, depth)
    return translated or value if kind == "reason" else translated
