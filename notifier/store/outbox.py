"""The writes of delivery. One named method a statement."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import bindparam, func, select, true, update

from notifier.core.model import Body, Delivery, DeliveryState
from notifier.core.outbox import Settlement
from notifier.ports import ChannelState
from notifier.store import rows
from notifier.store.polls import PollStatements
from notifier.store.queries import UNSETTLED, chunks, older_unsettled
from notifier.store.schema import attempts, channels, deliveries, sources


class SqlTransaction(PollStatements):
    """`ports.Transaction` on one connection: the statements of polling and of delivery."""

    def parked(self) -> Mapping[str, ChannelState]:
        """Return the channels that are parked, by name; none of them can be unparked until the transaction ends."""
        statement = select(channels).where(channels.c.parked_since.is_not(None)).with_for_update(read=True)
        return {row.name: rows.channel_of(row) for row in self.connection.execute(statement)}

    def claim_due(self, channel: str, owner: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Delivery]:
        """Claim deliveries of a channel that are due, oldest first, at most one of each subject.

        A claim adds one to `attempt` and pushes `available_at` forward by the lease.
        """
        due = (
            select(deliveries.c.seq)
            .where(
                deliveries.c.channel == channel,
                deliveries.c.state == DeliveryState.PENDING,
                deliveries.c.available_at <= now,
                ~older_unsettled(),
            )
            .order_by(deliveries.c.seq)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        chosen = list(self.connection.execute(due).scalars())
        if not chosen:
            return []
        claimed = self.connection.execute(
            update(deliveries)
            .where(deliveries.c.seq.in_(chosen))
            .values(available_at=now + lease, attempt=deliveries.c.attempt + 1, claimed_by=owner)
            .returning(deliveries)
        ).all()
        return self._with_events(sorted(claimed, key=lambda row: row.seq))

    def save_bodies(self, bodies: Mapping[str, Body]) -> Mapping[str, Body]:
        """Store rendered bodies by delivery id; return what is to be sent: the first body that a delivery ever had."""
        if not bodies:
            return {}
        statement = (
            update(deliveries)
            .where(deliveries.c.id == bindparam("of"), deliveries.c.body.is_(None))
            .values(body=bindparam("bytes"), content_type=bindparam("type"))
        )
        values = [{"of": id_, "bytes": body.content, "type": body.content_type} for id_, body in bodies.items()]
        self.connection.execute(statement, values)
        kept = select(deliveries.c.id, deliveries.c.body, deliveries.c.content_type)
        found = self.connection.execute(kept.where(deliveries.c.id.in_(list(bodies))))
        return {id_: Body(content=content, content_type=type_) for id_, content, type_ in found}

    def settle(self, settlements: Sequence[Settlement]) -> int:
        """Apply settlements that are still current, note every attempt, and return how many applied."""
        applied = [(self._settle(settlement), settlement) for settlement in settlements]
        self._unpark_proven({channel for channel, s in applied if channel and s.state is DeliveryState.DELIVERED})
        return sum(channel is not None for channel, _ in applied)

    def _unpark_proven(self, delivered_on: Collection[str]) -> None:
        """Unpark channels that have just delivered something: it was sent by hand, and worked."""
        proven = select(channels).where(channels.c.name.in_(delivered_on), channels.c.parked_since.is_not(None))
        for row in self.connection.execute(proven).all() if delivered_on else ():
            self.unpark(row.name, row.parked_since)

    def _settle(self, settlement: Settlement) -> str | None:
        finished = settlement.attempt.finished_at
        settled = None if settlement.state in UNSETTLED else finished
        applied: str | None = self.connection.execute(
            update(deliveries)
            .where(
                deliveries.c.id == settlement.delivery_id,
                deliveries.c.attempt == settlement.attempt.number,
                deliveries.c.state == DeliveryState.PENDING,
            )
            .values(
                state=settlement.state,
                available_at=settlement.available_at or finished,
                claimed_by=None,
                reason=settlement.reason,
                ref=settlement.ref,
                settled_at=settled,
            )
            .returning(deliveries.c.channel)
        ).scalar()
        self._note_attempt(settlement)
        if applied is not None and settlement.parks_channel:
            self._park(applied, settlement)
        return applied

    def _note_attempt(self, settlement: Settlement) -> None:
        noted = settlement.attempt
        values = {name: getattr(noted, name) for name in attempts.columns.keys()}  # noqa: SIM118 - a ColumnCollection iterates columns
        self.connection.execute(self._insert(attempts).values(values).on_conflict_do_nothing())

    def _park(self, channel: str, settlement: Settlement) -> None:
        now = settlement.attempt.finished_at
        noted = {"reason": settlement.reason, "probe_at": settlement.available_at}
        self.connection.execute(
            self._insert(channels)
            .values(name=channel, parked_since=now, **noted)
            .on_conflict_do_update(
                index_elements=["name"], set_=noted | {"parked_since": func.coalesce(channels.c.parked_since, now)}
            )
        )
        self.connection.execute(
            update(deliveries)
            .where(deliveries.c.channel == channel, deliveries.c.state == DeliveryState.PENDING)
            .where(deliveries.c.claimed_by.is_(None))
            .values(state=DeliveryState.PARKED, reason=settlement.reason)
        )

    def unpark(self, channel: str, now: datetime) -> int:
        """Make the parked deliveries of a channel pending again, in order, and return how many."""
        self.connection.execute(
            update(channels).where(channels.c.name == channel).values(parked_since=None, reason=None, probe_at=None)
        )
        return self.connection.execute(
            update(deliveries)
            .where(deliveries.c.channel == channel, deliveries.c.state == DeliveryState.PARKED)
            .values(state=DeliveryState.PENDING, available_at=now, earlier_attempts=deliveries.c.attempt)
        ).rowcount

    def unpark_due(self, now: datetime) -> Sequence[str]:
        """Unpark every channel whose probe time has come and return their names."""
        due = select(channels.c.name).where(channels.c.probe_at <= now)
        names = list(self.connection.execute(due).scalars())
        for name in names:
            self.unpark(name, now)
        return names

    def sync_channels(self, digests: Mapping[str, str], now: datetime) -> Sequence[str]:
        """Note each configured channel's settings digest; unpark and return those whose settings changed."""
        known = {row.name: row.settings_digest for row in self.connection.execute(select(channels))}
        changed = [name for name, digest in digests.items() if known.get(name) != digest]
        for name in changed:
            noted = self._insert(channels).values(name=name, settings_digest=digests[name])
            self.connection.execute(
                noted.on_conflict_do_update(index_elements=["name"], set_={"settings_digest": digests[name]})
            )
        return [name for name in changed if known.get(name) is not None and self.unpark(name, now)]

    def retry(self, delivery_ids: Collection[str], now: datetime) -> int:
        """Make dead or parked deliveries pending again with a fresh schedule and return how many."""
        again = {"state": DeliveryState.PENDING, "available_at": now, "reason": None, "settled_at": None}
        return sum(
            self.connection.execute(
                update(deliveries)
                .where(deliveries.c.id.in_(some))
                .where(deliveries.c.state.in_((DeliveryState.DEAD, DeliveryState.PARKED)))
                .values(again | {"earlier_attempts": deliveries.c.attempt})
            ).rowcount
            for some in chunks(delivery_ids)
        )

    def release(self, owner: str | None, now: datetime) -> None:
        """Give back at once every claim of an owner, or of anybody: of polls and of deliveries."""
        for table, freed in (
            (sources, {"claimed_by": None, "claimed_until": None}),
            (deliveries, {"claimed_by": None, "available_at": now}),
        ):
            held = table.c.claimed_by.is_not(None) if owner is None else table.c.claimed_by == owner
            open_ = table.c.state == DeliveryState.PENDING if table is deliveries else true()
            self.connection.execute(update(table).where(held, open_).values(freed))
