"""`notifier explain`: why each channel was or was not told."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from notifier import lookup
from notifier.cli import documents
from notifier.cli.common import AsJson, Source, ask, configured, view
from notifier.cli.output import emit, show
from notifier.cli.tasks import one
from notifier.cli.views import View
from notifier.config import Config
from notifier.lookup import Explanation
from notifier.ports import Queries


def explain(
    ctx: typer.Context,
    *,
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="A job id or its beginning.")],
    source: Source = None,
    as_json: AsJson = False,
) -> None:
    """Say why each channel was or was not told of each change of a task: events, routes, deliveries, attempts.

    --json: {"task": {…}, "events_pruned", "events": [{event, routes_now: [{route, matched, channels, failed_matcher,
    actual, skipped_by}], channels: [{channel, planned, delivery, attempts: [{number, started_at, finished_at, outcome,
    reason, reply, doubt}]}]}]}.
    """
    config = configured(ctx)
    shown = view(config)
    found = ask(config, partial(_explain, job_id=job_id, source=source, config=config, shown=shown))
    if as_json:
        emit(documents.explanation(found))
    else:
        show(shown.explanation(found))


def _explain(q: Queries, job_id: str, source: str | None, config: Config, shown: View) -> Explanation:
    stored = one(q, job_id, source, shown)
    return lookup.explain(q, stored, config.routes, [settings.name for settings in config.channels])
