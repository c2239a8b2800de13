"""Make the messages of a channel that can be changed look as they should now.

An event is told by a delivery, once. What its message shows besides (the latest state, who acknowledged, that the
instance is muted) is a state: the database says what it should be, and this makes it so. Changes of one message that
come close together become one; what fails is tried again until it is so, by whichever replica comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from notifier.core import outbox, pacing, retry
from notifier.core.delivery import Delivered, GaveUp, Outcome, Parked, Retry, Thread, Unknown
from notifier.core.pacing import ChannelHealth
from notifier.ports import Clock, LiveChannel, Store


class EditRecords(Protocol):
    """Messages that are out of date."""

    def claim_edits(self, channel: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Thread]:
        """Claim threads whose message does not look as it should, the most urgent first, until the lease ends."""

    def mark_rendered(self, thread: Thread, now: datetime, ref: str | None = None) -> None:
        """Note that a thread's message looks as its revision asks for; `ref` is that of a new message."""

    def postpone_edit(self, thread: Thread, at: datetime) -> None:
        """Let a message that could not be changed wait."""


class EditBudgets(Protocol):
    """The budgets of edits."""

    def health(self, channel: str) -> ChannelHealth:
        """Return how a channel is; nobody else can change it until the transaction ends."""

    def save_health(self, channel: str, health: ChannelHealth) -> None:
        """Record how a channel is."""


class LiveTx(Protocol):
    """What edits of messages need of a transaction."""

    def now(self) -> datetime:
        """Return the time of the database."""

    @property
    def threads(self) -> EditRecords:
        """Messages that are out of date."""

    @property
    def channels(self) -> EditBudgets:
        """The budgets of edits."""


EDIT_BATCH = 10
"""Messages that are claimed together at most."""

IDLE_INTERVAL = 2.0
"""Seconds between two looks for messages that are to change, when nothing wakes the editor."""

EDIT_RETRY_AFTER = timedelta(seconds=15)
"""The wait after a change that failed, where the service asked for no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditReport:
    """What one turn did. The shell logs it."""

    channel: str
    changed: tuple[tuple[Thread, Outcome], ...] = ()
    retry_in: timedelta | None = None
    """When the pace allows more, where it did not allow all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    threads: Sequence[Thread]
    retry_in: timedelta | None


class MessageEditor:
    """Changes the messages of one channel. Whoever drives it calls `turn` and `rest` for ever."""

    def __init__(self, channel: LiveChannel, store: Store[LiveTx, object], clock: Clock, *, lease: timedelta) -> None:
        """`lease` is how long a message is left to one process; longer than AT_ONCE changes take."""
        self.channel = channel
        self._store = store
        self._clock = clock
        self._lease = lease
        self._wakeup = asyncio.Event()

    def wake(self) -> None:
        """End the rest: something may have to change."""
        self._wakeup.set()

    async def step(self) -> EditReport:
        """Change what is to be changed, as far as the pace allows. Raises StoreError."""
        self._wakeup.clear()
        claim = await self._store.transact(self._claim)
        end = self._clock.monotonic() + self._lease.total_seconds() * 0.8
        changed: list[tuple[Thread, Outcome]] = []
        for thread in claim.threads:
            outcome = await self._show(thread, end)
            if outcome is None:
                break
            changed.append((thread, outcome))
            await self._store.transact(lambda tx, one=thread, said=outcome: self._settle(tx, one, said))  # type: ignore[misc]  # a default
        return EditReport(channel=self.channel.name, changed=tuple(changed), retry_in=claim.retry_in)

    async def wait(self, report: EditReport) -> None:
        """Wait until there may be something to do."""
        if len(report.changed) == EDIT_BATCH:
            return  # there may be more
        wait = IDLE_INTERVAL if report.retry_in is None else min(IDLE_INTERVAL, report.retry_in.total_seconds())
        try:
            async with asyncio.timeout(wait):
                await self._wakeup.wait()
        except TimeoutError:
            pass

    def _claim(self, tx: LiveTx) -> _Claim:
        budget = str(self.channel.edits)
        was = tx.channels.health(budget)  # waits for whoever else spends of it, so that the time is asked after it
        now = tx.now()
        allowed = pacing.allowance(was, self.channel.edit_pace, now, EDIT_BATCH)
        threads = tx.threads.claim_edits(self.channel.name, now, self._lease, allowed.count) if allowed.count else ()
        spent = pacing.charge(was, self.channel.edit_pace, now, len(threads))
        if spent != was:
            tx.channels.save_health(budget, spent)
        return _Claim(threads=threads, retry_in=allowed.retry_in if len(threads) == allowed.count else None)

    async def _show(self, thread: Thread, end: float) -> Outcome | None:
        """Change one message; None when there is no time left for it."""
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

    def _settle(self, tx: LiveTx, thread: Thread, outcome: Outcome) -> None:
        budget = str(self.channel.edits)
        was = tx.channels.health(budget)
        now = tx.now()
        match outcome:
            case Delivered(thread=ref):
                tx.threads.mark_rendered(thread, now, ref)
            case GaveUp():
                tx.threads.mark_rendered(
                    thread, now
                )  # what is refused now is refused again; the next change is another one
            case Parked(probe_after=after) | Retry(after=after):
                tx.threads.postpone_edit(thread, now + min(after or EDIT_RETRY_AFTER, retry.MAX_RETRY_AFTER))
            case Unknown():
                tx.threads.postpone_edit(thread, now + EDIT_RETRY_AFTER)
        pause = outcome.after if isinstance(outcome, Retry) else None
        health = pacing.after(was, [(outbox.signal_of(outcome), pause)], now, self.channel.edit_pace)
        if health != was:
            tx.channels.save_health(budget, health)
