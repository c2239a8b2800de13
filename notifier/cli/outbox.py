"""`notifier events`, `deliveries`, `retry` and `audit`: the outbox by hand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from notifier import lookup, people
from notifier.cli import documents
from notifier.cli.common import (
    JsonOption,
    LimitOption,
    SinceOption,
    SourceOption,
    current_user,
    load_config,
    now,
    read_store,
    require_channel,
    require_source,
    time_before_now,
    truncation_note,
    view_for,
    without_extra_row,
    write_store,
)
from notifier.cli.output import SHORT_ID_LENGTH, cell, counted, print_json, show
from notifier.cli.readable import ReadableCommand, ReadableGroup
from notifier.config import Config
from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.errors import ConfigurationError, NotifierError
from notifier.core.events import EventType
from notifier.core.health import Expected, HealthReport, serves
from notifier.core.model import ChannelState
from notifier.lookup import Audit
from notifier.ports import DeliveryFilter, EventFilter, Queries, Transaction

UNSETTLED = (DeliveryState.PENDING, DeliveryState.PARKED)


def events(
    ctx: typer.Context,
    *,
    kind: Annotated[EventType | None, typer.Option("--type", help="Only this type.")] = None,
    since: SinceOption = None,
    source: SourceOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List the changes that were seen, the newest first. Exits with 1 when there are none.

    --json: {"events": [{event_id, type, source, region, project_id, occurred_at, observed_at, late, previous_status,
    detail, task, routes, channels}], "sources": […]}.
    """
    config = load_config(ctx)
    wanted = EventFilter(type=kind, since=time_before_now(since), source=source, limit=limit + 1)
    listed = read_store(config, partial(lookup.list_events, wanted=wanted))
    found = without_extra_row(listed, limit)
    if not found.rows:  # a source that is configured no more may still have some
        require_source(config, source)
    if as_json:
        sources = [documents.source_state(state) for state in found.sources]
        print_json({"events": [documents.routed_event(row) for row in found.rows], "sources": sources})
    else:
        shown = view_for(config)
        answer = shown.events(found.rows) if found.rows else "No event fits. " + shown.freshness(found.sources)
        show(answer, *truncation_note(listed, limit))
    raise typer.Exit(0 if found.rows else 1)


