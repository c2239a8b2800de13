"""`notifier events`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from notifier import lookup
from notifier.cli import documents
from notifier.cli.common import (
    JsonOption,
    LimitOption,
    SinceOption,
    SourceOption,
    load_config,
    print_listing,
    read_store,
    require_source,
    time_before_now,
)
from notifier.cli.views import View
from notifier.core.events import EventType
from notifier.ports import EventFilter


def events(
    ctx: typer.Context,
    *,
    kind: Annotated[EventType | None, typer.Option("--type", help="Show this type only.")] = None,
    since: SinceOption = None,
    source: SourceOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List recorded events, newest first. Exits with 1 when there are none.

    --json: {"events": [{event_id, type, source, region, project_id, occurred_at, observed_at, late, previous_status,
    detail, task, routes, channels}], "sources": […]}.
    """
    config = load_config(ctx)
    wanted = EventFilter(type=kind, since=time_before_now(since), source=source, limit=limit + 1)
    found = read_store(config, partial(lookup.list_events, wanted=wanted))
    if not found.rows:  # a source that is no longer configured may still have events
        require_source(config, source)
    print_listing(
        config, found, limit, name="events", document=documents.routed_event, table=View.events, as_json=as_json
    )
