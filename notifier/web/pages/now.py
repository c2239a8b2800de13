"""Now: what needs somebody, what runs, whether the notifier itself is well, and what was kept quiet."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from notifier import people
from notifier.core.health import FindingKind, HealthReport, judge
from notifier.core.health_facts import Expected
from notifier.core.maintenance_values import MaintenanceRecord, Phase
from notifier.core.model import Event, SourceOrigin, TaskStatus
from notifier.core.mutes import Mute
from notifier.core.people import Acknowledgement
from notifier.core.storms import Storm
from notifier.core.usual import remaining
from notifier.ports import HeldMessages, RunningTask, TaskFilter
from notifier.web.catalogues import translations
from notifier.web.needs import (
    SHOWN_FINDINGS,
    FailureNames,
    Needs,
    ResolvedFailure,
    names_of,
    read_needs,
    resolved_failure,
)
from notifier.web.pages.timeline import regions_of
from notifier.web.periods import Period, PeriodChart, RowsBy, chart_of, read_period
from notifier.web.ports import WebReads, WebTx
from notifier.web.requests import ActionRoute, Page, PageRequest, PageRoute, Redirect
from notifier.wording.events import EventFormatter
from notifier.wording.links import list_path, task_path
from notifier.wording.localizer import Localizer
from notifier.wording.maintenance import impact_words, maintenance_label, maintenance_reason
from notifier.wording.marks import without_marks
from notifier.wording.message import time_left
from notifier.wording.sanitize import one_line

SHOWN_RUNNING = 8
SHOWN_MAINTENANCE = 10
SHOWN_QUIET = 5
"""Maximum number of mutes that are shown; likewise of rules that hold messages, and of storms."""
SHOWN_COMPLETED = 5
SHOWN_NAMES = 3
"""Maximum number of sources or channels that are named in a line."""
STORMS_FOR = timedelta(days=3)
"""How long a storm that is over is shown."""
DAY = timedelta(days=1)


# ---- the verdict ----


VerdictTone = Literal["red", "amber", "calm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The sentence that answers first."""

    tone: VerdictTone
    needs: int
    looked_at: datetime | None
    """When the source was polled that was polled longest ago; None where one never was."""
    blind: tuple[str, ...]
    """Names of the sources of which nobody knows what happens now."""
    all_blind: bool
    blind_since: datetime | None
    """Since when the first of them is blind; None where it was never polled."""
    counts: tuple[tuple[str, int], ...]
    """How many there are of each kind, the gravest first: `failed`, `stuck`, `parked` …"""
    running: int
    failed_at: datetime | None
    """When a task failed last, of the last month; None for never."""


def verdict_of(needs: Needs, report: HealthReport, *, running: int, failed_at: datetime | None) -> Verdict:
    """Return the verdict."""
    blind = [one for one in needs.findings if one.is_blind]
    polled = [source.last_poll_at for source in report.sources]
    known = [at for at in polled if at is not None]
    tone: VerdictTone = "calm" if not needs.total else "red" if needs.is_red else "amber"
    since = [one.since for one in blind]
    return Verdict(
        tone=tone,
        needs=needs.total,
        looked_at=min(known) if known and len(known) == len(polled) else None,
        blind=tuple(one_line(one.about) for one in blind),
        all_blind=bool(blind) and len(blind) == len(report.sources),
        blind_since=min((at for at in since if at is not None), default=None) if all(since) else None,
        counts=tuple((kind, count) for kind, count in _kinds(needs).items() if count),
        running=running,
        failed_at=failed_at,
    )


_FINDING_KINDS: Mapping[FindingKind, str] = {
    FindingKind.SOURCE_NOT_POLLED: "source",
    FindingKind.SOURCE_NOT_WHOLE: "source",
    FindingKind.SOURCE_AHEAD: "source",
    FindingKind.SOURCE_REFUSED: "source",
    FindingKind.CHANNEL_PARKED: "parked",
    FindingKind.CHANNEL_FAILING: "channel",
    FindingKind.CHANNEL_WAITING: "channel",
    FindingKind.CHANNEL_DEAD: "dead",
    FindingKind.CHANNEL_REMOVED: "channel",
}


