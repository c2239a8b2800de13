"""The outbox: deliveries from their plan to their settlement, and what people do about them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import ColumnElement, func, or_, select, tuple_, update

from notifier.core import outbox, recipients
from notifier.core.delivery import Body, Delivery, DeliveryState
from notifier.core.health_facts import Expected
from notifier.core.identity import DirectChannel
from notifier.core.model import Event
from notifier.core.outbox import Settlement
from notifier.core.pacing import AttemptSignal
from notifier.core.routing import MAX_DIGEST_SIZE
from notifier.core.storm_plan import UnsentPart
from notifier.store import rows, statements
from notifier.store.channels import Channels
from notifier.store.delivery_rows import change_deliveries, load_deliveries, load_events, make_due
from notifier.store.holds import Holds
from notifier.store.planned_events import UnclaimedDeliveries
from notifier.store.rows import NamedRow
from notifier.store.schema import deliveries, delivery_events, events
from notifier.store.session import Session, chunks
from notifier.store.statements import UNSETTLED, new_values
from notifier.store.values import Columns

_REPEATABLE = (DeliveryState.DEAD, DeliveryState.PARKED)


class Deliveries:
    """Claims, settlements and changes of deliveries."""

    def __init__(self, session: Session, channels: Channels, holds: Holds, planned: UnclaimedDeliveries) -> None:
        """`planned` belongs to the process."""
        self._session = session
        self._channels = channels
        self._holds = holds
        self._kept = planned
        self._planned: dict[str, Delivery] = {}
        """Of this transaction, by id: those that are kept once it has committed."""
        self._planned_channels: set[str] = set()

    @property
    def planned_channels(self) -> Collection[str]:
        """The channels for which this transaction has planned deliveries that wait to be sent."""
        return self._planned_channels

    def record(self, planned: Sequence[Delivery]) -> None:
        """Insert deliveries of events that are new, so that none can be there already."""
        if not planned:
            return
        self._planned_channels |= {
            one.channel for one in planned if one.state is DeliveryState.PENDING and not one.rule
        }
        self._session.execute_columns(statements.RECORD_DELIVERY, rows.delivery_columns(planned))
        self._session.execute_columns(statements.RECORD_DELIVERED_EVENT, rows.delivered_event_columns(planned))
        self._session.notify_listeners()
        if not self._planned:
            self._session.after_commit.append(partial(self._kept.keep, self._planned.values()))
        self._planned |= {one.id: one for one in planned if _events_are_final(one)}

    def unsent_parts(self, storm_ids: Collection[str]) -> Mapping[str, UnsentPart]:
        """Return the latest delivery of each of these storms of which no attempt has been made, by storm id."""
        found = [row for chunk in self._session.execute_chunks(statements.UNSENT_PARTS, storm_ids) for row in chunk]
        carried = load_events(self._session, [row.id for row in found])
        return {
            row.storm: UnsentPart(
                delivery_id=row.id, events=tuple(carried[row.id]), routing=rows.routing_of(row.routing)
            )
            for row in found
        }

    def extend(self, delivery_id: str, more: Sequence[Event]) -> bool:
        """Add events to a delivery, unless an attempt has been made. Return whether it took them.

        It takes none where a newer delivery waits that is about one of their subjects: it would overtake that one.
        """
        unsent = self._session.execute(statements.LOCK_UNSENT, {"id": delivery_id}).one_or_none()
        if unsent is None or self._waits_since(unsent.seq, unsent.channel, {event.subject for event in more}):
            return False
        columns: Columns = {
            "delivery_id": [delivery_id] * len(more),
            "event_id": [event.id for event in more],
            "channel": [unsent.channel] * len(more),
            "subject": [event.subject for event in more],
            "position": range(unsent.events, unsent.events + len(more)),
        }
        self._session.execute_columns(statements.RECORD_DELIVERED_EVENT, columns)
        return True

    def _waits_since(self, seq: int, channel: str, subjects: Collection[str]) -> bool:
        """Return whether a delivery that is newer than this one and about one of these subjects is not settled."""
        chunked = self._session.execute_chunks(
            statements.NEWER_UNSETTLED, subjects, "subjects", channel=channel, seq=seq
        )
        return any(found.first() is not None for found in chunked)

    def claim_due(
        self,
        channel: str,
        owner: str,
        now: datetime,
        lease: timedelta,
        limit: int,
        *,
        at_once: int | None = None,
        digest_size: int | None = None,
    ) -> Sequence[Delivery]:
        """Claim deliveries of a channel that are due: failures first, then the oldest; at most one of each subject.

        What a rule held and holds no longer is released before, in digests of `digest_size` events; None makes none.

        A claim adds one to `attempt` and advances `available_at` by the lease. The first `at_once` of them (None: all)
        are to be sent at once and have begun with the claim, and so has a delivery without a body that is rendered for
        the first time; the others begin with `mark_begun`. Where the holder of an earlier claim died, the outcome is
        unknown if the attempt had begun; if it had not, it does not count.
        """
        self._kept.wanted = True
        due = {"channel": channel, "now": now, "limit": limit}
        found = self._session.execute(statements.DUE_DELIVERIES, due).all()
        if rules := {row.rule for row in found if row.rule is not None}:
            self._holds.release(channel, rules, digest_size, now)
            found = self._session.execute(statements.DUE_UNRULED, due).all()
        seqs = [row.seq for row in found]
        if not seqs:
            return []
        claim = {"seqs": seqs, "sent_at_once": seqs[:at_once], "until": now + lease, "owner": owner}
        claimed = self._session.execute(statements.CLAIM_DELIVERIES, claim).all()
        in_order = sorted(claimed, key=lambda row: (row.rank, row.seq))
        return load_deliveries(self._session, in_order, self._known_events(claimed))

    def _known_events(self, claimed: Sequence[NamedRow]) -> Mapping[str, Sequence[Event]]:
        """Return the events of those deliveries that this process has planned, by the id of the delivery.

        The row must be the one that was written with them: ids come back when a database is restored.
        """
        kept = dict(self._kept.take([row.id for row in claimed]))
        kept |= {row.id: self._planned.pop(row.id) for row in claimed if row.id in self._planned}
        found = ((row, kept.get(row.id)) for row in claimed)
        return {row.id: one.events for row, one in found if one is not None and one.created_at == row.created_at}

    def withheld(self, delivery_ids: Collection[str]) -> Mapping[str, frozenset[str]]:
        """Return the recipients whom an older delivery about the same subject has not reached yet, by delivery."""
        withheld: dict[str, frozenset[str]] = {}
        for id_, encoded in self._session.execute(statements.BLOCKING_RECIPIENTS, {"ids": delivery_ids}):
            pending = recipients.pending_addresses(rows.recipients_of(encoded))
            withheld[id_] = withheld.get(id_, frozenset()) | pending
        return withheld

    def mark_begun(self, claims: Collection[tuple[str, int]], *, begun: bool) -> Collection[str]:
        """Record whether claims have begun to be rendered or sent; return the ids of those that are still held."""
        ids_by_number: dict[int, list[str]] = {}
        for id_, number in claims:
            ids_by_number.setdefault(number, []).append(id_)
        if len(ids_by_number) > 1:  # a single statement locks in order by itself
            self._lock([id_ for id_, _ in claims])
        held: set[str] = set()
        for number, ids in ids_by_number.items():
            mark = {"ids": ids, "number": number, "has_begun": begun}
            held.update(self._session.execute(statements.MARK_BEGUN, mark).scalars())
        return held

    def save_bodies(self, bodies: Mapping[str, Body], queued: Collection[tuple[str, int]] = ()) -> Mapping[str, Body]:
        """Store rendered bodies by delivery id; return what is to be sent: the first body that a delivery ever had.

        A body that the database cannot hold is left out. The claims that are `queued`, with or without a body, have not
        begun any more: they begin with `mark_begun`.
        """
        numbers = dict(queued)
        self._lock(bodies.keys() | numbers)
        stored = self._store_first(bodies, numbers)
        if stored == len(bodies):
            saved, left = bodies, [claim for claim in queued if claim[0] not in bodies]
        else:
            found = self._session.execute(statements.BODIES, {"ids": bodies})
            saved = {id_: Body(content=content, content_type=type_) for id_, content, type_ in found}
            left = list(queued)
        self.mark_begun(left, begun=False)
        return saved

    def _store_first(self, bodies: Mapping[str, Body], queued: Mapping[str, int]) -> int:
        """Store the bodies of deliveries that have none, and return how many. `queued` has numbers of claims by id."""
        stored = 0

        def store(some: Sequence[tuple[str, Body]]) -> None:
            nonlocal stored
            columns: Columns = {
                "delivery_id": [id_ for id_, _ in some],
                "new_body": [body.content for _, body in some],
                "new_content_type": [body.content_type for _, body in some],
                "queued_number": [queued.get(id_, 0) for id_, _ in some],  # no claim has the number 0
            }
            stored += self._session.execute_columns(statements.SAVE_BODY, columns)

        self._session.insert_isolated(list(bodies.items()), store)
        return stored

    def settle(self, settlements: Sequence[Settlement], now: datetime) -> int:
        """Apply settlements that are still current, record every attempt, and return how many applied."""
        self._lock([settlement.delivery_id for settlement in settlements])
        delivered = [settlement for settlement in settlements if settlement.state is DeliveryState.DELIVERED]
        others = [settlement for settlement in settlements if settlement.state is not DeliveryState.DELIVERED]
        applied = self._settle_delivered(delivered, now) if delivered else 0
        applied += sum(self._settle(settlement, now) for settlement in others)
        if settlements:
            attempts = rows.attempt_columns([settlement.attempt for settlement in settlements])
            self._session.execute_columns(statements.RECORD_ATTEMPT, attempts)
        partly = [settlement for settlement in others if settlement.signal is AttemptSignal.GOOD]
        self._unpark_proven([settlement.delivery_id for settlement in (*delivered, *partly)], now)
        return applied

    def _lock(self, ids: Collection[str]) -> None:
        """Lock deliveries in order, before a change that takes them in any. SQLite has one writer, and no locks."""
        if self._session.is_postgresql and len(ids) > 1:
            self._session.execute(statements.LOCK_DELIVERIES, {"ids": ids})

    def _settle_delivered(self, settlements: Sequence[Settlement], now: datetime) -> int:
        columns: Columns = {
            "delivery_id": [settlement.delivery_id for settlement in settlements],
            "number": [settlement.attempt.number for settlement in settlements],
            "new_ref": [settlement.ref for settlement in settlements],
            "now": [now] * len(settlements),
        }
        return self._session.execute_columns(statements.SETTLE_DELIVERED, columns)

    def _settle(self, settlement: Settlement, now: datetime) -> int:
        values = {
            "state": settlement.state,
            "available_at": now + (settlement.wait or timedelta()),
            "outcome_unknown": settlement.outcome_unknown,
            "reason": settlement.reason,
            # Not the time of the attempt, which a replica's clock gave: this time decides what is announced.
            "settled_at": None if settlement.state in UNSETTLED else now,
        } | rows.recipients_values(settlement.recipients)
        attempt = {"delivery_id": settlement.delivery_id, "number": settlement.attempt.number}
        statement = statements.SETTLE if settlement.recipients is None else statements.SETTLE_WITH_RECIPIENTS
        channel: str | None = self._session.execute(statement, attempt | new_values(values)).scalar()
        if channel is not None and settlement.parks_channel:
            self._channels.park(channel, settlement.reason, settlement.wait, now)
        return int(channel is not None)

    def _unpark_proven(self, delivered: Sequence[str], now: datetime) -> None:
        """Unpark channels that have just delivered something: it was sent by hand, and worked."""
        parked = set(self._session.execute(statements.PARKED_NAMES).scalars()) if delivered else set()
        for some in chunks(delivered) if parked else ():
            proven = select(deliveries.c.channel).where(deliveries.c.id.in_(some), deliveries.c.channel.in_(parked))
            for channel in sorted(set(self._session.execute(proven).scalars())):
                self._channels.unpark(channel, now)

    def release(self, claims: Collection[tuple[str, int]], now: datetime) -> None:
        """Undo claims of deliveries that were certainly not sent: they are due at once, and no attempt is counted.

        A claim is a delivery's id and the number of its attempt; one that is no longer the latest is left alone.
        """
        for some in chunks(claims):
            make_due(
                self._session,
                tuple_(deliveries.c.id, deliveries.c.attempt).in_(some),
                deliveries.c.claimed_by.is_not(None),
                deliveries.c.state == DeliveryState.PENDING,
                claimed_by=None,
                available_at=now,
                earlier_attempts=deliveries.c.earlier_attempts + 1,
            )

    def retry_now(self, channel: str, now: datetime) -> int:
        """Make the channel's waiting deliveries due immediately and restart their retry schedule. Return how many."""
        return make_due(
            self._session,
            deliveries.c.channel == channel,
            deliveries.c.state == DeliveryState.PENDING,
            deliveries.c.claimed_by.is_(None),
            deliveries.c.rule.is_(None),
            deliveries.c.available_at > now,
            available_at=now,
            earlier_attempts=deliveries.c.attempt,
        )

    def supersede_progress(self, channel: str, by: Mapping[str, str]) -> Sequence[str]:
        """Supersede waiting progress that was never attempted by the event in `by`; return its event ids."""
        now = self._session.now()
        waiting = [
            row
            for row in self._session.execute(statements.WAITING_PROGRESS, {"channel": channel, "subjects": by})
            if row.event_id != by[row.subject]
        ]
        values = [
            {"delivery_id": row.id, "new_reason": f"superseded by {by[row.subject]}", "now": now} for row in waiting
        ]
        if values:
            self._session.execute(statements.SUPERSEDE, values)
        return [row.event_id for row in waiting]

    def rank_as_failures(self, channel: str, subjects: Collection[str]) -> None:
        """Let unsettled deliveries about these subjects go out with the failures: they hold back newer ones."""
        seqs = set(self._session.execute(statements.HOLDING_BACK, {"channel": channel, "subjects": subjects}).scalars())
        if seqs:
            self._session.execute(statements.RANK_AS_FAILURES, {"seqs": sorted(seqs)})

    def retry(self, delivery_ids: Collection[str], now: datetime) -> int:
        """Make dead or parked deliveries pending again with a fresh schedule and return how many.

        Of several recipients all get it who do not have it, those who refused and those who may have it among them.
        One about an operation waits for a newer one about it that is on its way: both would write to the same ticket.
        """
        # A step locks what it settles, and then what waits on its channel: without its channel it cannot begin.
        self._channels.lock()
        for some in chunks(delivery_ids):  # nobody claims a newer one until this one is pending
            both = or_(deliveries.c.id.in_(some), deliveries.c.id.in_(statements.newer_ids(some)))
            self._session.execute(statements.locked(both)).all()
        self._ask_recipients_again(delivery_ids)
        return sum(
            make_due(
                self._session,
                deliveries.c.id.in_(some),
                deliveries.c.state.in_(_REPEATABLE),
                state=DeliveryState.PENDING,
                available_at=func.coalesce(statements.end_of_newer_claims(now), now),
                reason=None,
                settled_at=None,
                dismissed_at=None,
                retried_at=now,
                earlier_attempts=deliveries.c.attempt,
                outcome_unknown=False,
            )
            for some in chunks(delivery_ids)
        )

    def _ask_recipients_again(self, delivery_ids: Collection[str]) -> None:
        recorded = (
            select(deliveries.c.id, deliveries.c.recipients)
            .where(deliveries.c.recipients.is_not(None), deliveries.c.state.in_(_REPEATABLE))
            .order_by(deliveries.c.seq)
            .with_for_update(key_share=True)
        )
        for some in chunks(delivery_ids):
            for id_, encoded in self._session.execute(recorded.where(deliveries.c.id.in_(some))).all():
                kept = rows.recipients_values(recipients.after_manual_retry(rows.recipients_of(encoded)))
                self._session.execute(update(deliveries).where(deliveries.c.id == id_).values(kept))

    def dismiss(self, delivery_ids: Collection[str], now: datetime, reason: str) -> int:
        """Record that people accept that these were not delivered; return how many changed.

        Dead ones stay as they are but for that. Those that wait, and that nobody is sending, become dead with `reason`.
        """
        dead = (deliveries.c.state == DeliveryState.DEAD, deliveries.c.dismissed_at.is_(None))
        gone: dict[str, object] = {"state": DeliveryState.DEAD, "reason": reason, "settled_at": now, "claimed_by": None}
        gone["rule"] = None  # nothing holds it any more
        return sum(
            change_deliveries(self._session, deliveries.c.id.in_(some), *dead, dismissed_at=now)
            + change_deliveries(self._session, deliveries.c.id.in_(some), *_idle(now), **gone, dismissed_at=now)
            for some in chunks(delivery_ids)
        )

    def move(self, channel: str, to: str, now: datetime, limit: int, *, tickets: bool = False) -> int:
        """Plan on another channel what waits on a channel, the oldest first; return how many deliveries were moved.

        The old ones are superseded. An event that the other channel has a delivery for already is not planned again.
        `tickets` is whether the other channel keeps tickets.
        """
        self._channels.lock()
        waiting = select(deliveries).where(deliveries.c.channel == channel, *_idle(now)).order_by(deliveries.c.seq)
        moved = load_deliveries(self._session, self._session.execute(waiting.limit(limit).with_for_update()).all())
        state = DeliveryState.PARKED if to in self._channels.parked() else DeliveryState.PENDING
        known = self._events_known_on(to, [event.id for delivery in moved for event in delivery.events])
        planned: list[Delivery] = []
        for delivery in moved:
            fresh = tuple(event for event in delivery.events if event.id not in known and event.channel != to)
            known |= {event.id for event in fresh}
            # A message of a storm may have more events than any channel's digest, and a ticket is about one.
            size = 1 if tickets else MAX_DIGEST_SIZE
            parts = (fresh[start : start + size] for start in range(0, len(fresh), size))
            planned += [
                outbox.moved_delivery(to, part, state, now, routing=delivery.routing, tickets=tickets) for part in parts
            ]
        self._add_channel(to, [event.id for delivery in planned for event in delivery.events])
        self.record(planned)
        change_deliveries(
            self._session,
            deliveries.c.id.in_([delivery.id for delivery in moved]),
            state=DeliveryState.SUPERSEDED,
            reason=f"moved to {to}",
            settled_at=now,
            claimed_by=None,
            rule=None,
        )
        return len(moved)

    def _events_known_on(self, channel: str, event_ids: Collection[str]) -> set[str]:
        on = select(delivery_events.c.event_id).where(delivery_events.c.channel == channel)
        return {
            event_id
            for some in chunks(event_ids)
            for event_id in self._session.execute(on.where(delivery_events.c.event_id.in_(some))).scalars()
        }

    def _add_channel(self, channel: str, event_ids: Collection[str]) -> None:
        """Add a channel to those that events go to, so that the ledger expects a delivery there."""
        for some in chunks(event_ids):
            found = select(events).where(events.c.id.in_(some)).order_by(events.c.seq)
            for row in self._session.execute(found).all():
                routed = rows.routed_of(row)
                changed = rows.channels_values((*routed.channels, channel))
                self._session.execute(update(events).where(events.c.id == row.id).values(changed))

    def abandon(self, expected: Expected, before: datetime, now: datetime, limit: int) -> int:
        """Give up what has waited since before a time for channels that are not configured; return how many."""
        unserved: list[ColumnElement[bool]] = [deliveries.c.channel.not_in(expected.channels)]
        if expected.direct:
            unserved.append(~deliveries.c.channel.startswith(DirectChannel.PREFIX))
        waiting = select(deliveries.c.seq).where(deliveries.c.created_at < before, *_idle(now), *unserved).limit(limit)
        return change_deliveries(
            self._session,
            deliveries.c.seq.in_(list(self._session.execute(waiting).scalars())),
            state=DeliveryState.DEAD,
            reason="its channel is no longer configured",
            settled_at=now,
            claimed_by=None,
            rule=None,
        )


def _events_are_final(planned: Delivery) -> bool:
    """Return whether a delivery has one event and gets no others.

    What is planned for a storm may be extended, and what is held may become part of a digest.
    """
    sent_alone = planned.state is DeliveryState.PENDING and planned.rule is None
    return sent_alone and planned.subject == planned.events[0].subject


def _idle(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a delivery is still to be sent and that nobody is sending it now."""
    free = or_(deliveries.c.claimed_by.is_(None), deliveries.c.available_at <= now)
    return deliveries.c.state.in_(UNSETTLED), free
