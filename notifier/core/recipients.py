"""One message for several addressees: who is still to get it, and what their different outcomes come to.

A channel that addresses several in one attempt asks `outstanding` for whom the attempt is, and returns
`combined_outcome`. That is stored with the delivery, so that the next attempt, after a kill or on another replica too,
sends nothing to those who have it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from notifier.core.delivery import (
    Delivered,
    Delivery,
    GaveUp,
    Outcome,
    Parked,
    Recipient,
    RecipientState,
    Retry,
    Unknown,
)

_STATES: Mapping[type, RecipientState] = {
    Delivered: RecipientState.DELIVERED,
    Retry: RecipientState.WAITING,
    GaveUp: RecipientState.REFUSED,
    Parked: RecipientState.REFUSED,
    Unknown: RecipientState.UNKNOWN,
}


def outstanding(delivery: Delivery, addresses: Sequence[str]) -> tuple[str, ...]:
    """Return those of the channel's addresses that this attempt is for, each once, in order."""
    over = {recipient.address for recipient in delivery.recipients if recipient.state is not RecipientState.WAITING}
    return tuple(address for address in dict.fromkeys(addresses) if address not in over | delivery.withheld)


def combined_outcome(delivery: Delivery, addresses: Sequence[str], outcomes: Mapping[str, Outcome]) -> Outcome:
    """Return what the outcomes of an attempt come to, together with what was recorded before it.

    While one waits it is a `Retry`; else, where one may have it, an `Unknown`; else, where one refused it, a `GaveUp`,
    or what parks the channel where all refused it.

    Args:
        delivery: as it was handed to the channel.
        addresses: all that the channel has. Records of others are dropped, unless they have it.
        outcomes: by address, of those whom the attempt was for.
    """
    after = _after(delivery, addresses, outcomes)
    states = {recipient.state for recipient in after}
    recorded = after if len(states) > 1 or delivery.withheld else ()
    why = _reason(after)
    reply = next((outcome.reply for outcome in outcomes.values() if not isinstance(outcome, Delivered)), None)
    if RecipientState.WAITING in states:
        waits = [outcome.after for outcome in outcomes.values() if isinstance(outcome, Retry) and outcome.after]
        return Retry(why, max(waits, default=None), reply=reply, recipients=recorded)
    if RecipientState.UNKNOWN in states:
        return Unknown(why, reply=reply, recipients=recorded)
    if RecipientState.REFUSED not in states:
        return next((outcome for outcome in outcomes.values() if isinstance(outcome, Delivered)), Delivered())
    parked = [outcome for outcome in outcomes.values() if isinstance(outcome, Parked)]
    if states == {RecipientState.REFUSED} and len(parked) == len(outcomes) > 0:
        return replace(parked[0], reason=why, recipients=())
    return GaveUp(why, reply=reply, recipients=recorded)


def _after(delivery: Delivery, addresses: Sequence[str], outcomes: Mapping[str, Outcome]) -> tuple[Recipient, ...]:
    known = {one.address: one for one in delivery.recipients}
    known |= {address: _behind(address) for address in addresses if address in delivery.withheld - known.keys()}
    known |= {address: _recipient(address, outcome) for address, outcome in outcomes.items()}
    others = [one for one in known.values() if one.address not in addresses]
    return (
        *(known[address] for address in dict.fromkeys(addresses) if address in known),
        *(one for one in others if one.state is RecipientState.DELIVERED),
    )


def _behind(address: str) -> Recipient:
    return Recipient(address=address, state=RecipientState.WAITING, reason="waits for the message before this one")


def _recipient(address: str, outcome: Outcome) -> Recipient:
    reason = None if isinstance(outcome, Delivered) else outcome.reason
    return Recipient(address=address, state=_STATES[type(outcome)], reason=reason)


def _reason(recipients: Sequence[Recipient]) -> str:
    """Return who does not have it and why, those who wait first."""
    by_reason: dict[str, list[str]] = {}
    order = tuple(RecipientState)
    for recipient in sorted(recipients, key=lambda one: order.index(one.state)):
        if recipient.state is not RecipientState.DELIVERED:
            by_reason.setdefault(recipient.reason or recipient.state, []).append(recipient.address)
    missing = sum(map(len, by_reason.values()))
    who = {reason: ", ".join(addresses) for reason, addresses in by_reason.items()}
    if len(by_reason) == 1 and missing == len(recipients) > 1:
        who = dict.fromkeys(who, "all recipients")
    having = (
        f"{len(recipients) - missing} of {len(recipients)} recipients have it; " if missing < len(recipients) else ""
    )
    return having + "; ".join(f"{names}: {reason}" for reason, names in who.items())


# ---- those who may have it ----


def may_have_arrived(delivery: Delivery) -> bool:
    """Return whether anybody may have it from an earlier attempt."""
    return delivery.outcome_unknown or any(one.state is RecipientState.UNKNOWN for one in delivery.recipients)


def anyone_waits(delivery: Delivery) -> bool:
    """Return whether somebody certainly does not have it, although others may."""
    return not delivery.outcome_unknown and any(one.state is RecipientState.WAITING for one in delivery.recipients)


def with_unknown_waiting(delivery: Delivery) -> Delivery:
    """Return the delivery with those waiting who may have it."""
    return replace(
        delivery,
        recipients=tuple(
            replace(one, state=RecipientState.WAITING) if one.state is RecipientState.UNKNOWN else one
            for one in delivery.recipients
        ),
    )


def pending_addresses(recipients: Sequence[Recipient]) -> frozenset[str]:
    """Return the addresses of those whom a later attempt may reach."""
    states = (RecipientState.WAITING, RecipientState.UNKNOWN)
    return frozenset(one.address for one in recipients if one.state in states)


def newly_delivered(delivery: Delivery, outcome: Outcome) -> bool:
    """Return whether an attempt that is not over for all has reached somebody new."""
    had = {one.address for one in delivery.recipients if one.state is RecipientState.DELIVERED}
    return any(
        one.state is RecipientState.DELIVERED and one.address not in had
        for one in (() if isinstance(outcome, Delivered) else outcome.recipients or ())
    )


def after_manual_retry(recipients: Sequence[Recipient]) -> tuple[Recipient, ...]:
    """Return what stays recorded when a person sends a delivery again: all but those who have it get it."""
    return tuple(one for one in recipients if one.state is RecipientState.DELIVERED)
