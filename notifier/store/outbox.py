"""The writes of delivery. One named method a statement."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Boolean, ColumnElement, Integer, and_, bindparam, cast, func, not_, or_, select, tuple_, update

from notifier.core import outbox, recipients
from notifier.core.delivery import Attempt, Body, Delivery, DeliveryState
from notifier.core.health import Expected
from notifier.core.identity import DirectChannel
from notifier.core.model import ChannelState
from notifier.core.outbox import Settlement
from notifier.core.pacing import AttemptSignal, ChannelHealth
from notifier.store import rows
from notifier.store.people import PeopleStatements
from notifier.store.queries import UNSETTLED, blocked, chunks, waited_for
from notifier.store.retention import RetentionStatements
from notifier.store.schema import attempts, channels, credentials, deliveries, delivery_events, events, sources

# Statements that run at every turn are built once: building one costs several times what the database takes for it.
_PARKED_NAMES = select(channels.c.name).where(channels.c.parked_since.is_not(None))
# In order, as are all statements that lock several rows: processes that locked the same ones in different orders
# would wait for each other, and PostgreSQL would end one of them.
_PARKED = (
    select(channels).where(channels.c.parked_since.is_not(None)).order_by(channels.c.name).with_for_update(read=True)
)
_CHANNEL = select(channels).where(channels.c.name == bindparam("of")).with_for_update()
_DUE = (
    select(deliveries.c.seq)
    .where(
        deliveries.c.channel == bindparam("of"),
        deliveries.c.state == DeliveryState.PENDING,
        deliveries.c.available_at <= bindparam("now"),
        ~blocked(),
    )
    .order_by(deliveries.c.seq)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
# What a claim leaves behind when its holder dies: a doubt where it had begun, else an attempt that does not count.
_LEFT_BEGUN = and_(deliveries.c.claimed_by.is_not(None), deliveries.c.begun)
_LEFT_UNBEGUN = and_(deliveries.c.claimed_by.is_not(None), not_(deliveries.c.begun))
_ABANDONED = {
    "doubtful": or_(deliveries.c.doubtful, _LEFT_BEGUN),
    "earlier_attempts": deliveries.c.earlier_attempts + cast(_LEFT_UNBEGUN, Integer),
}
# Who claims a delivery for the first time renders it at once. One that has been tried and still has no body may be what
# killed its renderer: it begins when its turn to be rendered comes, so that it does not use up the attempts of others.
_RENDERED_AT_ONCE = and_(deliveries.c.body.is_(None), deliveries.c.attempt == deliveries.c.earlier_attempts)
_SENT_AT_ONCE = and_(
    deliveries.c.body.is_not(None), deliveries.c.seq.in_(bindparam("beginning", expanding=True, type_=Integer))
)
_CLAIM = (
    update(deliveries)
    .where(deliveries.c.seq.in_(bindparam("chosen", expanding=True)))
    .values(
        _ABANDONED
        | {
            "available_at": bindparam("until"),
            "attempt": deliveries.c.attempt + 1,
            "claimed_by": bindparam("owner"),
            "begun": or_(_RENDERED_AT_ONCE, _SENT_AT_ONCE),
        }
    )
    .returning(deliveries)
)
_HELD = (
    select(deliveries.c.seq)
    .where(
        tuple_(deliveries.c.id, deliveries.c.attempt).in_(bindparam("claims", expanding=True)),
        deliveries.c.claimed_by.is_not(None),
        deliveries.c.state == DeliveryState.PENDING,
    )
    .order_by(deliveries.c.seq)
    .with_for_update(key_share=True)
)
_NOTE_BEGUN = (
    update(deliveries)
    .where(deliveries.c.seq.in_(_HELD))
    .values(begun=bindparam("has_begun", type_=Boolean))
    .returning(deliveries.c.id)
)
_SAVE_BODY = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("of"), deliveries.c.body.is_(None))
    .values(body=bindparam("bytes"), content_type=bindparam("type"))
)
_BODIES = select(deliveries.c.id, deliveries.c.body, deliveries.c.content_type).where(
    deliveries.c.id.in_(bindparam("ids", expanding=True)), deliveries.c.body.is_not(None)
)
_SETTLE_DELIVERED = (
    update(deliveries)
    .where(
        deliveries.c.id == bindparam("of"),
        deliveries.c.attempt == bindparam("number"),
        deliveries.c.state == DeliveryState.PENDING,
    )
    .values(
        state=DeliveryState.DELIVERED,
        claimed_by=None,
        doubtful=False,
        reason=None,
        recipients=None,
        ref=bindparam("known_as"),
        settled_at=bindparam("at"),
    )
)


def _idle(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a delivery is still to be sent and that nobody is sending it now."""
    free = or_(deliveries.c.claimed_by.is_(None), deliveries.c.available_at <= now)
    return deliveries.c.state.in_(UNSETTLED), free


