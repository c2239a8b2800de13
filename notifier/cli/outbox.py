"""`notifier retry`, `dismiss` and `move`: what people decide about deliveries."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from notifier import lookup, people
from notifier.cli.common import JsonOption, current_user, localizer, require_channel
from notifier.cli.configured import load_config
from notifier.cli.output import SHORT_ID_LENGTH, cell, print_json, show
from notifier.cli.stores import write_store
from notifier.config.config import Config
from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.errors import NotifierError
from notifier.core.health_facts import Expected
from notifier.lookup import Lookup
from notifier.ports import DeliveryFilter
from notifier.wiring.stores import Transaction

IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Delivery ids, or their beginnings.")]
AllDeadOption = Annotated[bool, typer.Option("--all-dead", help="Select every dead delivery.")]


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
    _require_one_selection(ids, all_dead=all_dead, channel=channel)
    config = load_config(ctx)
    require_channel(config, channel)
    released, why = write_store(config, partial(_retry, ids=tuple(ids or ()), all_dead=all_dead, channel=channel))
    if as_json:
        print_json({"released": released})
    elif released:
        show(cell(_outcome(config, "released", released)))
    else:
        show(cell(_refusal(config, "not_released", why)))
    raise typer.Exit(0 if released else 1)


def _retry(tx: Transaction, ids: Sequence[str], channel: str | None, *, all_dead: bool) -> tuple[int, str]:
    """Return how many deliveries will be sent again, and the reason if none."""
    by = current_user()
    if ids:
        found = [_find_delivery(tx.queries, beginning) for beginning in ids]
        count = people.retry(tx, [delivery.id for delivery in found], _short_ids(found), by)
        return count, f"{_short_ids_and_states(found)}; only dead and parked deliveries can be"
    if not all_dead:
        count = people.release_parked(tx, channel or "", by)
        return count, f"nothing is parked on {channel}{_hint_at_dead(tx.queries, channel)}"
    where = f" on {channel}" if channel else ""
    return people.retry_dead(tx, channel, by), f"no delivery is dead{where}{_hint_at_parked(tx.queries, channel)}"


def _hint_at_dead(q: Lookup, channel: str | None) -> str:
    dead = q.deliveries(DeliveryFilter(state=DeliveryState.DEAD, channel=channel, limit=1))
    return f"; for its dead deliveries: `notifier retry --all-dead --channel {channel}`" if dead else ""


def _hint_at_parked(q: Lookup, channel: str | None) -> str:
    parked = q.deliveries(DeliveryFilter(state=DeliveryState.PARKED, channel=channel, limit=1))
    return "".join(f"; for parked deliveries: `notifier retry --channel {delivery.channel}`" for delivery in parked)


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
    _require_one_selection(ids, all_dead=all_dead, channel=channel)
    config = load_config(ctx)
    act = partial(_dismiss, ids=tuple(ids or ()), all_dead=all_dead, channel=channel, expected=config.expected)
    dismissed, why = write_store(config, act)
    if as_json:
        print_json({"dismissed": dismissed})
    elif dismissed:
        show(cell(_outcome(config, "dismissals", dismissed), "green"))
    else:
        show(cell(_refusal(config, "not_dismissed", why)))
    raise typer.Exit(0 if dismissed else 1)


def _dismiss(
    tx: Transaction, ids: Sequence[str], channel: str | None, *, all_dead: bool, expected: Expected
) -> tuple[int, str]:
    """Return how many deliveries were dismissed, and the reason if none."""
    by = current_user()
    if ids:
        found = [_find_delivery(tx.queries, beginning) for beginning in ids]
        count = people.dismiss(tx, [delivery.id for delivery in found], _short_ids(found), by)
        return count, f"{_short_ids_and_states(found)}; only dead, parked and pending deliveries can be, and each once"
    if all_dead:
        where = f" on {channel}" if channel else ""
        return people.dismiss_dead(tx, channel, by), f"no delivery is dead{where}"
    return people.dismiss_waiting(tx, channel or "", expected, by), f"nothing waits on {channel}"


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
    tickets = any(channel.name == new and channel.keeps_tickets for channel in config.channels)
    while count := write_store(config, lambda tx: people.move(tx, old, new, by, tickets=tickets)):
        moved += count
    if as_json:
        print_json({"moved": moved})
    elif moved:
        show(cell(_outcome(config, "moved", moved, old=old, new=new), "green"))
    else:
        show(cell(localizer(config).text("cli.not_moved", old=old)))
    raise typer.Exit(0 if moved else 1)


def _outcome(config: Config, key: str, count: int, **values: str) -> str:
    words = localizer(config)
    return words.text(f"cli.{key}", deliveries=words.counted("cli.deliveries", count), **values)


def _refusal(config: Config, key: str, why: str) -> str:
    words = localizer(config)
    return words.text(f"cli.{key}", why=words.reason(why))


def _require_one_selection(ids: Sequence[str] | None, *, all_dead: bool, channel: str | None) -> None:
    """Raise BadParameter unless deliveries are selected by id, or else by --all-dead or --channel."""
    if bool(ids) == bool(all_dead or channel):
        raise typer.BadParameter("give delivery ids, or --all-dead, or --channel NAME")


def _find_delivery(q: Lookup, beginning: str) -> Delivery:
    """Return the delivery that an id, or the beginning of one, stands for. Raises NotifierError."""
    found = q.deliveries(DeliveryFilter(id=beginning, limit=lookup.MAX_CANDIDATES))
    if not found:
        raise NotifierError(f"no delivery has an id that begins with {beginning!r}; `notifier deliveries` lists them")
    if len(found) > 1:
        raise NotifierError(f"{beginning!r} fits several deliveries:\n" + "\n".join(d.id for d in found))
    return found[0]


def _short_ids(found: Sequence[Delivery]) -> str:
    return ", ".join(delivery.id[:SHORT_ID_LENGTH] for delivery in found)


def _short_ids_and_states(found: Sequence[Delivery]) -> str:
    return ", ".join(f"{delivery.id[:SHORT_ID_LENGTH]} is {delivery.state.value}" for delivery in found)
