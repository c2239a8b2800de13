"""Replies to queries, formatted from stored data. Pure."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from notifier.chat.requests import MUTE_LENGTHS, Button, ButtonAction, ChatReply, ReplyButton, ReplyRow
from notifier.core.causes import CauseCatalogue, error_code
from notifier.core.commands import GROUPS, NARROWED_EXAMPLE, USAGE, CommandTopic, TaskSelection
from notifier.core.events import EventType
from notifier.core.failures import FailureState, OpenFailure
from notifier.core.health import HealthFinding, HealthReport
from notifier.core.identity import Subject
from notifier.core.maintenance_mutes import MaintenanceMuteNow
from notifier.core.maintenance_values import MaintenanceRecord
from notifier.core.model import Event, SourceState, Task, TaskStatus
from notifier.core.mutes import Mute
from notifier.core.people import Acknowledgement, EventSubscription
from notifier.core.rota import Duty, DutyPerson, Rota
from notifier.core.severity import is_production, severity_in
from notifier.core.subscriptions import is_readable, names_kind, read_filter
from notifier.core.usual import MIN_RUNS
from notifier.lookup import InstanceAnswer
from notifier.mutes import EndedMute, EndedMutes
from notifier.people import MadeSubscription, Resolved
from notifier.ports import StoredTask, TaskStatistics
from notifier.wording.causes import builtin_catalogue
from notifier.wording.events import EventFormatter
from notifier.wording.findings import HealthFormatter
from notifier.wording.links import MAINTENANCE_PATH, LinkTemplates, PageLink
from notifier.wording.localizer import Localizer
from notifier.wording.maintenance import (
    impact_words,
    is_known,
    maintenance_label,
    maintenance_mute_line,
    maintenance_status,
    window_words,
)
from notifier.wording.marks import dated, quoted, strong
from notifier.wording.message import foretold, usual_span
from notifier.wording.open_failures import FailureFormatter
from notifier.wording.operations import KNOWN_NAMES
from notifier.wording.sanitize import NAME_LIMIT, REASON_LIMIT, one_line, plain
from notifier.wording.starters import started_by_condition, starter
from notifier.wording.states import EventState, emoji_of, state_of_status, state_of_task

PAGE_ROWS = 10
"""Maximum number of rows on one page of a list."""
MAX_SOURCES = 8
"""Maximum number of sources whose tasks are counted in a title, those with the most."""
MAX_COUNTED_REASONS = 200
"""Maximum number of reasons in which the most frequent error code is searched for, the latest ones."""
ROW_REASON_LIMIT = 160
"""Maximum length of a reason in a list, in characters."""
MAX_EVENTS = 10
"""Maximum number of a task's events, the latest ones."""
MAX_TASK_TYPES = 20
"""Maximum number of operations in statistics, the most frequent ones."""
MAX_FINDINGS = 10
"""Maximum number of red findings in a status, the gravest ones."""
MAX_STATUS_LINES = 30
"""Maximum number of lines in a status."""