class SqlTransaction(PeopleStatements, RetentionStatements):
    """`ports.Transaction` on one connection: the statements of polling, watching, retention and delivery."""

    def parked(self) -> Mapping[str, ChannelState]:
        """Return the channels that are parked, by name; none of them can be unparked until the transaction ends."""
        return {row.name: rows.channel_of(row) for row in self.connection.execute(_PARKED)}

    def claim_due(
        self, channel: str, owner: str, now: datetime, lease: timedelta, limit: int, *, at_once: int | None = None
    ) -> Sequence[Delivery]:
        """Claim deliveries of a channel that are due, oldest first, at most one of each subject: see the port."""
        chosen = list(self.connection.execute(_DUE, {"of": channel, "now": now, "most": limit}).scalars())
        if not chosen:
            return []
        values = {"chosen": chosen, "beginning": chosen[:at_once], "until": now + lease, "owner": owner}
        claimed = self.connection.execute(_CLAIM, values).all()
        return self._with_events(sorted(claimed, key=lambda row: row.seq))

    def withheld(self, delivery_ids: Collection[str]) -> Mapping[str, frozenset[str]]:
        """Return the recipients to whom older deliveries are still on their way: see the port."""
        found: dict[str, frozenset[str]] = {}
        for id_, encoded in self.connection.execute(waited_for(delivery_ids)):
            pending_addresses = recipients.pending_addresses(rows.recipients_of(encoded))
            found[id_] = found.get(id_, frozenset()) | pending_addresses
        return found

    def note_begun(self, claims: Collection[tuple[str, int]], *, begun: bool) -> Collection[str]:
        """Note whether claims have begun to be rendered or sent; return the ids of those that are still held."""
        return {
            id_
            for some in chunks(claims)
            for id_ in self.connection.execute(_NOTE_BEGUN, {"claims": some, "has_begun": begun}).scalars()
        }

    def give_back(self, claims: Collection[tuple[str, int]], now: datetime) -> None:
        """Undo claims of deliveries that were certainly not sent: they are due at once, and no attempt is counted.

        A claim is a delivery's id and the number of its attempt; one that is no longer the latest is left alone.
        """
        for some in chunks(claims):
            self._make_due(
                tuple_(deliveries.c.id, deliveries.c.attempt).in_(some),
                deliveries.c.claimed_by.is_not(None),
                deliveries.c.state == DeliveryState.PENDING,
                claimed_by=None,
                available_at=now,
                earlier_attempts=deliveries.c.earlier_attempts + 1,
            )

    def hasten(self, channel: str, now: datetime) -> int:
        """Make waiting deliveries of a channel due now, with a fresh schedule: it works again. Return how many."""
        return self._make_due(
            deliveries.c.channel == channel,
            deliveries.c.state == DeliveryState.PENDING,
            deliveries.c.claimed_by.is_(None),
            deliveries.c.available_at > now,
            available_at=now,
            earlier_attempts=deliveries.c.attempt,
        )

    def _make_due(self, *which: ColumnElement[bool], **values: object) -> int:
        """Change deliveries so that they are due, tell the others, and return how many there are."""
        count = self._change(*which, **values)
        if count:
            self._tell_others()
        return count

    def _change(self, *which: ColumnElement[bool], **values: object) -> int:
        """Change many deliveries at once, locked in order, and return how many."""
        ordered = select(deliveries.c.seq).where(*which).order_by(deliveries.c.seq).with_for_update(key_share=True)
        return self.connection.execute(update(deliveries).where(deliveries.c.seq.in_(ordered)).values(values)).rowcount

    def health(self, channel: str) -> ChannelHealth:
        """Return how a channel is; nobody else can change it until the transaction ends."""
        row = self.connection.execute(_CHANNEL, {"of": channel}).one_or_none()
        if row is None:
            self.connection.execute(self._insert(channels).values(name=channel).on_conflict_do_nothing())
            row = self.connection.execute(_CHANNEL, {"of": channel}).one()
        return rows.health_of(row)

    def keep_health(self, channel: str, health: ChannelHealth) -> None:
        """Record how a channel is."""
        self.connection.execute(update(channels).where(channels.c.name == channel).values(rows.health_values(health)))

    def save_bodies(self, bodies: Mapping[str, Body]) -> Mapping[str, Body]:
        """Store rendered bodies by delivery id; return what is to be sent: the first body that a delivery ever had.

        One that the database cannot hold is left out.
        """
        if not bodies:
            return {}
        values = [{"of": id_, "bytes": body.content, "type": body.content_type} for id_, body in bodies.items()]
        stored = 0

        def store(some: Sequence[Mapping[str, object]]) -> None:
            nonlocal stored
            stored += self.connection.execute(_SAVE_BODY, some).rowcount

        self._isolated(values, store)
        if stored == len(bodies):
            return bodies
        found = self.connection.execute(_BODIES, {"ids": list(bodies)})
        return {id_: Body(content=content, content_type=type_) for id_, content, type_ in found}

    def settle(self, settlements: Sequence[Settlement], now: datetime) -> int:
        """Apply settlements that are still current, note every attempt, and return how many applied."""
        delivered = [settlement for settlement in settlements if settlement.state is DeliveryState.DELIVERED]
        others = [settlement for settlement in settlements if settlement.state is not DeliveryState.DELIVERED]
        applied = self._settle_delivered(delivered, now) if delivered else 0
        applied += sum(self._settle(settlement, now) for settlement in others)
        self._note_attempts([settlement.attempt for settlement in settlements])
        partly = [settlement for settlement in others if settlement.signal is AttemptSignal.GOOD]
        self._unpark_proven([settlement.delivery_id for settlement in (*delivered, *partly)], now)
        return applied

    def _settle_delivered(self, settlements: Sequence[Settlement], now: datetime) -> int:
        values = [
            {
                "of": settlement.delivery_id,
                "number": settlement.attempt.number,
                "known_as": settlement.ref,
                "at": now,
            }
            for settlement in settlements
        ]
        return self.connection.execute(_SETTLE_DELIVERED, values).rowcount

    def _settle(self, settlement: Settlement, now: datetime) -> int:
        values = {
            "state": settlement.state,
            "available_at": now + (settlement.wait or timedelta()),
            "claimed_by": None,
            "doubtful": settlement.outcome_unknown,
            "reason": settlement.reason,
            # Not the time of the attempt, which is that of a replica: what was given up is reported by this one.
            "settled_at": None if settlement.state in UNSETTLED else now,
        } | rows.recipients_values(settlement.recipients)
        channel: str | None = self.connection.execute(
            update(deliveries)
            .where(
                deliveries.c.id == settlement.delivery_id,
                deliveries.c.attempt == settlement.attempt.number,
                deliveries.c.state == DeliveryState.PENDING,
            )
            .values(values)
            .returning(deliveries.c.channel)
        ).scalar()
        if channel is not None and settlement.parks_channel:
            self._park(channel, settlement, now)
        return int(channel is not None)

    def _unpark_proven(self, worked: Sequence[str], now: datetime) -> None:
        """Unpark channels that have just delivered something: it was sent by hand, and worked."""
        parked = set(self.connection.execute(_PARKED_NAMES).scalars()) if worked else set()
        for some in chunks(worked) if parked else ():
            proven = select(deliveries.c.channel).where(deliveries.c.id.in_(some), deliveries.c.channel.in_(parked))
            for channel in sorted(set(self.connection.execute(proven).scalars())):
                self.unpark(channel, now)

    def _note_attempts(self, noted: Sequence[Attempt]) -> None:
        if noted:
            values = [rows.attempt_values(attempt) for attempt in noted]
            self.connection.execute(self._insert(attempts).on_conflict_do_nothing(), values)

    def _park(self, channel: str, settlement: Settlement, now: datetime) -> None:
        probe_at = None if settlement.wait is None else now + settlement.wait
        noted = {"reason": settlement.reason, "probe_at": probe_at}
        self.connection.execute(
            self._insert(channels)
            .values(name=channel, parked_since=now, **noted)
            .on_conflict_do_update(
                index_elements=["name"], set_=noted | {"parked_since": func.coalesce(channels.c.parked_since, now)}
            )
        )
        self._change(
            deliveries.c.channel == channel,
            deliveries.c.state == DeliveryState.PENDING,
            deliveries.c.claimed_by.is_(None),
            state=DeliveryState.PARKED,
            reason=settlement.reason,
        )

    def unpark(self, channel: str, now: datetime) -> int:
        """Make the parked deliveries of a channel pending again, in order, and return how many."""
        self.connection.execute(
            update(channels).where(channels.c.name == channel).values(parked_since=None, reason=None, probe_at=None)
        )
        return self._make_due(
            deliveries.c.channel == channel,
            deliveries.c.state == DeliveryState.PARKED,
            state=DeliveryState.PENDING,
            available_at=now,
            retried_at=now,
            earlier_attempts=deliveries.c.attempt,
        )

    def unpark_due(self, now: datetime) -> Sequence[str]:
        """Unpark every channel whose probe time has come and return their names."""
        due = select(channels.c.name).where(channels.c.probe_at <= now).order_by(channels.c.name)
        names = list(self.connection.execute(due).scalars())
        for name in names:
            self.unpark(name, now)
        return names

    def sync_channels(self, digests: Mapping[str, str], now: datetime) -> Sequence[str]:
        """Note each configured channel's settings digest; unpark and return those whose settings changed."""
        known = {row.name: row.settings_digest for row in self.connection.execute(select(channels))}
        changed = sorted(name for name, digest in digests.items() if known.get(name) != digest)
        for name in changed:
            noted = self._insert(channels).values(name=name, settings_digest=digests[name])
            self.connection.execute(
                noted.on_conflict_do_update(index_elements=["name"], set_={"settings_digest": digests[name]})
            )
        return [name for name in changed if known.get(name) is not None and self.unpark(name, now)]

    def retry(self, delivery_ids: Collection[str], now: datetime) -> int:
        """Make dead or parked deliveries pending again with a fresh schedule and return how many.

        Of several recipients all get it who do not have it, those who refused and those who may have it among them.
        """
        self._ask_recipients_again(delivery_ids)
        return sum(
            self._make_due(
                deliveries.c.id.in_(some),
                deliveries.c.state.in_((DeliveryState.DEAD, DeliveryState.PARKED)),
                state=DeliveryState.PENDING,
                available_at=now,
                reason=None,
                settled_at=None,
                dismissed_at=None,
                retried_at=now,
                earlier_attempts=deliveries.c.attempt,
                doubtful=False,
            )
            for some in chunks(delivery_ids)
        )

    def _ask_recipients_again(self, delivery_ids: Collection[str]) -> None:
        for some in chunks(delivery_ids):
            recorded = (
                select(deliveries.c.id, deliveries.c.recipients)
                .where(
                    deliveries.c.id.in_(some),
                    deliveries.c.recipients.is_not(None),
                    deliveries.c.state.in_((DeliveryState.DEAD, DeliveryState.PARKED)),
                )
                .order_by(deliveries.c.seq)
                .with_for_update(key_share=True)
            )
            for id_, encoded in self.connection.execute(recorded).all():
                kept = rows.recipients_values(recipients.after_manual_retry(rows.recipients_of(encoded)))
                self.connection.execute(update(deliveries).where(deliveries.c.id == id_).values(kept))

    def dismiss(self, delivery_ids: Collection[str], now: datetime, reason: str) -> int:
        """Note that people accept that these were not delivered; return how many changed.

        Dead ones stay as they are but for that. Those that wait, and that nobody is sending, become dead with `reason`.
        """
        dead = (deliveries.c.state == DeliveryState.DEAD, deliveries.c.dismissed_at.is_(None))
        gone: dict[str, object] = {"state": DeliveryState.DEAD, "reason": reason, "settled_at": now, "claimed_by": None}
        return sum(
            self._change(deliveries.c.id.in_(some), *dead, dismissed_at=now)
            + self._change(deliveries.c.id.in_(some), *_idle(now), **gone, dismissed_at=now)
            for some in chunks(delivery_ids)
        )

    def move(self, channel: str, to: str, now: datetime, limit: int) -> int:
        """Plan on another channel what waits on a channel, the oldest first; return how many deliveries were moved.

        The old ones are superseded. An event that the other channel has a delivery for already is not planned again.
        """
        self.hold_channels()
        waiting = select(deliveries).where(deliveries.c.channel == channel, *_idle(now)).order_by(deliveries.c.seq)
        moved = self._with_events(self.connection.execute(waiting.limit(limit).with_for_update()).all())
        state = DeliveryState.PARKED if to in self.parked() else DeliveryState.PENDING
        known = self._known_on(to, [event.id for delivery in moved for event in delivery.events])
        planned: list[Delivery] = []
        for delivery in moved:
            fresh = tuple(event for event in delivery.events if event.id not in known and event.channel != to)
            known |= {event.id for event in fresh}
            if fresh:
                planned.append(outbox.new_delivery(to, fresh, state, now))
        self._ask_for(to, [event.id for delivery in planned for event in delivery.events])
        self.record_deliveries(planned)
        self._change(
            deliveries.c.id.in_([delivery.id for delivery in moved]),
            state=DeliveryState.SUPERSEDED,
            reason=f"moved to {to}",
            settled_at=now,
            claimed_by=None,
        )
        return len(moved)

    def _known_on(self, channel: str, event_ids: Collection[str]) -> set[str]:
        on = select(delivery_events.c.event_id).where(delivery_events.c.channel == channel)
        return {
            event_id
            for some in chunks(event_ids)
            for event_id in self.connection.execute(on.where(delivery_events.c.event_id.in_(some))).scalars()
        }

    def _ask_for(self, channel: str, event_ids: Collection[str]) -> None:
        """Add a channel to those that events go to, so that the ledger expects a delivery there."""
        for some in chunks(event_ids):
            for row in self.connection.execute(
                select(events).where(events.c.id.in_(some)).order_by(events.c.seq)
            ).all():
                routed = rows.routed_of(row)
                wanted = rows.event_values(replace(routed, channels=(*routed.channels, channel)))
                changed = {name: wanted[name] for name in ("channels", "channel_count")}
                self.connection.execute(update(events).where(events.c.id == row.id).values(changed))

    def abandon(self, expected: Expected, before: datetime, now: datetime, limit: int) -> int:
        """Give up what has waited since before a time for channels that are not configured; return how many."""
        unserved: list[ColumnElement[bool]] = [deliveries.c.channel.not_in(expected.channels)]
        if expected.direct:
            unserved.append(~deliveries.c.channel.startswith(DirectChannel.PREFIX))
        waiting = select(deliveries.c.seq).where(deliveries.c.created_at < before, *_idle(now), *unserved).limit(limit)
        chosen = list(self.connection.execute(waiting).scalars())
        return self._change(
            deliveries.c.seq.in_(chosen),
            state=DeliveryState.DEAD,
            reason="its channel is no longer configured",
            settled_at=now,
            claimed_by=None,
        )

    def end_waits_of_the_future(self, now: datetime) -> bool:
        """Where a poll is recorded after now, the clock was set back meanwhile: end every wait, and return True."""
        latest = self.connection.execute(select(func.max(sources.c.last_poll_at))).scalar()
        if latest is None or latest <= now:
            return False
        self.connection.execute(update(sources).values(next_poll_at=None))
        self.connection.execute(update(channels).values(open_until=None, paused_until=None, rate_at=None))
        self.connection.execute(update(credentials).values(paused_until=None, rate_at=None))
        self.connection.execute(update(channels).where(channels.c.probe_at > now).values(probe_at=now))
        self._make_due(deliveries.c.state == DeliveryState.PENDING, deliveries.c.available_at > now, available_at=now)
        return True

    def release(self, owner: str | None, now: datetime) -> None:
        """Give back at once every claim of an owner, or of anybody, of polls and of deliveries.

        What became of deliveries that had begun is not known, so they are doubtful.
        """
        held = {
            table: table.c.claimed_by.is_not(None) if owner is None else table.c.claimed_by == owner
            for table in (sources, deliveries)
        }
        self.connection.execute(update(sources).where(held[sources]).values(claimed_by=None, claimed_until=None))
        polled = sources.c.polled_by.is_not(None) if owner is None else sources.c.polled_by == owner
        self.connection.execute(update(sources).where(polled).values(polled_by=None))
        self._make_due(
            held[deliveries],
            deliveries.c.state == DeliveryState.PENDING,
            claimed_by=None,
            available_at=now,
            **_ABANDONED,
        )
