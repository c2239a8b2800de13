"""The option `causes`: files of known causes of failures, in the form of `notifier/wording/causes/causes.toml`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails

from notifier.config.document import parse
from notifier.config.files import read_text
from notifier.config.problems import collect_problems
from notifier.core.causes import Cause, Retryable
from notifier.core.errors import ConfigurationError
from notifier.core.patterns import Search, check_pattern
from notifier.settings.base import Origin, Settings
from notifier.settings.explain import error_detail, setting_error
from notifier.settings.types import Name, PlainText, url_rule
from notifier.wording.sanitize import one_line

_TEXT_LIMIT = 500
"""Maximum length of a text, in characters."""
_TEXTS = "must be a text, or a mapping with en, zh or both."
_REMEDY = "Write a list: causes: [{id: …, match: […], means: …, retry: no}]"


_OUTSIDE_URLS = re.compile(r"[^!#-;=?-_a-z{}~]")
"""Characters that a URL has in encoded form only. The markup of a chat could end at one of them."""
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9]{1,63}(\.[0-9]{4,8})?")


def _pattern(text: str) -> str:
    try:
        check_pattern(text)
    except ValueError as error:
        hint = "" if str(error).endswith(".") else ". Write \\ before a character that stands for itself."
        raise ValueError(f"{error}{hint}") from None
    return text


def _code(text: str) -> str:
    if not _CODE.fullmatch(text):
        raise ValueError(f"{text!r} is no error code. Write one such as DBS.280277, or the id of an event.")
    return text


def _link(url: str) -> str:
    if wrong := _OUTSIDE_URLS.search(url):
        raise ValueError(f"has {wrong[0]!r} in it, which no URL has. Write it as {quote(wrong[0])}.")
    return url


def _as_texts(value: object) -> object:
    """Return one text as the text of every language."""
    if isinstance(value, str):
        return {"en": value}
    if not isinstance(value, dict):
        raise ValueError(_TEXTS)  # noqa: TRY004 - pydantic turns a ValueError into an error of the setting
    return value


class CauseTexts(Settings):
    """A text in the languages of the readers. Where one is missing, the other one serves."""

    en: Annotated[PlainText, Field(max_length=_TEXT_LIMIT)] | None = None
    zh: Annotated[PlainText, Field(max_length=_TEXT_LIMIT)] | None = None

    @model_validator(mode="after")
    def _has_a_text(self) -> Self:
        if not self.by_language:
            raise ValueError(_TEXTS)
        return self

    @property
    def by_language(self) -> Mapping[str, str]:
        """The texts that are given, by language. They have no marks of `notifier.wording.marks`."""
        texts = {"en": one_line(self.en or "", _TEXT_LIMIT), "zh": one_line(self.zh or "", _TEXT_LIMIT)}
        return {language: text for language, text in texts.items() if text}


Localized = Annotated[CauseTexts, BeforeValidator(_as_texts)]
"""One text for every reader, or {en: …, zh: …}."""


class CauseEntry(Settings):
    """One known cause."""

    id: Name
    """Name of the cause. The id of a built-in cause replaces that one."""
    match: tuple[Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_pattern)], ...] = Field(
        default=(), max_length=100
    )
    """Regular expressions that are searched for in the reason of a failed task, whatever the case of its letters."""
    codes: tuple[Annotated[str, AfterValidator(_code)], ...] = Field(default=(), max_length=500)
    """Error codes such as DBS.280277; one in the reason decides before any expression."""
    means: Localized
    """What has happened, in one or two sentences."""
    do: Localized | None = None
    """The next step."""
    short: Localized | None = None
    """The cause in a few words."""
    retry: Literal["yes", "after", "no"]
    """Whether the same call may be repeated: yes, only after what `do` says, or no."""
    evidence: Literal["seen", "documented", "inferred"] = "seen"
    """With `inferred`, messages say "usually"."""
    source: PlainText | None = None
    """Where this is known from."""
    runbook_url: (
        Annotated[str, url_rule("https://wiki.example.com/runbook"), AfterValidator(_link), Field(max_length=1000)]
        | None
    ) = None
    """Link to instructions of your own."""

    @model_validator(mode="after")
    def _identifies_reasons(self) -> Self:
        if not self.match and not self.codes:
            raise setting_error("match", "is missing. Give match, codes or both: they identify the reasons.")
        try:
            Search(self.match).check()
        except ValueError:
            raise setting_error("match", "is too large as a whole. Split it over two entries.") from None
        return self

    def cause(self) -> Cause:
        """Return the entry as a cause."""
        return Cause(
            id=self.id,
            match=self.match,
            codes=self.codes,
            means=self.means.by_language,
            do=self.do.by_language if self.do else {},
            short=self.short.by_language if self.short else None,
            retry=Retryable(self.retry),
            inferred=self.evidence == "inferred",
            runbook_url=self.runbook_url,
        )


class CauseEntries(Settings):
    """The content of one file."""

    causes: tuple[CauseEntry, ...] = Field(min_length=1, max_length=1000)
    """The causes; the first one that matches a reason explains it."""

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        seen: dict[str, int] = {}
        found = [
            error_detail(("causes", index, "id"), f"the id is taken by causes[{first}]. Give each cause its own.")
            for index, entry in enumerate(self.causes)
            if (first := seen.setdefault(entry.id, index)) != index
        ]
        if found:
            raise ValidationError.from_exception_data("causes", found, hide_input=True)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseFile:
    """A file of causes, as it was read."""

    path: Path
    entries: tuple[CauseEntry, ...]

    def __str__(self) -> str:
        """Return the path."""
        return str(self.path)


def _read_file(value: object, info: ValidationInfo) -> CauseFile:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("must be the path of a file.")
    path = (info.context or Origin()).directory / value
    try:
        text = read_text(path, remedy="Split the causes over several files")
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    return CauseFile(path=path, entries=_entries(path, text))


def _entries(path: Path, text: str) -> tuple[CauseEntry, ...]:
    """Return the entries of a file. Raises ValidationError with one error for each problem in it."""
    document = parse(text, None, remedy=_REMEDY)
    found, error = None, None
    if document.values:
        try:
            found = CauseEntries.model_validate(document.data)
        except ValidationError as invalid:
            error = invalid
    problems = collect_problems(document, error)
    if found is None or problems:
        errors = [error_detail((), f"{path}:{problem}") for problem in problems]
        raise ValidationError.from_exception_data("causes", errors, hide_input=True)
    return found.causes


CauseFileSetting = Annotated[CauseFile, PlainValidator(_read_file), WithJsonSchema({"type": "string"})]
"""The path of a file of causes, which is read at once. A relative path starts at the folder of the configuration."""


def repeated_ids(cause_files: Sequence[CauseFile]) -> Iterator[InitErrorDetails]:
    """Yield an error for each id that a later file has too."""
    places: dict[str, Path] = {}
    for index, file in enumerate(cause_files):
        for entry in file.entries:
            if (first := places.setdefault(entry.id, file.path)) != file.path:
                what = f"{file.path}: the id {entry.id} is taken by {first}. Give each cause an id of its own."
                yield error_detail(("causes", index), what)
