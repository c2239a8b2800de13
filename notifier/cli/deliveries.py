"""`notifier deliveries`."""

from functools import partial
from typing import Annotated

import typer

from notifier import lookup
from notifier.cli.common import JsonOption, LimitOption, print_listing, require_channel
from notifier.cli.configured import load_outline
from notifier.cli.lookups import read_store
from notifier.cli.views import View
from notifier.core.delivery import DeliveryState
from notifier.ports import DeliveryFilter
from notifier.wording import documents


def deliveries(
    ctx: typer.Context,
    *,
    state: Annotated[DeliveryState | None, typer.Option("--state", help="Show this state only.")] = None,
    channel: Annotated[str | None, typer.Option("--channel", metavar="NAME", help="Show this channel only.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List deliveries, newest first. Exits with 1 when there are none.

    --json: {"deliveries": [{delivery_id, channel, subject, state, attempt, reason, rule, reply, doubtful, ref, digest,
    created_at, available_at, settled_at, events, recipients}], "sources": […]}.
    """
    config = load_outline(ctx)
    wanted = DeliveryFilter(state=state, channel=channel, limit=limit + 1)
    found = read_store(ctx, config, partial(lookup.list_deliveries, wanted=wanted))
    if not found.rows:  # a channel that is no longer configured may still have deliveries
        require_channel(config, channel)
    print_listing(
        config, found, limit, name="deliveries", document=documents.delivery, table=View.deliveries, as_json=as_json
    )
