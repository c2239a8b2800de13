"""What commands share: the configuration, the store to ask, the view to show, and options that repeat."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

import typer
from rich.text import Text

from notifier import config as configuration
from notifier.cli import loop
from notifier.cli.output import cell, print_note, stdout
from notifier.cli.views import View
from notifier.config import Config
from notifier.core.durations import parse_duration
from notifier.core.errors import ConfigurationError
from notifier.core.people import Person
from notifier.lookup import StoredListing
from notifier.ports import Queries, Transaction
from notifier.wiring.app import open_existing_store
from notifier.wording.formatter import Localizer

T = TypeVar("T")

CONFIG_READ_TIMEOUT = 30.0
"""Seconds for the configuration and the files that it names."""

JsonOption = Annotated[bool, typer.Option("--json", help="Write one JSON document to stdout.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Rows at most.")]
SourceOption = Annotated[str | None, typer.Option("--source", metavar="NAME", help="Only this source.")]


def duration(text: str) -> timedelta:
    """Read a length of time from the command line."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


SinceOption = Annotated[
    timedelta | None,
    typer.Option("--since", parser=duration, metavar="TIME", help="Only the last 30m, 24h, 7d."),
]


def load_config(ctx: typer.Context) -> Config:
    """Load the configuration that the command line names.

    Raises ConfigurationError also when it cannot be read in time: it may be a pipe, or lie on a mount that hangs.
    """
    path = configuration.find(ctx.obj.config)
    try:
        return loop.in_thread_within(CONFIG_READ_TIMEOUT, lambda: configuration.load(path))
    except TimeoutError:
        raise ConfigurationError(
            f"cannot read {path} within {CONFIG_READ_TIMEOUT:g} s: it, or a file that it names, is a pipe without a"
            " writer, or lies on a mount that does not answer"
        ) from None


def current_user() -> Person:
    """Return who types: the name of the user that this process runs as."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may run as somebody whom nobody has named
        name = f"uid {os.getuid()}"
    return Person(id=f"cli:{name}", name=name)


def now() -> datetime:
    """Return the present."""
    return datetime.now(UTC)


def time_before_now(span: timedelta | None) -> datetime | None:
    """Return the time that lies so far back."""
    return None if span is None else now() - span


def view_for(config: Config) -> View:
    """Return the view for this configuration's readers and this terminal."""
    return View(localizer=localizer(config), now=now(), width=stdout().width)


def localizer(config: Config) -> Localizer:
    """Return the words of the configured language and time zone."""
    return Localizer(language=config.language, timezone=ZoneInfo(config.timezone))


def without_extra_row(found: StoredListing[T], limit: int) -> StoredListing[T]:
    """Return a listing that was asked for one row too many, without that one."""
    return replace(found, rows=found.rows[:limit])


def truncation_note(found: StoredListing[Any], limit: int) -> Sequence[Text]:
    """Return the line that says that a listing, asked for one row too many, goes on; nothing when it does not."""
    return [cell(f"The newest {limit:,}; --limit shows more.", "dim")] if len(found.rows) > limit else []


def require_channel(config: Config, name: str | None) -> None:
    """Raise ConfigurationError when there is no such channel. None names no channel."""
    _require("channel", name, [channel.name for channel in config.channels])


def require_source(config: Config, name: str | None) -> None:
    """Raise ConfigurationError when there is no such source. None names no source."""
    _require("source", name, [source.name for source in config.sources])


def _require(kind: str, name: str | None, names: Sequence[str]) -> None:
    if name is not None and name not in names:
        raise ConfigurationError(f"there is no {kind} {name!r}; configured: {', '.join(names)}")


def _warn_of_left_behind(config: Config) -> None:
    """Say on stderr when the database is not where the configuration says."""
    if config.store.removed_sources:
        print_note(f"warning: {config.store.removed_sources}")


def read_store(config: Config, question: Callable[[Queries], T]) -> T:
    """Return the answer of the store, which may be in use by a running service."""
    _warn_of_left_behind(config)

    async def answer() -> T:
        async with open_existing_store(config) as store:
            return await store.read(question)

    return loop.run(answer())


def write_store(config: Config, action: Callable[[Transaction], T]) -> T:
    """Change the store in one transaction, beside a running service."""
    _warn_of_left_behind(config)

    async def act() -> T:
        async with open_existing_store(config) as store:
            return await store.transact(action)

    return loop.run(act())
