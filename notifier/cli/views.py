"""How look-ups read on a terminal: values in, something for rich to print out. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from rich.console import Group, RenderableType
from rich.text import Text

from notifier.chat.findings import HealthFormatter
from notifier.cli.output import (
    FULL_ID_WIDTH,
    Column,
    Row,
    TextTable,
    age,
    block,
    cell,
    indented,
    pairs,
    paragraph,
    reply_line,
    short,
)
from notifier.cli.words import word
from notifier.core.delivery import Attempt, Delivery, DeliveryState, Recipient, RecipientState, Resolution, with_reply
from notifier.core.health import ChannelStatus, HealthFinding, HealthReport
from notifier.core.model import Event, SourceState, Task, TaskStatus
from notifier.core.people import Action, Mute
from notifier.core.routing import RoutedEvent, RouteVerdict, channels_of
from notifier.lookup import Audit, ChannelRecord, EventRecord, Explanation
from notifier.ports import CheckResult, Ledger, StoredTask
from notifier.wording.formatter import Localizer

_STATUS_STYLES = {
    TaskStatus.RUNNING: ("▶", "cyan"),
    TaskStatus.COMPLETED: ("✓", "green"),
    TaskStatus.FAILED: ("✗", "bold red"),
    TaskStatus.UNKNOWN: ("?", "yellow"),
}
_STATE_STYLES = {
    DeliveryState.PENDING: "yellow",
    DeliveryState.DELIVERED: "green",
    DeliveryState.PARKED: "magenta",
    DeliveryState.SUPPRESSED: "dim",
    DeliveryState.SUPERSEDED: "dim",
    DeliveryState.DEAD: "bold red",
}
_RESOLUTIONS = {
    Resolution.ARRIVED: "the service was asked about the attempt before and has the message: nothing was sent again",
    Resolution.ABSENT: "the service was asked about the attempt before and does not have the message: sent again",
    Resolution.REPEATED: "the attempt before may have arrived: sent again, and the receiver knows a repeat by its id",
    Resolution.RISKED: "the attempt before may have arrived and nobody could say: sent again, so it may be there twice",
    Resolution.HELD: "the attempt before may have arrived and nobody could say: held, as on_unknown says",
}
"""What was done about a lost answer."""
_RIGID = frozenset({"Changed", "Failed", "Id", "Job", "Seen", "State", "Status", "Tries", "When"})
"""Columns whose values are short, and of which a half means nothing."""
MAX_DEAD_SHOWN = 10
"""Dead letters that an audit shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What every view needs to know: the reader's words and time zone, the present, the width of the terminal."""

    localizer: Localizer
    now: datetime
    width: int

    # -- tasks --

    def tasks(self, rows: Sequence[StoredTask]) -> TextTable:
        """Return a table of tasks with the reasons of failures; the source is a column only where there are several."""
        failed = bool(rows) and all(row.task.status is TaskStatus.FAILED for row in rows)
        several = len({row.task.source for row in rows}) > 1
        titles = ("Failed" if failed else "Status", "Task", "Instance", *(() if failed else ("Changed",)), "Job")
        return self._listing(
            (*titles, *(("Source",) if several else ())),
            (self._task_row(row, failed=failed, several=several) for row in rows),
        )

    def _task_row(self, row: StoredTask, *, failed: bool, several: bool) -> Row:
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
        return Row(cells, [cell(task.fail_reason, "red")] if task.fail_reason else ())

    def _listing(self, titles: Sequence[str], rows: Iterable[Row]) -> TextTable:
        return TextTable([Column(self.word(title), rigid=title in _RIGID) for title in titles], [*rows])

    def word(self, english: str) -> str:
        """Return a word of a table in the reader's language."""
        return word(self.localizer.language, english)

    def status(self, task: Task) -> Text:
        """Return a task's status, with its progress while it runs and the API's own word where we know no better."""
        glyph, style = _STATUS_STYLES[task.status]
        word = task.raw_status if task.status is TaskStatus.UNKNOWN else self.localizer.status_label(task.status)
        running = task.status is TaskStatus.RUNNING and task.progress is not None
        progress = f" {self.localizer.progress(task.progress or 0)}" if running else ""
        return cell(f"{glyph} {word}{progress}", style)

    def task(self, stored: StoredTask, history: Sequence[RoutedEvent]) -> RenderableType:
        """Return everything about one task, and what was seen of it."""
        return Group(
            pairs(chain(self._facts(stored.task), self._store_facts(stored))),
            *self._reason(stored.task),
            Text(""),
            self.events(history) if history else _dimmed("No change was seen since the first poll of its source."),
        )

    def _facts(self, task: Task) -> Iterable[tuple[str, Text]]:
        label = self.localizer.task_label(task.name)
        yield self.word("Task"), cell(label if label == task.name else f"{label} ({task.name})")
        yield self.word("Status"), self.status(task)
        yield (
            self.word("Instance"),
            cell(" · ".join(filter(None, (task.instance_name, task.instance_id, task.instance_status)))),
        )
        yield self.word("Job"), cell(task.job_id)
        yield self.word("Source"), cell(task.source)
        yield self.word("Started"), cell(self.when(task.created_at))
        yield self.word("Ended"), cell(self.when(task.ended_at))
        if task.created_at and task.ended_at and task.ended_at >= task.created_at:
            yield self.word("Took"), cell(self.localizer.duration(task.ended_at - task.created_at))

    def _store_facts(self, stored: StoredTask) -> Iterable[tuple[str, Text]]:
        yield self.word("First seen"), cell(self.when(stored.first_seen_at))
        yield self.word("Changed"), cell(self.when(stored.changed_at))
        if not stored.listed:
            yield self.word("Listed"), cell(self.word("no longer"), "yellow")
        yield from self._people_facts(stored)

    def _people_facts(self, stored: StoredTask) -> Iterable[tuple[str, Text]]:
        """Return who takes care of a task, and until when its instance is muted."""
        if who := stored.acknowledged:
            yield self.word("Acknowledged"), cell(f"{who.name} · {self.when(who.at)}", "green")
        if mute := stored.muted:
            until = f"{self.word('Until')} {self.when(mute.until)} · {mute.name}"
            yield self.word("Muted"), cell(": ".join(filter(None, (until, mute.reason))), "yellow")

    def _reason(self, task: Task) -> Iterable[RenderableType]:
        if task.fail_reason:
            yield Text(self.word("Reason"), style="dim")
            yield indented(block(task.fail_reason, "red"))

    def candidates(self, rows: Sequence[StoredTask]) -> Iterable[str]:
        """Return one line for each task that a beginning fits."""
        return (f"{row.task.job_id}  {self.localizer.task_label(row.task.name)}  {row.task.source}" for row in rows)

    # -- events and deliveries --

    def events(self, rows: Sequence[RoutedEvent]) -> TextTable:
        """Return a table of events; the channels that were told are a column where there is room."""
        wide = self.width >= FULL_ID_WIDTH
        columns = ("Seen", "Event", "Task", "Instance", "Job", *(("Channels", "Id") if wide else ()))
        return self._listing(columns, (self._event_row(row, wide=wide) for row in rows))

    def _event_row(self, row: RoutedEvent, *, wide: bool) -> Row:
        event, task = row.event, row.event.task
        late = f" ({self.word('late')})" if event.late else ""
        cells = (
            cell(self.when(event.observed_at)),
            cell(f"{event.type}{late}", _event_style(event)),
            cell(self.localizer.task_label(task.name) if task else event.source or event.channel),
            cell((task.instance_name or task.instance_id) if task else None),
            short(event.job_id, self.width),
            *((cell(", ".join(row.channels)), cell(event.id[:8])) if wide else ()),
        )
        why = (task.fail_reason if task.status is TaskStatus.FAILED else None) if task else event.detail
        return Row(cells, [cell(why, _event_style(event))] if why else ())

    def deliveries(self, rows: Sequence[Delivery]) -> TextTable:
        """Return a table of deliveries, each with what became of it."""
        columns = ("Id", "State", "Channel", "About", "Tries", "When")
        return self._listing(columns, map(self._delivery_row, rows))

    def _delivery_row(self, row: Delivery) -> Row:
        cells = (
            cell(row.id[:8]),
            cell(row.state, _STATE_STYLES[row.state]),
            cell(row.channel),
            cell(self._about(row)),
            cell(str(row.attempt)),
            cell(self.when(row.settled_at or row.available_at)),
        )
        why = "; ".join(filter(None, ("dismissed" if row.dismissed_at else "", _doubt(row), _undelivered(row))))
        return Row(cells, [cell(why, _STATE_STYLES[row.state])] if why else ())

    def mutes(self, rows: Sequence[Mute]) -> TextTable:
        """Return a table of muted instances."""
        return self._listing(("Instance", "Until", "By"), map(self._mute_row, rows))

    def _mute_row(self, row: Mute) -> Row:
        cells = (cell(row.shown), cell(self.when(row.until)), cell(row.name))
        return Row(cells, [cell(row.reason)] if row.reason else ())

    def _about(self, row: Delivery) -> str:
        if row.digest or len(row.events) != 1:
            return self.word("digest of {count}").format(count=len(row.events))
        (event,) = row.events
        return f"{event.type} {event.job_id[:8]}".strip()

    # -- why --

    def explanation(self, found: Explanation) -> RenderableType:
        """Return, for every event of a task, what the routes said and what became of it on each channel."""
        heading = cell(
            f"{self.localizer.task_label(found.task.task.name)} · {found.task.task.instance_name or ''} "
            f"· {found.task.task.job_id}",
            "bold",
        )
        care = [pairs(facts)] if (facts := [*self._people_facts(found.task)]) else []
        pruned = [Text("Its earlier events were pruned (retention.events).")] if found.task.events_pruned else []
        if not found.events and not pruned:
            return Group(
                heading,
                *care,
                Text(
                    "No channel was told: the task was already there at the first poll of its source (the quiet "
                    "baseline), and no change has been seen since."
                ),
            )
        return Group(heading, *care, *pruned, *(self._event_account(account) for account in found.events))

    def _event_account(self, account: EventRecord) -> RenderableType:
        event = account.routed.event
        late = ", found late" if event.late else ""
        return Group(
            Text(""),
            cell(f"{self.when(event.observed_at)}  {event.type}{late}", _event_style(event)),
            indented(self.verdicts(account.verdicts)),
            *self._changed_routes(account),
            *(indented(self._channel_account(c)) for c in account.channels),
        )

    def verdicts(self, verdicts: Sequence[RouteVerdict]) -> RenderableType:
        """Return one line for each route: what it took the event to, or why it did not."""
        return Group(*(_verdict(v) for v in verdicts)) if verdicts else _dimmed("There are no routes.")

    def _changed_routes(self, account: EventRecord) -> Iterable[RenderableType]:
        then = set(account.routed.channels)
        today = set(channels_of(account.verdicts))
        if then != today:
            names = ", ".join(sorted(then)) or "no channel"
            yield indented(cell(f"Routes have changed since: at the time it went to {names}.", "yellow"))

    def _channel_account(self, account: ChannelRecord) -> RenderableType:
        return Group(
            Text.assemble(cell(account.channel, "bold"), ": ", self._delivery_outcome(account)),
            *(indented(_recipient(r)) for r in (account.delivery.recipients if account.delivery else ())),
            *(indented(self._attempt(a)) for a in account.attempts),
        )

    def _delivery_outcome(self, account: ChannelRecord) -> Text:
        delivery = account.delivery
        if delivery is None and account.planned:
            return Text("unaccounted: a route asked for it and there is no delivery", style="bold red")
        if delivery is None:
            return _dimmed("not told, no route asked for it")
        words = (
            delivery.state,
            f"in a digest of {len(delivery.events)}" if delivery.digest else "",
            self._due(delivery),
            _doubt(delivery) and f"({_doubt(delivery)})",
        )
        reason = f": {delivery.reason}" if delivery.reason else ""
        return cell(" ".join(filter(None, words)) + reason, _STATE_STYLES[delivery.state])

    def _due(self, delivery: Delivery) -> str:
        if delivery.settled_at:
            return self.when(delivery.settled_at)
        if delivery.state is not DeliveryState.PENDING:
            return ""
        due = delivery.available_at <= self.now
        return (
            f"due since {self.when(delivery.available_at)}"
            if due
            else f"next try {age(delivery.available_at, self.now)}"
        )

    def _attempt(self, attempt: Attempt) -> RenderableType:
        reason = f": {attempt.reason}" if attempt.reason else ""
        took = (attempt.finished_at - attempt.started_at).total_seconds()
        line = cell(f"{attempt.number}. {self.when(attempt.started_at)}, {attempt.outcome} after {took:.1f} s{reason}")
        resolved = [indented(cell(_RESOLUTIONS[attempt.resolution], "yellow"))] if attempt.resolution else []
        return Group(line, *resolved, *reply_line(attempt.reply))

    # -- audit, health, findings --

    def audit(self, found: Audit) -> RenderableType:
        """Return the ledger, and the verdict last."""
        ledger = found.ledger
        counts = ((state.value.capitalize(), ledger.by_state.get(state, 0)) for state in DeliveryState)
        rows = (
            ("Events", ledger.events),
            ("Wanted by no route", ledger.unrouted),
            ("Event × channel", ledger.pairs),
            *((f"  {name}", count) for name, count in counts if count),
        )
        return Group(
            pairs((name, cell(f"{count:,}")) for name, count in rows),
            *self._oldest_pending(found),
            *(cell(f"unaccounted: event {event_id} on {channel}", "red") for event_id, channel in ledger.unaccounted),
            *self._dead(ledger),
            cell(f"{len(ledger.unaccounted)} unaccounted", "bold green" if found.ok else "bold red"),
        )

    def _dead(self, ledger: Ledger) -> Iterable[RenderableType]:
        if ledger.dead:
            yield Text("")
            yield self.deliveries(ledger.dead[:MAX_DEAD_SHOWN])
        if len(ledger.dead) > MAX_DEAD_SHOWN:
            yield cell(f"The newest {MAX_DEAD_SHOWN} that died; all of them: notifier deliveries --state dead", "dim")

    def channel_findings(self, health: HealthReport) -> RenderableType:
        """Return what is wrong with channels, folded already as `health` is."""
        words = HealthFormatter(health=health, language=self.localizer.language, localizer=self.localizer)
        found = [finding for finding in health.findings if finding.kind.startswith("channel.")]
        return Group(*(line for finding in found for line in self._health_finding(finding, words)))

    def actions(self, found: Sequence[Action]) -> TextTable:
        """Return a table of what people did."""
        return self._listing(("When", "By", "Action", "About"), map(self._action_row, found))

    def _action_row(self, row: Action) -> Row:
        cells = (cell(self.when(row.at)), cell(row.name), cell(row.verb, "bold"), cell(row.target))
        return Row(cells, [cell(row.detail)] if row.detail else ())

    def _oldest_pending(self, found: Audit) -> Iterable[RenderableType]:
        if found.ledger.oldest_pending:
            yield cell(f"The oldest pending delivery has waited since {self.when(found.ledger.oldest_pending)}.")

    def health(self, found: HealthReport) -> RenderableType:
        """Return the verdict; each finding with its reason and the commands that help; then what works.

        Folded already: to be printed as it is, so that no command is broken.
        """
        words = HealthFormatter(health=found, language=self.localizer.language, localizer=self.localizer)
        red = [finding for finding in found.findings if finding.red]
        delivering = (channel for channel in found.channels if channel.ok)
        return Group(
            self._marked(words.title(), ok=found.ok),
            *(line for finding in red for line in self._health_finding(finding, words)),
            *(line for channel in found.channels if not channel.ok for line in self._channel_notes(channel, words)),
            *(self._marked(words.source(source), ok=True) for source in found.sources if source.ok),
            *(self._marked("; ".join([words.channel(one), *words.held(one)]), ok=True) for one in delivering),
            *(
                paragraph(cell(words.finding(remark), "dim"), self.width, first="–", indent=2)
                for remark in found.findings
                if not remark.red
            ),
        )

    def _marked(self, text: str, *, ok: bool) -> Text:
        style = "green" if ok else "bold red"
        return paragraph(cell(text, style), self.width, first="✓" if ok else "✗", indent=2)

    def _health_finding(self, finding: HealthFinding, words: HealthFormatter) -> Iterable[Text]:
        yield self._marked(words.finding(finding), ok=False)
        if finding.reason:
            yield paragraph(cell(finding.reason), self.width, indent=4)
        for command in finding.commands:
            line = Text.assemble("    ", cell(command, "yellow"))
            line.no_wrap, line.overflow = True, "ignore"
            yield line

    def _channel_notes(self, channel: ChannelStatus, words: HealthFormatter) -> Iterable[Text]:
        for line in words.held(channel):
            yield paragraph(cell(f"channel {channel.name}: {line}"), self.width, indent=2)

    def finding(self, found: CheckResult) -> RenderableType:
        """Return what was checked, how it went, and the remedy."""
        detail = f": {found.detail}" if found.detail else ""
        text = f"{found.what}{detail}"
        line = cell(f"! {text}", "yellow") if found.ok and not found.proven else _verdict_line(text, ok=found.ok)
        return Group(line, indented(block(found.remedy, "yellow"))) if found.remedy else line

    # -- pieces --

    def freshness(self, sources: Sequence[SourceState]) -> str:
        """Return what an answer was looked up in, and when that was polled."""
        if not sources:
            return "No source has been polled yet; start `notifier run`."
        return "Looked in " + ", ".join(
            f"{source.name} ({source.tasks:,} tasks, polled {age(source.last_poll_at, self.now)})" for source in sources
        )

    def when(self, moment: datetime | None) -> str:
        """Return a time in the reader's zone, or nothing."""
        return self.localizer.when(moment) if moment else ""


