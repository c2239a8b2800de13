"""Messages for tests of channels to brokers."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from factories import make_delivery, make_event, make_render_request, make_task
from fakes import FakeClock

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.core.delivery import Delivery, Outcome
from notifier.core.model import Event
from notifier.http import HttpClient
from notifier.wording.localizer import Localizer


def stream_context(http: HttpClient) -> ChannelContext:
    """Return what the program provides to a channel."""
    localizer = Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
    return ChannelContext(http=http, clock=FakeClock(), localizer=localizer)


def single_event(*, reason: str = "The quota of vCPUs is not enough.") -> Event:
    """Return the event of one failed task."""
    return make_event(make_task(fail_reason=reason))


def delivery_for(channel: BaseChannel[Any], event: Event | None = None) -> Delivery:
    """Return a rendered delivery of one event."""
    request = make_render_request(event or single_event(), channel="bus")
    return make_delivery(*request.events, channel="bus", body=channel.render(request))


async def send(channel: BaseChannel[Any], event: Event | None = None) -> Outcome:
    """Send one event."""
    return await channel.send(delivery_for(channel, event))
