"""Send what is due on one channel, and record what became of it.

1. Claim: in one transaction each delivery's attempt is counted and its lease begins.
2. Render what has no body yet, and store the bodies before the first byte goes out: a repeat is byte-identical.
3. Send, several subjects at once. No transaction is open meanwhile.
4. Settle all of them in one transaction, each guarded by its attempt number.

A kill between 3 and 4 is the one that repeats a message: with the same id and the same bytes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from notifier.core import outbox
from notifier.core.errors import StoreError
from notifier.core.model import Body, Delivery, GaveUp, Outcome, Unknown
from notifier.core.outbox import Settlement
from notifier.ports import Channel, Clock, Notice, Store

SENT_WITHIN, SETTLED_WITHIN = 0.8, 0.95
"""Shares of a lease: what is not sent, or not settled, by then is left to whoever claims it next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRules:
    """How deliveries are claimed and repeated."""

    schedule: tuple[timedelta, ...]
    """The waits after the first, second … attempt; then a delivery is dead."""
    lease: timedelta
    """How long a claim holds; longer than any channel's deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """What one round on one channel did. The shell logs and counts it."""

    channel: str
    settled: tuple[tuple[Delivery, Settlement], ...] = ()
    more: bool = False
    """True when something was claimed: there may be more that is due now."""


async def deliver_due(
    channel: Channel, store: Store, clock: Clock, rng: random.Random, *, owner: str, rules: DeliveryRules
) -> DeliveryReport:
    """Make one round on a channel: claim, render, send, settle. Raises StoreError."""
    limit = channel.concurrency
    claimed = await store.transact(lambda tx: tx.claim_due(channel.name, owner, clock.now(), rules.lease, limit))
    if not claimed:
        return DeliveryReport(channel=channel.name)
    give_up = clock.monotonic() + rules.lease.total_seconds() * SETTLED_WITHIN
    ready = await _with_bodies(channel, store, claimed)
    settled = await asyncio.gather(*(_attempt(channel, delivery, clock, rng, rules) for delivery in ready))
    await _settle(store, clock, settled, give_up)
    return DeliveryReport(channel=channel.name, settled=tuple(zip(ready, settled, strict=True)), more=True)


async def _settle(store: Store, clock: Clock, settled: Sequence[Settlement], give_up: float) -> None:
    """Record what became of them, again and again while the claim holds.

    The receivers have answered: a database that fails just now must not make them hear the same thing twice.
    """
    while True:
        try:
            await store.transact(lambda tx: tx.settle(settled))
        except StoreError:
            if clock.monotonic() >= give_up:
                raise
            await clock.sleep(1)
        else:
            return


async def _with_bodies(channel: Channel, store: Store, claimed: Sequence[Delivery]) -> Sequence[Delivery]:
    rendered = {delivery.id: _render(channel, delivery) for delivery in claimed if delivery.body is None}
    bodies = {id_: body for id_, body in rendered.items() if body is not None}
    # A process that was stopped for longer than its lease finds here what another has sent meanwhile.
    kept = await store.transact(lambda tx: tx.save_bodies(bodies)) if bodies else {}
    return [replace(delivery, body=delivery.body or kept.get(delivery.id)) for delivery in claimed]


def _render(channel: Channel, delivery: Delivery) -> Body | None:
    try:
        return channel.render(Notice(delivery_id=delivery.id, events=delivery.events, digest=delivery.digest))
    except Exception:  # noqa: BLE001 - a channel may come from anywhere; its fault must cost this message only
        return None


async def _attempt(
    channel: Channel, delivery: Delivery, clock: Clock, rng: random.Random, rules: DeliveryRules
) -> Settlement:
    started = clock.now()
    outcome = await _send(channel, delivery, rules)
    return outbox.settle(
        delivery,
        outcome,
        started_at=started,
        finished_at=clock.now(),
        schedule=rules.schedule,
        chance=rng.random(),
    )


async def _send(channel: Channel, delivery: Delivery, rules: DeliveryRules) -> Outcome:
    if outbox.worn_out(delivery, rules.schedule):
        return GaveUp("no attempt ever reported back: sending it may be what stops the program")
    if delivery.body is None:
        return GaveUp(f"the {channel.kind} channel cannot put this event into words")
    try:
        async with asyncio.timeout(rules.lease.total_seconds() * SENT_WITHIN):
            return await channel.send(delivery)
    except TimeoutError:
        return Unknown("no answer before the claim's lease ends")
    except Exception as error:  # noqa: BLE001 - as above; whether it was sent, nobody knows
        return Unknown(f"the {channel.kind} channel failed: {type(error).__name__}")
