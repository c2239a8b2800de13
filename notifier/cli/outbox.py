"""`notifier events`, `deliveries`, `retry` and `audit`: the outbox by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer

from notifier import lookup
from notifier.cli import documents
from notifier.cli.desk import (
    AsJson,
    Limit,
    Since,
    Source,
    ago,
    ask,
    change,
    configured,
    first,
    more,
    now,
    require_channel,
    require_source,
    view,
)
from notifier.cli.output import SHORT_ID, cell, counted, emit, show
from notifier.config import Config
from notifier.core.errors import ConfigurationError, NotifierError
from notifier.core.model import ChannelState, Delivery, DeliveryState, EventType
from notifier.lookup import Audit
from notifier.ports import DeliveryFilter, EventFilter, Queries, Transaction

AT_ONCE = datetime(2000, 1, 1, tzinfo=UTC)
"""Past by whatever clock the running service goes by: this one may be ahead of it."""

MOST = 100_000
"""Dead deliveries that one `retry --all-dead` takes."""


def events(
    ctx: typer.Context,
    *,
    kind: Annotated[EventType | None, typer.Option("--type", help="Only this type.")] = None,
    since: Since = None,
    source: Source = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List the changes that were seen, the newest first. Exits with 1 when there are none.

    --json: {"events": [{event_id, type, source, region, project_id, occurred_at, observed_at, late, previous_status,
    detail, task, routes, channels}], "sources": […]}.
    """
    config = configured(ctx)
    wanted = EventFilter(type=kind, since=ago(since), source=source, limit=limit + 1)
    listed = ask(config, partial(lookup.list_events, wanted=wanted))
    found = first(listed, limit)
    if not found.rows:  # a source that is configured no more may still have some
        require_source(config, source)
    if as_json:
        sources = [documents.source_state(state) for state in found.sources]
        emit({"events": [documents.routed_event(row) for row in found.rows], "sources": sources})
    else:
        shown = view(config)
        answer = shown.events(found.rows) if found.rows else "No event fits. " + shown.freshness(found.sources)
        show(answer, *more(listed, limit))
    raise typer.Exit(0 if found.rows else 1)


def deliveries(
    ctx: typer.Context,
    *,
    state: Annotated[DeliveryState | None, typer.Option("--state", help="Only this state.")] = None,
    channel: Annotated[str | None, typer.Option("--channel", metavar="NAME", help="Only this channel.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List deliveries, the newest first. Exits with 1 when there are none.

    --json: {"deliveries": [{delivery_id, channel, subject, state, attempt, reason, reply, doubtful, ref, digest,
    created_at, available_at, settled_at, events, recipients}], "sources": […]}.
    """
    config = configured(ctx)
    wanted = DeliveryFilter(state=state, channel=channel, limit=limit + 1)
    listed = ask(config, partial(lookup.list_deliveries, wanted=wanted))
    found = first(listed, limit)
    if not found.rows:  # a channel that is configured no more may still have some
        require_channel(config, channel)
    if as_json:
        sources = [documents.source_state(source) for source in found.sources]
        emit({"deliveries": [documents.delivery(row) for row in found.rows], "sources": sources})
    else:
        shown = view(config)
        answer = shown.deliveries(found.rows) if found.rows else "No delivery fits. " + shown.freshness(found.sources)
        show(answer, *more(listed, limit))
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
    as_json: AsJson = False,
) -> None:
    """Send dead or parked deliveries again, with the same id and body. A running service picks them up.

    Exits with 1 when there is nothing to send. --json: {"released": N}.
    """
    _require_one_choice(ids, all_dead=all_dead, channel=channel)
    config = configured(ctx)
    _require_channel(config, channel)
    released, why = change(config, partial(_release, ids=tuple(ids or ()), all_dead=all_dead, channel=channel))
    if as_json:
        emit({"released": released})
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
    if ids:
        wanted = [_delivery(tx, beginning) for beginning in ids]
        are = ", ".join(f"{delivery.id[:SHORT_ID]} is {delivery.state.value}" for delivery in wanted)
        return tx.retry([delivery.id for delivery in wanted], AT_ONCE), f"{are}; only dead and parked ones can be"
    if not all_dead:
        return tx.unpark(channel or "", AT_ONCE), f"nothing is parked on {channel}{_dead_on(tx, channel)}"
    dead = tx.deliveries(DeliveryFilter(state=DeliveryState.DEAD, channel=channel, limit=MOST))
    return tx.retry(
        [delivery.id for delivery in dead], AT_ONCE
    ), f"nothing is dead{_where(channel)}{_parked(tx, channel)}"


def _where(channel: str | None) -> str:
    return f" on {channel}" if channel else ""


def _dead_on(q: Queries, channel: str | None) -> str:
    dead = q.deliveries(DeliveryFilter(state=DeliveryState.DEAD, channel=channel, limit=1))
    return f"; for what is dead there: `notifier retry --all-dead --channel {channel}`" if dead else ""


def _parked(q: Queries, channel: str | None) -> str:
    parked = q.deliveries(DeliveryFilter(state=DeliveryState.PARKED, channel=channel, limit=1))
    return "".join(f"; for what is parked: `notifier retry --channel {delivery.channel}`" for delivery in parked)


def _delivery(tx: Transaction, beginning: str) -> Delivery:
    found = tx.deliveries(DeliveryFilter(ids=[beginning], limit=lookup.CANDIDATES))
    if not found:
        raise NotifierError(f"no delivery has an id that begins with {beginning!r}; `notifier deliveries` lists them")
    if len(found) > 1:
        raise NotifierError(f"{beginning!r} fits several deliveries:\n" + "\n".join(d.id for d in found))
    return found[0]


def audit(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """Prove that every event has exactly one account on every channel it was meant for. Exits with 1 otherwise.

    --json: {ok, at, events, unrouted, pairs, by_state, unaccounted, dead, oldest_pending,
    parked: [{channel, since, reason}]}.
    """
    config = configured(ctx)
    found, parked = ask(config, _audit)
    if as_json:
        emit(documents.audit(found, parked))
    else:
        show(view(config).audit(found, parked))
    raise typer.Exit(0 if found.ok else 1)


def _audit(q: Queries) -> tuple[Audit, Sequence[ChannelState]]:
    return lookup.audit(q, now()), [channel for channel in q.channels() if channel.parked_since]