def _kinds(needs: Needs) -> Mapping[str, int]:
    found = {"source": 0, "failed": needs.failed, "missing": needs.missing, "stuck": needs.stuck}
    found["raised"], found["awaiting"] = needs.raised, needs.awaiting
    found |= dict.fromkeys(("parked", "channel", "dead", "other"), 0)
    for one in needs.findings:
        found[_FINDING_KINDS.get(one.kind, "other")] += 1
    return found


# ---- what runs ----


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRow:
    """A task that runs."""

    names: FailureNames
    progress: float | None
    since: datetime
    left: str
    """How much longer it takes, or that it takes longer than usual; empty where that is not known."""
    stuck: bool
    blind: bool
    """Whether it is shown as it was when it was last seen."""
    usual: tuple[timedelta, timedelta] | None
    """How long most of such tasks take, at least and at most."""


def running_rows(
    found: Sequence[RunningTask], blind: Collection[str], now: datetime, localizer: Localizer
) -> tuple[RunningRow, ...]:
    """Return running tasks in the order in which they are likely to end; those of which that is not known follow."""
    return tuple(
        _running_row(one, localizer, now, blind=one.task.source in blind)
        for one in sorted(found, key=lambda one: _ends_in(one, now, blind))
    )


def _ends_in(one: RunningTask, now: datetime, blind: Collection[str]) -> tuple[bool, float, datetime, str]:
    left = None
    if not one.stuck and one.task.source not in blind:
        left = remaining(one.usual, (now - one.since).total_seconds(), one.task.progress, _progress_after(one))
    return left is None, left.high if left else 0.0, one.since, one.task.job_id


def _progress_after(one: RunningTask) -> float:
    return max((one.changed_at - one.since).total_seconds(), 0.0)


def _running_row(one: RunningTask, localizer: Localizer, now: datetime, *, blind: bool) -> RunningRow:
    task, usual = one.task, one.usual
    names = FailureNames(
        operation=localizer.task_label(task.name),
        instance=one_line(task.instance_name or task.instance_id or ""),
        url=task_path(task.source, task.job_id),
    )
    known = not (blind or one.stuck)
    return RunningRow(
        names=names,
        progress=task.progress,
        since=one.since,
        left=time_left(usual, now - one.since, task.progress, localizer) if known else "",
        stuck=one.stuck,
        blind=blind,
        usual=(timedelta(seconds=usual.low), timedelta(seconds=usual.high)) if usual else None,
    )


# ---- sources and channels ----


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthLine:
    """What is well, in one line, or one thing that is not."""

    state: str
    """One of the states of `macros.html`."""
    names: tuple[str, ...]
    more: int = 0
    """Number of further names."""
    at: datetime | None = None
    """Of what is well, the oldest poll, or the latest delivery; else since when it is not."""
    url: str = ""
    bad: bool = False


def health_lines(report: HealthReport, good_at: Mapping[str, datetime | None]) -> tuple[HealthLine, ...]:
    """Return one line for each source and channel that is not well, and one for all that are.

    Of many sources that are not well, those beyond a number share one.

    `good_at` has when a channel delivered last.
    """
    polled = [source for source in report.sources if source.ok and not source.failing_since]
    delivering = [one for one in report.channels if one.ok and not one.failing_since]
    polls = [source.last_poll_at for source in polled if source.last_poll_at]
    deliveries = [at for one in delivering if (at := good_at.get(one.name)) is not None]
    well = {source.name for source in polled}
    failing = [source for source in report.sources if source.name not in well]
    lines = [
        HealthLine(
            state="failing",
            names=(one_line(source.name),),
            at=source.last_poll_at,
            url=list_path("/tasks", source=source.name),
            bad=True,
        )
        for source in failing[:SHOWN_FINDINGS]
    ]
    lines += _together("failing", [source.name for source in failing[SHOWN_FINDINGS:]], None, bad=True)
    lines += _together("polled", [source.name for source in polled], min(polls, default=None))
    lines += _together("delivers", [one.name for one in delivering], max(deliveries, default=None))
    for channel in report.channels:
        if channel not in delivering:
            state, since = _channel_state(report, channel.name)
            url = list_path("/deliveries", channel=channel.name)
            at = since or channel.failing_since
            lines.append(HealthLine(state=state, names=(one_line(channel.name),), at=at, url=url, bad=True))
    return tuple(lines)


