"""Reports and hand-overs in words: a title, and sections below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from notifier.core.maintenance_values import MAINTENANCE_KINDS
from notifier.core.report_values import (
    HandedOver,
    ListedMaintenance,
    ListedTask,
    OperationCount,
    OverdueBackup,
    Report,
    ReportBar,
    ReportCounts,
    SlowTask,
)
from notifier.core.reports import HOURLY_UP_TO
from notifier.wording.localizer import Localizer
from notifier.wording.maintenance import maintenance_name, window_words
from notifier.wording.marks import quoted
from notifier.wording.operations import KNOWN_NAMES
from notifier.wording.sanitize import one_line

if TYPE_CHECKING:
    from notifier.wording.events import EventFormatter

BAR_WIDTH = 20
"""Length of the longest bar of a chart, in columns."""
NAME_WIDTH = 60
"""Maximum length of a name in a list, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageBar:
    """A bar of a chart."""

    label: str
    n: int
    percent: int
    """Its length, in percent of the longest one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSection:
    """Lines below a heading."""

    heading: str = ""
    """Plain phrase; empty for none."""
    lines: tuple[str, ...]
    """Sentences with marks."""
    items: bool = True
    """Whether the lines are a list, of which each begins with a bullet where there are bullets."""
    bars: tuple[MessageBar, ...] = ()
    """What the lines draw in text, for a place that can draw better."""


@dataclass(frozen=True, slots=True)
class ReportFormatter:
    """Formats one report."""

    formatter: EventFormatter
    report: Report

    @property
    def localizer(self) -> Localizer:
        """Texts in the language of the readers."""
        return self.formatter.localizer

    def counts(self) -> str:
        """Return how tasks ended, in one plain phrase: `412 completed, 9 failed (2%)`."""
        return self._counts(self.report.counts)

    def sections(self) -> Iterator[MessageSection]:
        """Yield what the report says, what somebody has to act on first."""
        report = self.report
        yield MessageSection(lines=tuple(self._overview()), items=False)
        yield from self._listed("open", report.open_total, [self._failure(one) for one in report.open])
        yield from self._listed("backups", report.backups_total, [self._backup(one) for one in report.backups])
        planned = [self._maintenance(one) for one in report.maintenance]
        yield from self._listed("maintenance", report.maintenance_total, planned)
        if report.counts.failed and len(report.bars) > 1:
            bars = tuple(self._bars(report.bars))
            lines = tuple(map(self._bar, bars))
            yield MessageSection(heading=self._text("failures"), lines=lines, items=False, bars=bars)
        if len(report.operations) > 1 or report.other_operations:
            more = [self._more(report.other_operations)] if report.other_operations else []
            yield self._section("operations", [*map(self._operation, report.operations), *more])
        if report.slowest:
            yield self._section("slowest", [self._slow(one) for one in report.slowest])
        yield from self._listed("running", report.running_total, [self._running(one) for one in report.running])
        if messages := list(self._messages()):
            yield self._section("messages", messages)

    # -- parts --

    def _overview(self) -> Iterator[str]:
        report = self.report
        start, end = self.formatter.interval(report.since, report.until, report.until)
        yield self._text("period", start=start, end=end)
        if report.before is not None:
            yield self._text("counts_before", counts=self.counts(), before=self._counts(report.before))
        if report.counts.unlisted:
            yield self.localizer.counted("report.unlisted", report.counts.unlisted)
        if report.counts.alarms:
            yield self.localizer.counted("report.alarms", report.counts.alarms)

    def _counts(self, counts: ReportCounts) -> str:
        if not counts.ended:
            return self._text("no_tasks")
        found = self._text("counts", completed=counts.completed, failed=counts.failed)
        rate = self.localizer.share(counts.failed, counts.ended)
        return found + (self._text("rate", rate=rate) if counts.failed else "")

    def _bars(self, bars: Sequence[ReportBar]) -> Iterator[MessageBar]:
        longest = max(bar.failed for bar in bars)
        zone = ZoneInfo(self.report.timezone)
        hours = self.report.until - self.report.since <= HOURLY_UP_TO
        for bar in bars:
            label = f"{bar.start.astimezone(zone):{'%H:%M' if hours else '%m-%d'}}"
            yield MessageBar(label=label, n=bar.failed, percent=-(-100 * bar.failed // longest))

    def _bar(self, bar: MessageBar) -> str:
        blocks = "█" * -(-bar.percent * BAR_WIDTH // 100)
        return self._text("bar", label=quoted(bar.label), bar=blocks, n=bar.n).replace("  ", " ")

    def _operation(self, one: OperationCount) -> str:
        counts = self._counts(ReportCounts(completed=one.completed, failed=one.failed))
        return self._text("operation", operation=operation_label(self.localizer, one.name), counts=counts)

    def _slow(self, one: SlowTask) -> str:
        return self._text(
            "slow",
            instance=self._name(one.instance),
            operation=operation_label(self.localizer, one.name),
            length=self.localizer.duration(timedelta(seconds=one.seconds)),
            usual=self.localizer.estimate(timedelta(seconds=one.usual_seconds)),
        ).strip()

    def _running(self, one: ListedTask) -> str:
        return self._text("run", **task_words(self.formatter, one, self.report.until)).strip()

    def _failure(self, one: ListedTask) -> str:
        return failure_line(self.formatter, one, self.report.until)

    def _backup(self, one: OverdueBackup) -> str:
        if one.last is None:
            return self._text("backup_never", instance=self._name(one.instance))
        age = self.localizer.age(one.last, self.report.until)
        return self._text("backup", instance=self._name(one.instance), age=age)

    def _maintenance(self, one: ListedMaintenance) -> str:
        label = maintenance_name(one.name, self.localizer)
        status = self.localizer.text(f"maintenance.status.{one.status}")
        when = window_words(one.begins_at, one.ends_at, self.formatter, self.report.until)
        latest = self.formatter.dated(one.latest_at, self.report.until) if one.latest_at else ""
        parts = (
            self._name(one.instance) if one.instance else "",
            label if one.name in MAINTENANCE_KINDS or not one.name else quoted(label),
            status,
            when,
            self.localizer.text("condition.latest", at=latest) if latest else "",
        )
        return self.localizer.text("condition.separator").join(filter(None, parts))

    def _messages(self) -> Iterator[str]:
        for key, n in (("suppressed", self.report.suppressed), ("dead", self.report.dead)):
            if n:
                yield self.localizer.counted(f"report.{key}", n)

    def _listed(self, key: str, total: int, lines: Sequence[str]) -> Iterator[MessageSection]:
        if not total:
            return
        more = [self._more(total - len(lines))] if total > len(lines) else []
        length = self.localizer.window(timedelta(seconds=self.report.backup_seconds))
        yield MessageSection(heading=self._text(key, n=total, length=length), lines=(*lines, *more))

    def _section(self, key: str, lines: Sequence[str]) -> MessageSection:
        return MessageSection(heading=self._text(key), lines=tuple(lines))

    def _more(self, n: int) -> str:
        return self.localizer.counted("report.more", n)

    def _name(self, text: str) -> str:
        return quoted(one_line(text, NAME_WIDTH))

    def _text(self, key: str, **values: object) -> str:
        return self.localizer.text(f"report.{key}", **values)


def operation_label(localizer: Localizer, name: str) -> str:
    """Return the name of an operation, with marks where it is the API's."""
    label = localizer.task_label(name)
    return label if name in KNOWN_NAMES else quoted(label)


