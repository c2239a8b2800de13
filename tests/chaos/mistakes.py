"""Mistakes that the harness must detect: each is made on purpose and must be found for its own reason.

`apply_mistake` replaces functions of the program before it starts; the fork server calls it. This is the only part of
the harness that depends on internals: `DeliveryWorker._outcome`, `Deliveries.claim_due`, `DUE_DELIVERIES`,
`core_polling.changed_ids`, `core_polling.diff_rules`, `polling.poll_once`, `outbox.plan_sent`, `diff._unlisted`,
`Walk.exhausted`, `WalkResult.complete`, `WebhookChannel._headers`, `http_channel.retry_after` and
`reply_rules.retry_after`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.sql.elements import BooleanClauseList

from chaos.oracle import WorldPace
from chaos.receiver import BOOK, FLAKY, HANGING, STEADY
from notifier import deliver, poll
from notifier.channels import http_channel, reply_rules
from notifier.core import diff, outbox
from notifier.core import polling as core_polling
from notifier.core.delivery import Delivered, Delivery, Outcome, Resolution
from notifier.core.events import EventType
from notifier.core.model import Snapshot
from notifier.integrations.webhook.channel import WebhookChannel
from notifier.service import polling
from notifier.sources.paging import Walk, WalkResult
from notifier.store import statements
from notifier.store.deliveries import Deliveries
from notifier.store.schema import deliveries

# ---- delivery ----


def mark_before_send() -> None:
    """Record a message as delivered before sending it."""
    going: set[asyncio.Task[Outcome]] = set()

    async def outcome(
        self: deliver.DeliveryWorker, delivery: Delivery, *_rest: Any
    ) -> tuple[Outcome, Resolution | None]:
        async def send() -> Outcome:
            await asyncio.sleep(0.05)
            return await self.channel.send(delivery)

        task = asyncio.create_task(send())
        going.add(task)
        task.add_done_callback(going.discard)
        return Delivered(), None

    _replace(deliver.DeliveryWorker, "_outcome", outcome)


def new_id_each_time() -> None:
    """Give every attempt another id."""
    headers: Any = WebhookChannel._headers
    _replace(WebhookChannel, "_headers", lambda self, _id, *rest: headers(self, str(uuid.uuid4()), *rest))


def one_worker() -> None:
    """Send one message at a time over all channels."""
    alone, whole = asyncio.Lock(), deliver.DeliveryWorker._outcome

    async def outcome(
        self: deliver.DeliveryWorker, delivery: Delivery, *rest: Any
    ) -> tuple[Outcome, Resolution | None]:
        async with alone:
            return await whole(self, delivery, *rest)

    _replace(deliver.DeliveryWorker, "_outcome", outcome)


def no_lease() -> None:
    """Claim messages without keeping others from claiming them."""
    whole = Deliveries.claim_due

    def claim_due(self: Any, channel: str, owner: str, now: datetime, *rest: Any, **how: Any) -> Any:
        claimed = whole(self, channel, owner, now, *rest, **how)
        mine = deliveries.c.id.in_([delivery.id for delivery in claimed])
        self._session.execute(update(deliveries).where(mine).values(available_at=now))
        return claimed

    _replace(Deliveries, "claim_due", claim_due)


def no_order() -> None:
    """Send due messages, although earlier ones are not settled."""
    due = statements.DUE_DELIVERIES
    assert isinstance(due.whereclause, BooleanClauseList)
    *conditions, _nothing_older = due.whereclause.clauses
    unordered = select(deliveries.c.seq).where(*conditions).order_by(deliveries.c.seq).limit(bindparam("limit"))
    _replace(statements, "DUE_DELIVERIES", unordered)


def ignore_retry_after() -> None:
    """Ignore Retry-After."""
    for module in (http_channel, reply_rules):
        _replace(module, "retry_after", lambda *_: None)


# ---- detection ----


def two_transactions() -> None:
    """Record events in one transaction and their deliveries in the next."""
    postponed: list[tuple[Any, ...]] = []
    plan, poll_once = outbox.plan_sent, poll.poll_once

    async def in_two_steps(source: Any, store: Any, *args: Any, **how: Any) -> poll.PollReport:
        report = await poll_once(source, store, *args, **how)
        await asyncio.sleep(0.05)
        while postponed:
            await store.transact(lambda tx: tx.deliveries.record(tuple(plan(*postponed.pop()))))
        return report

    def later(*what: Any) -> tuple[Delivery, ...]:
        postponed.append(what)
        return ()

    _replace(outbox, "plan_sent", later)
    _replace(polling, "poll_once", in_two_steps)


def watermark() -> None:
    """Read only the tasks that were created since the last scan."""
    whole, latest = diff.changed_ids, [_LONG_AGO]

    def changed_ids(snapshot: Snapshot, known: Mapping[str, bytes]) -> list[str]:
        created = {id_: snapshot.parse(id_).created_at or _LONG_AGO for id_ in whole(snapshot, known)}
        new = [id_ for id_, at in created.items() if at > latest[0]]
        latest[0] = max([latest[0], *created.values()])
        return new

    _replace(core_polling, "changed_ids", changed_ids)


_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def first_page_only() -> None:
    """Take the first page for the whole list."""
    _replace(Walk, "exhausted", property(lambda _: True))
    _replace(WalkResult, "complete", property(lambda _: True))


def absence_is_failure() -> None:
    """Report an unlisted task as failed."""
    unlisted = diff._unlisted
    _replace(diff, "_unlisted", lambda row, rules: replace(unlisted(row, rules), type=EventType.TASK_FAILED))


def baseline_told() -> None:
    """Notify the baseline."""
    read = core_polling.diff_rules
    _replace(core_polling, "diff_rules", lambda *how: replace(read(*how), quiet_new=False))


def _replace(owner: object, name: str, other: object) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"{owner} has no {name} any more: this mistake has to be made another way")
    setattr(owner, name, other)


# ---- how each is found ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A mistake, the run that reveals it, and the violations that the ledger must have."""

    make: Callable[[], None]
    found: frozenset[str]
    """Violations that must be among those found."""
    plan: Mapping[str, Any] = field(default_factory=dict)
    quick: bool = False
    """Found within seconds."""
    replicas: bool = False
    """Needs two programs on PostgreSQL."""


