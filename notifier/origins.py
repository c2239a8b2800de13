"""Search Cloud Trace for who started tasks.

A poll that records a new task begins its search (`notifier.core.polling.first_tries`). Here the searches that are due
are claimed in one transaction, made while none is open, within the budget of the source's credential, and settled in
others. Of several replicas one makes each try: a claim moves the search to a time at which another may take it over,
and a try that is settled later than that changes nothing.

What is found goes into the row of the task, from which events take it when they are recorded, and messages when they
are rendered; live messages about the task are edited. A search that finds nothing says nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from notifier.call_budget import BudgetTx, Postponed, spend
from notifier.core.credentials import Credential
from notifier.core.errors import PermissionDenied, SourceError
from notifier.core.identity import Subject
from notifier.core.origins import (
    LOG_REACH,
    FoundOrigin,
    OriginSearch,
    StartedTask,
    TraceQuery,
    TraceRow,
    find_origin,
    is_last_try,
    next_try_at,
    plan_queries,
    query_stages,
)
from notifier.core.rights import MissingRight, SourcePart
from notifier.ports import RightsTx, Store

SEARCH_LEASE = timedelta(minutes=5)
"""Time after which another process takes over a search. Longer than the calls of one source take."""
MAX_SEARCHES = 200
"""Maximum number of searches that are claimed together."""
MAX_PARALLEL = 8
"""Number of sources that are asked at the same time."""
UNREACHABLE_WAIT = timedelta(minutes=1)
"""Wait after the service could not be asked. It counts as no try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTraces:
    """Rows of the log that answer a query."""

    traces: Sequence[TraceRow]
    whole: bool = True
    """False where there are more than were read."""


class TraceReader(Protocol):
    """The audit log of the project of a source."""

    @property
    def action(self) -> str:
        """The action that reading it takes: `cts:trace:list`."""

    @property
    def keeps_addresses(self) -> bool:
        """Whether the addresses that requests came from are kept."""

    @property
    def calls(self) -> int:
        """Calls made so far, retries included."""

    async def read(self, query: TraceQuery) -> FoundTraces:
        """Return the rows that answer a query. Raises SourceError."""


class OriginSearches(Protocol):
    """The searches as they are recorded."""

    def claim_due(self, sources: Collection[str], now: datetime, until: datetime, limit: int) -> Sequence[OriginSearch]:
        """Claim searches of these sources that are due, the newest first, until a time."""

    def siblings(self, wanted: Collection[StartedTask]) -> Sequence[StartedTask]:
        """Return the tasks of the same instances that were created at about the same time, these included."""

    def settle(self, search: OriginSearch, found: FoundOrigin | None, next_at: datetime | None, now: datetime) -> bool:
        """Record a try, unless another process has claimed the search since; return whether it was recorded."""

    def postpone(self, searches: Collection[OriginSearch], until: datetime) -> None:
        """Let searches wait that could not be made."""


class ShownTasks(Protocol):
    """Live messages."""

    def touch_subjects(self, subjects: Collection[str], now: datetime) -> None:
        """Let the messages about these subjects change."""


class OriginReads(Protocol):
    """What is read before searches are claimed."""

    def any_due_origin(self) -> bool:
        """Return whether any search is due."""


class OriginTx(BudgetTx, RightsTx, Protocol):
    """What searches need of a transaction."""

    @property
    def origins(self) -> OriginSearches:
        """The searches."""

    @property
    def threads(self) -> ShownTasks:
        """Live messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSearch:
    """What became of the searches of one source."""

    source: str
    asked: int = 0
    """Number of tasks that were searched for."""
    found: Sequence[tuple[StartedTask, FoundOrigin]] = ()
    postponed_until: datetime | None = None
    """When they are made again, where the budget had no room for them."""
    missing_right: MissingRight | None = None
    """The right that the source lacks; None where it has it."""
    error: SourceError | None = None
    """Why the log could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _SourceClaim:
    """The searches of one source that were claimed."""

    source: str
    at: datetime
    searches: Sequence[OriginSearch]
    siblings: Sequence[StartedTask]

    def is_last(self, search: OriginSearch) -> bool:
        return is_last_try(search.task, search.tries, self.at)


async def search_origins(
    store: Store[OriginTx, OriginReads],
    readers: Mapping[str, TraceReader],
    credentials: Mapping[str, Credential],
) -> Sequence[SourceSearch]:
    """Make the searches that are due. Raises StoreError; what failed for one source does not concern another.

    Args:
        store: the database.
        readers: the log of each source whose tasks are searched for, by name.
        credentials: of each source, by name; none where nothing limits its calls.
    """
    if not readers or not await store.read(lambda q: q.any_due_origin()):
        return ()
    claims = await store.transact(partial(_claim, sources=readers.keys()))
    slots = asyncio.Semaphore(MAX_PARALLEL)

    async def search(claim: _SourceClaim) -> SourceSearch:
        async with slots:
            one = _Search(store, readers[claim.source], credentials.get(claim.source), claim)
            return await one.run()

    return await asyncio.gather(*map(search, claims))


def _claim(tx: OriginTx, sources: Collection[str]) -> Sequence[_SourceClaim]:
    now = tx.now()
    asked = set(sources).difference(tx.rights.paused(SourcePart.STARTED_BY, now))
    by_source: defaultdict[str, list[OriginSearch]] = defaultdict(list)
    for search in tx.origins.claim_due(sorted(asked), now, now + SEARCH_LEASE, MAX_SEARCHES):
        by_source[search.task.source].append(search)
    return [
        _SourceClaim(
            source=source,
            at=now,
            searches=searches,
            siblings=tx.origins.siblings([one.task for one in searches]),
        )
        for source, searches in by_source.items()
    ]


