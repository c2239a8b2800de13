"""Task: why it failed, what happened, who was told of it and who was not; and what people can do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from notifier import lookup, people
from notifier.core.alarms import AlarmLevel
from notifier.core.events import EventType
from notifier.core.failures import MIN_ID_PREFIX, FailureState, HistoryKind, OpenFailure
from notifier.core.foreseen import Expectation
from notifier.core.maintenance_values import MaintenanceRecord
from notifier.core.model import Event, Task
from notifier.core.mutes import Mute
from notifier.core.people import Acknowledgement
from notifier.core.row_counts import RowCount
from notifier.core.task_lists import TaskGroup, TaskListEntry, TaskListFilter
from notifier.core.tickets import Ticket, TicketState, operation_of, operation_of_task, web_address
from notifier.core.usual import Usual
from notifier.lookup import EventRecord
from notifier.ports import StoredTask, TaskFilter
from notifier.web.catalogues import translations
from notifier.web.charts.rows import ChartRow, ChartSpan, MarkKind, lay_out
from notifier.web.charts.scales import TimeScale, TimeTick, time_ticks
from notifier.web.pages.tasks import TaskLine, task_row
from notifier.web.ports import WebReads, WebTx
from notifier.web.requests import ActionRoute, Page, PageRequest, PageRoute, Redirect
from notifier.web.task_moments import TaskMoment, moments_of
from notifier.web.task_reads import TasksReads
from notifier.wording.explained import ExplainedReason
from notifier.wording.links import MAINTENANCE_PATH, list_path, missing_path, task_path
from notifier.wording.localizer import Localizer
from notifier.wording.maintenance import maintenance_label, maintenance_status
from notifier.wording.marks import without_marks
from notifier.wording.message import Message
from notifier.wording.sanitize import NAME_LIMIT, one_line
from notifier.wording.starters import starter

OTHERS: Final = 6
"""Maximum number of other tasks of the instance that are named."""
DRAWN: Final = 40
"""Maximum number of tasks of the instance that are drawn."""
_WEEK: Final = timedelta(days=7)
_MONTH: Final = timedelta(days=30)
MAX_EARLIER: Final = 20
"""Maximum number of failures for the same cause that are counted."""
MAX_NOTE: Final = 300
"""Maximum length of what people write, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierFailure:
    """The last failure for the same cause before this one, and how it ended."""

    path: str
    at: datetime
    instance: str
    """Its instance where it is another one; empty for the same."""
    ended: Literal["success", "person", "open", "unknown"]
    after: timedelta | None
    """From its beginning until it was over."""
    person: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SameCause:
    """Earlier failures for the same cause, of the instance or else of the source."""

    of_instance: bool
    earlier: RowCount
    """How many there were in the 30 days before."""
    last: EarlierFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyView:
    """Why something is wrong, as far as that is known."""

    reason: str
    """As the cloud wrote it; empty where it gave none."""
    note: str
    """What stands in place of a reason."""
    meaning: str
    action: str
    retry: str
    """Whether a repeat helps: yes, after, no; empty where that is not known."""
    code: str
    code_url: str
    same: SameCause | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketShown:
    """A ticket that was opened for the operation."""

    label: str
    url: str
    channel: str
    open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenView:
    """Who takes care of it."""

    name: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MutedView:
    """The mute that covers it."""

    id: str
    until: datetime
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenView:
    """The open failure that it is part of, as it is now."""

    since: datetime
    count: int
    taken: bool
    of_task: bool
    """Whether it is about this task alone, which has stalled or is overdue, and not about its operation."""
    of_alarm: bool
    ends_at: datetime | None
    """When an alarm ends by itself; None for one that the cloud reports as over."""
    next_at: datetime | None
    """When somebody is reminded next."""
    resolvable: str
    """What `resolve` takes for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceMark:
    """What a mark of the small timeline is about."""

    url: str
    name: str
    at: datetime
    current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceView:
    """Other tasks of the instance."""

    name: str
    url: str
    rows: tuple[TaskLine, ...]
    chart: ChartRow[InstanceMark]
    ticks: tuple[TimeTick, ...]
    now_x: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMaintenance:
    """A planned maintenance that a task does."""

    what: str
    status: str
    begins_at: datetime | None
    """Beginning of its window."""
    ends_at: datetime | None
    url: str
    """Where it is listed; empty once it is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """What the page shows."""

    source: str
    region: str
    job_id: str
    name: str
    instance: str
    instance_key: str
    instance_id: str
    state: str
    """Name of the state in headings: a group of tasks, or `unlisted` or `missing`."""
    status: str
    """The API's own word."""
    progress: float | None
    started: datetime | None
    first_seen: datetime
    ended: datetime | None
    took: timedelta | None
    running: bool
    is_alarm: bool = False
    level: AlarmLevel | None = None
    """How bad the cloud considers an alarm."""
    node_id: str = ""
    """The node that an alarm is about; empty for none."""
    usual: Usual | None
    started_by: str
    """Who started it, and the way; empty where that is not known."""
    maintenance: tuple[TaskMaintenance, ...] = ()
    """The planned maintenance that it does; empty for every other task."""
    instance_status: str
    expected: Expectation | None
    """The run that is missing."""
    why: WhyView | None
    taken: TakenView | None
    event_id: str
    """Id of its newest event, which people acknowledge; empty where nothing can be acknowledged."""
    failure: OpenView | None
    muted: MutedView | None
    console_url: str
    runbook_url: str
    tickets: tuple[TicketShown, ...]
    moments: tuple[TaskMoment, ...]
    pruned: bool
    """Whether events about it were recorded that are deleted by now."""
    instance_tasks: InstanceView | None
    command: str
    raw_url: str
    back: str
    """Path of the page."""
    refused: str = ""
    """Why what was typed was refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownTaskView:
    """What the page shows where no task has this id."""

    job_id: str
    source: str
    similar: tuple[tuple[str, str], ...]
    """Paths and ids of tasks that may have been meant."""


# ---- reading ----


def read_task(request: PageRequest, q: WebReads) -> Page | Redirect:
    """Return the page of a task; where the id is only the beginning of one, lead to that."""
    source, job_id = request.places["source"], request.places["job_id"]
    stored = _stored(q, source, job_id)
    if stored is not None:
        return Page(template="task.html", view=task_view(q, stored, request), poll=5)
    return _elsewhere(q, source, job_id)


def read_beginning(request: PageRequest, q: WebReads) -> Page | Redirect:
    """Lead to the tasks of a source, or to the task whose id begins so."""
    wanted = request.places["job_id"]
    if wanted in {state.name for state in q.source_states()}:
        return Redirect(to=list_path("/tasks", source=wanted))
    return _elsewhere(q, "", wanted)


def _stored(q: TasksReads, source: str, job_id: str) -> StoredTask | None:
    found = q.tasks(TaskFilter(source=source, job_id=job_id, exact=True, limit=1))
    return found[0] if found else None


def _elsewhere(q: TasksReads, source: str, job_id: str) -> Page | Redirect:
    answer = lookup.find_task(q, job_id, source=source or None) if len(job_id) >= MIN_ID_PREFIX else None
    if answer and answer.task:
        return Redirect(to=task_path(answer.task.task.source, answer.task.task.job_id))
    if answer and answer.candidates:
        return Redirect(to=list_path("/tasks", q=job_id, source=source or "", since="all"))
    # A source that was renamed keeps its tasks under its new name.
    named = [one for one in _named(q, job_id) if one.task.source != source]
    similar = tuple((task_path(one.task.source, one.task.job_id), one.task.source) for one in named)
    view = UnknownTaskView(job_id=one_line(job_id, NAME_LIMIT), source=one_line(source, NAME_LIMIT), similar=similar)
    return Page(template="task_unknown.html", view=view, status=404, poll=0)


def _named(q: TasksReads, job_id: str) -> Sequence[StoredTask]:
    found = lookup.find_task(q, job_id)
    return [found.task] if found.task else found.candidates


def task_view(q: TasksReads, stored: StoredTask, request: PageRequest) -> TaskView:
    """Return what the page shows of a task."""
    rules, task = request.rules, stored.task
    formatter = request.formatter
    channels = rules.expected.channels
    found = lookup.explain_task(q, stored, rules.routing.routes, channels, rules.causes)
    newest = found.events[-1].routed.event if found.events else None
    instance = task.instance_id or task.instance_name or ""
    rows = q.task_list.listing(TaskListFilter(instance=instance)).page(DRAWN).rows if instance else ()
    own = q.task_list.find(task.source, task.job_id)
    group = own.group if own else TaskGroup.OTHER
    message = formatter.describe(newest) if newest else None
    has_words = task.fail_reason or task.alarm
    why = formatter.explained_task(task) if has_words else message.explained if message else None
    open_ = _open_of(found.failures)
    return TaskView(
        source=task.source,
        region=newest.region if newest else "",
        job_id=task.job_id,
        name=task.name,
        instance=one_line(task.instance_name or task.instance_id or "", NAME_LIMIT),
        instance_key=task.instance_name or task.instance_id or "",
        instance_id=task.instance_id or "",
        state="unlisted" if group is TaskGroup.OTHER and not stored.listed else _state(group),
        status=one_line(task.raw_status),
        progress=task.progress,
        started=task.created_at,
        first_seen=stored.first_seen_at,
        ended=task.ended_at,
        took=_took(task),
        running=not task.status.terminal and task.alarm is None,
        level=task.alarm.level if task.alarm else None,
        is_alarm=task.alarm is not None,
        node_id=one_line((task.alarm.node_id if task.alarm else "") or ""),
        usual=newest.usual if newest else None,
        started_by=starter(stored.started_by, request.localizer, address=True) if stored.started_by else "",
        maintenance=tuple(
            _maintenance(one, request.localizer) for one in lookup.maintenance_of_task(q, task.source, task.job_id)
        ),
        instance_status=one_line(task.instance_status or ""),
        expected=None,
        why=_why(q, task, why, message, own) if why and _is_wrong(group, newest) else None,
        taken=_taken(stored.acknowledged),
        event_id=newest.id if newest and newest.type.traits.needs_care else "",
        failure=open_,
        muted=_muted(stored.muted),
        console_url=message.console_url if message else "",
        runbook_url=message.runbook_url if message else "",
        tickets=tuple(map(_ticket, found.tickets)),
        moments=moments_of(found.events, found.failures, formatter, q.channels()),
        pruned=stored.events_pruned,
        instance_tasks=_instance(rows, _Shown(task.source, task.job_id, task.ended_at), q.now(), request),
        command=f"notifier explain {message.job if message else one_line(task.job_id)}",
        raw_url=f"/api/v1{task_path(task.source, task.job_id)}",
        back=task_path(task.source, task.job_id),
    )


def _maintenance(one: MaintenanceRecord, localizer: Localizer) -> TaskMaintenance:
    return TaskMaintenance(
        what=maintenance_label(one.planned, localizer),
        status=maintenance_status(one, localizer),
        begins_at=one.planned.begins_at,
        ends_at=one.planned.ends_at,
        url="" if one.over else MAINTENANCE_PATH,
    )


def _is(row: TaskListEntry, task: Task) -> bool:
    return (row.task.source, row.task.job_id) == (task.source, task.job_id)


def _state(group: TaskGroup) -> str:
    return "unknown" if group is TaskGroup.OTHER else group.value


def _is_wrong(group: TaskGroup, newest: Event | None) -> bool:
    return group in {TaskGroup.FAILED, TaskGroup.STUCK} or (newest is not None and newest.type.traits.needs_care)


def _took(task: Task) -> timedelta | None:
    if task.created_at is None or task.ended_at is None or task.ended_at < task.created_at:
        return None
    return task.ended_at - task.created_at


def _taken(acknowledged: Acknowledgement | None) -> TakenView | None:
    return TakenView(name=one_line(acknowledged.name), at=acknowledged.at) if acknowledged else None


def _muted(mute: Mute | None) -> MutedView | None:
    return MutedView(id=mute.id, until=mute.until, name=one_line(mute.name)) if mute else None


def _ticket(ticket: Ticket) -> TicketShown:
    return TicketShown(
        label=one_line(ticket.label or ""),
        url=web_address(ticket.url) or "",
        channel=ticket.channel,
        open=ticket.state is TicketState.OPEN,
    )


def _open_of(failures: Sequence[OpenFailure]) -> OpenView | None:
    """Return the failure that is not over; the one that nobody takes care of first."""
    still = sorted((one for one in failures if not one.over), key=lambda one: one.state is FailureState.ACKNOWLEDGED)
    if not still:
        return None
    one = still[0]
    return OpenView(
        since=one.opened_at,
        count=one.count,
        taken=one.state is FailureState.ACKNOWLEDGED,
        of_task=bool(one.job_id),
        of_alarm=one.latest.type is EventType.ALARM_RAISED,
        ends_at=one.ends_at,
        next_at=one.next_at,
        resolvable=one.shown_id,
    )


# ---- why ----


def _why(
    q: TasksReads, task: Task, found: ExplainedReason, message: Message | None, own: TaskListEntry | None
) -> WhyView:
    code = found.explanation.code or ""
    return WhyView(
        reason=found.text,
        note="" if found.text or message is None else message.reason_note,
        meaning=found.meaning,
        action=found.action or (message.advice if message else ""),
        retry=str(found.explanation.retry or ""),
        code=code,
        code_url=list_path("/tasks", code=code, source=task.source, since="all"),
        same=_same_cause(q, own, code) if own and code else None,
    )


def _same_cause(q: TasksReads, own: TaskListEntry, code: str) -> SameCause | None:
    """Return the earlier failures for the same code: of the instance, else of the source."""
    task = own.task
    before = TaskListFilter(groups=(TaskGroup.FAILED,), code=code, since=own.changed_at - _MONTH, until=own.changed_at)
    instance = task.instance_id or task.instance_name or ""
    for of_instance in (True, False):
        if of_instance and not instance:
            continue
        narrow = replace(before, instance=instance) if of_instance else replace(before, source=task.source)
        page = q.task_list.listing(narrow).page(MAX_EARLIER)
        rows = [row for row in page.rows if not _is(row, task)]
        if rows:
            count = RowCount(len(rows), more=page.following is not None)
            return SameCause(of_instance=of_instance, earlier=count, last=_earlier(q, rows[0], of_instance=of_instance))
    return None


def _earlier(q: TasksReads, row: TaskListEntry, *, of_instance: bool) -> EarlierFailure:
    task = row.task
    episodes = [one for one in q.failures_of(operation_of_task(task)) if not one.job_id]
    at = task.ended_at or row.changed_at
    episode = next((one for one in reversed(episodes) if one.opened_at <= at), None)
    history = reversed(episode.history) if episode else ()
    ending = next((one for one in history if one.kind is HistoryKind.RESOLVED), None)
    ended: Literal["success", "person", "open", "unknown"] = "unknown"
    if ending is not None:
        ended = "person" if ending.name else "success"
    elif episode is not None and not episode.over:
        ended = "open"
    return EarlierFailure(
        path=task_path(task.source, task.job_id),
        at=at,
        instance="" if of_instance else one_line(task.instance_name or task.instance_id or "", NAME_LIMIT),
        ended=ended,
        after=ending.at - episode.opened_at if ending and episode else None,
        person=one_line(ending.name) if ending else "",
        note=one_line(ending.reason) if ending else "",
    )


# ---- the instance ----

_KINDS = {
    TaskGroup.COMPLETED: MarkKind.COMPLETED,
    TaskGroup.FAILED: MarkKind.FAILED,
    TaskGroup.RUNNING: MarkKind.RUNNING,
    TaskGroup.STUCK: MarkKind.STUCK,
    TaskGroup.RAISED: MarkKind.RAISED,
    TaskGroup.CLEARED: MarkKind.CLEARED,
    TaskGroup.OTHER: MarkKind.OTHER,
}


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the page is about."""

    source: str
    job_id: str
    at: datetime | None
    """When it was over; None where it is not."""

    def is_of(self, row: TaskListEntry) -> bool:
        """Return whether it is the task of a row."""
        return (row.task.source, row.task.job_id) == (self.source, self.job_id)