QUICK = WorldPace(tasks=60, moves=15)
CALM: dict[str, Any] = {"kills": 0, "faults": 0.0, "patience": 15.0}
LOUD: dict[str, Any] = {"kills": 8, "patience": 15.0, "pace": replace(QUICK, moves=30, singles=0.5)}
TRICKLE = replace(QUICK, moves=3, singles=1.0)


def _mistake(make: Callable[[], None], found: Sequence[str], plan: Mapping[str, Any], **more: bool) -> Mistake:
    return Mistake(make=make, found=frozenset(found), plan=plan, **more)


MISTAKES: Mapping[str, Mistake] = {
    mistake.make.__name__: mistake
    for mistake in (
        # Only what a receiver refuses shows it: enough transitions, however slow the machine is.
        _mistake(
            mark_before_send, ["lost", "untrue"], CALM | {"seconds": 3, "transitions": 40, "pace": QUICK}, quick=True
        ),
        _mistake(two_transactions, ["lost", "unaccounted"], LOUD),
        _mistake(watermark, ["lost"], CALM | {"seconds": 3, "pace": QUICK}),
        _mistake(new_id_each_time, ["rekeyed"], CALM | {"seconds": 3, "pace": QUICK}),
        _mistake(
            one_worker,
            ["slow"],
            CALM
            | {"seconds": 8, "latency": 2.0, "pace": TRICKLE}
            | {"profiles": {BOOK: {}, STEADY: {}, FLAKY: {}, HANGING: {"hang": 0.5}}},
        ),
        _mistake(no_lease, ["unexplained"], CALM | {"seconds": 5, "pace": LOUD["pace"]}, replicas=True),
        _mistake(no_order, ["disorder"], CALM | {"seconds": 5, "pace": replace(QUICK, tasks=20, singles=0.5)}),
        _mistake(ignore_retry_after, ["impatient"], CALM | {"seconds": 5, "pace": LOUD["pace"]}),
        _mistake(first_page_only, ["lost"], CALM | {"seconds": 8, "pace": WorldPace(tasks=250, dwell=2.0)}),
        _mistake(absence_is_failure, ["phantom", "lost"], CALM | {"seconds": 4, "pace": replace(QUICK, deleted=0.3)}),
        _mistake(baseline_told, ["baseline"], CALM | {"transitions": 20, "pace": QUICK}, quick=True),
    )
}


def apply_mistake(name: str) -> None:
    """Make a mistake in this process, permanently."""
    MISTAKES[name].make()
