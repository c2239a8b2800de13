"""What people do: who they are, what they acknowledge and subscribe to, and the record of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who acts."""

    id: str
    """As the chat identifies them; `cli:name` for a user of the command line, `web:name` for one of the page."""
    name: str
    """For people to read; from outside, so that it is shown with care."""


NOTIFIER = Person(id="notifier", name="notifier")
"""The program, where it does by itself what people do."""


class Verb(StrEnum):
    """What a person did. Stable: `notifier audit log` lists it."""

    ACKNOWLEDGE = "acknowledge"
    UNACKNOWLEDGE = "unacknowledge"
    MUTE = "mute"
    UNMUTE = "unmute"
    EXTEND = "extend"
    WATCH = "watch"
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    RESOLVE = "resolve"
    RETRY = "retry"
    DISMISS = "dismiss"
    MOVE = "move"
    SIGN_IN = "sign_in"
    REFUSE_SIGN_IN = "refuse_sign_in"
    SIGN_OUT = "sign_out"
    END_SESSION = "end_session"
    CREATE_TOKEN = "create_token"  # noqa: S105 - a verb
    REVOKE_TOKEN = "revoke_token"  # noqa: S105 - a verb


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that a person did, as `notifier audit log` shows it."""

    at: datetime
    by: str
    name: str
    """Who, as `Person`."""
    verb: Verb
    target: str
    """Task, instance, channel or delivery that it was done to."""
    detail: str | None = None
    """How much, until when, or why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """A person has seen an event and takes care of it."""

    event_id: str
    by: str
    """Who, as the chat identifies them: a Slack user id; `cli:name` for a user of the command line."""
    name: str
    """Who, for people to read."""
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSubscription:
    """Somebody wants a direct message when one task ends."""

    source: str
    job_id: str
    person: str
    """A Slack user id."""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSubscription:
    """A person or a channel of the chat gets every event that fits, until the subscription is ended."""

    id: str
    """Follows from the channel and the matchers, so that there is one subscription to each."""
    channel: str
    """Name of the `DirectChannel` that gets the events."""
    matchers: str
    """What events have to fit, as it was typed; see `subscriptions.read_filter`."""
    by: str
    name: str
    """Who made it, as `Person`."""
    created_at: datetime
