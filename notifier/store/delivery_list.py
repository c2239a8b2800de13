"""Lists and counts of deliveries for the page. No read grows with the table: each is a range of an index, with a limit.

Deliveries are numbered in the order in which they were planned, so that a time is found by halving the numbers, and
needs no index of its own.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from heapq import nlargest, nsmallest
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    text,
)

from notifier.core.delivery import DeliveryState
from notifier.core.delivery_lists import (
    COUNTED_ENDED,
    COUNTED_EVENTS,
    COUNTED_NOT_THROUGH,
    ENDED,
    NOT_THROUGH,
    SAMPLED,
    SEARCHED,
    WAITING,
    ChannelCounts,
    DeliveryCursor,
    DeliveryListing,
    DeliverySlice,
    Latencies,
    ListedDelivery,
    ListedState,
    PlannedPairs,
    latencies_of,
)
from notifier.store import rows
from notifier.store.compiled import compiled, is_in
from notifier.store.delivery_rows import load_storms
from notifier.store.query_statements import LAST_REPLY
from notifier.store.schema import NOT_THROUGH_ROWS, UtcDateTime, deliveries, delivery_events, events, tasks
from notifier.store.session import Session

RANKS = (0, 1)
"""Ranks of deliveries, which an index has before their numbers."""
BELOW, ABOVE = 0, 2**62
"""Numbers that no delivery has."""

_ONE: ColumnElement[int] = literal_column("1", Integer)
_since = bindparam("since", type_=UtcDateTime)
_channel = bindparam("channel", type_=String)
_first = bindparam("first", type_=BigInteger)
_of_state: Mapping[ListedState, tuple[Any, ...]] = {
    **{state: (deliveries.c.state == state.state.value,) for state in ListedState},
    # The condition of the index in the same words, for SQLite concludes nothing.
    ListedState.PARKED: (deliveries.c.state == DeliveryState.PARKED.value, text(NOT_THROUGH_ROWS)),
    ListedState.DEAD: (deliveries.c.state == DeliveryState.DEAD.value, text(NOT_THROUGH_ROWS)),
    ListedState.DISMISSED: (deliveries.c.state == DeliveryState.DEAD.value, deliveries.c.dismissed_at.is_not(None)),
    ListedState.PENDING: (deliveries.c.state == DeliveryState.PENDING.value, deliveries.c.rule.is_(None)),
    ListedState.HELD: (deliveries.c.state == DeliveryState.PENDING.value, deliveries.c.rule.is_not(None)),
}

# ---- counts ----


def _halved() -> Select[Any]:
    """Return the statement of the number of the first delivery that was planned at or after a time."""
    lowest, highest = (select(of(deliveries.c.seq)).scalar_subquery() for of in (func.min, func.max))
    start = select(func.coalesce(lowest, 0).label("low"), (func.coalesce(highest, -1) + 1).label("high"))
    step = start.cte("step", recursive=True)
    # Two integers are divided as integers, by both databases.
    middle = literal_column("(step.low + step.high) / 2", BigInteger)
    at_middle = select(deliveries.c.created_at < _since).where(deliveries.c.seq >= middle)
    early = at_middle.order_by(deliveries.c.seq).limit(1).correlate(step).scalar_subquery()
    low, high = case((early, middle + 1), else_=step.c.low), case((early, step.c.high), else_=middle)
    step = step.union_all(select(low, high).where(step.c.low < step.c.high))
    return select(step.c.low).where(step.c.low >= step.c.high)


FIRST_SINCE = compiled(_halved())


def _counts() -> Select[Any]:
    """Return the statement of every channel with deliveries: each name is found by one search of an index."""
    first = select(func.min(deliveries.c.channel).label("name")).cte("names", recursive=True)
    following = select(func.min(deliveries.c.channel)).where(deliveries.c.channel > first.c.name).correlate(first)
    names = first.union_all(select(following.scalar_subquery()).where(first.c.name.is_not(None)))
    counted = (_count(names, state).label(state.value) for state in ListedState)
    return select(names.c.name, *counted).where(names.c.name.is_not(None)).order_by(names.c.name)


def _count(names: Any, state: ListedState) -> ColumnElement[int]:  # noqa: ANN401 - a common table expression
    limit = COUNTED_ENDED if state in ENDED else COUNTED_NOT_THROUGH
    lately = (deliveries.c.rank.in_([literal_column(str(rank)) for rank in RANKS]), deliveries.c.seq >= _first)
    wanted: Select[Any] = select(_ONE).select_from(deliveries).where(deliveries.c.channel == names.c.name)
    wanted = wanted.where(*_of_state[state], *(lately if state in ENDED else ()))
    some = wanted.limit(literal_column(str(limit + 1))).correlate(names).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


COUNTS = compiled(_counts())
NOT_THROUGH_COUNT = compiled(
    select(func.count()).select_from(
        select(_ONE)
        .select_from(deliveries)
        .where(text(NOT_THROUGH_ROWS))
        .limit(literal_column(str(COUNTED_NOT_THROUGH + 1)))
        .subquery()
    )
)
TIMES = compiled(
    select(deliveries.c.created_at, deliveries.c.settled_at)
    .where(
        deliveries.c.channel == _channel,
        deliveries.c.state == DeliveryState.DELIVERED.value,
        deliveries.c.rank == bindparam("rank", type_=Integer),
        deliveries.c.seq >= _first,
    )
    .order_by(deliveries.c.seq.desc())
    .limit(literal_column(str(SAMPLED)))
)


def _pairs() -> Select[Any]:
    accounts = select(func.count()).where(delivery_events.c.event_id == events.c.id).correlate(events)
    newest = (
        select(events.c.observed_at, events.c.channel_count, accounts.scalar_subquery().label("accounts"))
        .where(events.c.observed_at >= _since)
        .order_by(events.c.observed_at.desc(), events.c.seq.desc())
        .limit(literal_column(str(COUNTED_EVENTS + 1)))
        .subquery("newest")
    )
    return select(
        func.count().label("events"),
        func.coalesce(func.sum(newest.c.channel_count), 0).label("planned"),
        func.coalesce(func.sum(newest.c.accounts), 0).label("accounted"),
        func.count().filter(newest.c.channel_count != newest.c.accounts).label("unequal"),
        func.min(newest.c.observed_at, type_=UtcDateTime).label("since"),
    )


PAIRS = compiled(_pairs())

# ---- lists ----

_LISTED = (
    *("id", "seq", "channel", "attempt", "created_at", "available_at", "settled_at", "retried_at", "reason"),
    *("rule", "digest", "storm"),
)
FIRST_EVENTS = compiled(
    select(
        delivery_events.c.delivery_id,
        events.c.facts,
        select(func.count())
        .where((others := delivery_events.alias("others")).c.delivery_id == delivery_events.c.delivery_id)
        .correlate(delivery_events)
        .select_from(others)
        .scalar_subquery()
        .label("number"),
    )
    .join(events, events.c.id == delivery_events.c.event_id)
    .where(is_in(delivery_events.c.delivery_id, "ids"), delivery_events.c.position == literal_column("0"))
)


@cache
def _range(state: ListedState, *, oldest_first: bool, of_channel: bool, of_rule: bool, searching: bool) -> Select[Any]:
    """Return the statement of one range of an index: deliveries in a state after one with a number.

    The number of a channel's comes after their rank, so that each rank is a range.
    """
    # Of what a rule did, the index of rules is read and its few rows are sorted: hence a number that is in no index.
    seq: ColumnElement[int] = literal_column("deliveries.seq + 0", BigInteger) if of_rule else deliveries.c.seq
    after = bindparam("after", type_=BigInteger)
    wanted = select(*(deliveries.c[name] for name in _LISTED), LAST_REPLY).where(*_of_state[state])
    wanted = wanted.where(seq > after if oldest_first else and_(seq < after, seq >= _first))
    if of_channel:
        wanted = wanted.where(deliveries.c.channel == _channel)
        if state not in NOT_THROUGH:
            wanted = wanted.where(deliveries.c.rank == bindparam("rank", type_=Integer))
    if of_rule:
        wanted = wanted.where(deliveries.c.rule == bindparam("rule", type_=String))
    wanted = wanted.order_by(seq if oldest_first else seq.desc()).limit(bindparam("limit", type_=Integer))
    return _with_match(wanted) if searching else wanted


def _with_match(wanted: Select[Any]) -> Select[Any]:
    """Add to the deliveries whether a text fits them."""
    found = wanted.subquery("found")
    pattern, beginning = (bindparam(name, type_=String) for name in ("pattern", "beginning"))
    about: Select[Any] = (
        select(_ONE)
        .select_from(delivery_events)
        .join(events, events.c.id == delivery_events.c.event_id)
        .join(tasks, and_(tasks.c.source == events.c.source, tasks.c.job_id == events.c.job_id))
        .where(delivery_events.c.delivery_id == found.c.id, func.lower(tasks.c.instance_name).like(pattern, escape="/"))
        .correlate(found)
    )
    fits = or_(
        found.c.id.like(beginning, escape="/"),
        func.lower(func.coalesce(found.c.reason, "")).like(pattern, escape="/"),
        func.lower(func.coalesce(found.c.reply, "")).like(pattern, escape="/"),
        exists(about),
    )
    return select(found, fits.label("fits"))


STATES_OF_DELIVERIES = compiled(
    select(deliveries.c.id, deliveries.c.state, deliveries.c.rule, deliveries.c.dismissed_at).where(
        is_in(deliveries.c.id, "ids")
    )
)


def _listed_state(row: Any) -> ListedState:  # noqa: ANN401 - a row
    if row.state == DeliveryState.DEAD and row.dismissed_at is not None:
        return ListedState.DISMISSED
    if row.state == DeliveryState.PENDING and row.rule is not None:
        return ListedState.HELD
    return ListedState(row.state)


def _searched_for(text: str) -> dict[str, str]:
    literal = text.lower().replace("/", "//").replace("%", "/%").replace("_", "/_")
    return {"pattern": f"%{literal}%", "beginning": f"{literal}%"}


class DeliveryList:
    """Reads of lists and counts of deliveries."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def count_not_through(self) -> int:
        """Count the parked deliveries, and the dead ones that nobody has dismissed, with a limit."""
        return int(self._session.execute(NOT_THROUGH_COUNT).scalar_one())

    def counts(self, since: datetime, measured: Collection[str]) -> Sequence[ChannelCounts]:
        """Count the deliveries of each channel by state, with limits; those that are over since a time.

        The times of the latest messages are measured on the channels of these names.
        """
        first = self._first_since(since)
        return [
            ChannelCounts(
                channel=row.name,
                counts={state: getattr(row, state.value) for state in ListedState},
                latencies=self._latencies(row.name, first) if row.name in measured and row.delivered else None,
            )
            for row in self._session.execute(COUNTS, {"first": first})
        ]

    def planned_pairs(self, since: datetime) -> PlannedPairs:
        """Compare what was planned since a time, or for the latest events of it, with the deliveries that there are."""
        row = self._session.execute(PAIRS, {"since": since}).one()
        return PlannedPairs(
            events=row.events,
            planned=int(row.planned),
            accounted=int(row.accounted),
            unequal=row.unequal,
            since=row.since,
            whole=row.events <= COUNTED_EVENTS,
        )

    def page(self, wanted: DeliveryListing) -> DeliverySlice:
        """Return a page of a list: what waits by state and the oldest first, all else the newest first."""
        found = self._waiting(wanted) if wanted.oldest_first else self._newest(wanted)
        shown = found.rows[: wanted.limit]
        after = shown[-1].cursor if len(found.rows) > wanted.limit else found.after
        return DeliverySlice(rows=shown, after=after, cut=found.cut and len(found.rows) <= wanted.limit)

    def states(self, ids: Collection[str]) -> Mapping[str, ListedState]:
        """Return the states of these deliveries by id; unknown ones are left out."""
        found = self._session.execute_chunks(STATES_OF_DELIVERIES, ids)
        return {row.id: _listed_state(row) for some in found for row in some}

    def _first_since(self, since: datetime) -> int:
        return int(self._session.execute(FIRST_SINCE, {"since": since}).scalar_one())

    def _latencies(self, channel: str, first: int) -> Latencies | None:
        times = [
            row.settled_at - row.created_at
            for rank in RANKS
            for row in self._session.execute(TIMES, {"channel": channel, "rank": rank, "first": first})
        ]
        return latencies_of(times)

    def _waiting(self, wanted: DeliveryListing) -> DeliverySlice:
        found: list[ListedDelivery] = []
        states = [state for state in WAITING if state in wanted.states]
        if wanted.after is not None and wanted.after.state in states:
            states = states[states.index(wanted.after.state) :]
        left = SEARCHED
        for state in states:
            begins = wanted.after.seq if wanted.after is not None and wanted.after.state is state else BELOW
            part = self._ranges(state, wanted, begins, wanted.limit + 1 - len(found), min(left, SEARCHED))
            found += part.rows
            if part.after is not None or len(found) > wanted.limit:
                return DeliverySlice(rows=tuple(found), after=part.after, cut=part.cut)
        return DeliverySlice(rows=tuple(found))

    def _newest(self, wanted: DeliveryListing) -> DeliverySlice:
        begins = wanted.after.seq if wanted.after is not None else ABOVE
        first = BELOW if wanted.since is None else self._first_since(wanted.since)
        parts = [
            self._ranges(state, wanted, begins, wanted.limit + 1, SEARCHED, first if state in ENDED else BELOW)
            for state in set(wanted.states)
        ]
        # Where one search was ended, nothing older than its end may be shown before it has gone on.
        ends = [part.after for part in parts if part.after is not None]
        bound = max(ends, key=lambda end: end.seq) if ends else None
        merged = nlargest(wanted.limit + 1, (row for part in parts for row in part.rows), key=lambda row: row.seq)
        kept = tuple(row for row in merged if bound is None or row.seq >= bound.seq)
        return DeliverySlice(rows=kept, after=bound, cut=bound is not None)

    def _ranges(  # noqa: PLR0917 - of one range
        self,
        state: ListedState,
        wanted: DeliveryListing,
        begins: int,
        limit: int,
        searched: int,
        first: int = BELOW,
    ) -> DeliverySlice:
        """Return the first deliveries in one state."""
        searching = bool(wanted.text)
        ranked = wanted.channel is not None and state not in NOT_THROUGH
        statement = _range(
            state,
            oldest_first=wanted.oldest_first,
            of_channel=wanted.channel is not None,
            of_rule=wanted.rule is not None,
            searching=searching,
        )
        size = searched if searching else limit
        parameters = {"after": begins, "channel": wanted.channel, "rule": wanted.rule, "limit": size}
        parameters |= {"first": first}
        parameters |= _searched_for(wanted.text) if searching else {}
        found = [
            row
            for rank in (RANKS if ranked else (None,))
            for row in self._session.execute(statement, parameters | {"rank": rank})
        ]
        choose = nsmallest if wanted.oldest_first else nlargest
        read = choose(size, found, key=lambda row: row.seq)
        fitting = [row for row in read if row.fits] if searching else read
        ended = searching and len(read) == size and len(fitting) <= limit
        after = DeliveryCursor(state, read[-1].seq) if ended else None
        return DeliverySlice(rows=self._listed(fitting[:limit], state), after=after, cut=ended)

    def _listed(self, found: Sequence[Any], state: ListedState) -> tuple[ListedDelivery, ...]:
        ids = [row.id for row in found]
        about = {row.delivery_id: row for row in self._session.execute(FIRST_EVENTS, {"ids": ids})} if ids else {}
        storms = load_storms(self._session, {row.storm for row in found if row.storm})
        return tuple(
            ListedDelivery(
                state=state,
                event=rows.event_of(about[row.id].facts),
                events=about[row.id].number,
                reply=row.reply,
                storm=storms.get(row.storm),
                **{name: getattr(row, name) for name in _LISTED if name != "storm"},
            )
            for row in found
            if row.id in about
        )