def _instance(rows: Sequence[TaskListEntry], shown: _Shown, now: datetime, request: PageRequest) -> InstanceView | None:
    """Return the other tasks of an instance, and a week of all of them that ends now, or a day after what is shown."""
    if not rows:
        return None
    at = shown.at or now
    until = now if now - at < _WEEK - timedelta(days=1) else at + timedelta(days=1)
    until = until.replace(second=0, microsecond=0) + timedelta(minutes=1)
    scale = TimeScale(until - _WEEK, until)
    name = next((row.task.instance_name for row in rows if row.task.instance_name), None) or rows[0].task.instance_id
    others = [row for row in rows if not shown.is_of(row)]
    return InstanceView(
        name=one_line(name or "", NAME_LIMIT),
        url=list_path("/tasks", instance=name or "", since="all"),
        rows=tuple(map(task_row, others[:OTHERS])),
        chart=lay_out([_span(row, shown, now) for row in rows], scale),
        ticks=time_ticks(scale, request.localizer.timezone),
        now_x=scale.x(now) if now <= until else None,
    )


def _span(row: TaskListEntry, shown: _Shown, now: datetime) -> ChartSpan[InstanceMark]:
    one = row.task
    began = one.created_at or row.first_seen_at
    still = not one.status.terminal and one.alarm is None
    end = one.ended_at or (now.replace(second=0, microsecond=0) if still else row.changed_at)
    about = InstanceMark(
        url=task_path(one.source, one.job_id), name=one.name, at=row.changed_at, current=shown.is_of(row)
    )
    return ChartSpan(start=min(began, end), end=end, kind=_KINDS[row.group], about=about)


