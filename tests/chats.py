"""What the tests of chats share: events of one task, the context of a channel, deliveries, and live messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from factories import make_delivery, make_event, make_render_request, make_task
from fakes import FakeClock

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.core.delivery import Delivery, Outcome, Thread
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.routing import DeliveryRouting
from notifier.http import HttpClient
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language

STARTED = make_event(make_task(status="running", progress=0.0, ended_at=None), environment="production")
HALF = replace(
    make_event(make_task(status="running", progress=50.0, ended_at=None), environment="production"),
    id="half",
    type=EventType.TASK_PROGRESSED,
)
FAILED = make_event(environment="production")
COMPLETED = make_event(make_task(status="completed"), environment="production")
CALLED = ("discord:123456789012345678", "telegram:alice_dba")
"""People whom the route of a task mentions. A kind leaves out those of the others."""


def make_context(http: HttpClient, language: Language = "en") -> ChannelContext:
    """Return a context with a clock that stands still and a link to a console."""
    localizer = Localizer(language=language, timezone=ZoneInfo("Asia/Shanghai"))
    console = "https://console.example.com/{region}"
    return ChannelContext(http=http, clock=FakeClock(), localizer=localizer, console_url=console)


def delivery_of(channel: BaseChannel[Any], *events: Event, mention: Sequence[str] = (), **changes: Any) -> Delivery:
    """Return a delivery with what the channel renders of its events."""
    routing = DeliveryRouting(routes=("r",), mention=tuple(mention))
    body = channel.render(replace(make_render_request(*events), routing=routing))
    return make_delivery(*events, body=body, routing=routing, **changes)


def thread_of(ref: str, event: Event = FAILED, *, mention: Sequence[str] = CALLED, **annotations: Any) -> Thread:
    """Return the thread of a message that shows an event."""
    routing = DeliveryRouting(routes=("r",), mention=tuple(mention))
    thread = Thread(channel="dba", subject=event.subject, ref=ref, event=event, revision=2, routing=routing)
    return replace(thread, **annotations)


def bare(outcome: Outcome | None) -> Outcome | None:
    """Return an outcome without the reply of the service."""
    return replace(outcome, reply=None) if outcome else None
