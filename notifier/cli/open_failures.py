"""`notifier open` and `resolve`: what failed and is not over."""

from collections.abc import Sequence
from typing import Annotated

import typer

from notifier.cli.common import (
    JsonOption,
    MatchOption,
    SourceOption,
    current_user,
    read_match,
    require_source,
    view_for,
)
from notifier.cli.configured import load_outline
from notifier.cli.lookups import read_store
from notifier.cli.output import TableRow, TextTable, cell, print_json, short, show
from notifier.cli.views import View
from notifier.core import failures
from notifier.core.commands import MAX_RESOLUTION_REASON
from notifier.core.errors import NotifierError
from notifier.core.failures import FailureState, OpenFailure
from notifier.wording import documents
from notifier.wording.events import EventFormatter
from notifier.wording.marks import without_marks
from notifier.wording.open_failures import FailureFormatter
from notifier.wording.sanitize import one_line
from notifier.wording.states import state_of


def open_failures(
    ctx: typer.Context,
    *,
    source: SourceOption = None,
    instance: Annotated[
        str | None, typer.Option("--instance", metavar="TEXT", help="Instance id, or part of the instance name.")
    ] = None,
    match: MatchOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what failed and is not over, the worst first, then the oldest; below that, what somebody takes care of.

    A failure is open until somebody acknowledges it (`notifier ack`), the same operation succeeds on its instance, or
    somebody resolves it (`notifier resolve`). Exits with 1 when nothing is open, acknowledged or not.
    --json: {"open": [{id, state, source, environment, severity, type, job_id, name, instance, maintenance, fail_reason,
    error_code, since, failures, told, acknowledged, next, history: [{at, kind, name, number, event_id, channels,
    together, reason}]}]}.
    """
    fitting = read_match(match, ())
    config = load_outline(ctx)
    found = failures.chosen(
        read_store(ctx, config, lambda q: q.open_failures()),
        source=source,
        instance=instance,
        match=fitting,
        catalogue=config.cause_catalogue if fitting else None,
    )
    if not found:
        require_source(config, source)
    view = view_for(config)
    if as_json:
        print_json({"open": [_document(view, one) for one in found]})
    else:
        show(failures_table(view, found) if found else view.localizer.text("open_list.none"))
    raise typer.Exit(0 if found else 1)


def _document(view: View, one: OpenFailure) -> documents.JsonDocument:
    task = one.latest.task
    return documents.open_failure(one, view.explained(task).code if task else None)


def failures_table(view: View, found: Sequence[OpenFailure]) -> TextTable:
    """Return a table of failures: those that nobody takes care of come first."""
    ordered = sorted(found, key=lambda one: one.state is FailureState.ACKNOWLEDGED)
    words = FailureFormatter(EventFormatter(view.localizer), view.now)
    several = len({one.latest.source for one in found}) > 1
    titles = ("state", "task", "instance", "open", *(("source",) if several else ()), "job")
    return view.table(titles, (_row(view, words, one, several=several) for one in ordered))


def _row(view: View, words: FailureFormatter, one: OpenFailure, *, several: bool) -> TableRow:
    message = words.message(one)
    taken = one.state is FailureState.ACKNOWLEDGED
    state = view.word("acknowledged") if taken else message.verb
    cells = (
        cell(state, "dim" if taken else state_of(one.latest).tone.terminal),
        cell(message.operation),
        cell(message.subject),
        cell(without_marks(words.since(one))),
        *((cell(one.latest.source),) if several else ()),
        short(one.shown_id, view.width),
    )
    care = " · ".join(without_marks(part) for part in (words.care(one), words.following(one)) if part)
    why = without_marks(words.cause(one))
    return TableRow(cells, [*([cell(why, "red")] if why else []), cell(care, "dim")])


def resolve(
    ctx: typer.Context,
    *,
    wanted: Annotated[str, typer.Argument(metavar="JOB_OR_INSTANCE", help="Job id or its beginning, or an instance.")],
    reason: Annotated[str | None, typer.Option("--reason", help="Reason, shown to others.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Close open failures by hand, acknowledged or not: that of a job or a missing run, or all of an instance.

    A success of the same operation does so by itself. Exits with 1 when nothing that is open has that name.
    --json: {"resolved": […]}; see `notifier open --help` for the keys.
    """
    from notifier import people  # noqa: PLC0415 - `notifier open` does without what writes
    from notifier.cli.configured import load_config  # noqa: PLC0415 - as above
    from notifier.cli.stores import write_store  # noqa: PLC0415 - as above

    config = load_config(ctx)
    view = view_for(config)
    why = one_line(reason or "", MAX_RESOLUTION_REASON) or None
    user = current_user()
    result = write_store(config, lambda tx: people.resolve(tx, wanted, user, why))
    text = view.localizer.text
    if result.candidates:
        jobs = ", ".join(sorted({one.shown_id for one in result.candidates})[:10])
        raise NotifierError(f"{wanted} is the beginning of several jobs with open failures; give one of them: {jobs}")
    if as_json:
        shown = [_document(view, one) for one in result.failures]
        print_json({"resolved": shown})
    elif not result.failures:
        show(cell(text("open_list.unresolved", wanted=wanted)))
    else:
        words = FailureFormatter(EventFormatter(view.localizer), view.now)
        for one in result.failures:
            show(cell(text("open_list.resolved", what=without_marks(words.message(one).sentence)), "green"))
    raise typer.Exit(0 if result.failures else 1)
