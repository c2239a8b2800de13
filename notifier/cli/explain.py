"""`notifier explain`: why each channel was or was not told."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from notifier import lookup
from notifier.cli import documents
from notifier.cli.common import JsonOption, SourceOption, load_config, read_store, view_for
from notifier.cli.output import print_json, show
from notifier.cli.tasks import require_task
from notifier.cli.views import View
from notifier.config import Config
from notifier.lookup import Explanation
from notifier.ports import Queries


def explain(
    ctx: typer.Context,
    *,
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="A job id or its beginning.")],
    source: SourceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say why each channel was or was not told of each change of a task: events, routes, deliveries, attempts.

    --json: {"task": {…}, "events_pruned", "events": [{event, routes_now: [{route, matched, channels, failed_matcher,
    actual, skipped_by}], channels: [{channel, planned, delivery, attempts: [{number, started_at, finished_at, outcome,
    reason, reply, doubt}]}]}]}.
    """
    config = load_config(ctx)
    shown = view_for(config)
    found = read_store(config, partial(_explain, job_id=job_id, source=source, config=config, shown=shown))
    if as_json:
        print_json(documents.explanation(found))
    else:
        show(shown.explanation(found))


def _explain(q: Queries, job_id: str, source: str | None, config: Config, shown: View) -> Explanation:
    stored = require_task(q, job_id, source, shown)
    return lookup.explain_task(q, stored, config.routes, [settings.name for settings in config.channels])
