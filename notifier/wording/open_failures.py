"""Open failures in words: since when, how often, who takes care of them, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from notifier.core.failures import ClockKind, FailureState, HistoryEntry, HistoryKind, OpenFailure, how_resolved
from notifier.wording.events import EventFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.marks import dated, quoted
from notifier.wording.message import Message
from notifier.wording.sanitize import REASON_LIMIT, one_line


@dataclass(frozen=True, slots=True)
class FailureFormatter:
    """Formats open failures. Sentences have marks."""

    formatter: EventFormatter
    now: datetime

    def message(self, one: OpenFailure) -> Message:
        """Return the latest event of a failure in words."""
        return self.formatter.describe(one.latest)

    def cause(self, one: OpenFailure, limit: int = REASON_LIMIT) -> str:
        """Return the last reason; of a run that did not begin, which one was the last; of a maintenance, when it is."""
        message = self.message(one)
        if one.latest.expectation or one.latest.maintenance:
            return next(iter(message.conditions), "")
        return quoted(one_line(message.why or message.reason, limit)) if message.reason else ""

    def since(self, one: OpenFailure) -> str:
        """Return since when it is open, and how often it failed: `since 04:12, 3 failures`."""
        at = self._when(one.opened_at)
        if one.count == 1:
            return self._text("open_list.since", at=at)
        return self._text("open_list.since_times", at=at, n=one.count)

    def care(self, one: OpenFailure) -> str:
        """Return who takes care of it, or that nobody does."""
        if one.state is FailureState.ACKNOWLEDGED and one.acknowledged:
            who = quoted(one_line(one.acknowledged.name))
            return self._text("open_list.taken", who=who, at=self._when(one.acknowledged.at))
        return self._text("open_list.unclaimed")

    def following(self, one: OpenFailure) -> str:
        """Return what follows next where nobody takes care of it; the empty string for nothing."""
        at = one.next_at
        if at is None:
            return ""
        reminds = any(clock.kind is ClockKind.REMIND and clock.sends_at == at for clock in one.clocks)
        key = "reminder" if reminds else "escalation"
        return self._text(f"open_list.{key}", age=self.localizer.age(max(at, self.now), self.now))

    def history(self, one: OpenFailure) -> Iterator[str]:
        """Yield what happened to it, the oldest first: how it began, reminders, steps, and who did what."""
        yield self._text(
            "failure_history.opened", at=self._when(one.opened_at), what=self.message(one).sentence, n=one.count
        )
        for entry in one.history:
            yield self._entry(one, entry)
        if one.state is not FailureState.RESOLVED:
            yield self._text("failure_history.still", care=self.care(one))

    def _entry(self, one: OpenFailure, entry: HistoryEntry) -> str:
        name = quoted(one_line(entry.name))
        values: dict[str, object] = {
            "at": self._when(entry.at),
            "name": name,
            "n": entry.number,
            "channels": self._text("list.separator").join(quoted(one_line(channel)) for channel in entry.channels),
        }
        kind: str = entry.kind
        if entry.kind is HistoryKind.RESOLVED and not entry.name:
            kind = how_resolved(one, entry)
        line = self._text(f"failure_history.{kind}", **values)
        if entry.together > 1:
            line = self._text("failure_history.together", line=line, n=entry.together)
        reason = quoted(one_line(entry.reason))
        return self._text("note.because", note=line, reason=reason) if entry.reason else line

    @property
    def localizer(self) -> Localizer:
        """Texts in the language of the readers."""
        return self.formatter.localizer

    def _when(self, moment: datetime) -> str:
        return dated(moment, self.localizer.day_and_time(moment))

    def _text(self, key: str, **values: object) -> str:
        return self.localizer.text(key, **values)
