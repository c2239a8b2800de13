"""`notifier tasks`, `task` and `events`."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated

import typer

from notifier import lookup
from notifier.cli.common import (
    JsonOption,
    LimitOption,
    MatchOption,
    SinceOption,
    SourceOption,
    print_listing,
    read_match,
    require_source,
    time_before_now,
    view_for,
)
from notifier.cli.configured import load_outline
from notifier.cli.lookups import read_store
from notifier.cli.output import print_json, show
from notifier.cli.views import View
from notifier.core import listings
from notifier.core.errors import NotifierError
from notifier.core.events import EventType
from notifier.core.health_facts import ConfiguredSource
from notifier.core.matchers import Matcher
from notifier.core.model import TaskStatus
from notifier.core.mutes import RULE_PREFIX
from notifier.core.routing import RoutedEvent
from notifier.core.type_words import with_types
from notifier.lookup import Lookup, StoredListing
from notifier.ports import EventFilter, StoredTask, TaskFilter
from notifier.wording import documents

JobArgument = Annotated[str, typer.Argument(metavar="JOB_ID", help="Job id, or its beginning.")]


def tasks(
    ctx: typer.Context,
    *,
    status: Annotated[TaskStatus | None, typer.Option("--status", help="Show this status only.")] = None,
    since: SinceOption = None,
    instance: Annotated[
        str | None, typer.Option("--instance", metavar="TEXT", help="Instance id, or part of the instance name.")
    ] = None,
    source: SourceOption = None,
    match: MatchOption = None,
    unacked: Annotated[
        bool, typer.Option("--unacked", help="Show tasks that failed, stalled or vanished and are not acknowledged.")
    ] = False,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List tasks, the most recently changed first. Exits with 1 when there are none.

    --json: {"tasks": […], "sources": […]}; see `notifier task --help` for the keys of a task.
    """
    fitting = read_match(match, ("status",))
    config = load_outline(ctx)
    wanted = TaskFilter(
        status=_status(status, fitting),
        since=time_before_now(since),
        instance=instance,
        source=source,
        unacknowledged=unacked,
        limit=limit + 1,
    )
    found = read_store(
        ctx, config, partial(_tasks, wanted=wanted, match=fitting, sources=config.expected.sources if fitting else ())
    )
    if not found.rows:  # a source that is no longer configured may still have tasks
        require_source(config, source)
    document = partial(_document, view_for(config))
    print_listing(config, found, limit, name="tasks", document=document, table=View.tasks, as_json=as_json)


def _tasks(
    q: Lookup, wanted: TaskFilter, match: Sequence[Matcher], sources: Sequence[ConfiguredSource]
) -> StoredListing[StoredTask]:
    found = lookup.list_tasks(q, lookup.tasks_that_fit(q, wanted, match, sources) if match else wanted)
    return replace(found, rows=lookup.with_usual(q, found.rows))


def _status(given: TaskStatus | None, match: Sequence[Matcher]) -> TaskStatus | None:
    """Return the status that tasks have to have; None for any. Raises typer.BadParameter for several."""
    words = listings.words_of("status", match, TaskStatus)
    fitting = [status for status in TaskStatus if given in (None, status) and (words is None or status in words)]
    if len(fitting) == len(TaskStatus):
        return None
    if len(fitting) != 1:
        raise typer.BadParameter("a list has the tasks of one status, or of all; name one", param_hint="--match")
    return fitting[0]


def _document(view: View, stored: StoredTask) -> documents.JsonDocument:
    return documents.stored_task(stored, view.explained(stored.task), view.localizer.language)


def task(ctx: typer.Context, *, job_id: JobArgument, source: SourceOption = None, as_json: JsonOption = False) -> None:
    """Show one task and its events.

    --json: the task's source, job_id, name, status, raw_status, progress, instance {id, name, status}, created_at,
    ended_at, fail_reason, error_code, cause, means, action, retry (yes, after, no), inferred, runbook_url,
    first_seen_at, changed_at, listed, acknowledged {by, name, at}, muted (see `notifier mutes --help`); and its
    events.
    """
    config = load_outline(ctx)
    view = view_for(config)
    stored, history = read_store(ctx, config, partial(_task_and_events, job_id=job_id, source=source, view=view))
    if as_json:
        print_json(_document(view, stored) | {"events": [documents.routed_event(event) for event in history]})
    else:
        show(view.task(stored, history))


def _task_and_events(
    q: Lookup, job_id: str, source: str | None, view: View
) -> tuple[StoredTask, tuple[RoutedEvent, ...]]:
    (stored,) = lookup.with_usual(q, [require_task(q, job_id, source, view)], ended=True)
    wanted = EventFilter(source=stored.task.source, job_id=stored.task.job_id)
    return stored, lookup.list_events(q, wanted).rows


def events(
    ctx: typer.Context,
    *,
    kind: Annotated[EventType | None, typer.Option("--type", help="Show this type only.")] = None,
    since: SinceOption = None,
    source: SourceOption = None,
    muted_by: Annotated[
        str | None, typer.Option("--muted-by", metavar="ID", help="Show what this mute suppressed (`notifier mutes`).")
    ] = None,
    match: MatchOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List recorded events, newest first. Exits with 1 when there are none.

    --json: {"events": [{event_id, type, source, region, project_id, occurred_at, observed_at, late, previous_status,
    detail, task, routes, channels}], "sources": […]}.
    """
    fitting = read_match(match, ("type",), change=with_types)
    config = load_outline(ctx)
    rule = None if muted_by is None else f"{RULE_PREFIX}{muted_by}"
    wanted = EventFilter(type=kind, since=time_before_now(since), source=source, rule=rule, limit=limit + 1)
    found = read_store(
        ctx, config, partial(_events, wanted=wanted, match=fitting, sources=config.expected.sources if fitting else ())
    )
    if not found.rows:  # a source that is no longer configured may still have events
        require_source(config, source)
    print_listing(
        config, found, limit, name="events", document=documents.routed_event, table=View.events, as_json=as_json
    )


def _events(
    q: Lookup, wanted: EventFilter, match: Sequence[Matcher], sources: Sequence[ConfiguredSource]
) -> StoredListing[RoutedEvent]:
    return lookup.list_events(q, lookup.events_that_fit(q, wanted, match, sources) if match else wanted)


def require_task(q: Lookup, job_id: str, source: str | None, view: View) -> StoredTask:
    """Return the task with this job id or beginning of one. Raises NotifierError that lists the candidates."""
    found = lookup.find_task(q, job_id, source=source)
    if found.task is not None:
        return found.task
    if not found.candidates:
        raise NotifierError(f"no task has a job id that begins with {job_id!r}; `notifier tasks` lists them")
    lines = "\n".join(view.candidates(found.candidates))
    raise NotifierError(f"{job_id!r} fits several tasks; give more of the job id, or --source:\n{lines}")
