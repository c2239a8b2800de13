"""What several commands share: options, the configuration, access to the store, and the printing of listings."""

import getpass
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NoReturn, TypeVar
from zoneinfo import ZoneInfo

import typer
from rich.text import Text

from notifier import config as configuration
from notifier.cli import documents, event_loop
from notifier.cli.output import TextTable, cell, print_json, print_note, show, stdout
from notifier.cli.views import View
from notifier.config import Config
from notifier.core.causes import Explanation
from notifier.core.durations import parse_duration
from notifier.core.errors import ConfigurationError
from notifier.core.people import Person
from notifier.lookup import StoredListing
from notifier.wiring.stores import AppStore, Queries, Transaction, open_existing_store
from notifier.wording.localizer import Localizer

T = TypeVar("T")

CONFIG_READ_TIMEOUT = 30.0
"""Maximum time to read the configuration and the files that it names, in seconds."""


def duration(text: str) -> timedelta:
    """Parse a duration of the command line."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Maximum number of rows.")]
SourceOption = Annotated[str | None, typer.Option("--source", metavar="NAME", help="Restrict to this source.")]
SinceOption = Annotated[
    timedelta | None,
    typer.Option("--since", parser=duration, metavar="TIME", help="Show rows newer than this age (30m, 24h, 7d)."),
]


def load_config(ctx: typer.Context) -> Config:
    """Load the configuration that the command line names.

    Raises ConfigurationError also when it cannot be read in time: it may be a pipe, or lie on a mount that hangs.
    """
    path = configuration.find(ctx.obj.config)
    try:
        return event_loop.in_thread_within(CONFIG_READ_TIMEOUT, lambda: configuration.load(path))
    except TimeoutError:
        raise ConfigurationError(
            f"cannot read {path} within {CONFIG_READ_TIMEOUT:g} s: it, or a file that it names, is a pipe without a"
            " writer, or lies on a mount that does not answer"
        ) from None


def current_user() -> Person:
    """Return the user that this process runs as."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # the user id of a container may have no name
        name = f"uid {os.getuid()}"
    return Person(id=f"cli:{name}", name=name)


def now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


def time_before_now(span: timedelta | None) -> datetime | None:
    """Return the time that is this long ago."""
    return None if span is None else now() - span


def view_for(config: Config) -> View:
    """Return the view for the configured language and time zone, and for this terminal."""

    def explain(reason: str | None) -> Explanation:  # the causes are read only where a reason is shown
        return config.cause_catalogue.explain(reason)

    return View(
        localizer=localizer(config),
        now=now(),
        width=stdout().width,
        explain=explain,
    )


def localizer(config: Config) -> Localizer:
    """Return the localizer of the configured language and time zone."""
    return Localizer(language=config.language, timezone=ZoneInfo(config.timezone))


def print_listing(
    config: Config,
    found: StoredListing[T],
    limit: int,
    *,
    name: str,
    document: Callable[[T], documents.JsonDocument],
    table: Callable[[View, Sequence[T]], TextTable],
    as_json: bool,
) -> NoReturn:
    """Print the rows of a query that asked for one row more than `limit`, and exit: with 1 when there are none."""
    rows = found.rows[:limit]
    if as_json:
        sources = [documents.source_state(source) for source in found.sources]
        print_json({name: [document(row) for row in rows], "sources": sources})
    else:
        view = view_for(config)
        shown = table(view, rows) if rows else view.phrase(f"no_match.{name}", fresh=view.freshness(found.sources))
        show(shown, *truncation_note(view, found.rows, limit))
    raise typer.Exit(0 if rows else 1)


def truncation_note(view: View, rows: Sequence[Any], limit: int) -> Sequence[Text]:
    """Return a line that names --limit where a query that asked for one row more than `limit` found it."""
    return [cell(view.phrase("newest", n=f"{limit:,}"), "dim")] if len(rows) > limit else []


def require_channel(config: Config, name: str | None) -> None:
    """Raise ConfigurationError when no channel has this name. None is accepted."""
    _require("channel", name, [channel.name for channel in config.channels])


def require_source(config: Config, name: str | None) -> None:
    """Raise ConfigurationError when no source has this name. None is accepted."""
    _require("source", name, [source.name for source in config.sources])


def _require(kind: str, name: str | None, names: Sequence[str]) -> None:
    if name is not None and name not in names:
        raise ConfigurationError(f"there is no {kind} {name!r}; configured: {', '.join(names)}")


def read_store(config: Config, query: Callable[[Queries], T]) -> T:
    """Return the result of a query, also beside a running service."""
    return _on_store(config, lambda store: store.read(query))


def write_store(config: Config, action: Callable[[Transaction], T]) -> T:
    """Change the store in one transaction, also beside a running service."""
    return _on_store(config, lambda store: store.transact(action))


def _on_store(config: Config, work: Callable[[AppStore], Awaitable[T]]) -> T:
    """Run work on the store. Warn on stderr when the database is not where the configuration says."""
    if config.store.left_behind_note:
        print_note(f"warning: {config.store.left_behind_note}")

    async def run() -> T:
        async with open_existing_store(config) as store:
            return await work(store)

    return event_loop.run(run())