_QUOTED = frozenset({"given", "instance", "job", "meant", "usage", "who", "why"})
"""Values of phrases that come from outside or that people type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyFormatter:
    """Formats replies in one language."""

    localizer: Localizer
    command: str
    """The slash command, as people type it."""
    causes: CauseCatalogue = field(default_factory=builtin_catalogue)
    """Explains the reasons of failed tasks."""
    links: LinkTemplates = field(default_factory=LinkTemplates)
    """Links to the console and to runbooks."""
    environments: Mapping[str, str] = field(default_factory=dict)
    """The configured environments, by name of the source."""

    @property
    def events(self) -> EventFormatter:
        """Formats events as messages do."""
        return EventFormatter(self.localizer, self.causes, self.links)

    def text(self, key: str, **values: object) -> str:
        """Return a phrase. Values that come from outside or that people type are quoted."""
        shown = {name: quoted(one_line(str(value))) if name in _QUOTED else value for name, value in values.items()}
        return self.localizer.text(key, **{"command": self.command} | shown)

    def reply(self, key: str, note: str = "", **values: object) -> ChatReply:
        """Return a reply of one sentence."""
        return ChatReply(title=self.text(key, **values), note=note)

    def mistake(self, key: str, given: str, meant: str) -> ChatReply:
        """Return a reply that explains a mistake in a command and shows a correct one."""
        typed = f"{self.command} {meant}" if meant else f"{self.command} help"
        if key == "mistake.filter":
            return self.refusal(key, problem=quoted(one_line(self.localizer.reason(given), REASON_LIMIT)), meant=typed)
        return self.refusal(key, given=given, meant=typed)

    def refusal(self, key: str, **values: object) -> ChatReply:
        """Return a reply that says why something was not done."""
        return ChatReply(title=self.text(key, **values), ok=False)

    def when(self, moment: datetime) -> str:
        """Return a time of day with its date and zone, `dated`."""
        return dated(moment, self.localizer.when(moment))

    def tasks(self, n: int) -> str:
        """Return a number of tasks: `3 tasks`."""
        return self.localizer.counted("tasks", n)

    def event_title(self, event: Event) -> str:
        """Return what happened: `Instance creation failed`. It may have marks."""
        return self.events.describe(event).clause

    def typed(self, name: str) -> str:
        """Return a name as it has to be typed in a command."""
        return f'"{name}"' if " " in name else name


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyPage:
    """One page of the tasks that match."""

    rows: tuple[StoredTask, ...]
    offset: int
    total: int
    by_source: Mapping[str, int] = field(default_factory=dict)
    """Number of all that match, by source; empty where they are not summed up."""
    reasons: Sequence[str] = ()
    """Reasons of those that failed, at most MAX_COUNTED_REASONS of the latest; none where they are not summed up."""
    now: datetime


def help_text(fmt: ReplyFormatter) -> ChatReply:
    """List the commands by group."""
    lines: list[str] = []
    for group, names in GROUPS.items():
        lines.append(strong(fmt.text(f"help.group.{group}")))
        lines += (fmt.text("help.line", usage=USAGE[name], what=fmt.text(f"help.{name}")) for name in names)
        if group is CommandTopic.QUERIES:
            lines.append(fmt.text("help.narrowed", usage=NARROWED_EXAMPLE))
    return ChatReply(title=fmt.text("help.title"), lines=lines)


def tasks(page: ReplyPage, key: str, fresh: str, fmt: ReplyFormatter, **values: str) -> ChatReply:
    """List tasks, with the freshness of the data: without it an empty list would mean little."""
    found = "some" if page.total else "none"
    title = fmt.text(f"{key}.{found}", tasks=fmt.tasks(page.total), **values)
    last = page.offset + len(page.rows)
    numbers = {"first": page.offset + 1, "last": last, "total": page.total}
    place = fmt.text("note.page", **numbers) if page.total > PAGE_ROWS else ""
    return ChatReply(
        title=title,
        summary=" · ".join(_summary(page, fmt)),
        rows=[_row(stored, page.now, fmt) for stored in page.rows],
        buttons=page_buttons(_list_page(key, values, fmt), fmt),
        note=" · ".join(filter(None, (place, fresh))),
        command=_COMMANDS.get(key, "").format(**values).strip(),
        before=max(page.offset - PAGE_ROWS, 0) if page.offset else None,
        after=last if last < page.total else None,
    )


def _list_page(key: str, values: Mapping[str, str], fmt: ReplyFormatter) -> PageLink:
    """Return the link to the same list on the page."""
    wanted = {
        "failed": {"status": "failed", "since": values.get("within", "")},
        "running": {"status": "running"},
        "instance": {"instance": values.get("instance", "")},
        "storm.reply_tasks": {"storm": values.get("storm", "")},
    }
    return fmt.links.list_page("tasks", "/tasks", **wanted.get(key, {}))


def page_buttons(link: PageLink, fmt: ReplyFormatter) -> Sequence[ReplyButton]:
    """Return the button that opens one of our pages; none where it has no address."""
    button = ReplyButton(button=Button(ButtonAction.PAGE), label=fmt.events.page_label(link), url=link.url)
    return (button,) if link.url else ()


def open_failures(found: Sequence[OpenFailure], now: datetime, fmt: ReplyFormatter, offset: int = 0) -> ChatReply:
    """List open failures, those that nobody takes care of first."""
    ordered = sorted(found, key=lambda one: one.state is FailureState.ACKNOWLEDGED)
    taken = sum(one.state is FailureState.ACKNOWLEDGED for one in found)
    rows = ordered[offset : offset + PAGE_ROWS]
    last = offset + len(rows)
    place = fmt.text("note.page", first=offset + 1, last=last, total=len(found)) if len(found) > PAGE_ROWS else ""
    title = fmt.text("open_list.some", n=len(found) - taken, taken=taken) if found else fmt.text("open_list.none")
    return ChatReply(
        title=title,
        rows=[_open_row(one, now, fmt) for one in rows],
        buttons=page_buttons(fmt.links.list_page("tasks", "/tasks", open="1"), fmt),
        note=" · ".join(filter(None, (place, fmt.text("note.as_of", at=fmt.when(now))))),
        command="open",
        before=max(offset - PAGE_ROWS, 0) if offset else None,
        after=last if last < len(found) else None,
    )


def _open_row(one: OpenFailure, now: datetime, fmt: ReplyFormatter) -> ReplyRow:
    words = FailureFormatter(fmt.events, now)
    message = words.message(one)
    details = (words.since(one), words.care(one), words.following(one), words.cause(one, ROW_REASON_LIMIT))
    return ReplyRow(
        emoji="✅" if one.state is FailureState.ACKNOWLEDGED else emoji_of(message.state, one.severity),
        label=message.operation,
        known=message.known,
        instance=message.subject or None,
        place=_environment(one.latest.environment, fmt),
        detail=" · ".join(filter(None, details)),
        subject=one.latest.subject,
    )


def resolved(result: Resolved, wanted: str, now: datetime, fmt: ReplyFormatter) -> ChatReply:
    """Say which open failures a person has resolved."""
    if result.candidates:
        return fmt.refusal("open_list.several", wanted=quoted(one_line(wanted)))
    if not result.failures:
        return fmt.refusal("open_list.unresolved", wanted=quoted(one_line(wanted)))
    words = FailureFormatter(fmt.events, now)
    first, *others = (fmt.text("open_list.resolved", what=words.message(one).sentence) for one in result.failures)
    return ChatReply(title=first, lines=others[:MAX_EVENTS])


def _summary(page: ReplyPage, fmt: ReplyFormatter) -> Iterator[str]:
    """Yield how the tasks are spread over several sources, and the error code that is most frequent among them."""
    if len(page.by_source) > 1:
        most = sorted(page.by_source.items(), key=lambda item: (-item[1], item[0]))[:MAX_SOURCES]
        yield fmt.text("list.separator").join(fmt.text("list.source", name=name, n=n) for name, n in most)
    # By the code alone: to explain hundreds of reasons takes longer than somebody waits.
    codes = Counter(code for reason in page.reasons if (code := error_code(reason)))
    if codes:
        code, n = min(codes.items(), key=lambda item: (-item[1], item[0]))
        if n > 1:
            yield fmt.text("list.most", code=quoted(one_line(code)), n=n)


def narrowed(selected: TaskSelection, listed: ChatReply, fmt: ReplyFormatter) -> ChatReply:
    """Add what a list was narrowed to, to its title and to its command."""
    if not selected.text:
        return listed
    shown = selected.text if selected.match else selected.about
    title = fmt.text("list.about", title=listed.title, instance=shown)
    # The page has no matchers: without its button nobody takes a longer list for this one.
    others = [one for one in listed.buttons if one.button.action is not ButtonAction.PAGE]
    return replace(listed, title=title, command=f"{listed.command} {selected.text}", buttons=others)


def with_ignored(ignored: str, reply: ChatReply, fmt: ReplyFormatter) -> ChatReply:
    """Add a note of the words that a command does not take."""
    if not ignored:
        return reply
    return replace(reply, note=" · ".join(filter(None, (reply.note, fmt.text("note.ignored", given=ignored)))))


_COMMANDS: Mapping[str, str] = {
    "failed": "failed {within}",
    "running": "running",
    "recent": "recent",
    "storm.reply_tasks": str(Subject(storm="{storm}")),  # no command that people type, yet it can be paged and shared
}


def freshness(states: Sequence[SourceState], configured: Collection[str], now: datetime, fmt: ReplyFormatter) -> str:
    """Return the current time, and the age of the last poll of each source."""
    known = {state.name: state for state in states}
    polled = (_polled(name, known.get(name), now, fmt) for name in configured)
    return " · ".join([fmt.text("note.as_of", at=fmt.when(now)), *polled])


def _polled(name: str, state: SourceState | None, now: datetime, fmt: ReplyFormatter) -> str:
    if state is None or state.last_poll_at is None:
        return fmt.text("note.never", name=name)
    return fmt.text("note.polled", name=name, age=fmt.localizer.age(state.last_poll_at, now))


def task_title(task: Task, fmt: ReplyFormatter) -> str:
    """Return the operation and the instance of a task."""
    label = fmt.localizer.task_label(task.name)
    instance = one_line(task.instance_name or task.instance_id or "")
    return " · ".join(filter(None, (label if task.name in KNOWN_NAMES else quoted(label), quoted(instance))))


def _row(stored: StoredTask, now: datetime, fmt: ReplyFormatter) -> ReplyRow:
    task = stored.task
    state = state_of_task(task.status, stored.newest, listed=stored.listed)
    environment = fmt.environments.get(task.source, "")
    failed = EventType.TASK_FAILED.traits
    severity = severity_in(environment, failed.severity, critical_in_production=failed.critical_in_production)
    age = fmt.localizer.age(task.ended_at or stored.changed_at, now) if task.status.terminal else ""
    return ReplyRow(
        emoji=emoji_of(state, severity),
        label=fmt.localizer.task_label(task.name),
        known=task.name in KNOWN_NAMES,
        instance=one_line(task.instance_name or task.instance_id or "") or None,
        place=" · ".join(filter(None, (_environment(environment, fmt), age))),
        detail=" · ".join(filter(None, _row_details(stored, state, now, fmt))),
        subject=task.subject,
    )


def _environment(name: str, fmt: ReplyFormatter) -> str:
    """Return the name of an environment: production stands out, and what is configured is no markup."""
    shown = fmt.events.environment(name)
    return strong(shown) if is_production(name) else quoted(shown)


def _row_details(stored: StoredTask, state: EventState, now: datetime, fmt: ReplyFormatter) -> Iterator[str]:
    task = stored.task
    reason = one_line(task.fail_reason or "", ROW_REASON_LIMIT)
    if state is not state_of_status(task.status):
        yield fmt.localizer.text(f"verb.{state.name}")
    if not task.status.terminal:
        yield fmt.text("row.since", at=fmt.when(task.created_at or stored.first_seen_at))
        yield fmt.localizer.progress(task.progress) if task.progress is not None else ""
        yield from foretold(task, stored.usual, now, fmt.localizer)
    elif not reason and task.created_at and task.ended_at and task.ended_at >= task.created_at:
        length = fmt.localizer.duration(task.ended_at - task.created_at)
        yield fmt.text("row.took", at=fmt.when(task.ended_at), length=length)
    elif not reason:
        yield fmt.text("row.at", at=fmt.when(task.ended_at or stored.changed_at))
    if task.status is TaskStatus.UNKNOWN:
        yield quoted(one_line(task.raw_status))
    yield quoted(reason)
    code = fmt.causes.explain(task.fail_reason).code
    yield quoted(one_line(code)) if code and code not in reason else ""
    if stored.started_by and task.status is not TaskStatus.COMPLETED:
        yield started_by_condition(stored.started_by, fmt.localizer, marked=True)


def task(
    stored: StoredTask, history: Sequence[Event], acknowledged: Acknowledgement | None, fmt: ReplyFormatter
) -> ChatReply:
    """Show one task, with what can be done about it. `history` has its events, the newest last."""
    found = stored.task
    title = fmt.text("task.title", label=task_title(found, fmt), status=_status(found, fmt))
    lines = [
        *_known_cause(found, fmt),
        *(
            fmt.text("task.history", at=fmt.when(event.observed_at), what=fmt.event_title(event))
            for event in history[-MAX_EVENTS:]
        ),
    ]
    if acknowledged:
        lines.append(fmt.text("task.acknowledged", who=acknowledged.name, at=fmt.when(acknowledged.at)))
    return ChatReply(
        title=title,
        lines=lines,
        facts=list(_facts(stored, fmt)),
        quote=plain(found.fail_reason or "", REASON_LIMIT) or None,
        buttons=list(_task_buttons(stored, history[-1], acknowledged, fmt)) if history else (),
        command=f"task {found.job_id}" if len(found.job_id) <= NAME_LIMIT and " " not in found.job_id else "",
    )


def _task_buttons(
    stored: StoredTask, newest: Event, acknowledged: Acknowledgement | None, fmt: ReplyFormatter
) -> Iterator[ReplyButton]:
    """Yield what can be done about a task whose newest event this is."""
    text, event_id, message = fmt.localizer.text, newest.id, fmt.events.describe(newest)
    if acknowledged:
        yield ReplyButton(button=Button(ButtonAction.UNACKNOWLEDGE, event_id), label=text("button.take_back"))
    elif newest.type.traits.needs_care:
        label, primary = text("button.acknowledge"), message.severity.loud
        yield ReplyButton(button=Button(ButtonAction.ACKNOWLEDGE, event_id), label=label, primary=primary)
    if stored.muted and stored.muted.instance is not None:
        yield ReplyButton(button=Button(ButtonAction.UNMUTE, event_id), label=text("button.unmute"))
    elif stored.muted is None and (stored.task.instance_id or stored.task.instance_name):
        options = [
            (Button(ButtonAction.MUTE, event_id, one), text("button.mute_for", length=fmt.localizer.duration(length)))
            for one, length in MUTE_LENGTHS.items()
        ]
        yield ReplyButton(button=Button(ButtonAction.MUTE), label=text("button.mute"), options=options)
    if message.page.url:
        yield ReplyButton(button=Button(ButtonAction.PAGE), label=message.page_label, url=message.page.url)
    if message.console_url:
        yield ReplyButton(button=Button(ButtonAction.CONSOLE), label=text("button.console"), url=message.console_url)
    if message.runbook_url:
        yield ReplyButton(button=Button(ButtonAction.RUNBOOK), label=text("button.runbook"), url=message.runbook_url)


def _known_cause(task: Task, fmt: ReplyFormatter) -> Iterator[str]:
    """Yield what the reason of a task means, the next step, and whether a retry helps, as far as that is known."""
    found, localizer = fmt.causes.explain(task.fail_reason), fmt.localizer
    means = found.means(localizer.language)
    if means and found.inferred:
        means = localizer.text("message.usually", meaning=means)
    retry = localizer.text(f"cause.retry.{found.retry}") if found.retry else None
    values = {"message.means": means, "message.try": found.action(localizer.language), "table.retry": retry}
    for label, text in values.items():
        if text:
            yield localizer.text("task.cause", label=localizer.text(label), text=text)


def _status(task: Task, fmt: ReplyFormatter) -> str:
    if task.status is TaskStatus.UNKNOWN:
        return quoted(one_line(task.raw_status))
    return fmt.localizer.status_label(task.status)


def _known_beyond(stored: StoredTask, word: Localizer) -> Iterator[tuple[str, str, bool]]:
    """Yield what is known of a task beyond the list: who started it, and how long such tasks take."""
    if stored.started_by:
        yield word.text("label.started_by"), starter(stored.started_by, word, address=True), True
    if usual := stored.usual:
        measured = word.counted(f"usual.{usual.basis}", usual.runs, length=usual_span(usual, word))
        yield word.text("label.usual"), measured, False


def _facts(stored: StoredTask, fmt: ReplyFormatter) -> Iterator[tuple[str, str, bool]]:
    found, word = stored.task, fmt.localizer
    took = found.ended_at - found.created_at if found.created_at and found.ended_at else None
    times = {"created_at": found.created_at, "ended_at": found.ended_at}
    for label, moment in times.items():
        if moment:
            yield word.text(f"label.{label}"), fmt.when(moment), False
    if took is not None and took >= timedelta():
        yield word.text("label.took"), word.duration(took), False
    if found.progress is not None and not found.status.terminal:
        yield word.text("label.progress"), word.progress(found.progress), False
    yield from _known_beyond(stored, word)
    if status := one_line(found.instance_status or ""):
        outside = not word.knows_instance_status(status)
        yield word.text("label.instance_status"), word.instance_status(status), outside
    names = {"instance": found.instance_name, "instance_id": found.instance_id, "job": found.job_id}
    for label, value in names.items():
        if shown := one_line(value or ""):
            yield word.text(f"label.{label}"), shown, True
    yield fmt.text("label.source"), found.source, True
    if environment := fmt.environments.get(found.source):
        yield word.text("label.environment"), fmt.events.environment(environment), True


def no_task(candidates: Sequence[StoredTask], wanted: str, now: datetime, fmt: ReplyFormatter) -> ChatReply:
    """Report that no task, or more than one, has a job id that begins like this."""
    if candidates:
        title = fmt.text("task.several", job=wanted, tasks=fmt.tasks(len(candidates)))
        return ChatReply(title=title, rows=[_row(stored, now, fmt) for stored in candidates[:PAGE_ROWS]], ok=False)
    return ChatReply(title=fmt.text("task.unknown", job=wanted), lines=[fmt.text("task.hint")], ok=False)


def no_instance(about: str, wanted: str, found: InstanceAnswer, fmt: ReplyFormatter) -> ChatReply:
    """Report that no instance, or more than one, has this name, and suggest others."""
    names = found.namesakes or found.similar_names
    named = fmt.text("instance.separator").join(quoted(one_line(name)) for name in names)
    near = [fmt.localizer.text("instance.near", names=named)] if names else []
    why = "several" if found.namesakes else "unknown"
    return ChatReply(title=fmt.text(f"{about}.{why}", instance=wanted), lines=near, ok=False)


def muted(mute: Mute, now: datetime, fmt: ReplyFormatter) -> ChatReply:
    """Confirm a mute, and explain how to end it."""
    began = mute.since <= now
    recurring = "recurring_open" if began else "recurring"
    key = recurring if mute.recurs else "done" if began else "planned"
    how = "how_but" if mute.except_failures else "how_matching" if mute.instance is None else "how"
    values = _mute_values(mute, fmt)
    return ChatReply(
        title=fmt.text(f"mute.{key}", **values),
        lines=[fmt.text(f"mute.{how}", id=mute.id, instance=fmt.typed(mute.shown))],
    )


def subscribed(made: MadeSubscription, fmt: ReplyFormatter, *, here: bool, doubtful: bool) -> ChatReply:
    """Confirm a subscription, and explain what it covers and how to end it.

    `here` is whether it is the channel's, `doubtful` whether it is not known that messages can be posted there.
    """
    one = made.subscription
    where, again = ("here" if here else "you"), "" if made.new else "_again"
    title = fmt.text(f"subscribe.{where}{again}", filter=_filter(one))
    kinds = [] if names_kind(read_filter(one.matchers)) else [fmt.text("subscribe.kinds")]
    invite = [fmt.text("subscribe.invite")] if doubtful else []
    how = fmt.text("subscribe.how", meant=f"{fmt.command} unsubscribe {'here ' if here else ''}{one.matchers}")
    return ChatReply(title=title, lines=[*kinds, *invite, how])


def unsubscribed(
    ended: Sequence[EventSubscription], left: Sequence[EventSubscription], wanted: str, fmt: ReplyFormatter
) -> ChatReply:
    """Confirm which subscriptions have ended, and list those that are left."""
    lines = [_subscription_line(one, fmt) for one in left]
    if not ended:
        title = fmt.text("unsubscribe.none", given=wanted) if wanted and left else fmt.text("subscriptions.none")
        return ChatReply(title=title, lines=lines, ok=False)
    if len(ended) == 1:
        return ChatReply(title=fmt.text("unsubscribe.done", filter=_filter(ended[0])), lines=lines)
    return ChatReply(title=fmt.text("unsubscribe.all", n=len(ended)), lines=lines)


def subscriptions(
    own: Sequence[EventSubscription], here: Sequence[EventSubscription], fmt: ReplyFormatter
) -> ChatReply:
    """List the subscriptions of the requester, then those of the channel."""
    if not own and not here:
        return ChatReply(
            title=fmt.text("subscriptions.none"),
            lines=[fmt.text("subscriptions.hint", meant=f"{fmt.command} {USAGE['subscribe']}")],
        )
    own_lines, here_lines = ([_subscription_line(one, fmt) for one in some] for some in (own, here))
    of_channel = fmt.text("subscriptions.here", n=len(here))
    if not own:
        return ChatReply(title=of_channel, lines=here_lines)
    lines = [*own_lines, strong(of_channel), *here_lines] if here else own_lines
    return ChatReply(title=fmt.text("subscriptions.own", n=len(own)), lines=lines)


def _subscription_line(one: EventSubscription, fmt: ReplyFormatter) -> str:
    line = fmt.text("subscriptions.line", filter=_filter(one), who=one.name, at=fmt.when(one.created_at))
    return line if is_readable(one) else fmt.text("subscriptions.unreadable_line", line=line, id=one.id)


def _filter(one: EventSubscription) -> str:
    return quoted(one_line(one.matchers))


def _mute_values(mute: Mute, fmt: ReplyFormatter) -> dict[str, object]:
    return {
        "instance": mute.shown,
        "since": fmt.when(mute.since),
        "until": fmt.when(mute.until),
        "cron": quoted(one_line(mute.cron or "")),
        "zone": mute.timezone or "",
    }


def unmuted(found: EndedMutes, name: str, fmt: ReplyFormatter) -> ChatReply:
    """Report what was ended, with what it held back, or that nothing was."""
    if not found.ended:
        if found.kept:
            kept = found.kept[0]
            return fmt.refusal("unmute.configured", instance=kept.id, at=fmt.when(kept.since))
        return fmt.refusal("unmute.none", instance=name)
    names = list(dict.fromkeys(one.mute.shown for one in found.ended if not one.planned))
    done = [fmt.text("unmute.done", instance=name if len(names) > 1 else names[0])] if names else []
    planned = [
        fmt.text("unmute.planned", instance=one.mute.shown, since=fmt.when(one.mute.since))
        for one in found.ended
        if one.planned
    ]
    title, *more = (*done, *planned)
    return ChatReply(title=title, lines=[*(line for one in found.ended for line in _ended_lines(one, fmt)), *more])


def _ended_lines(ended: EndedMute, fmt: ReplyFormatter) -> Iterator[str]:
    if held := fmt.events.held(ended.held.counts):
        command = quoted(f"notifier events --muted-by {ended.mute.id}")
        yield fmt.text("unmute.held", held=held, list=command)
    if ended.next_at:
        yield fmt.text("unmute.next", at=fmt.when(ended.next_at))


def extended(found: Sequence[Mute], name: str, now: datetime, fmt: ReplyFormatter) -> ChatReply:
    """Report until when mutes last now, or that there is none."""
    if not found:
        return fmt.refusal("unmute.none", instance=name)
    first, *others = [
        fmt.text("extend.planned" if mute.since > now else "extend.done", **_mute_values(mute, fmt)) for mute in found
    ]
    return ChatReply(title=first, lines=others)


def mutes(found: Sequence[Mute], during: Sequence[MaintenanceMuteNow], now: datetime, fmt: ReplyFormatter) -> ChatReply:
    """List the mutes that are in force, then those that are planned, and those that are in force during maintenance."""
    if not found and not during:
        return fmt.reply("mutes.none")
    lines = [mute_line(mute, now, fmt) for mute in found[:PAGE_ROWS]]
    lines += [maintenance_mute_line(one, fmt.localizer) for one in during[: PAGE_ROWS - len(lines)]]
    page = page_buttons(fmt.links.list_page("mutes", "/mutes"), fmt)
    return ChatReply(title=fmt.text("mutes.some", n=len(found) + len(during)), lines=lines, buttons=page)


def mute_line(mute: Mute, now: datetime, fmt: ReplyFormatter) -> str:
    """Return what a mute covers, when, by whom and why, in one line."""
    who = fmt.text("mutes.configuration") if mute.configured else quoted(one_line(mute.name))
    localizer = fmt.localizer
    values = _mute_values(mute, fmt) | {"instance": quoted(one_line(mute.shown)), "who": who}
    line = localizer.text("mutes.planned" if mute.since > now else "mutes.line", **values)
    if mute.recurs:
        line = localizer.text("mutes.recurring", line=line, cron=quoted(mute.cron or ""), zone=mute.timezone or "")
    if mute.except_failures:
        line = localizer.text("mutes.but", line=line)
    line = localizer.text("mutes.identified", id=quoted(mute.id), line=line)
    return localizer.text("mutes.reason", line=line, why=quoted(one_line(mute.reason))) if mute.reason else line


def maintenance(found: Sequence[MaintenanceRecord], now: datetime, fmt: ReplyFormatter) -> ChatReply:
    """List what the cloud plans to do to instances, what begins first first."""
    if not found:
        return fmt.reply("maintenance.none")
    lines = [_maintenance_line(one, now, fmt) for one in found[:PAGE_ROWS]]
    page = page_buttons(fmt.links.list_page("maintenance", MAINTENANCE_PATH), fmt)
    return ChatReply(title=fmt.text("maintenance.some", n=len(found)), lines=lines, buttons=page)


def _maintenance_line(one: MaintenanceRecord, now: datetime, fmt: ReplyFormatter) -> str:
    planned, localizer = one.planned, fmt.localizer
    label = maintenance_label(planned, localizer)
    latest = fmt.events.dated(planned.latest_at, now) if planned.latest_at else ""
    parts = (
        quoted(one_line(planned.instance_name or planned.instance_id or "")),
        label if is_known(planned) else quoted(label),
        maintenance_status(one, localizer),
        window_words(planned.begins_at, planned.ends_at, fmt.events, now),
        localizer.text("condition.latest", at=latest) if latest else "",
        impact_words(planned, localizer),
    )
    return " · ".join(filter(None, parts))


def on_call(found: Sequence[tuple[Rota, Duty]], asked: str, fmt: ReplyFormatter) -> ChatReply:
    """Show who is on duty by each rota. `asked` is the name that was asked for."""
    if not found:
        return fmt.reply("oncall.none")
    lines = [_duty_line(rota, duty, fmt) for rota, duty in found]
    note = (
        fmt.text("note.ignored", given=asked) if asked and asked.lower() not in {rota.name for rota, _ in found} else ""
    )
    page = page_buttons(fmt.links.list_page("reports", "/reports"), fmt)
    return ChatReply(title=fmt.text("oncall.title"), lines=lines, buttons=page, note=note)


def _duty_line(rota: Rota, duty: Duty, fmt: ReplyFormatter) -> str:
    person = _duty_name(duty.person, fmt)
    line = fmt.text("oncall.line", rota=quoted(rota.name), person=strong(person))
    if duty.until is None:
        return line
    following = _duty_name(duty.following, fmt)
    return fmt.text("oncall.until", line=line, until=fmt.when(duty.until), following=following)


def _duty_name(person: DutyPerson | None, fmt: ReplyFormatter) -> str:
    return quoted(one_line(person.name)) if person else fmt.text("oncall.nobody")


def statistics(found: Sequence[TaskStatistics], within: timedelta, fmt: ReplyFormatter) -> ChatReply:
    """Count the tasks of each operation by how they ended."""
    length = fmt.localizer.window(within)
    if not found:
        return fmt.reply("stats.none", length=length)
    total = sum(one.count for one in found)
    return ChatReply(
        title=fmt.text("stats.title", tasks=fmt.tasks(total), length=length),
        lines=[_statistics_line(one, fmt) for one in found[:MAX_TASK_TYPES]],
        buttons=page_buttons(fmt.links.list_page("statistics", "/statistics"), fmt),
    )


def _statistics_line(one: TaskStatistics, fmt: ReplyFormatter) -> str:
    ended = one.completed + one.failed
    rate = fmt.localizer.share(one.failed, ended) if ended else "–"
    label = fmt.localizer.task_label(one.name)
    label = label if one.name in KNOWN_NAMES else quoted(label)
    line = fmt.text("stats.line", label=label, completed=one.completed, failed=one.failed, rate=rate)
    if one.running:
        line += fmt.text("stats.running", running=one.running)
    if spread := one.durations:
        low, high, longest = (timedelta(seconds=seconds) for seconds in (spread.p10, spread.p90, spread.longest))
        span = fmt.localizer.span(low, high)
        line += fmt.text("stats.took", span=span, longest=fmt.localizer.duration(longest))
        line += f"  {spread.bars}" if spread.runs >= MIN_RUNS else ""
    return line


def status(health: HealthReport, fmt: ReplyFormatter) -> ChatReply:
    """List what is wrong, with the commands that help, then the healthy sources and channels, then remarks."""
    health_formatter = HealthFormatter(health=health, localizer=fmt.localizer, when=fmt.when)
    good_sources = (health_formatter.source(source) for source in health.sources if source.ok)
    good_channels = (
        "; ".join([health_formatter.channel(channel), *health_formatter.held(channel)])
        for channel in health.channels
        if channel.ok
    )
    red = [finding for finding in health.findings if finding.red]
    remarks = [finding for finding in health.findings if not finding.red]
    return ChatReply(
        title=health_formatter.title(),
        lines=[
            *(_finding_line(finding, health_formatter, fmt) for finding in red[:MAX_FINDINGS]),
            *([f"– {open_} → {quoted(f'{fmt.command} open')}"] if (open_ := health_formatter.open_failures()) else ()),
            *(f"✓ {line}" for line in (*good_sources, *good_channels)),
            *(f"– {health_formatter.finding(finding)}" for finding in remarks),
        ][:MAX_STATUS_LINES],
        buttons=page_buttons(fmt.links.list_page("now", "/"), fmt),
        note=fmt.text("note.as_of", at=fmt.when(health.at)),
        command="status",
        ok=health.ok,
    )


def _finding_line(found: HealthFinding, health_formatter: HealthFormatter, fmt: ReplyFormatter) -> str:
    why = one_line(fmt.localizer.reason(found.reason or ""), ROW_REASON_LIMIT)
    reason = fmt.text("finding.reason", why=why) if why else ""
    commands = ", ".join(quoted(command) for command in found.commands)
    return "✗ " + " → ".join(filter(None, (health_formatter.finding(found) + reason, commands)))
