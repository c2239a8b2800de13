"""One channel delivered on until nothing is due, as `notifier poll` does with each."""

from __future__ import annotations

import random

from notifier.deliver import DeliveryReport, DeliveryRules, DeliveryTx, DeliveryWorker
from notifier.ports import Channel, Clock, Store


async def deliver_due(
    channel: Channel,
    store: Store[DeliveryTx, object],
    clock: Clock,
    rng: random.Random,
    *,
    owner: str,
    rules: DeliveryRules,
) -> DeliveryReport:
    """Deliver all that is due on a channel now. Raises StoreError."""
    return await DeliveryWorker(channel, store, clock, rng, owner=owner, rules=rules).drain()