def _together(state: str, names: Sequence[str], at: datetime | None, *, bad: bool = False) -> Iterable[HealthLine]:
    if names:
        shown = tuple(map(one_line, names[:SHOWN_NAMES]))
        yield HealthLine(state=state, names=shown, more=len(names) - len(shown), at=at, bad=bad)


_CHANNEL_STATES: Mapping[FindingKind, str] = {
    FindingKind.CHANNEL_PARKED: "parked",
    FindingKind.CHANNEL_FAILING: "failing",
    FindingKind.CHANNEL_REMOVED: "failing",
    FindingKind.CHANNEL_WAITING: "retrying",
    FindingKind.CHANNEL_DEAD: "dead",
}


def _channel_state(report: HealthReport, name: str) -> tuple[str, datetime | None]:
    found = report.of(name, *_CHANNEL_STATES)
    return (_CHANNEL_STATES[found.kind], found.since) if found else ("retrying", None)


# ---- what the cloud plans ----


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceRow:
    """A maintenance that is under way or lies ahead."""

    id: str
    state: str
    """One of the states of `macros.html`."""
    what: str
    instance: str
    source: str
    begins_at: datetime | None
    ends_at: datetime | None
    latest_at: datetime | None
    about: tuple[str, ...]
    """Why it is done, and what it does to the instance."""
    console_url: str


_PHASE_STATES: Mapping[Phase, str] = {
    Phase.AHEAD: "planned",
    Phase.ASKING: "awaiting",
    Phase.RUNNING: "under_way",
}


def maintenance_rows(
    found: Sequence[MaintenanceRecord], expected: Expected, formatter: EventFormatter
) -> tuple[MaintenanceRow, ...]:
    """Return what is under way or lies ahead, what begins first first."""
    origins = {source.name: source.origin for source in expected.sources}
    return tuple(
        _maintenance_row(one, origins.get(one.source), formatter)
        for one in found[:SHOWN_MAINTENANCE]
        if one.phase in _PHASE_STATES
    )


def _maintenance_row(one: MaintenanceRecord, origin: SourceOrigin | None, formatter: EventFormatter) -> MaintenanceRow:
    planned, localizer = one.planned, formatter.localizer
    about = (maintenance_reason(planned, localizer), without_marks(impact_words(planned, localizer)))
    return MaintenanceRow(
        id=planned.id,
        state=_PHASE_STATES[one.phase],
        what=maintenance_label(planned, localizer),
        instance=one_line(planned.instance_name or planned.instance_id or ""),
        source=one_line(one.source),
        begins_at=planned.begins_at,
        ends_at=planned.ends_at,
        latest_at=planned.latest_at,
        about=tuple(filter(None, about)),
        console_url=formatter.links.instance_console(origin, planned) if origin else "",
    )


# ---- what was kept quiet ----


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietMute:
    """A mute in force."""

    id: str
    covers: str
    until: datetime
    by: str
    """Who made it; empty for the configuration."""
    reason: str
    held_back: int
    except_failures: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietRule:
    """Messages that a rule holds."""

    kind: str
    """`route`, `group`, `budget`, `flapping` or another one."""
    name: str
    count: int
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietStorm:
    """A storm, of which one message told."""

    source: str
    since: datetime
    until: datetime
    total: int
    lasts: bool
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """What people were not told, or not of each thing by itself."""

    mutes: tuple[QuietMute, ...]
    more_mutes: int
    rules: tuple[QuietRule, ...]
    storms: tuple[QuietStorm, ...]


