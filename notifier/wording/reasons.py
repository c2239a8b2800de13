"""Reasons and remedies that the notifier itself writes, in the reader's language.

They are English in the database and in logs, and are translated when they are shown. `phrases/reasons.zh.toml` has a
template for each. A part that comes from outside stays as it is; a reason that is quoted in another is translated too.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from notifier.wording.phrases import Language

MAX_REASON_LENGTH = 20_000
"""Longer texts are not of our own. They stay as they are."""
MAX_DEPTH = 6
"""Maximum number of reasons that quote one another."""

_PLACEHOLDER = re.compile(r"\{(\w+)(?::(\w+))?\}")
_NUMBER = re.compile(r"[0-9][0-9.,]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonTemplate:
    """A kind of reason: literal parts with values between them, and its translation."""

    literals: tuple[str, ...]
    """The text before, between and after the values: one more than there are values."""
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    """For each value `text`, `number`, or `reason` for a reason that is translated too."""
    translation: str
    """With `str.format` placeholders of the same names."""

    def values(self, text: str) -> Mapping[str, str] | None:
        """Return the values of a reason of this kind by name; None for any other. Linear in the length of the text."""
        if not text.startswith(self.literals[0]):
            return None
        found: list[str] = []
        begin = len(self.literals[0])
        for index, literal in enumerate(self.literals[1:], 1):
            last = index == len(self.literals) - 1
            end = len(text) - len(literal) if last else text.find(literal, begin)
            if end < begin or (last and not text.endswith(literal)):
                return None
            found.append(text[begin:end])
            begin = end + len(literal)
        if begin != len(text) or not all(map(_fits, self.kinds, found)):
            return None
        return dict(zip(self.names, found, strict=True))


def _fits(kind: str, value: str) -> bool:
    return bool(_NUMBER.fullmatch(value)) if kind == "number" else bool(value)


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


def localized_reason(text: str, language: Language) -> str:
    """Return a reason of the notifier's own in a language. Any other text is returned as it is."""
    return text if len(text) > MAX_REASON_LENGTH else _localized(text, language, MAX_DEPTH)


def _localized(text: str, language: Language, depth: int) -> str:
    if not depth:
        return text
    for template in reason_templates(language):
        values = template.values(text)
        if values is not None:
            kinds = dict(zip(template.names, template.kinds, strict=True))
            shown = {
                name: _localized(value, language, depth - 1) if kinds[name] == "reason" else value
                for name, value in values.items()
            }
            return template.translation.format(**shown)
    return text