# ---- a run that did not appear ----


def read_missing(request: PageRequest, q: WebReads) -> Page | Redirect:
    """Return the page of a run that did not appear, by the id of an event about it or its beginning."""
    wanted, rules = request.places["event_id"], request.rules
    found = None
    if len(wanted) >= MIN_ID_PREFIX:
        found = lookup.explain_event(q, wanted, rules.routing.routes, rules.expected.channels, rules.causes)
    missing = found.routed.event.expectation if found else None
    if found is None or missing is None:
        view = UnknownTaskView(job_id=one_line(wanted, NAME_LIMIT), source="", similar=())
        return Page(template="task_unknown.html", view=view, status=404, poll=0)
    event = found.routed.event
    if event.care_id != wanted:
        return Redirect(to=missing_path(event.care_id))
    return Page(template="task.html", view=missing_view(q, found, missing, request), poll=5)


def missing_view(q: TasksReads, found: EventRecord, missing: Expectation, request: PageRequest) -> TaskView:
    """Return what the page shows of a run that did not appear."""
    event = found.routed.event
    formatter = request.formatter
    message = formatter.describe(event)
    instance = missing.instance_id or missing.instance_name or ""
    operation = operation_of(event) or ""
    failures = [one for one in q.failures_of(operation) if event.id in {one.latest.id, one.first_event_id}]
    rows = q.task_list.listing(TaskListFilter(instance=instance)).page(DRAWN).rows if instance else ()
    taken = next((one.acknowledged for one in failures if one.acknowledged and not one.over), None)
    open_ = _open_of(failures)
    return TaskView(
        source=event.source,
        region=event.region,
        job_id="",
        name=missing.name,
        instance=one_line(missing.instance_name or missing.instance_id or "", NAME_LIMIT),
        instance_key=missing.instance_name or missing.instance_id or "",
        instance_id=missing.instance_id or "",
        state="missing",
        status="",
        progress=None,
        started=None,
        first_seen=event.observed_at,
        ended=None,
        took=None,
        running=False,
        usual=None,
        started_by="",
        instance_status="",
        expected=missing,
        why=WhyView(
            reason="",
            note=" ".join(map(without_marks, message.notes)),
            meaning="",
            action=message.advice,
            retry="",
            code="",
            code_url="",
            same=None,
        ),
        taken=_taken(taken),
        event_id=event.id if open_ or taken else "",
        failure=open_,
        muted=None,
        console_url=message.console_url,
        runbook_url=message.runbook_url,
        tickets=tuple(_ticket(one) for one in q.tickets(operation) if one.label is not None),
        moments=moments_of([found], failures, formatter, q.channels()),
        pruned=False,
        instance_tasks=_instance(rows, _Shown(event.source, "", event.observed_at), q.now(), request),
        command=f"notifier explain {event.id[:8]}",
        raw_url="",
        back=missing_path(event.id),
    )


