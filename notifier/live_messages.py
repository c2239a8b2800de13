"""Edit the messages of a channel so that each shows the present state of its task.

A delivery notifies people of an event, once. What its message shows besides (the latest state, who acknowledged it, a
mute of the instance) is a state in the database, and an editor renders it. Edits of one message that come close
together become one. A failed edit is repeated until the message is right, by whichever replica comes first.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from notifier.clock import wait_until_set
from notifier.core import dispatch, outbox, pacing
from notifier.core.delivery import Delivered, GaveUp, Outcome, Retry, Thread, Unknown
from notifier.core.pacing import ChannelHealth
from notifier.ports import Clock, DatabaseTime, LiveChannel, Store


class EditRecords(Protocol):
    """Messages that are out of date."""

    def claim_edits(self, channel: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Thread]:
        """Claim threads whose message is out of date until the lease ends, the most urgent first."""

    def mark_rendered(self, thread: Thread, now: datetime, ref: str | None = None) -> None:
        """Record that a thread's message shows its revision. `ref` is the reference of a new message."""

    def postpone_edit(self, thread: Thread, at: datetime) -> None:
        """Let a message that could not be edited wait."""

    def edit_budget(self, name: str) -> ChannelHealth:
        """Return a budget of edits. Nobody else can change it until the transaction ends."""

    def save_edit_budget(self, name: str, health: ChannelHealth) -> None:
        """Record a budget of edits."""


class LiveTx(DatabaseTime, Protocol):
    """What edits of messages need of a transaction."""

    @property
    def threads(self) -> EditRecords:
        """Messages that are out of date."""


EDIT_BATCH = 10
"""Maximum number of messages that are claimed together."""

EDIT_IDLE_INTERVAL = 2.0
"""Time between two queries for messages to edit when nothing wakes the editor, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditReport:
    """What one step did."""

    channel: str
    changed: tuple[tuple[Thread, Outcome], ...] = ()
    retry_in: timedelta | None = None
    """When the pace allows more, where it did not allow all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    threads: Sequence[Thread]
    retry_in: timedelta | None


class MessageEditor:
    """Edits the messages of one channel. Its driver calls `step` and `wait` in a loop."""

    def __init__(self, channel: LiveChannel, store: Store[LiveTx, object], clock: Clock, *, lease: timedelta) -> None:
        """`lease` is how long a claim of messages holds. It is longer than `EDIT_BATCH` edits take."""
        self.channel = channel
        self._store = store
        self._clock = clock
        self._lease = lease
        self._wakeup = asyncio.Event()

    def wake(self) -> None:
        """End the wait: a message may have changed."""
        self._wakeup.set()

    async def step(self) -> EditReport:
        """Edit the messages that are out of date, as far as the pace allows. Raises StoreError."""
        self._wakeup.clear()
        claim = await self._store.transact(self._claim)
        end = self._clock.monotonic() + self._lease.total_seconds() * dispatch.SENT_WITHIN
        changed: list[tuple[Thread, Outcome]] = []
        for thread in claim.threads:
            outcome = await self._edit(thread, end)
            if outcome is None:
                break
            changed.append((thread, outcome))
            await self._store.transact(partial(self._settle, thread, outcome))
        return EditReport(channel=self.channel.name, changed=tuple(changed), retry_in=claim.retry_in)

    async def wait(self, report: EditReport) -> None:
        """Wait until there may be something to do. After a full batch there may be more at once."""
        if len(report.changed) < EDIT_BATCH:
            idle = (
                EDIT_IDLE_INTERVAL
                if report.retry_in is None
                else min(EDIT_IDLE_INTERVAL, report.retry_in.total_seconds())
            )
            await wait_until_set(self._wakeup, idle)

    def _claim(self, tx: LiveTx) -> _Claim:
        budget = str(self.channel.edit_budget)
        before = tx.threads.edit_budget(budget)
        now = tx.now()  # read last: the line above waits for others that spend the same budget
        allowed = pacing.allowance(before, self.channel.edit_pace, now, EDIT_BATCH)
        threads = tx.threads.claim_edits(self.channel.name, now, self._lease, allowed.count) if allowed.count else ()
        health = pacing.charge(before, self.channel.edit_pace, now, len(threads))
        if health != before:
            tx.threads.save_edit_budget(budget, health)
        return _Claim(threads=threads, retry_in=allowed.retry_in if len(threads) == allowed.count else None)

    async def _edit(self, thread: Thread, end: float) -> Outcome | None:
        """Edit one message. Return None when no time is left for it."""
        left = end - self._clock.monotonic()
        if left < self.channel.deadline:
            return None
        try:
            async with asyncio.timeout(left):
                return await self.channel.show(thread)
        except TimeoutError:
            return Unknown("no answer before the claim's lease ends")
        except Exception as error:  # noqa: BLE001 - one message that breaks the channel's code must not stop the others
            return GaveUp(f"the {self.channel.kind} channel failed: {type(error).__name__}")

    def _settle(self, thread: Thread, outcome: Outcome, tx: LiveTx) -> None:
        budget = str(self.channel.edit_budget)
        before = tx.threads.edit_budget(budget)
        now = tx.now()
        wait = dispatch.edit_wait(outcome)
        if wait is None:
            tx.threads.mark_rendered(thread, now, outcome.thread if isinstance(outcome, Delivered) else None)
        else:
            tx.threads.postpone_edit(thread, now + wait)
        pause = outcome.after if isinstance(outcome, Retry) else None
        health = pacing.after(before, [(outbox.signal_of(outcome), pause)], now, self.channel.edit_pace)
        if health != before:
            tx.threads.save_edit_budget(budget, health)