def task_words(formatter: EventFormatter, one: ListedTask, now: datetime) -> dict[str, str]:
    """Return what a list says of a task."""
    since = one.since or now
    return {
        "instance": quoted(one_line(one.instance, NAME_WIDTH)),
        "operation": operation_label(formatter.localizer, one.name),
        "length": formatter.localizer.duration(max(now - since, timedelta())),
    }


def failure_line(formatter: EventFormatter, one: ListedTask, now: datetime) -> str:
    """Return an open failure in one line."""
    return formatter.localizer.counted("report.failed", one.failures, **task_words(formatter, one, now)).strip()


# ---- hand-overs ----


def hand_over_sentence(localizer: Localizer, found: HandedOver) -> str:
    """Return who takes over from whom, with marks."""
    key = "sentence.rota.handed_over"
    if found.person is None:
        key += "_nobody"
    elif found.former is None:
        key += "_first"
    names = {"person": found.person, "former": found.former, "name": found.rota}
    return localizer.text(key, **{place: quoted(one_line(name or "")) for place, name in names.items()})


def hand_over_sections(formatter: EventFormatter, found: HandedOver, now: datetime) -> Iterator[MessageSection]:
    """Yield until when somebody is on duty, and what is open."""
    localizer = formatter.localizer
    if found.until:
        until = formatter.dated(found.until, now)
        following = quoted(one_line(found.following)) if found.following else ""
        key = "report.until" if following else "report.until_nobody"
        yield MessageSection(lines=(localizer.text(key, until=until, following=following),), items=False)
    if found.open_total:
        lines = [failure_line(formatter, one, now) for one in found.open]
        if found.open_total > len(lines):
            lines.append(localizer.counted("report.more", found.open_total - len(lines)))
        heading = localizer.text("report.open", n=found.open_total)
        yield MessageSection(heading=heading, lines=tuple(lines))