# ---- what people do ----


def acknowledge(request: PageRequest, tx: WebTx) -> Redirect:
    """Take care of the newest event of a task, or of a run that did not appear."""
    _ = translations(request.language).gettext
    back, event = _event_of(request, tx)
    if event is None or not event.type.traits.needs_care:
        return Redirect(to=back, notice=_("There is nothing to acknowledge: the event is no longer recorded."))
    note = request.field("note")[:MAX_NOTE]
    answer = people.acknowledge_if_latest(tx, event, request.viewer.person, note)
    if isinstance(answer, Event):
        return Redirect(to=back, notice=_("The task has changed since; nothing was acknowledged."))
    if answer.by != request.viewer.person.id:
        return Redirect(to=back, notice=_("%(name)s takes care of it already.") % {"name": one_line(answer.name)})
    return Redirect(to=back, notice=_("You take care of it. Everybody who was told sees that."))


def take_back(request: PageRequest, tx: WebTx) -> Redirect:
    """Take back the acknowledgement of the newest event of a task, whoever made it."""
    _ = translations(request.language).gettext
    back, event = _event_of(request, tx)
    answer = people.unacknowledge_if_latest(tx, event, request.viewer.person) if event else None
    if isinstance(answer, Event):
        return Redirect(to=back, notice=_("The task has changed since; nothing was taken back."))
    if answer is None:
        return Redirect(to=back, notice=_("Nobody has acknowledged it."))
    return Redirect(to=back, notice=_("Nobody takes care of it now. Reminders begin again."))