@dataclass(slots=True)
class _Rows:
    """The rows that may explain a task."""

    traces: dict[str, TraceRow] = field(default_factory=dict)
    whole: bool = True

    def add(self, found: FoundTraces) -> None:
        for number, trace in enumerate(found.traces):
            self.traces[trace.trace_id or f"{len(self.traces)} {number}"] = trace
        self.whole = self.whole and found.whole


class _Search:
    """Makes the searches of one source that were claimed."""

    def __init__(
        self,
        store: Store[OriginTx, OriginReads],
        reader: TraceReader,
        credential: Credential | None,
        claim: _SourceClaim,
    ) -> None:
        self._store = store
        self._reader = reader
        self._credential = credential
        self._claim = claim
        self._known = {one.task.job_id: _Rows() for one in claim.searches}

    async def run(self) -> SourceSearch:
        """Ask, record what was found, and return what became of it. Raises StoreError."""
        claim = self._claim
        reached = [one for one in claim.searches if claim.at - one.task.began_at <= LOG_REACH]
        calls = max(1, len(plan_queries(self._wanted(reached, 0))))
        try:
            found = await spend(
                self._store, self._credential, calls, partial(self._read, reached), counter=lambda: self._reader.calls
            )
        except PermissionDenied:
            right = await self._store.transact(self._lack)
            return SourceSearch(source=claim.source, missing_right=right)
        except SourceError as error:
            wait = max(error.retry_after or UNREACHABLE_WAIT, UNREACHABLE_WAIT)
            await self._store.transact(partial(self._fail, wait=wait))
            return SourceSearch(source=claim.source, error=error)
        if isinstance(found, Postponed):
            until = found.until
            await self._store.transact(lambda tx: tx.origins.postpone(claim.searches, until))
            return SourceSearch(source=claim.source, postponed_until=until)
        settled = await self._settle(found)
        return SourceSearch(source=claim.source, asked=len(claim.searches), found=settled)

    async def _read(self, searches: Sequence[OriginSearch]) -> Mapping[str, FoundOrigin]:
        """Ask stage by stage, and return what was found, by job id."""
        found: dict[str, FoundOrigin] = {}
        pending, stage = list(searches), 0
        while wanted := self._wanted(pending, stage):
            for planned in plan_queries(wanted):
                rows = await self._reader.read(planned.query)
                for task in planned.tasks:
                    self._known[task.job_id].add(rows)
            found |= {one.task.job_id: origin for one in pending if (origin := self._origin_of(one))}
            pending = [one for one in pending if one.task.job_id not in found]
            stage += 1
        return found

    def _wanted(self, pending: Sequence[OriginSearch], stage: int) -> Sequence[tuple[StartedTask, TraceQuery]]:
        return list(self._queries(pending, stage))

    def _queries(self, pending: Sequence[OriginSearch], stage: int) -> Iterator[tuple[StartedTask, TraceQuery]]:
        for one in pending:
            stages = query_stages(one.task, last=self._claim.is_last(one))
            if stage < len(stages):
                yield from ((one.task, query) for query in stages[stage])

    def _origin_of(self, search: OriginSearch) -> FoundOrigin | None:
        rows = self._known[search.task.job_id]
        return find_origin(
            search.task,
            rows.traces.values(),
            self._claim.siblings,
            last=self._claim.is_last(search),
            whole=rows.whole,
            with_address=self._reader.keeps_addresses,
        )

    async def _settle(self, found: Mapping[str, FoundOrigin]) -> Sequence[tuple[StartedTask, FoundOrigin]]:
        """Record what was found, each in a transaction of its own: a poll locks the same rows in its own order."""
        claim, settled = self._claim, list[tuple[StartedTask, FoundOrigin]]()
        for one in claim.searches:
            origin = found.get(one.task.job_id)
            if origin is None:
                continue
            ours: bool = await self._store.transact(partial(_settle_found, search=one, found=origin), short=True)
            if ours:
                settled.append((one.task, origin))
        await self._store.transact(partial(self._settle_others, found=found))
        return settled

    def _settle_others(self, tx: OriginTx, found: Collection[str]) -> None:
        claim, now = self._claim, tx.now()
        tx.rights.have(claim.source, SourcePart.STARTED_BY)
        for one in claim.searches:
            if one.task.job_id not in found:
                tx.origins.settle(one, None, next_try_at(one.task, one.tries + 1, now), now)

    def _lack(self, tx: OriginTx) -> MissingRight:
        """Record that the right is missing. The searches stay due, and are made when the source is tried again."""
        now, claim = tx.now(), self._claim
        right = tx.rights.lack(claim.source, SourcePart.STARTED_BY, self._reader.action, now)
        tx.origins.postpone(claim.searches, now)
        return right

    def _fail(self, tx: OriginTx, wait: timedelta) -> None:
        tx.origins.postpone(self._claim.searches, tx.now() + wait)


def _settle_found(tx: OriginTx, search: OriginSearch, found: FoundOrigin) -> bool:
    now, task = tx.now(), search.task
    if not tx.origins.settle(search, found, None, now):
        return False
    tx.threads.touch_subjects([Subject.of_task(task.source, task.job_id)], now)
    return True
