"""Known causes: what the reason of a failed task means, what to do about it, and whether the same call may be repeated.

The table is data that is passed in; `notifier.wording.causes` has the built-in one.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from notifier.core.patterns import Search, SearchTable

EXPLAINED_LENGTH = 4_000
"""Maximum length of a reason that is explained, in characters; the rest of a longer one is ignored."""

_CACHED_REASONS = 1_024
"""Number of reasons whose explanation is cached: an outage repeats the same ones hundreds of times."""

_CODE = re.compile(r"(?<![A-Za-z0-9_.-])[A-Z][A-Za-z]{1,9}\.[0-9]{4,8}(?![A-Za-z0-9_])(?!\.[A-Za-z0-9])")
_WORD = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z][A-Za-z0-9]{1,63}(?:\.[0-9]{4,8})?(?![A-Za-z0-9_])")
"""What may stand in the table of codes: an error code in any case, or the id of an event."""


class Retryable(StrEnum):
    """Whether a failed call may be repeated."""

    YES = "yes"
    """The same call may simply be repeated."""
    AFTER = "after"
    """The same call can succeed once the condition in `Cause.do` is met."""
    NO = "no"
    """The same call would fail again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One entry of the table. Texts are by language; a text in one language alone serves every reader."""

    id: str
    match: tuple[str, ...] = ()
    """Regular expressions that `Search.check` accepts; one of them found in a reason identifies the cause."""
    codes: tuple[str, ...] = ()
    """Error codes and ids of events; one of them found in a reason identifies the cause before any expression."""
    means: Mapping[str, str]
    """One or two sentences: what has happened."""
    do: Mapping[str, str]
    """The next step; empty where there is none to recommend."""
    short: Mapping[str, str] | None = None
    """A few words, for a lock screen."""
    retry: Retryable
    inferred: bool = False
    """True where the text is guessed from related services: a message then says "usually"."""
    runbook_url: str | None = None
    """The address of the operator's own instructions for this cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is known about one reason, or about an alarm by its name."""

    code: str | None = None
    """The error code in the reason, also when its cause is unknown: `DBS.280277`."""
    cause: Cause | None = None
    """The known cause; None where there is none."""
    code_text: Mapping[str, str] = field(default_factory=dict)
    """What the official table says about the code, by language; empty where the reason says it already."""
    alarm_means: Mapping[str, str] = field(default_factory=dict)
    """What an alarm of a known name means, by language."""
    alarm_action: Mapping[str, str] = field(default_factory=dict)
    """What to do about an alarm of a known name, by language."""

    def means(self, language: str) -> str | None:
        """Return what has happened; the words of the code, which are more specific, come first."""
        texts = (self.code_text, self.cause.means if self.cause else {}, self.alarm_means)
        known = (in_language(one, language) for one in texts)
        return ("" if language == "zh" else " ").join(filter(None, known)) or None

    def action(self, language: str) -> str | None:
        """Return the next step."""
        return in_language(self.cause.do if self.cause else self.alarm_action, language)

    def short(self, language: str) -> str | None:
        """Return the cause in a few words."""
        return in_language(self.cause.short or {}, language) if self.cause else None

    @property
    def retry(self) -> Retryable | None:
        """Whether the same call may be repeated; None where the cause is unknown."""
        return self.cause.retry if self.cause else None

    @property
    def inferred(self) -> bool:
        """True where a message about the cause has to say "usually"."""
        return self.cause is not None and self.cause.inferred

    @property
    def runbook_url(self) -> str | None:
        """The address of the operator's own instructions."""
        return self.cause.runbook_url if self.cause else None


def in_language(texts: Mapping[str, str], language: str) -> str | None:
    """Return the text in a language, else in English, else in any; None where there is none."""
    return texts.get(language) or texts.get("en") or next(iter(texts.values()), None) or None


def error_code(text: str) -> str | None:
    """Return the first error code in the beginning of a text, such as `DBS.280277` or `Ecs.0319`; None without one."""
    found = _CODE.search(text[:EXPLAINED_LENGTH])
    return found[0] if found else None


class CauseCatalogue:
    """The known causes. Two catalogues are equal only if they are the same object."""

    def __init__(self, causes: Iterable[Cause], code_texts: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """The first cause that matches wins. `code_texts` has what the official table says about a code."""
        self.causes = tuple(causes)
        self._code_texts = dict(code_texts or {})
        self._searched = tuple(cause for cause in self.causes if cause.match)
        self._searches = SearchTable([Search(cause.match) for cause in self._searched])
        self._by_code: dict[str, tuple[str, Cause | None]] = {
            code.casefold(): (code, None) for code in self._code_texts
        }
        for cause in reversed(self.causes):
            self._by_code |= {code.casefold(): (code, cause) for code in cause.codes}
        self._explained = lru_cache(maxsize=_CACHED_REASONS)(self._explain)

    def extended(self, causes: Iterable[Cause]) -> "CauseCatalogue":
        """Return a catalogue with these causes first. One with the id of a known cause replaces it."""
        first = tuple(causes)
        replaced = {cause.id for cause in first}
        return CauseCatalogue((*first, *(own for own in self.causes if own.id not in replaced)), self._code_texts)

    def explain(self, reason: str | None) -> Explanation:
        """Return what is known about a reason. Never fails, whatever the text."""
        return self._explained((reason or "")[:EXPLAINED_LENGTH].strip())

    def _explain(self, reason: str) -> Explanation:
        known = [found for word in _WORD.finditer(reason) if (found := self._by_code.get(word[0].casefold()))]
        code, cause = next((found for found in known if found[1]), (None, None))
        if cause is None:
            code = error_code(reason) or next((code for code, _ in known), None)
            at = self._searches.first_found(reason)
            cause = None if at is None else self._searched[at]
        return Explanation(code=code, cause=cause, code_text=self._unsaid(code, reason) if code else {})

    def _unsaid(self, code: str, reason: str) -> Mapping[str, str]:
        texts = self._code_texts.get(code, {})
        folded = reason.casefold()
        return {} if any(text.casefold().rstrip(".。") in folded for text in texts.values()) else texts
