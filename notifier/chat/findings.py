"""How findings of health read, in both languages. The command line prints the English ones. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from notifier.chat.phrases import PHRASES, text
from notifier.chat.requests import Language
from notifier.core.health import ChannelStatus, FindingKind, HealthFinding, HealthReport, SourceStatus
from notifier.wording.formatter import Localizer

_SOURCE_KINDS = frozenset({FindingKind.SOURCE_NOT_POLLED, FindingKind.SOURCE_NOT_WHOLE, FindingKind.SOURCE_AHEAD})
_UNDELIVERED = frozenset(
    {
        FindingKind.CHANNEL_PARKED,
        FindingKind.CHANNEL_FAILING,
        FindingKind.CHANNEL_WAITING,
        FindingKind.CHANNEL_DEAD,
        FindingKind.CHANNEL_REMOVED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthFormatter:
    """Puts one verdict into words, without the reasons, which come from outside and are for the caller to show."""

    health: HealthReport
    language: Language
    localizer: Localizer

    def title(self) -> str:
        """Return the verdict in one line: that all is well, or what is not and how much of it."""
        if self.health.ok:
            return text(self.language, "status.good")
        summary = text(self.language, "status.and").join(self._summary())
        return text(self.language, "status.bad", summary=summary)

    def _summary(self) -> Iterator[str]:
        red = [finding for finding in self.health.findings if finding.red]
        blind = len({finding.about for finding in red if finding.kind in _SOURCE_KINDS})
        undelivered = sum(finding.count or 0 for finding in red if finding.kind in _UNDELIVERED)
        counted = {"blind": blind, "undelivered": undelivered}
        if not any(counted.values()) or any(finding.kind not in _SOURCE_KINDS | _UNDELIVERED for finding in red):
            counted = {"faults": len(red)} | counted
        for key, n in counted.items():
            if n:
                yield text(self.language, f"status.{key}.{'one' if n == 1 else 'other'}", n=n)

    def finding(self, found: HealthFinding) -> str:
        """Return what is wrong, since when and how much."""
        key = f"health.{found.kind}"
        if found.since is None and f"{key}.never" in PHRASES[self.language]:
            key = f"{key}.never"
        since, age = "", ""
        if found.since is not None:
            since = self.localizer.when(found.since)
            age = self.localizer.duration(self.health.at - found.since)
        name = found.about.replace(",", ", ")
        said = text(self.language, key, name=name, at=since, age=age, count=found.count or 0)
        waiting = found.kind in (FindingKind.CHANNEL_PARKED, FindingKind.CHANNEL_FAILING) and found.count
        return said + (text(self.language, "health.waiting", count=found.count) if waiting else "")

    def source(self, source: SourceStatus) -> str:
        """Return how a source is that is polled."""
        age = self.localizer.duration(self.health.at - source.last_poll_at) if source.last_poll_at else ""
        if source.failing_since:
            since = self.localizer.when(source.failing_since)
            return text(self.language, "status.source.failing", name=source.name, age=age, at=since)
        return text(self.language, "status.source.good", name=source.name, age=age)

    def channel(self, channel: ChannelStatus) -> str:
        """Return how a channel is that delivers, or has failed for a short time only."""
        since = self.localizer.when(channel.failing_since) if channel.failing_since else ""
        return text(self.language, f"status.channel.{'failing' if since else 'good'}", name=channel.name, at=since)

    def held(self, channel: ChannelStatus) -> Iterator[str]:
        """Yield until when nothing is sent on a channel, and why."""
        for key, until in (("breaker", channel.open_until), ("pause", channel.paused_until)):
            if until:
                yield text(self.language, f"status.{key}", at=self.localizer.when(until))