def quiet_of(
    mutes: Sequence[Mute], held_back: Mapping[str, int], held: Sequence[HeldMessages], storms: Sequence[Storm]
) -> Quiet:
    """Return what was kept quiet."""
    return Quiet(
        mutes=tuple(
            QuietMute(
                id=mute.id,
                covers=one_line(mute.shown),
                until=mute.until,
                by="" if mute.configured else one_line(mute.name),
                reason=one_line(mute.reason or ""),
                held_back=held_back.get(mute.id, 0),
                except_failures=mute.except_failures,
            )
            for mute in mutes[:SHOWN_QUIET]
        ),
        more_mutes=max(len(mutes) - SHOWN_QUIET, 0),
        rules=tuple(_quiet_rule(one) for one in held[:SHOWN_QUIET]),
        storms=tuple(
            QuietStorm(
                source=one_line(storm.source),
                since=storm.started_at,
                until=storm.updated_at,
                total=storm.total,
                lasts=storm.ended_at is None,
                url=list_path("/tasks", storm=storm.id),
            )
            for storm in storms[:SHOWN_QUIET]
        ),
    )


def _quiet_rule(one: HeldMessages) -> QuietRule:
    kind, _, name = one.rule.partition(":")
    return QuietRule(kind=kind, name=one_line(name.partition(":")[0]), count=one.number, until=one.until)


# ---- the page ----


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedTask:
    """A task that completed lately."""

    names: FailureNames
    at: datetime
    took: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class NowView:
    """What the page shows."""

    verdict: Verdict
    needs: Needs
    running: tuple[RunningRow, ...]
    seen: tuple[tuple[str, datetime], ...]
    """The blind sources of running tasks, and when each was last seen."""
    health: tuple[HealthLine, ...]
    maintenance: tuple[MaintenanceRow, ...]
    more_maintenance: int
    quiet: Quiet
    chart: PeriodChart
    resolved: ResolvedFailure | None
    """The failure that was over last. Only read where nobody is needed; likewise what completed."""
    completed: tuple[CompletedTask, ...]
    kiosk: bool


def read_now(request: PageRequest, q: WebReads) -> Page:
    """Return the page."""
    rules, localizer, now = request.rules, request.localizer, q.now()
    minute = now.replace(second=0, microsecond=0)
    formatter = EventFormatter(localizer=localizer, causes=rules.causes, links=rules.links)
    facts = q.health_facts()
    report = judge(rules.expected, facts)
    needs = read_needs(q, q.count_unacknowledged(), report, expected=rules.expected, formatter=formatter)
    period = Period(since=minute - DAY, until=minute, now=minute, by=RowsBy.SOURCE, zone=localizer.timezone)
    drawn = read_period(q.timeline, q.now_page, period)
    running = q.now_page.running()
    verdict = verdict_of(needs, report, running=q.now_page.count_running(), failed_at=_last_failure(q))
    blind = {one.about for one in needs.findings if one.is_blind}
    rows = running_rows(running, blind, minute, localizer)[:SHOWN_RUNNING]
    concerned = {one.task.source for one in running} & blind
    calm = not needs.total
    planned = [one for one in q.maintenances(now) if not one.over]
    resolved = q.now_page.last_resolved() if calm else None
    view = NowView(
        verdict=verdict,
        needs=needs,
        running=rows,
        seen=tuple(
            (one_line(source.name), source.last_poll_at)
            for source in report.sources
            if source.name in concerned and source.last_poll_at is not None
        ),
        health=health_lines(report, {channel.name: channel.health.good_at for channel in facts.channels}),
        maintenance=maintenance_rows(planned, rules.expected, formatter),
        more_maintenance=max(len(planned) - SHOWN_MAINTENANCE, 0),
        quiet=quiet_of(
            q.mutes(now), q.now_page.count_held_back(now), q.now_page.held(), q.now_page.storms(now - STORMS_FOR, now)
        ),
        chart=chart_of(drawn, period, report, regions_of(rules.expected)),
        resolved=resolved_failure(resolved, formatter) if resolved else None,
        completed=_completed(q, localizer) if calm else (),
        kiosk="kiosk" in request.query,
    )
    return Page(template="now.html", view=view, poll=5)


