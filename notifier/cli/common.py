"""What several commands share: options, the configuration, access to the store, and the printing of listings."""

import getpass
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, NoReturn, Protocol, TypeVar
from zoneinfo import ZoneInfo

import typer
from rich.text import Text

from notifier.cli.output import TextTable, cell, print_json, show, stdout
from notifier.cli.views import View
from notifier.core.causes import CauseCatalogue, Explanation
from notifier.core.durations import parse_duration
from notifier.core.errors import ConfigurationError
from notifier.core.listings import check_listing
from notifier.core.matchers import Matcher, parse_matchers
from notifier.core.people import Person
from notifier.lookup import StoredListing
from notifier.wording import documents
from notifier.wording.localizer import Localizer

T = TypeVar("T")

MAX_DURATION = timedelta(days=36_525)
"""Longest time that people may type, a century: the calendar has a time that is this long ago."""
COMPUTED_YEARS = range(1970, 9000)
"""Years of the times that people may type: in others the days around a time may not exist."""


def duration(text: str) -> timedelta:
    """Parse a duration of the command line, longer than nothing and at most MAX_DURATION."""
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not found:
        raise typer.BadParameter(f"{text!r} is no time at all; write for example 30m, 24h or 7d")
    if found > MAX_DURATION:
        raise typer.BadParameter(f"{text!r} is too long a time; write for example 30m, 24h or 7d")
    return found


class Readers(Protocol):
    """What a configuration says about those who read."""

    @property
    def language(self) -> Literal["en", "zh"]:
        """Language of texts."""

    @property
    def timezone(self) -> str:
        """Time zone of times."""

    @property
    def cause_catalogue(self) -> CauseCatalogue:
        """Causes that explain the reasons of failed tasks."""


class Names(Protocol):
    """The names that a configuration gives."""

    @property
    def source_names(self) -> Sequence[str]:
        """Names of the sources."""

    @property
    def channel_names(self) -> Sequence[str]:
        """Names of the channels."""


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Maximum number of rows.")]
SourceOption = Annotated[str | None, typer.Option("--source", metavar="NAME", help="Restrict to this source.")]
SinceOption = Annotated[
    timedelta | None,
    typer.Option("--since", parser=duration, metavar="TIME", help="Show rows newer than this age (30m, 24h, 7d)."),
]


MatchOption = Annotated[
    str | None,
    typer.Option("--match", metavar="MATCHERS", help='Show what fits: "prod-* operation=backup", "environment=prod".'),
]


def read_match(
    text: str | None, closed: Sequence[str], *, change: Callable[[str], str] | None = None
) -> Sequence[Matcher]:
    """Return the matchers of `--match`, once their text is changed; see `listings.check_listing`.

    Raises typer.BadParameter.
    """
    try:
        match = parse_matchers(change(text) if change else text) if text is not None else ()
        check_listing(match, closed)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--match") from error
    return match


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


def moment_of(text: str | None, timezone: str) -> datetime:
    """Return the time that somebody typed for --at, in a time zone where it names none, and now where nobody did."""
    if text is None:
        return now()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.year not in COMPUTED_YEARS:
        raise ConfigurationError(f'{text!r} is not a time; write it as --at "2026-12-24 18:00"')
    return found if found.tzinfo else found.replace(tzinfo=ZoneInfo(timezone))


def time_before_now(span: timedelta | None) -> datetime | None:
    """Return the time that is this long ago."""
    return None if span is None else now() - span


def view_for(config: Readers) -> View:
    """Return the view for the configured language and time zone, and for this terminal."""

    def explain(reason: str | None) -> Explanation:  # the causes are read only where a reason is shown
        return config.cause_catalogue.explain(reason)

    return View(
        localizer=localizer(config),
        now=now(),
        width=stdout().width,
        explain=explain,
    )


def localizer(config: Readers) -> Localizer:
    """Return the localizer of the configured language and time zone."""
    return Localizer(language=config.language, timezone=ZoneInfo(config.timezone))


def print_listing(
    config: Readers,
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


def require_channel(config: Names, name: str | None) -> None:
    """Raise ConfigurationError when no channel has this name. None is accepted."""
    _require("channel", name, config.channel_names)


def require_source(config: Names, name: str | None) -> None:
    """Raise ConfigurationError when no source has this name. None is accepted."""
    _require("source", name, config.source_names)


def _require(kind: str, name: str | None, names: Sequence[str]) -> None:
    if name is not None and name not in names:
        raise ConfigurationError(f"there is no {kind} {name!r}; configured: {', '.join(names)}")
