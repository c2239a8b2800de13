"""Reading the store for a look-up, also beside a running service, with as few imports as that takes."""

from collections.abc import Callable
from typing import TypeVar

import typer

from notifier.cli import threads
from notifier.cli.configured import load_config
from notifier.cli.output import print_note
from notifier.config.outline import Outline
from notifier.lookup import Lookup
from notifier.wiring import lookups

T = TypeVar("T")


def read_store(ctx: typer.Context, outline: Outline, query: Callable[[Lookup], T]) -> T:
    """Return the result of a query."""
    note_left_behind(outline)
    try:
        return _interruptible(lambda: lookups.read_database(outline.database.url, query))
    except lookups.OtherSchema:
        from notifier.cli.stores import read_whole_store  # noqa: PLC0415 - what upgrades a schema takes long to import

        return read_whole_store(load_config(ctx), query)


def read_writable_store(ctx: typer.Context, outline: Outline, query: Callable[[Lookup], T]) -> T:
    """Return the result of a query, where the store takes changes. Raises StoreError where it does not."""
    note_left_behind(outline)
    try:
        return _interruptible(lambda: lookups.read_writable_database(outline.database.url, query))
    except lookups.OtherSchema:
        from notifier.cli.stores import read_whole_writable_store  # noqa: PLC0415 - as above

        return read_whole_writable_store(load_config(ctx), query)


def note_left_behind(outline: Outline) -> None:
    """Warn on stderr when the database is not where the configuration says."""
    if outline.database.left_behind_note:
        print_note(f"warning: {outline.database.left_behind_note}")


def _interruptible(work: Callable[[], T]) -> T:
    """Run work in a thread: Ctrl-C would else wait for as long as the database does."""
    return threads.start(work).result()
