"""What a channel's URL is stays out of the log, at any level, whatever becomes of the message."""

from __future__ import annotations

import io
import logging
from contextlib import aclosing
from zoneinfo import ZoneInfo

import pytest
from factories import make_delivery, make_event, make_render_request, open_channel
from fakes import FakeClock
from servers.http import Answer, HttpServer, cut_short, raw, reply, reset

from notifier import logs
from notifier.channels.base import ChannelContext
from notifier.http import HttpClient
from notifier.wording.localizer import Localizer

KINDS = {
    "webhook": {"url": "{}"},
    "slack": {"webhook_url": "{}"},
    "mattermost": {"webhook_url": "{}"},
    "rocketchat": {"webhook_url": "{}"},
}
PATH = "/services/T0/B0/obviously-fake-token?key=obviously-fake-key"
ODD = raw(b"HTTP/1.1 200 OK\r\nX-Echo : " + PATH.encode() + b"\r\nContent-Length: 2\r\n\r\nok")
ECHO = reply(404, b"Cannot POST " + PATH.encode())


@pytest.mark.parametrize("answer", [reply(200), ECHO, ODD, cut_short(), reset(), raw(b"220 smtp\r\n\r\n")])
@pytest.mark.parametrize("kind", KINDS)
async def test_no_url_of_a_channel_is_logged(records: io.StringIO, kind: str, answer: Answer) -> None:
    logs.configure("debug", "json", records)
    async with HttpServer(answer) as server, aclosing(HttpClient()) as http:
        values = {name: template.format(server.url(PATH)) for name, template in KINDS[kind].items()}
        context = ChannelContext(
            http=http, clock=FakeClock(), localizer=Localizer(language="en", timezone=ZoneInfo("UTC"))
        )
        channel = open_channel(kind, {"name": "ops", "kind": kind} | values, context)
        event = make_event()
        outcome = await channel.send(make_delivery(event, body=channel.render(make_render_request(event))))
        await channel.check()
    assert server.requests[0].target == PATH
    assert "obviously-fake" not in records.getvalue() + repr(outcome)
    for name in ("httpx", "httpx2", "httpcore", "httpcore2"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)
