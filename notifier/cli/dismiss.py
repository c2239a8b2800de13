"""`notifier dismiss`: accept that deliveries will not arrive."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from notifier import people
from notifier.cli.common import JsonOption, current_user, load_config, write_store
from notifier.cli.deliveries import (
    AllDeadOption,
    IdsArgument,
    find_deliveries,
    require_one_selection,
    short_ids,
    short_ids_and_states,
)
from notifier.cli.output import cell, counted, print_json, show
from notifier.core.health_facts import Expected
from notifier.wiring.stores import Transaction


def dismiss(
    ctx: typer.Context,
    *,
    ids: IdsArgument = None,
    all_dead: AllDeadOption = False,
    channel: Annotated[
        str | None,
        typer.Option(
            "--channel",
            metavar="NAME",
            help="Select the waiting deliveries of a channel that is parked or no longer configured; with --all-dead,"
            " its dead deliveries.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Accept that deliveries will not arrive: `notifier health` no longer counts them. Your name is recorded.

    They stay on record until retention deletes them, and `notifier retry` can still send them.
    Exits with 1 when there is nothing to dismiss.
    --json: {"dismissed": N}.
    """
    require_one_selection(ids, all_dead=all_dead, channel=channel)
    config = load_config(ctx)
    act = partial(_dismiss, ids=tuple(ids or ()), all_dead=all_dead, channel=channel, expected=config.expected)
    dismissed, why = write_store(config, act)
    if as_json:
        print_json({"dismissed": dismissed})
    elif dismissed:
        show(cell(f"✓ {counted(dismissed, 'delivery')} dismissed; `notifier audit log` shows by whom", "green"))
    else:
        show(cell(f"Nothing to dismiss: {why}."))
    raise typer.Exit(0 if dismissed else 1)


def _dismiss(
    tx: Transaction, ids: Sequence[str], channel: str | None, *, all_dead: bool, expected: Expected
) -> tuple[int, str]:
    """Return how many deliveries were dismissed, and the reason if none."""
    by = current_user()
    if ids:
        found = find_deliveries(tx.queries, ids)
        count = people.dismiss(tx, [delivery.id for delivery in found], short_ids(found), by)
        return count, f"{short_ids_and_states(found)}; only dead, parked and pending deliveries can be, and each once"
    if all_dead:
        where = f" on {channel}" if channel else ""
        return people.dismiss_dead(tx, channel, by), f"no delivery is dead{where}"
    return people.dismiss_waiting(tx, channel or "", expected, by), f"nothing waits on {channel}"