def deliveries(
    ctx: typer.Context,
    *,
    state: Annotated[DeliveryState | None, typer.Option("--state", help="Only this state.")] = None,
    channel: Annotated[str | None, typer.Option("--channel", metavar="NAME", help="Only this channel.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List deliveries, the newest first. Exits with 1 when there are none.

    --json: {"deliveries": [{delivery_id, channel, subject, state, attempt, reason, reply, doubtful, ref, digest,
    created_at, available_at, settled_at, events, recipients}], "sources": […]}.
    """
    config = load_config(ctx)
    wanted = DeliveryFilter(state=state, channel=channel, limit=limit + 1)
    listed = read_store(config, partial(lookup.list_deliveries, wanted=wanted))
    found = without_extra_row(listed, limit)
    if not found.rows:  # a channel that is configured no more may still have some
        require_channel(config, channel)
    if as_json:
        sources = [documents.source_state(source) for source in found.sources]
        print_json({"deliveries": [documents.delivery(row) for row in found.rows], "sources": sources})
    else:
        shown = view_for(config)
        answer = shown.deliveries(found.rows) if found.rows else "No delivery fits. " + shown.freshness(found.sources)
        show(answer, *truncation_note(listed, limit))
    raise typer.Exit(0 if found.rows else 1)


def retry(
    ctx: typer.Context,
    *,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Delivery ids or their beginnings.")] = None,
    all_dead: Annotated[bool, typer.Option("--all-dead", help="Every dead delivery.")] = False,
    channel: Annotated[
        str | None,
        typer.Option(
            "--channel", metavar="NAME", help="Release what is parked on a channel; with --all-dead, its dead."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send dead or parked deliveries again, with the same id and body. A running service picks them up.

    Exits with 1 when there is nothing to send. --json: {"released": N}.
    """
    _require_one_choice(ids, all_dead=all_dead, channel=channel)
    config = load_config(ctx)
    _require_channel(config, channel)
    released, why = write_store(config, partial(_release, ids=tuple(ids or ()), all_dead=all_dead, channel=channel))
    if as_json:
        print_json({"released": released})
    elif released:
        show(f"{counted(released, 'delivery')} will be sent again; `notifier run` sends them, or `notifier poll` now.")
    else:
        show(cell(f"Nothing to send again: {why}."))
    raise typer.Exit(0 if released else 1)


def _require_one_choice(ids: Sequence[str] | None, *, all_dead: bool, channel: str | None) -> None:
    if bool(ids) == bool(all_dead or channel):
        raise typer.BadParameter("give delivery ids, or --all-dead, or --channel NAME")


def _require_channel(config: Config, channel: str | None) -> None:
    names = [settings.name for settings in config.channels]
    if channel is not None and channel not in names:
        raise ConfigurationError(f"there is no channel {channel!r}; channels are {', '.join(names)}")


def _release(tx: Transaction, ids: Sequence[str], channel: str | None, *, all_dead: bool) -> tuple[int, str]:
    """Return how many deliveries will be sent again, and why, if none."""
    by = current_user()
    if ids:
        wanted = [_delivery(tx, beginning) for beginning in ids]
        count = people.retry(tx, [delivery.id for delivery in wanted], _named(wanted), by)
        return count, f"{_states(wanted)}; only dead and parked ones can be"
    if not all_dead:
        return people.release(tx, channel or "", by), f"nothing is parked on {channel}{_dead_on(tx, channel)}"
    dead = tx.delivery_ids(DeliveryFilter(state=DeliveryState.DEAD, channel=channel))
    count = people.retry(tx, dead, channel or "every channel", by)
    return count, f"nothing is dead{_where(channel)}{_parked(tx, channel)}"


def _named(deliveries: Sequence[Delivery]) -> str:
    return ", ".join(delivery.id[:SHORT_ID_LENGTH] for delivery in deliveries)


def _states(deliveries: Sequence[Delivery]) -> str:
    return ", ".join(f"{delivery.id[:SHORT_ID_LENGTH]} is {delivery.state.value}" for delivery in deliveries)


def dismiss(
    ctx: typer.Context,
    *,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Delivery ids or their beginnings.")] = None,
    all_dead: Annotated[bool, typer.Option("--all-dead", help="Every dead delivery.")] = False,
    channel: Annotated[
        str | None,
        typer.Option(
            "--channel",
            metavar="NAME",
            help="What waits on a channel that is parked or no longer configured; with --all-dead, its dead.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Accept that deliveries will not arrive: `notifier health` no longer counts them. Who did it is recorded.

    They stay on record until retention deletes them, and `notifier retry` can still send them.
    Exits with 1 when there is nothing to dismiss. --json: {"dismissed": N}.
    """
    _require_one_choice(ids, all_dead=all_dead, channel=channel)
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
    """Return how many deliveries were dismissed, and why, if none."""
    by = current_user()
    if ids:
        wanted = [_delivery(tx, beginning) for beginning in ids]
        count = people.dismiss(tx, [delivery.id for delivery in wanted], _named(wanted), by)
        return count, f"{_states(wanted)}; only dead, parked and pending ones can be, and each once"
    if all_dead:
        dead = tx.delivery_ids(DeliveryFilter(state=DeliveryState.DEAD, channel=channel, dismissed=False))
        return people.dismiss(tx, dead, channel or "every channel", by), f"nothing is dead{_where(channel)}"
    name = channel or ""
    if serves(expected, name) and name not in tx.parked():
        raise NotifierError(
            f"channel {name} is configured and not parked, so its messages still go out; give ids, or --all-dead"
        )
    waiting = [id_ for state in UNSETTLED for id_ in tx.delivery_ids(DeliveryFilter(state=state, channel=name))]
    return people.dismiss(tx, waiting, name, by), f"nothing waits on {name}"


def move(
    ctx: typer.Context,
    *,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The channel on which messages wait.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The configured channel that is to deliver them.")],
    as_json: JsonOption = False,
) -> None:
    """Let another channel deliver what waits on one that was renamed or removed. Who did it is recorded.

    Events that the other channel has already are not sent twice. Exits with 1 when nothing waits. --json: {"moved": N}.
    """
    config = load_config(ctx)
    _require_channel(config, new)
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
        show(cell(f"Nothing waits on {old}; `notifier deliveries --channel {old}` lists what is recorded."))
    raise typer.Exit(0 if moved else 1)


def _where(channel: str | None) -> str:
    return f" on {channel}" if channel else ""


def _dead_on(q: Queries, channel: str | None) -> str:
    dead = q.deliveries(DeliveryFilter(state=DeliveryState.DEAD, channel=channel, limit=1))
    return f"; for what is dead there: `notifier retry --all-dead --channel {channel}`" if dead else ""


def _parked(q: Queries, channel: str | None) -> str:
    parked = q.deliveries(DeliveryFilter(state=DeliveryState.PARKED, channel=channel, limit=1))
    return "".join(f"; for what is parked: `notifier retry --channel {delivery.channel}`" for delivery in parked)


def _delivery(tx: Transaction, beginning: str) -> Delivery:
    found = tx.deliveries(DeliveryFilter(ids=[beginning], limit=lookup.MAX_CANDIDATES))
    if not found:
        raise NotifierError(f"no delivery has an id that begins with {beginning!r}; `notifier deliveries` lists them")
    if len(found) > 1:
        raise NotifierError(f"{beginning!r} fits several deliveries:\n" + "\n".join(d.id for d in found))
    return found[0]


audit = typer.Typer(
    cls=ReadableGroup,
    invoke_without_command=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@audit.callback()
def ledger(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """Prove that every event has exactly one account on every channel it was meant for. Exits with 1 otherwise.

    --json: {ok, at, events, unrouted, pairs, by_state, unaccounted, dead, oldest_pending,
    parked: [{channel, since, reason}], findings: as `notifier health` has them}.
    """
    if ctx.invoked_subcommand is not None:
        return
    config = load_config(ctx)
    found, parked, health = read_store(config, partial(_audit, expected=config.expected))
    if as_json:
        print_json(
            documents.audit(found, parked) | {"findings": [documents.health_finding(one) for one in health.findings]}
        )
    else:
        shown = view_for(config)
        show(shown.channel_findings(health), fold=False)
        show(shown.audit(found))
    raise typer.Exit(0 if found.ok else 1)


def _audit(q: Queries, expected: Expected) -> tuple[Audit, Sequence[ChannelState], HealthReport]:
    parked = [channel for channel in q.channels() if channel.parked_since]
    return lookup.audit(q, now()), parked, lookup.health(q, expected)


@audit.command("log", cls=ReadableCommand)
def audit_log(ctx: typer.Context, *, limit: LimitOption = 50, as_json: JsonOption = False) -> None:
    """List what people did, the newest first: mute, acknowledge, retry, dismiss, move. Exits with 1 when nothing.

    --json: {"actions": [{at, by, name, verb, target, detail}]}.
    """
    config = load_config(ctx)
    found = read_store(config, lambda q: q.actions(limit + 1))
    listed, further = found[:limit], len(found) > limit
    if as_json:
        print_json({"actions": [documents.action(one) for one in listed]})
    else:
        shown = [view_for(config).actions(listed)] if listed else ["Nobody has done anything yet."]
        show(*shown, *([cell(f"The newest {limit:,}; --limit shows more.", "dim")] if further else []))
    raise typer.Exit(0 if listed else 1)
