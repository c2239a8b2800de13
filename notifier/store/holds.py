"""Deliveries that rules hold: what ends a hold, and what becomes of them then."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement

from notifier.core import holds
from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.holds import LastingHold
from notifier.store import rows, statements
from notifier.store.delivery_rows import change_deliveries, load_deliveries, make_due
from notifier.store.rows import NamedRow
from notifier.store.schema import deliveries
from notifier.store.session import Session
from notifier.store.values import Columns


class Holds:
    """Reads and releases of what rules hold.

    A step of a worker releases what is due on its channel, and a plan what is about the tasks that it sends something
    about. Both lock held deliveries in the order of `seq`. A step leaves those that a plan has locked. A plan waits for
    the step, so that what it sends comes after the digest.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def lasting(self, rules: Collection[str]) -> Sequence[LastingHold]:
        """Return what these rules hold, by channel and rule."""
        found = self._session.execute(statements.LASTING_HOLDS, {"rules": rules})
        return [LastingHold(*row) for row in found]

    def of_events(self, event_ids: Collection[str]) -> Mapping[tuple[str, str], tuple[str, datetime]]:
        """Return which rule holds events, and until when, by event id and channel."""
        found = self._session.execute(statements.HOLDS_OF_EVENTS, {"ids": event_ids})
        return {(row.event_id, row.channel): (row.rule, row.available_at) for row in found}

    def recent(self, channel: str, limit: int) -> Sequence[datetime]:
        """Return when the latest messages of a channel were planned that were sent or wait to be, at least `limit`.

        What is held is not among them.
        """
        return list(self._session.execute(statements.RECENT_MESSAGES, {"channel": channel, "limit": limit}).scalars())

    def rules(self) -> Sequence[tuple[str, str]]:
        """Return the channels and rules of everything that is held."""
        return [(row.channel, row.rule) for row in self._session.execute(statements.HOLDING_RULES)]

    def end(self, channel: str, rule: str, now: datetime) -> int:
        """Let a hold end now: the next step of the channel releases what it holds. Return how much that is."""
        return make_due(self._session, *_held_by(channel, rule), available_at=now)

    def prolong(self, channel: str, rule: str, until: datetime) -> None:
        """Let a hold that has not ended last longer."""
        change_deliveries(
            self._session, *_held_by(channel, rule), deliveries.c.available_at < until, available_at=until
        )

    def release(self, channel: str, rules: Collection[str], size: int | None, now: datetime) -> None:
        """Release what these rules hold on a channel and what else is held about the same tasks.

        A rule whose hold has ended for one delivery releases all that it holds. `size` is that of `holds.plan_release`.
        """
        parked = channel in set(self._session.execute(statements.PARKED_NAMES).scalars())
        for rule in sorted(rules):
            found = self._locked_of(channel, rule)
            if not found:
                continue
            held = load_deliveries(self._session, found)
            state = DeliveryState.PARKED if parked else DeliveryState.PENDING
            release = holds.plan_release(held, rule, size, state, now)
            alone = {one.id: one.rank for one in release.singles}
            if release.digests:
                self._make_digests(release.digests, [one.id for one in held if one.id not in alone])
            self._make_due([row.seq for row in found if row.id in alone], state, now)
            failing = [row.seq for row in found if alone.get(row.id, row.rank) != row.rank]
            if failing:
                self._session.execute(statements.RANK_AS_FAILURES, {"seqs": failing})

    def _locked_of(self, channel: str, rule: str) -> Sequence[NamedRow]:
        wanted = {"channel": channel, "rule": rule, "limit": holds.RELEASED_TOGETHER}
        found = self._session.execute(statements.HELD_BY_RULE, wanted).all()
        subjects = {row.subject for row in found}
        if not subjects:
            return []
        ids = {row.id for row in found}
        more = self._session.execute(statements.HELD_ABOUT, {"channel": channel, "subjects": subjects}).all()
        return sorted((*found, *(row for row in more if row.id not in ids)), key=lambda row: row.seq)

    def release_about(self, subjects: Mapping[str, Collection[str]], parked: Collection[str], now: datetime) -> None:
        """Release what is held about these subjects, by channel: something newer about them is sent.

        It goes out one by one and in order, before what is newer.
        """
        wanted = {"channels": subjects, "subjects": {subject for some in subjects.values() for subject in some}}
        found = self._session.execute(statements.LOCK_HELD_ABOUT, wanted).all()
        concerned = [row for row in found if row.subject in subjects[row.channel]]
        self._make_due([row.seq for row in concerned if row.channel in parked], DeliveryState.PARKED, now)
        self._make_due([row.seq for row in concerned if row.channel not in parked], DeliveryState.PENDING, now)

    def _make_due(self, seqs: Sequence[int], state: DeliveryState, now: datetime) -> None:
        if seqs:
            self._session.execute(statements.RELEASE_HELD, {"seqs": seqs, "new_state": state, "now": now})
            self._session.notify_listeners()

    def _make_digests(self, digests: Sequence[Delivery], emptied: Sequence[str]) -> None:
        """Record digests, move the events of other deliveries to them, and delete those."""
        self._session.execute_columns(statements.RECORD_DELIVERY, rows.delivery_columns(digests))
        carried = [(one, place, event) for one in digests for place, event in enumerate(one.events)]
        columns: Columns = {
            "new_delivery_id": [one.id for one, _, _ in carried],
            "new_position": [place for _, place, _ in carried],
            "of_event_id": [event.id for _, _, event in carried],
            "of_channel": [one.channel for one, _, _ in carried],
        }
        self._session.execute_columns(statements.MOVE_EVENT, columns)
        self._session.execute(statements.DELETE_EMPTIED, {"ids": emptied})


def _held_by(channel: str, rule: str) -> tuple[ColumnElement[bool], ...]:
    return (
        deliveries.c.rule == rule,
        deliveries.c.state == DeliveryState.PENDING,
        deliveries.c.channel == channel,
    )
