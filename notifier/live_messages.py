"""Edit the messages of a channel so that each shows the present state of its task.

A delivery notifies people of an event, once. What its message shows besides (the latest state, who acknowledged it, a
mute of the instance) is a state in the database, and an editor renders it. Edits of one message that come close
together become one. A failed edit is repeated until the message is right, by whichever replica comes first.

A message of a thread that the channel shows too is a copy: it is edited with the first message, but for progress.
"""

import asyncio
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

from notifier.clock import wait_until_set
from notifier.core import dispatch, outbox, pacing
from notifier.core.delivery import MAX_COPIES, Delivered, GaveUp, Outcome, Retry, Thread, Unknown
from notifier.core.pacing import ChannelHealth
from notifier.core.tickets import TicketLink, operation_of
from notifier.ports import Clock, DatabaseTime, KnownOrigins, LiveChannel, Store


class EditRecords(Protocol):
    """Messages that are out of date."""

    def claim_edits(self, channel: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Thread]:
        """Claim threads whose message is out of date until the lease ends, the most urgent first.

        All of them take at most `limit` edits, unless the first alone takes more.
        """

    def mark_rendered(self, thread: Thread, now: datetime, ref: str | None = None) -> None:
        """Record that a thread's message shows its revision. `ref` is the reference of a new message."""

    def postpone_edit(self, thread: Thread, at: datetime, ref: str | None = None) -> None:
        """Let a thread of which a message could not be edited wait. `ref` is the reference of a new message."""

    def drop_copies(self, thread: Thread, refs: Collection[str]) -> None:
        """Delete the references of copies that are gone."""

    def edit_budget(self, name: str) -> ChannelHealth:
        """Return a budget of edits. Nobody else can change it until the transaction ends."""

    def save_edit_budget(self, name: str, health: ChannelHealth) -> None:
        """Record a budget of edits."""


class TicketLinks(Protocol):
    """The tickets of operations."""

    def links(self, operations: Collection[str]) -> Mapping[str, Sequence[TicketLink]]:
        """Return what messages show of the latest tickets of operations, by operation."""


class LiveTx(DatabaseTime, Protocol):
    """What edits of messages need of a transaction."""

    @property
    def origins(self) -> KnownOrigins:
        """Who started tasks."""

    @property
    def tickets(self) -> TicketLinks:
        """The tickets of operations."""

    @property
    def threads(self) -> EditRecords:
        """Messages that are out of date."""


T = TypeVar("T")

EDIT_BATCH = 10
"""Maximum number of messages that are edited under one claim."""

EDIT_IDLE_INTERVAL = 2.0
"""Time between two queries for messages to edit when nothing wakes the editor, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditReport:
    """What one step did."""

    channel: str
    changed: tuple[tuple[Thread, Outcome], ...] = ()
    """Threads, with what became of their message; where that is right, of the copy that is not."""
    more: bool = False
    """True where further messages may be out of date."""
    retry_in: timedelta | None = None
    """When the pace allows more, where it did not allow all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    threads: Sequence[Thread]
    more: bool
    retry_in: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edited:
    """What became of the messages of a thread."""

    message: Outcome
    copies: Sequence[Outcome | None]
    """In the order of `Thread.copies`."""

    @property
    def known(self) -> Sequence[Outcome]:
        return [self.message, *(copy for copy in self.copies if copy is not None)]

    @property
    def outcome(self) -> Outcome:
        """The first that is to be repeated, else that of the message."""
        return next((one for one in self.known if dispatch.edit_wait(one) is not None), self.message)


