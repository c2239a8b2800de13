"""`notifier events`, `deliveries`, `retry` and `audit`: the outbox by hand."""

from __future__ import annotations

from collections.abc import Sequence
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
from notifier.cli.output import emit, show
from notifier.core.errors import NotifierError
from notifier.core.model import Delivery, DeliveryState, EventType
from notifier.lookup import Audit
from notifier.ports import ChannelState, DeliveryFilter, EventFilter, Queries, Transaction

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

    --json: {"deliveries": [{delivery_id, channel, subject, state, attempt, reason, ref, digest, created_at,
    available_at, settled_at, events}], "sources": […]}.
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
    require_channel(config, channel)
    released = change(config, partial(_release, ids=tuple(ids or ()), all_dead=all_dead, channel=channel))
    if as_json:
        emit({"released": released})
    else:
        show(f"{released} {'delivery' if released == 1 else 'deliveries'} will be sent again.")
    raise typer.Exit(0 if released else 1)


def _require_one_choice(ids: Sequence[str] | None, *, all_dead: bool, channel: str | None) -> None:
    if bool(ids) == bool(all_dead or channel):
        raise typer.BadParameter("give delivery ids, or --all-dead, or --channel NAME")


def _release(tx: Transaction, ids: Sequence[str], channel: str | None, *, all_dead: bool) -> int:
    if ids:
        return tx.retry([_delivery(tx, beginning).id for beginning in ids], now())
    if not all_dead:
        return tx.unpark(channel or "", now())
    dead = tx.deliveries(DeliveryFilter(state=DeliveryState.DEAD, channel=channel, limit=MOST))
    return tx.retry([delivery.id for delivery in dead], now())


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
