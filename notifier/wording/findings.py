"""Findings of health in words, for the command line and the chat."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from notifier.core.health import ChannelStatus, FindingKind, HealthFinding, HealthReport, SourceStatus
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import phrases

_NOT_OBSERVED = frozenset({FindingKind.SOURCE_NOT_POLLED, FindingKind.SOURCE_NOT_WHOLE, FindingKind.SOURCE_AHEAD})
_NOT_DELIVERED = frozenset(
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
    """Formats one verdict. It leaves out the reasons: they come from outside, and the caller shows them."""

    health: HealthReport
    localizer: Localizer
    when: Callable[[datetime], str] | None = None
    """Formats a time, where it is not as `Localizer.when` does."""

    def title(self) -> str:
        """Return the verdict in one line: all is well, or how much is wrong."""
        if self.health.ok:
            return self.localizer.text("health.good")
        summary = self.localizer.text("digest.separator").join(self._summary())
        return self.localizer.text("health.bad", summary=summary)

    def _summary(self) -> Iterator[str]:
        red = [finding for finding in self.health.findings if finding.red]
        unmonitored = len({finding.about for finding in red if finding.kind in _NOT_OBSERVED})
        undelivered = sum(finding.count or 0 for finding in red if finding.kind in _NOT_DELIVERED)
        counts = {"unmonitored": unmonitored, "undelivered": undelivered}
        if not any(counts.values()) or any(finding.kind not in _NOT_OBSERVED | _NOT_DELIVERED for finding in red):
            counts = {"faults": len(red)} | counts
        return (self.localizer.counted(f"health.{key}", n) for key, n in counts.items() if n)

    def finding(self, found: HealthFinding) -> str:
        """Return what is wrong, since when and how much."""
        since, age = "", ""
        if found.since is not None:
            since = self._when(found.since)
            age = self.localizer.duration(self.health.at - found.since)
        key = f"finding.{found.kind}"
        if not since and f"{key}_never" in phrases(self.localizer.language):
            key = f"{key}_never"
        name = found.about.replace(",", ", ")
        count = found.count or 0
        messages = self.localizer.counted("sentence.messages", count)
        part = self.localizer.text(f"source_part.{found.part}") if found.part else ""
        action = found.reason if found.part else ""
        text = self.localizer.text(
            key, name=name, at=since, age=age, count=count, messages=messages, part=part, action=action
        )
        waiting = found.kind in (FindingKind.CHANNEL_PARKED, FindingKind.CHANNEL_FAILING) and found.count
        return text + (self.localizer.text("finding.waiting", messages=messages) if waiting else "")

    def open_failures(self) -> str:
        """Return how many open failures nobody has acknowledged; the empty text where there are none."""
        n = self.health.unacknowledged
        return self.localizer.counted("health.unacknowledged", n) if n else ""

    def source(self, source: SourceStatus) -> str:
        """Return the state of a source that is polled."""
        age = self.localizer.age(source.last_poll_at, self.health.at)
        since = self._when(source.failing_since) if source.failing_since else ""
        state = "failing" if since else "good"
        return self.localizer.text(f"health.source.{state}", name=source.name, age=age, at=since)

    def channel(self, channel: ChannelStatus) -> str:
        """Return the state of a channel that delivers, or has failed for a short time only."""
        since = self._when(channel.failing_since) if channel.failing_since else ""
        return self.localizer.text(f"health.channel.{'failing' if since else 'good'}", name=channel.name, at=since)

    def held(self, channel: ChannelStatus) -> Iterator[str]:
        """Yield until when nothing is sent on a channel, and why."""
        for key, until in (("breaker", channel.open_until), ("pause", channel.paused_until)):
            if until:
                yield self.localizer.text(f"health.{key}", at=self._when(until))

    def _when(self, moment: datetime) -> str:
        return (self.when or self.localizer.when)(moment)
