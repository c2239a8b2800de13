"""`notifier subscriptions`."""

import typer

from notifier.cli.common import JsonOption, view_for
from notifier.cli.configured import load_outline
from notifier.cli.lookups import read_store
from notifier.cli.output import TableRow, cell, print_json, show
from notifier.cli.views import View
from notifier.core.identity import DirectChannel
from notifier.core.people import EventSubscription
from notifier.core.subscriptions import is_readable
from notifier.wording import documents


def subscriptions(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """List subscriptions to events, the oldest first. Exits with 1 when there are none.

    One that this version cannot read, because another one made it, is marked: nothing is sent for it.
    People make them in the chat: /gaussdb subscribe prod-* failed. To end one: notifier unsubscribe ID.
    --json: {"subscriptions": [{id, receiver, channel, matchers, readable, by, name, created_at}]}.
    """
    config = load_outline(ctx)
    found = read_store(ctx, config, lambda q: q.event_subscriptions())
    if as_json:
        print_json({"subscriptions": [documents.subscription(one) for one in found]})
    else:
        view = view_for(config)
        columns = ("id", "receiver", "about", "by", "since")
        empty = view.localizer.text("subscriptions.none")
        show(view.table(columns, (_row(view, one) for one in found)) if found else empty)
    raise typer.Exit(0 if found else 1)


def _row(view: View, found: EventSubscription) -> TableRow:
    direct = DirectChannel.parse(found.channel)
    receiver = direct.id if direct else found.channel
    values = (found.id, receiver, found.matchers, found.name, view.when(found.created_at))
    unreadable = () if is_readable(found) else [cell(view.localizer.text("subscriptions.unreadable"), "yellow")]
    return TableRow([cell(value) for value in values], unreadable)
