"""An event in words, before any markup."""

from dataclasses import dataclass
from datetime import datetime

from notifier.wording.states import EventState


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One labelled line of a message."""

    label: str
    value: str
    at: datetime | None = None
    """The moment that `value` writes, for a channel that can show each reader their own time."""
    percent: float | None = None
    """The number that `value` writes, for a channel that can draw it."""
    quoted: bool = False
    """True where `value` holds text from the API: a channel with markup shows it as code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An event in words, before any markup."""

    state: EventState
    title: str
    """What happened: `Task failed`."""
    label: str | None
    """Which operation: `Create instance`. None for an event about a source or a channel."""
    known: bool
    """False where `label` is not ours but the API's name of an operation that we have no words for."""
    subject: str | None
    """Which instance, source or channel. None where the API does not say."""
    facts: tuple[Fact, ...]
    reason: str | None
    """Why, as the API or a receiver wrote it: untrusted, may have many lines, at most REASON_LIMIT characters."""
    reason_label: str
    """What the reason is: `Reason`, or `Not observed` for the bounds of a gap."""
    job: Fact | None
    """The job id. None for an event about a source or a channel."""
    origin: str
    """Source and region, or the channel, and whether it was found late."""

    @property
    def headline(self) -> str:
        """One line: what happened, to which operation, on which instance."""
        return " · ".join(part for part in (self.title, self.label, self.subject) if part)

    @property
    def footer(self) -> str:
        """One line: the job id, source and region, and whether it was found late."""
        return f"{self.job.label} {self.job.value} · {self.origin}" if self.job else self.origin
