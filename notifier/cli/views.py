"""Tables and details of tasks, events and deliveries, as rich prints them on a terminal. No I/O."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from rich.console import Group, RenderableType
from rich.text import Text

from notifier.cli.output import FULL_ID_WIDTH, Column, TableRow, TextTable, block, cell, indented, pairs, short
from notifier.core.causes import Explanation
from notifier.core.delivery import Attempt, Delivery, DeliveryState, is_held, with_reply
from notifier.core.model import Event, SourceState, Task, TaskStatus
from notifier.core.routing import RoutedEvent
from notifier.ports import StoredTask
from notifier.wording.causes import builtin_catalogue
from notifier.wording.explained import task_explanation
from notifier.wording.localizer import Localizer
from notifier.wording.maintenance import maintenance_label
from notifier.wording.message import foretold, time_left, usual_span
from notifier.wording.phrases import phrases
from notifier.wording.starters import started_by_condition, starter
from notifier.wording.states import state_of, state_of_status

STATE_STYLES = {
    DeliveryState.PENDING: "yellow",
    DeliveryState.DELIVERED: "green",
    DeliveryState.PARKED: "magenta",
    DeliveryState.SUPPRESSED: "dim",
    DeliveryState.SUPERSEDED: "dim",
    DeliveryState.DEAD: "bold red",
}
_RIGID = frozenset({"changed", "failed", "id", "job", "seen", "state", "status", "tries", "when"})
"""Columns whose values are short and stay on one line."""


_ARRIVAL = "may have arrived"
"""Words of reasons that name the possibility."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The language and time zone of the reader, the current time, and the width of the terminal, in columns."""

    localizer: Localizer
    now: datetime
    width: int
    explain: Callable[[str | None], Explanation] = lambda reason: builtin_catalogue().explain(reason)
    """Explains the reason of a failed task. The table of causes is read at the first call."""

    # -- tasks --

    def tasks(self, rows: Sequence[StoredTask]) -> TextTable:
        """Return a table of tasks with the reasons of failures, and the source where there are several."""
        failed = bool(rows) and all(row.task.status is TaskStatus.FAILED for row in rows)
        several = len({row.task.source for row in rows}) > 1
        titles = ("failed" if failed else "status", "task", "instance", *(() if failed else ("changed",)), "job")
        return self.table(
            (*titles, *(("source",) if several else ())),
            (self._task_row(row, failed=failed, several=several) for row in rows),
        )

    def _task_row(self, row: StoredTask, *, failed: bool, several: bool) -> TableRow:
        task = row.task
        changed = cell(self.when(row.changed_at))
        cells = (
            cell(self.when(task.ended_at or row.changed_at), "bold red") if failed else self.status(task),
            cell(self.localizer.task_label(task.name)),
            cell(task.instance_name or task.instance_id),
            *(() if failed else (changed,)),
            short(task.job_id, self.width),
            *((cell(task.source),) if several else ()),
        )
        reasons = [cell(task.fail_reason, "red"), *self._cause_line(task)] if task.fail_reason else []
        return TableRow(cells, [*reasons, *self._foretold(row)])

    def _foretold(self, row: StoredTask) -> Iterable[Text]:
        """Return how much longer a running task takes, and who started one that runs or failed, in one line.

        None where neither is known.
        """
        running = row.task.status is TaskStatus.RUNNING
        parts = [*foretold(row.task, row.usual, self.now, self.localizer)] if running else []
        if row.started_by and row.task.status is not TaskStatus.COMPLETED:
            parts.append(started_by_condition(row.started_by, self.localizer))
        if parts:
            yield cell(f"→ {self.localizer.text('condition.separator').join(parts)}", "dim")

    def table(self, titles: Sequence[str], rows: Iterable[TableRow]) -> TextTable:
        """Return a table with these titles, translated."""
        return TextTable([Column(self.word(title), rigid=title in _RIGID) for title in titles], [*rows])

    def phrase(self, key: str, **values: object) -> str:
        """Return a sentence of the command line, or a part of one, in the reader's language."""
        return self.localizer.text(f"cli.{key}", **values)

    def delivery_state(self, delivery: Delivery) -> str:
        """Return the name of a delivery's state."""
        state = "held" if is_held(delivery) else delivery.state
        return self.localizer.text(f"delivery_state.{state}")

    def outcome(self, attempt: Attempt) -> str:
        """Return the name of an attempt's outcome; one that another version recorded as it is."""
        return phrases(self.localizer.language).get(f"outcome.{attempt.outcome}", attempt.outcome)

    def possible_arrival(self, delivery: Delivery) -> str:
        """Return a remark where an undelivered delivery may have arrived and its reason does not name that."""
        unsure = delivery.outcome_unknown and delivery.state is not DeliveryState.DELIVERED
        return self.phrase("may_have_arrived") if unsure and _ARRIVAL not in (delivery.reason or "") else ""

    def word(self, key: str, **values: object) -> str:
        """Return a title or word of a table in the reader's language."""
        return self.localizer.text(f"table.{key}", **values)

    def status(self, task: Task) -> Text:
        """Return a task's status, with its progress while it runs; an unknown status as the API wrote it."""
        state = state_of_status(task.status)
        word = task.raw_status if task.status is TaskStatus.UNKNOWN else self.localizer.status_label(task.status)
        running = task.status is TaskStatus.RUNNING and task.progress is not None
        progress = f" {self.localizer.progress(task.progress or 0)}" if running else ""
        return cell(f"{state.glyph} {word}{progress}", state.tone.terminal)

    def task(self, stored: StoredTask, history: Sequence[RoutedEvent]) -> RenderableType:
        """Return the details of one task, and its events."""
        return Group(
            pairs(chain(self._facts(stored.task), self.origin_facts(stored), self._store_facts(stored))),
            *self.reason(stored.task),
            Text(""),
            self.events(history) if history else Text(self.phrase("no_change"), style="dim"),
        )

    def _facts(self, task: Task) -> Iterable[tuple[str, Text]]:
        label = self.localizer.task_label(task.name)
        yield self.word("task"), cell(label if label == task.name else f"{label} ({task.name})")
        yield self.word("status"), self.status(task)
        yield (
            self.word("instance"),
            cell(" · ".join(filter(None, (task.instance_name, task.instance_id, self._instance_status(task))))),
        )
        yield self.word("job"), cell(task.job_id)
        yield self.word("source"), cell(task.source)
        yield self.word("started"), cell(self.when(task.created_at))
        yield self.word("ended"), cell(self.when(task.ended_at))
        if task.created_at and task.ended_at and task.ended_at >= task.created_at:
            yield self.word("took"), cell(self.localizer.duration(task.ended_at - task.created_at))

    def origin_facts(self, stored: StoredTask) -> Iterable[tuple[str, Text]]:
        """Return who started a task, where that is known."""
        if stored.started_by:
            who = starter(stored.started_by, self.localizer, address=True)
            yield self.localizer.text("label.started_by"), cell(who)

    def _instance_status(self, task: Task) -> str:
        return self.localizer.instance_status(task.instance_status or "")

    def _store_facts(self, stored: StoredTask) -> Iterable[tuple[str, Text]]:
        yield self.word("first_seen"), cell(self.when(stored.first_seen_at))
        yield self.word("changed"), cell(self.when(stored.changed_at))
        yield from self._usual_facts(stored)
        if not stored.listed:
            yield self.word("listed"), cell(self.word("no_longer"), "yellow")
        yield from self.people_facts(stored)

    def _usual_facts(self, stored: StoredTask) -> Iterable[tuple[str, Text]]:
        task, usual, localizer = stored.task, stored.usual, self.localizer
        if task.status is TaskStatus.RUNNING and task.created_at:
            left = time_left(usual, self.now - task.created_at, task.progress, localizer, labelled=True)
            if left:
                yield localizer.text("label.time_left"), cell(left)
        if usual:
            measured = localizer.counted(f"usual.{usual.basis}", usual.runs, length=usual_span(usual, localizer))
            yield localizer.text("label.usual"), cell(measured)

    def people_facts(self, stored: StoredTask) -> Iterable[tuple[str, Text]]:
        """Return who acknowledged a task, and until when its instance is muted."""
        if who := stored.acknowledged:
            yield self.word("acknowledged"), cell(f"{who.name} · {self.when(who.at)}", "green")
        if mute := stored.muted:
            covers = "" if mute.instance is not None else f" · {mute.shown}"
            until = f"{self.phrase('until', at=self.when(mute.until))} · {mute.name}{covers}"
            yield self.word("muted"), cell(": ".join(filter(None, (until, mute.reason))), "yellow")

    def reason(self, task: Task) -> Iterable[RenderableType]:
        """Return the reason of a failed task, and what is known about it."""
        if task.fail_reason:
            yield Text(self.word("reason"), style="dim")
            yield indented(block(task.fail_reason, "red"))
            yield pairs(self._cause_facts(task))

    # -- known causes --

    def explained(self, task: Task) -> Explanation:
        """Return what is known about the reason of a task, or about an alarm."""
        return task_explanation(task, self.localizer.language, self.explain)

    def _cause_facts(self, task: Task) -> Iterable[tuple[str, Text]]:
        """Return what the reason of a task means, the next step, and whether a retry helps, as far as that is known."""
        found, language = self.explained(task), self.localizer.language
        if found.code:
            yield self.word("error_code"), cell(found.code)
        if means := found.means(language):
            yield self.localizer.text("message.means"), cell(self._usually(found, means))
        if action := found.action(language):
            yield self.localizer.text("message.try"), cell(action)
        if found.retry:
            yield self.word("retry"), cell(self.localizer.text(f"cause.retry.{found.retry}"))
        if found.runbook_url:
            yield self.word("runbook"), cell(found.runbook_url)

    def _cause_line(self, task: Task) -> Iterable[Text]:
        """Return the cause in a few words, the next step, and whether a retry helps, in one line."""
        found, language = self.explained(task), self.localizer.language
        if found.retry is None:
            return
        cause = found.short(language) or found.means(language) or ""
        helps = self.localizer.text(f"cause.retry.{found.retry}")
        retry = self.localizer.text("task.cause", label=self.word("retry"), text=helps)
        parts = (self._usually(found, cause), found.action(language), retry)
        yield cell(f"→ {' · '.join(filter(None, parts))}", "dim")

    def _usually(self, found: Explanation, text: str) -> str:
        return self.localizer.text("message.usually", meaning=text) if found.inferred else text

    def candidates(self, rows: Sequence[StoredTask]) -> Iterable[str]:
        """Return one line for each task that a beginning of a job id fits."""
        return (f"{row.task.job_id}  {self.localizer.task_label(row.task.name)}  {row.task.source}" for row in rows)

    # -- events and deliveries --

    def events(self, rows: Sequence[RoutedEvent]) -> TextTable:
        """Return a table of events, with the notified channels where the terminal is wide."""
        wide = self.width >= FULL_ID_WIDTH
        columns = ("seen", "event", "task", "instance", "job", *(("channels", "id") if wide else ()))
        return self.table(columns, (self._event_row(row, wide=wide) for row in rows))

    def _event_row(self, row: RoutedEvent, *, wide: bool) -> TableRow:
        event, task = row.event, row.event.task
        about = event.matter
        late = f" ({self.word('late')})" if event.late else ""
        cells = (
            cell(self.when(event.observed_at)),
            cell(f"{event.type}{late}", state_of(event).tone.terminal),
            cell(self._label(event)),
            cell((about.instance_name or about.instance_id) if about else None),
            short(event.job_id, self.width),
            *((cell(", ".join(row.channels)), cell(event.id[:8])) if wide else ()),
        )
        failed = task.fail_reason if task and task.status is TaskStatus.FAILED else None
        why = failed if task else self.localizer.reason(event.detail or "")
        return TableRow(cells, [cell(why, state_of(event).tone.terminal)] if why else ())

    def _label(self, event: Event) -> str:
        if event.maintenance:
            return maintenance_label(event.maintenance, self.localizer)
        return self.localizer.task_label(event.matter.name) if event.matter else event.source or event.channel

    def deliveries(self, rows: Sequence[Delivery]) -> TextTable:
        """Return a table of deliveries, each with its state and reason."""
        columns = ("id", "state", "channel", "about", "tries", "when")
        return self.table(columns, map(self._delivery_row, rows))

    def _delivery_row(self, row: Delivery) -> TableRow:
        cells = (
            cell(row.id[:8]),
            cell(self.delivery_state(row), STATE_STYLES[row.state]),
            cell(row.channel),
            cell(self.about(row)),
            cell(str(row.attempt)),
            cell(self.when(row.settled_at or row.available_at)),
        )
        undelivered = self.localizer.reason(
            with_reply(row.reason, None if row.state is DeliveryState.DELIVERED else row.reply)
        )
        dismissed = self.phrase("dismissed") if row.dismissed_at else ""
        why = "; ".join(filter(None, (dismissed, self.possible_arrival(row), undelivered)))
        return TableRow(cells, [cell(why, STATE_STYLES[row.state])] if why else ())

    def about(self, row: Delivery) -> str:
        """Return what a delivery reports, in a few words."""
        if row.storm:
            return self.word("storm", count=row.storm.total)
        if row.digest or len(row.events) != 1:
            return self.word("digest", count=len(row.events))
        (event,) = row.events
        return f"{event.type} {event.job_id[:8]}".strip()

    # -- pieces --

    def freshness(self, sources: Sequence[SourceState]) -> str:
        """Return the sources that a query covered, and when each was polled."""
        if not sources:
            return self.phrase("never_polled")
        polled = (
            self.phrase(
                "searched_source",
                name=source.name,
                tasks=f"{source.tasks:,}",
                polled=self._polled(source.last_poll_at),
            )
            for source in sources
        )
        return self.phrase("searched", sources=self.phrase("separator").join(polled))

    def _polled(self, moment: datetime | None) -> str:
        return self.phrase("polled", age=self.age(moment)) if moment else self.phrase("not_polled")

    def age(self, moment: datetime | None) -> str:
        """Return how long ago, or how far in the future, a time is."""
        return self.localizer.age(moment, self.now)

    def when(self, moment: datetime | None) -> str:
        """Return a time in the reader's time zone, or an empty text."""
        return self.localizer.when(moment) if moment else ""