def _doubt(delivery: Delivery) -> str:
    unsure = delivery.outcome_unknown and delivery.state is not DeliveryState.DELIVERED
    phrase = "may have arrived"
    return phrase if unsure and phrase not in (delivery.reason or "") else ""


def _undelivered(delivery: Delivery) -> str:
    """Return why a delivery is not delivered, with the receiver's own words."""
    reply = None if delivery.state is DeliveryState.DELIVERED else delivery.reply
    return with_reply(delivery.reason, reply)


def _recipient(recipient: Recipient) -> Text:
    reason = f": {recipient.reason}" if recipient.reason else ""
    return cell(f"{recipient.address} {_RECIPIENTS[recipient.state]}{reason}", _RECIPIENT_STYLES[recipient.state])


_RECIPIENTS = {
    RecipientState.WAITING: "waits",
    RecipientState.DELIVERED: "has it",
    RecipientState.REFUSED: "refused it",
    RecipientState.UNKNOWN: "may have it",
}
_RECIPIENT_STYLES = {
    RecipientState.WAITING: "yellow",
    RecipientState.DELIVERED: "green",
    RecipientState.REFUSED: "red",
    RecipientState.UNKNOWN: "yellow",
}


def _verdict(verdict: RouteVerdict) -> Text:
    name = verdict.route.name
    if verdict.matched:
        stop = " (stop)" if verdict.route.stop else ""
        return cell(f"✓ {name} → {', '.join(verdict.route.channels) or 'no channel'}{stop}", "green")
    if verdict.skipped_by:
        return cell(f"– {name}: not looked at, {verdict.skipped_by} said stop", "dim")
    failed = verdict.failed_matcher
    wanted = f"{failed.field}{failed.op}{failed.value}" if failed else ""
    return cell(f"✗ {name}: wants {wanted}, was {verdict.actual!r}", "dim")


def _verdict_line(text: str, *, ok: bool) -> Text:
    return cell(f"{'✓' if ok else '✗'} {text}", "green" if ok else "bold red")


_EVENT_STYLES = {
    "failed": "bold red",
    "failing": "bold red",
    "gave_up": "bold red",
    "completed": "green",
    "recovered": "green",
    "started": "cyan",
    "gap": "yellow",
}


def _event_style(event: Event) -> str:
    return _EVENT_STYLES.get(event.type.rpartition(".")[2], "")


def _dimmed(text: str) -> Text:
    return Text(text, style="dim")
