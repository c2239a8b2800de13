"""Subscriptions to events: which events a person or a channel of the chat gets besides those of its routes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256

from notifier.core.fields import CLOSED_FIELDS, FIELDS, fields_of
from notifier.core.matchers import Matcher, fitting, parse_matchers
from notifier.core.model import Event
from notifier.core.outbox import concerns_subscribers
from notifier.core.people import EventSubscription
from notifier.core.routing import RoutedEvent, RoutingConfig
from notifier.core.type_words import with_types

MAX_SUBSCRIPTIONS = 20
"""Maximum number of subscriptions of one person or one channel."""
MAX_ALL_SUBSCRIPTIONS = 1_000
"""Maximum number of subscriptions of everybody together: each event is compared with all of them."""
MAX_FILTER_LENGTH = 300
"""Maximum length of the matchers of a subscription as text, in characters."""

_KINDS = frozenset({"type", "status", "raw_status", "progress"})
"""Fields by which a subscription says itself which kinds of events it is about."""


@lru_cache(maxsize=2 * MAX_ALL_SUBSCRIPTIONS)
def read_filter(text: str) -> tuple[Matcher, ...]:
    """Return the matchers that a text has, as `parse_matchers` does; a word such as `stuck` is a type of event.

    Raises ValueError, with what would be right, where it is no filter or has no matcher.
    """
    if len(text) > MAX_FILTER_LENGTH:
        raise ValueError(f"the filter has more than {MAX_FILTER_LENGTH} characters")
    return parse_matchers(with_types(text))


def is_readable(subscription: EventSubscription) -> bool:
    """Return whether this version can read the matchers of a subscription: an older or a newer one has made it."""
    try:
        read_filter(subscription.matchers)
    except ValueError:
        return False
    return True


def subscription_id(channel: str, matchers: Iterable[Matcher]) -> str:
    """Return the id of a subscription: the same for the same matchers in any order."""
    facts = "\n".join((channel, *sorted(map(str, matchers))))
    return sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def names_kind(matchers: Iterable[Matcher]) -> bool:
    """Return whether a subscription says itself which kinds of events it is about."""
    return any(matcher.field in _KINDS for matcher in matchers)


def _matters(event: Event) -> bool:
    traits = event.type.traits
    return concerns_subscribers(event) or traits.needs_care or traits.bad_news


def with_subscriptions(
    routed: Sequence[RoutedEvent], subscriptions: Sequence[EventSubscription], routing: RoutingConfig
) -> tuple[RoutedEvent, ...]:
    """Add the channels that subscribed to each event to those of its routes, each once.

    A channel of the chat that is configured gets the event as the configured one. A subscription that cannot be read
    is about nothing.
    """
    wanted: dict[tuple[Matcher, ...], list[str]] = {}
    for one in filter(is_readable, subscriptions):
        wanted.setdefault(read_filter(one.matchers), []).append(one.channel)
    named = {matcher.field for matchers in wanted for matcher in matchers}.intersection(FIELDS)
    filters = [(_Filter(matchers), channels) for matchers, channels in wanted.items()]
    added: list[RoutedEvent] = []
    for item in routed:
        if item.event.quiet:
            added.append(item)
            continue
        fields, matters = fields_of(item.event, named, routing.catalogue), _matters(item.event)
        wanting = (channels for one, channels in filters if one.wants(fields, matters=matters))
        places = dict.fromkeys(channel for channels in wanting for channel in channels)
        more = [channel for place in places for channel in _reaching(place, item, routing)]
        added.append(replace(item, channels=(*item.channels, *more)) if more else item)
    return tuple(added)


class _Filter:
    """The matchers of a subscription, prepared for many events.

    One that names no kind of event is about the ends of tasks and what needs care, not about every step of a task.
    """

    __slots__ = ("_names_kind", "_satisfied")

    def __init__(self, matchers: Sequence[Matcher]) -> None:
        self._names_kind = names_kind(matchers)
        self._satisfied = fitting(sorted(matchers, key=lambda matcher: matcher.field not in CLOSED_FIELDS))

    def wants(self, fields: Mapping[str, str], *, matters: bool) -> bool:
        """Return whether it is about an event. `matters` is whether subscribers who name no kind get its kind."""
        return (matters or self._names_kind) and self._satisfied(fields)


def _reaching(place: str, item: RoutedEvent, routing: RoutingConfig) -> Sequence[str]:
    """Return the channel by which an event reaches a subscriber; none where it does so already.

    No channel gets an alert about itself.
    """
    leading_there = routing.places.get(place) or (place,)
    return () if {*item.channels, item.event.channel} & {*leading_there} else leading_there[:1]