class MessageEditor:
    """Edits the messages of one channel. Its driver calls `step` and `wait` in a loop."""

    def __init__(
        self,
        channel: LiveChannel,
        store: Store[LiveTx, object],
        clock: Clock,
        *,
        lease: timedelta,
        tickets: bool = False,
        origins: bool = False,
    ) -> None:
        """Edit the messages of `channel`.

        Args:
            channel: whose messages change.
            store: the database.
            clock: of this process.
            lease: how long a claim of messages holds. It is longer than `EDIT_BATCH` edits take.
            tickets: whether any channel keeps tickets.
            origins: whether it is searched for who started tasks.
        """
        self.channel = channel
        self._tickets = tickets
        self._origins = origins
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
            edited = await self._edit(thread, end)
            if edited is None:
                break
            changed.append((thread, edited.outcome))
            await self._store.transact(partial(self._settle, thread, edited))
        return EditReport(channel=self.channel.name, changed=tuple(changed), more=claim.more, retry_in=claim.retry_in)

    async def wait(self, report: EditReport) -> None:
        """Wait until there may be something to do. After a full batch there may be more at once."""
        if report.retry_in is not None or not report.more:
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
        if self._tickets and threads:
            threads = _with_tickets(tx, threads)
        if self._origins and threads:
            threads = _with_origins(tx, threads)
        edits = sum(thread.edits for thread in threads)
        health = pacing.charge(before, self.channel.edit_pace, now, edits)
        if health != before:
            tx.threads.save_edit_budget(budget, health)
        # A thread that did not fit into what was left takes at most this much.
        more = bool(threads) and edits + MAX_COPIES >= allowed.count
        return _Claim(threads=threads, more=more, retry_in=allowed.retry_in if more or not allowed.count else None)

    async def _edit(self, thread: Thread, end: float) -> _Edited | None:
        """Edit the messages of a thread, all at once: one that fails delays no other. None when no time is left."""
        left = end - self._clock.monotonic()
        if left < self.channel.deadline:
            return None
        message, *copies = await asyncio.gather(
            self._attempt(self.channel.show(thread), left),
            *(self._attempt(self.channel.show_copy(thread, ref), left) for ref in thread.copies),
        )
        assert message is not None  # noqa: S101 - `show` returns an outcome
        return _Edited(message=message, copies=copies)

    async def _attempt(self, edit: Awaitable[T], left: float) -> T | Outcome:
        try:
            async with asyncio.timeout(left):
                return await edit
        except TimeoutError:
            return Unknown("no answer before the claim's lease ends")
        except Exception as error:  # noqa: BLE001 - one message that breaks the channel's code must not stop the others
            return GaveUp(f"the {self.channel.kind} channel failed: {type(error).__name__}")

    def _settle(self, thread: Thread, edited: _Edited, tx: LiveTx) -> None:
        budget = str(self.channel.edit_budget)
        before = tx.threads.edit_budget(budget)
        now = tx.now()
        waits = [wait for one in edited.known if (wait := dispatch.edit_wait(one)) is not None]
        new = edited.message.thread if isinstance(edited.message, Delivered) else None
        if waits:
            tx.threads.postpone_edit(thread, now + max(waits), new)
        else:
            tx.threads.mark_rendered(thread, now, new)
        if gone := [ref for ref, copy in zip(thread.copies, edited.copies, strict=True) if copy is None]:
            tx.threads.drop_copies(thread, gone)
        signals = [(outbox.signal_of(one), one.after if isinstance(one, Retry) else None) for one in edited.known]
        health = pacing.after(before, signals, now, self.channel.edit_pace)
        if health != before:
            tx.threads.save_edit_budget(budget, health)


def _with_origins(tx: LiveTx, threads: Sequence[Thread]) -> Sequence[Thread]:
    """Add who started tasks to events that were detected before that was known."""
    unexplained = dispatch.unexplained(thread.event for thread in threads)
    known = tx.origins.started_by(unexplained) if unexplained else {}
    return [replace(thread, event=dispatch.explained(thread.event, known)) for thread in threads]


def _with_tickets(tx: LiveTx, threads: Sequence[Thread]) -> Sequence[Thread]:
    """Add the tickets of the operations that tasks are of."""
    operations = [operation_of(thread.event) or "" for thread in threads]
    links = tx.tickets.links(set(operations))
    return [
        replace(thread, tickets=tuple(links.get(operation, ())))
        for thread, operation in zip(threads, operations, strict=True)
    ]
