"""`notifier unsubscribe`."""

from typing import Annotated

import typer

from notifier import people
from notifier.cli.common import JsonOption, current_user, localizer
from notifier.cli.configured import load_config
from notifier.cli.output import cell, print_json, show
from notifier.cli.stores import write_store
from notifier.wording import documents


def unsubscribe(
    ctx: typer.Context,
    *,
    subscription_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of the subscription, as `notifier subscriptions` lists it.")
    ],
    as_json: JsonOption = False,
) -> None:
    """End a subscription to events, whoever made it. Exits with 1 when there is none with this id.

    --json: {"subscription": the one that was ended, or null}.
    """
    config = load_config(ctx)
    user = current_user()
    ended = next(iter(write_store(config, lambda tx: people.end_subscription(tx, subscription_id, user))), None)
    words = localizer(config)
    if as_json:
        print_json({"subscription": documents.subscription(ended) if ended else None})
    elif ended:
        show(cell(f"✓ {words.text('unsubscribe.done', filter=ended.matchers)}", "green"))
    else:
        show(cell(words.text("unsubscribe.none", given=subscription_id)))
    raise typer.Exit(0 if ended else 1)