def _last_failure(q: WebReads) -> datetime | None:
    found = q.tasks(TaskFilter(status=TaskStatus.FAILED, limit=1))
    return found[0].changed_at if found else None


def _completed(q: WebReads, localizer: Localizer) -> tuple[CompletedTask, ...]:
    found = q.tasks(TaskFilter(status=TaskStatus.COMPLETED, limit=SHOWN_COMPLETED))
    return tuple(
        CompletedTask(
            names=FailureNames(
                operation=localizer.task_label(one.task.name),
                instance=one_line(one.task.instance_name or one.task.instance_id or ""),
                url=task_path(one.task.source, one.task.job_id),
            ),
            at=one.task.ended_at or one.changed_at,
            took=(one.task.ended_at or one.changed_at) - (one.task.created_at or one.first_seen_at),
        )
        for one in found
    )


# ---- what people do ----


def acknowledge(request: PageRequest, tx: WebTx) -> Redirect:
    """Take care of a failure, or of all failures of a storm."""
    _ = translations(request.language).gettext
    if storm := request.field("storm"):
        taken = people.acknowledge_storm(tx, storm, request.viewer.person)
        if taken is None:
            return Redirect(to="/", notice=_("This storm is no longer recorded."))
        return Redirect(to="/", notice=_taken(request, taken.acknowledged, _("the failures of the storm")))
    routed = tx.queries.event(request.field("event"))
    if routed is None or not routed.event.type.traits.needs_care:
        return Redirect(to="/", notice=_("This failure is no longer recorded."))
    answer = people.acknowledge_if_latest(tx, routed.event, request.viewer.person)
    title = _title(routed.event, request)
    if isinstance(answer, Event):
        return Redirect(to="/", notice=_("%(what)s has changed since; nothing was acknowledged.") % {"what": title})
    return Redirect(to="/", notice=_taken(request, answer, title))


def _taken(request: PageRequest, answer: Acknowledgement, title: str) -> str:
    _ = translations(request.language).gettext
    if answer.by == request.viewer.person.id:
        return _("You take care of %(what)s. Everybody who was told sees that.") % {"what": title}
    values = {"who": one_line(answer.name), "what": title}
    return _("%(who)s takes care of %(what)s already.") % values


def _title(event: Event, request: PageRequest) -> str:
    title = names_of(event, request.formatter).title
    return translations(request.language).pgettext("between two facts", " · ").join(title)


def try_channel(request: PageRequest, tx: WebTx) -> Redirect:
    """Send what waits for a parked channel."""
    words = translations(request.language)
    channel = request.field("channel")
    if channel not in tx.channels.parked():
        notice = words.gettext("The channel %(name)s is not parked any more.") % {"name": one_line(channel)}
        return Redirect(to="/", notice=notice)
    count = people.release_parked(tx, channel, request.viewer.person)
    notice = words.ngettext(
        "%(count)s message of %(name)s is being sent.", "%(count)s messages of %(name)s are being sent.", count
    ) % {"count": count, "name": one_line(channel)}
    return Redirect(to="/", notice=notice)


routes = (
    PageRoute(path="/", read=read_now, tab="now"),
    ActionRoute(path="/now/acknowledge", act=acknowledge, tab="now"),
    ActionRoute(path="/now/try", act=try_channel, tab="now"),
)