def resolve(request: PageRequest, tx: WebTx) -> Redirect:
    """Close the open failure of a task, or of a run that did not appear."""
    _ = translations(request.language).gettext
    back = _back(request)
    reason = request.field("note")[:MAX_NOTE]
    done = people.resolve(tx, request.field("failure"), request.viewer.person, reason or None)
    if not done.failures:
        return Redirect(to=back, notice=_("Nothing was resolved: it is over already."))
    return Redirect(to=back, notice=_("It is resolved. Nothing reminds of it any more."))


def _event_of(request: PageRequest, tx: WebTx) -> tuple[str, Event | None]:
    routed = tx.queries.event(request.field("event"))
    return _back(request), routed.event if routed else None


def _back(request: PageRequest) -> str:
    """Return the page that the form is on. The form names it, and it can be none but one of ours."""
    back = request.field("back")
    return back if back.startswith(("/tasks/", "/missing/")) and "\\" not in back else "/tasks"


routes = (
    PageRoute(path="/missing/{event_id}", read=read_missing, tab="tasks"),
    ActionRoute(path="/tasks/acknowledge", act=acknowledge, tab="tasks"),
    ActionRoute(path="/tasks/unacknowledge", act=take_back, tab="tasks"),
    ActionRoute(path="/tasks/resolve", act=resolve, tab="tasks"),
    PageRoute(path="/tasks/{source}/{job_id:path}", read=read_task, tab="tasks"),
    PageRoute(path="/tasks/{job_id}", read=read_beginning, tab="tasks"),
)
