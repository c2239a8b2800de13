"""Reasons in words: what one says, in short, what it means and what to do about it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from notifier.core.causes import CauseCatalogue, Explanation
from notifier.core.model import Task, TaskStatus
from notifier.wording.localizer import capitalised
from notifier.wording.phrases import Language, phrases, text
from notifier.wording.reasons import localized_reason
from notifier.wording.sanitize import DETAIL_LIMIT, one_line, plain

WHY_LIMIT = 60
"""Maximum length of a reason in short, in characters. A known cause has fewer words than a longer first sentence."""

_CACHED_REASONS = 256
"""Number of reasons whose words are cached, each of at most REASON_LIMIT characters: an outage repeats the same ones
hundreds of times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedReason:
    """A reason and what is known about it, in one language."""

    text: str = ""
    """The reason as it was written: untrusted plain text of several lines. Empty where none was given."""
    why: str = ""
    """The reason in one short plain line with its error code: `VM not active in time (DBS.280277)`."""
    explanation: Explanation = field(default_factory=Explanation)
    meaning: str = ""
    """What the reason means, one plain sentence. Empty where that is not known."""
    action: str = ""
    """What to do now about its cause. Empty where that is not known."""


NO_REASON = ExplainedReason()
"""No reason was given."""


@lru_cache(maxsize=_CACHED_REASONS)
def explained(reason: str, language: Language, causes: CauseCatalogue) -> ExplainedReason:
    """Return a reason of the API in words."""
    found, shown = causes.explain(reason), plain(reason)
    meaning = found.means(language) or ""
    return ExplainedReason(
        text=shown,
        why=_short(shown, language, found) if shown else "",
        explanation=found,
        meaning=text(language, "message.usually", meaning=meaning) if meaning and found.inferred else meaning,
        action=found.action(language) or "",
    )


def alarm_explained(task: Task, language: Language) -> ExplainedReason:
    """Return what an alarm says, what it means and what to do about it, in words."""
    shown, found = plain(task.fail_reason or ""), _known_alarm(task, language)
    return ExplainedReason(
        text=shown,
        why=_short(shown, language, NO_REASON.explanation) if shown else "",
        explanation=found,
        meaning=found.means(language) or "",
        action=found.action(language) or "",
    )


def task_explanation(task: Task, language: Language, explain: Callable[[str], Explanation]) -> Explanation:
    """Return what is known about why a task failed, or about an alarm. `explain` searches the table of causes."""
    if task.alarm is not None:
        return _known_alarm(task, language)
    return explain(task.fail_reason) if task.fail_reason else NO_REASON.explanation


def _known_alarm(task: Task, language: Language) -> Explanation:
    """Return what the documents say about an alarm. Causes are about failed tasks: here the name says what it means.

    Nothing is said about one that was cleared, and nothing is left to do where it is known to be over.
    """
    if task.status is TaskStatus.CLEARED:
        return NO_REASON.explanation
    ours = phrases(language)
    means, action = (ours.get(f"alarm.{task.name}.{part}") for part in ("means", "do"))
    return Explanation(
        alarm_means={language: means} if means else {},
        alarm_action={language: action} if action and not task.ended_at else {},
    )


def own_reason(reason: str, language: Language) -> ExplainedReason:
    """Return a reason that the notifier wrote, in the reader's language. It has no cause to explain."""
    shown = capitalised(plain(localized_reason(reason, language)))
    return ExplainedReason(text=shown, why=_short(shown, language, NO_REASON.explanation) if shown else "")


def _short(reason: str, language: Language, explanation: Explanation) -> str:
    code = explanation.code
    written = _first_sentence(one_line(reason, DETAIL_LIMIT))
    readable = language == "en" or not written.isascii()
    why = written if readable and len(written) <= WHY_LIMIT else explanation.short(language) or written
    why = capitalised(one_line(why, WHY_LIMIT))
    return text(language, "headline.code", why=why, code=code) if code and code not in why else why


def _first_sentence(text: str) -> str:
    """Return the first sentence without its end, so that another may follow."""
    for end in (". ", "。", "; ", "；"):
        text = text.split(end, 1)[0]
    return text.rstrip(".。;；:：")
