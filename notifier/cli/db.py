"""`notifier db`: migrations and retention."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from notifier.cli.common import JsonOption
from notifier.cli.configured import load_config
from notifier.cli.help_format import ReadableCommand, ReadableGroup
from notifier.cli.output import counted, print_json, print_text
from notifier.cli.progress import spinner
from notifier.wiring.stores import copy_database, database_revision, prune_database, upgrade_database

db = typer.Typer(
    help="Migrate, back up and prune the database. A SQLite database is migrated when the service starts; PostgreSQL"
    " only by `notifier db upgrade`, or with `store.migrate: true`. A running service prunes the database every hour.",
    cls=ReadableGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@db.command(cls=ReadableCommand)
def upgrade(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """Migrate the schema to the revision of this program, in one transaction.

    --json: {"changed", "revision"}.
    """
    url = load_config(ctx).store.url
    with spinner("Migrating …"):
        changed = upgrade_database(url)
    place, revision, _ = database_revision(url)
    if as_json:
        print_json({"changed": changed, "revision": revision})
    elif changed:
        print_text(f"The schema of {place} is now {revision}.")
    else:
        print_text(f"The schema of {place} is already {revision}; nothing to do.")


@db.command(cls=ReadableCommand)
def current(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """Show the database and its schema revision. Exits with 1 when this program needs another revision.

    --json: {"database", "revision", "needed", "current"}.
    """
    place, revision, needed = database_revision(load_config(ctx).store.url)
    if as_json:
        print_json({"database": place, "revision": revision, "needed": needed, "current": revision == needed})
    else:
        has = f"The schema of {place} is {revision}" if revision else f"The database {place} is empty"
        remedy = "update the program" if revision and revision > needed else "run `notifier db upgrade`"
        print_text(f"{has}." if revision == needed else f"{has}; this program needs {needed}: {remedy}.")
    raise typer.Exit(0 if revision == needed else 1)


@db.command(cls=ReadableCommand)
def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to create; an existing file is not overwritten.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Write a consistent copy of the SQLite database, also beside a running service, and check the copy.

    Only its owner can read the copy. For PostgreSQL it names the command to run instead.
    --json: {"file", "bytes"}.
    """
    url = load_config(ctx).store.url
    with spinner("Copying …"):
        copy_database(url, file)
    size = file.stat().st_size
    if as_json:
        print_json({"file": str(file), "bytes": size})
    else:
        print_text(f"Copied the database to {file} ({size:,} bytes).")


@db.command(cls=ReadableCommand)
def prune(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """Delete what is older than the configured `retention`, also beside a running service.

    --json: {"events", "deliveries", "tasks"}, each the number deleted.
    """
    config = load_config(ctx)
    with spinner("Pruning …"):
        report = asyncio.run(prune_database(config))
    if as_json:
        print_json(asdict(report))
    else:
        gone = (counted(report.events, "event"), counted(report.deliveries, "delivery"), counted(report.tasks, "task"))
        print_text("Deleted {}, {} and {}.".format(*gone))
