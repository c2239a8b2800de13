"""Events of an operation that flaps wait, and go out together once it is calm, on either database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from factories import T0, make_event, make_task

from notifier.core.delivery import Delivery
from notifier.core.model import Event
from notifier.core.routing import ChannelPolicy, FlappingLimit, Route, RoutingConfig, route_events
from notifier.planning import announce, with_receivers
from notifier.store import rows, schema
from notifier.store.engine import SqlStore
from notifier.store.transaction import Transaction

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
ROUTING = RoutingConfig(
    routes=(Route(name="all", channels=("dba",)),),
    policies={"dba": ChannelPolicy(name="dba")},
    flapping=FlappingLimit(changes=2, within=HOUR),
)


async def ended(store: SqlStore, number: int, at: datetime, *, failed: bool) -> Delivery:
    """Record how a task ended and plan its event, as a poll does."""
    task = make_task(f"job-{number}", status="failed" if failed else "completed", ended_at=at)
    event = make_event(task, occurred_at=at, observed_at=at)

    def plan(tx: Transaction) -> Sequence[Delivery]:
        routed = with_receivers(tx, route_events([event], ROUTING.routes), ROUTING)
        return announce(tx, routed, ROUTING, at).deliveries

    (planned,) = await store.transact(plan)
    recorded = {"fingerprint": b"", "occurrence": "o", "first_seen_at": at, "changed_at": at}
    with store.writer.begin() as connection:
        connection.execute(schema.tasks.insert().values(rows.task_values(task) | recorded))
    return planned


async def claim(store: SqlStore, at: datetime) -> Sequence[Delivery]:
    return await store.transact(
        lambda tx: tx.deliveries.claim_due("dba", "me", at, timedelta(days=1), 10, digest_size=9)
    )


def events_of(claimed: Sequence[Delivery]) -> list[list[str]]:
    return [[event.job_id for event in one.events] for one in claimed]


async def test_what_flaps_goes_out_together_once_it_is_calm(store: SqlStore) -> None:
    planned = [await ended(store, number, T0 + number * MINUTE, failed=number != 1) for number in range(3)]
    assert {one.rule for one in planned} == {None}
    (event,) = planned[-1].events
    assert event.flapping is not None
    assert event.flapping.began
    assert len(await claim(store, T0 + 2 * MINUTE)) == 3
    for number in (3, 4, 5):
        held = await ended(store, number, T0 + number * MINUTE, failed=True)
        assert (held.rule or "").startswith("flapping:")
    assert events_of(await claim(store, T0 + 3 * MINUTE + HOUR)) == []
    (digest,) = await claim(store, T0 + 5 * MINUTE + HOUR)
    assert events_of([digest]) == [["job-3", "job-4", "job-5"]]
    assert digest.routing.held is not None
    assert digest.routing.held.since == T0 + 3 * MINUTE


async def test_a_failure_of_another_operation_is_sent(store: SqlStore) -> None:
    for number, failed in enumerate((True, False, True, False)):
        await ended(store, number, T0 + number * MINUTE, failed=failed)

    other: Event = make_event(make_task("other", name="BackupSnapshotGaussDBV5InInstance"))

    def plan(tx: Transaction) -> Sequence[Delivery]:
        routed = with_receivers(tx, route_events([other], ROUTING.routes), ROUTING)
        return announce(tx, routed, ROUTING, T0 + HOUR / 2).deliveries

    (planned,) = await store.transact(plan)
    assert planned.rule is None
