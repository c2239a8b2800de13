"""`notifier deliveries`, and how other commands select deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from notifier import lookup
from notifier.cli import documents
from notifier.cli.common import JsonOption, LimitOption, load_config, print_listing, read_store, require_channel
from notifier.cli.output import SHORT_ID_LENGTH
from notifier.cli.views import View
from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.errors import NotifierError
from notifier.ports import DeliveryFilter
from notifier.wiring.stores import Queries

IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Delivery ids, or their beginnings.")]
AllDeadOption = Annotated[bool, typer.Option("--all-dead", help="Select every dead delivery.")]


def deliveries(
    ctx: typer.Context,
    *,
    state: Annotated[DeliveryState | None, typer.Option("--state", help="Show this state only.")] = None,
    channel: Annotated[str | None, typer.Option("--channel", metavar="NAME", help="Show this channel only.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List deliveries, newest first. Exits with 1 when there are none.

    --json: {"deliveries": [{delivery_id, channel, subject, state, attempt, reason, reply, doubtful, ref, digest,
    created_at, available_at, settled_at, events, recipients}], "sources": […]}.
    """
    config = load_config(ctx)
    wanted = DeliveryFilter(state=state, channel=channel, limit=limit + 1)
    found = read_store(config, partial(lookup.list_deliveries, wanted=wanted))
    if not found.rows:  # a channel that is no longer configured may still have deliveries
        require_channel(config, channel)
    print_listing(
        config, found, limit, name="deliveries", document=documents.delivery, table=View.deliveries, as_json=as_json
    )


def require_one_selection(ids: Sequence[str] | None, *, all_dead: bool, channel: str | None) -> None:
    """Raise BadParameter unless deliveries are selected by id, or else by --all-dead or --channel."""
    if bool(ids) == bool(all_dead or channel):
        raise typer.BadParameter("give delivery ids, or --all-dead, or --channel NAME")


def find_deliveries(q: Queries, beginnings: Sequence[str]) -> Sequence[Delivery]:
    """Return the delivery that each id, or beginning of one, stands for. Raises NotifierError."""
    return [_find_delivery(q, beginning) for beginning in beginnings]


def _find_delivery(q: Queries, beginning: str) -> Delivery:
    found = q.deliveries(DeliveryFilter(ids=[beginning], limit=lookup.MAX_CANDIDATES))
    if not found:
        raise NotifierError(f"no delivery has an id that begins with {beginning!r}; `notifier deliveries` lists them")
    if len(found) > 1:
        raise NotifierError(f"{beginning!r} fits several deliveries:\n" + "\n".join(d.id for d in found))
    return found[0]


def short_ids(found: Sequence[Delivery]) -> str:
    """Return the beginnings of the deliveries' ids."""
    return ", ".join(delivery.id[:SHORT_ID_LENGTH] for delivery in found)


def short_ids_and_states(found: Sequence[Delivery]) -> str:
    """Return the beginnings of the deliveries' ids, each with the delivery's state."""
    return ", ".join(f"{delivery.id[:SHORT_ID_LENGTH]} is {delivery.state.value}" for delivery in found)
