"""`notifier move`: move waiting deliveries to another channel."""

from __future__ import annotations

from typing import Annotated

import typer

from notifier import people
from notifier.cli.common import JsonOption, current_user, load_config, require_channel, write_store
from notifier.cli.output import cell, counted, print_json, show


def move(
    ctx: typer.Context,
    *,
    old: Annotated[str, typer.Argument(metavar="OLD", help="Channel that the deliveries wait on.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Configured channel to deliver them.")],
    as_json: JsonOption = False,
) -> None:
    """Move waiting deliveries from a channel that was renamed or removed to another one. Your name is recorded.

    Events that the other channel already has are not sent twice. Exits with 1 when nothing waits.
    --json: {"moved": N}.
    """
    config = load_config(ctx)
    require_channel(config, new)
    if old == new:
        raise typer.BadParameter("OLD and NEW are the same channel")
    by, moved = current_user(), 0
    while count := write_store(config, lambda tx: people.move(tx, old, new, by)):
        moved += count
    if as_json:
        print_json({"moved": moved})
    elif moved:
        show(cell(f"✓ {counted(moved, 'delivery')} moved from {old} to {new}", "green"))
    else:
        show(cell(f"Nothing waits on {old}; `notifier deliveries --channel {old}` lists its deliveries."))
    raise typer.Exit(0 if moved else 1)
