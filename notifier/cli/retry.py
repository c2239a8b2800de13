"""`notifier retry`: send dead or parked deliveries again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from notifier import people
from notifier.cli.common import JsonOption, current_user, load_config, require_channel, write_store
from notifier.cli.deliveries import (
    AllDeadOption,
    IdsArgument,
    find_deliveries,
    require_one_selection,
    short_ids,
    short_ids_and_states,
)
from notifier.cli.output import cell, counted, print_json, show
from notifier.core.delivery import DeliveryState
from notifier.ports import DeliveryFilter
from notifier.wiring.stores import Queries, Transaction


def retry(
    ctx: typer.Context,
    *,
    ids: IdsArgument = None,
    all_dead: AllDeadOption = False,
    channel: Annotated[
        str | None,
        typer.Option(
            "--channel",
            metavar="NAME",
            help="Select the parked deliveries of a channel; with --all-dead, its dead deliveries.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send dead or parked deliveries again, with the same id and body. A running service sends them.

    Exits with 1 when there is nothing to send.
    --json: {"released": N}.
    """
    require_one_selection(ids, all_dead=all_dead, channel=channel)
    config = load_config(ctx)
    require_channel(config, channel)
    released, why = write_store(config, partial(_retry, ids=tuple(ids or ()), all_dead=all_dead, channel=channel))
    if as_json:
        print_json({"released": released})
    elif released:
        show(f"{counted(released, 'delivery')} will be sent again; `notifier run` sends them, or `notifier poll` now.")
    else:
        show(cell(f"Nothing to send again: {why}."))
    raise typer.Exit(0 if released else 1)


def _retry(tx: Transaction, ids: Sequence[str], channel: str | None, *, all_dead: bool) -> tuple[int, str]:
    """Return how many deliveries will be sent again, and the reason if none."""
    by = current_user()
    if ids:
        found = find_deliveries(tx.queries, ids)
        count = people.retry(tx, [delivery.id for delivery in found], short_ids(found), by)
        return count, f"{short_ids_and_states(found)}; only dead and parked deliveries can be"
    if not all_dead:
        count = people.release_parked(tx, channel or "", by)
        return count, f"nothing is parked on {channel}{_hint_at_dead(tx.queries, channel)}"
    where = f" on {channel}" if channel else ""
    return people.retry_dead(tx, channel, by), f"no delivery is dead{where}{_hint_at_parked(tx.queries, channel)}"


def _hint_at_dead(q: Queries, channel: str | None) -> str:
    dead = q.deliveries(DeliveryFilter(state=DeliveryState.DEAD, channel=channel, limit=1))
    return f"; for its dead deliveries: `notifier retry --all-dead --channel {channel}`" if dead else ""


def _hint_at_parked(q: Queries, channel: str | None) -> str:
    parked = q.deliveries(DeliveryFilter(state=DeliveryState.PARKED, channel=channel, limit=1))
    return "".join(f"; for parked deliveries: `notifier retry --channel {delivery.channel}`" for delivery in parked)
