"""The channel through Apprise, against real servers that answer well or badly."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apprise import Apprise
from factories import make_delivery, make_event, make_render_request, make_task, open_channel
from fakes import FakeClock
from servers.http import Answer, HttpServer, cut_short, flood, reply, reset, silence

from notifier import logs
from notifier.channels.base import ChannelContext
from notifier.core.delivery import Delivered, Delivery, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.http import HttpClient
from notifier.integrations.apprise.channel import AppriseChannel
from notifier.integrations.apprise.outcomes import outcome_of
from notifier.integrations.apprise.settings import KIND_BY_SCHEME
from notifier.wording.localizer import Localizer

SECRET = "obviously-fake-password"


@pytest.fixture
async def context() -> AsyncIterator[ChannelContext]:
    async with aclosing(HttpClient()) as http:
        yield ChannelContext(http=http, clock=FakeClock(), localizer=Localizer(language="en", timezone=ZoneInfo("UTC")))


def channel_to(url: str, context: ChannelContext, **changes: Any) -> AppriseChannel:
    values = {"name": "dba", "kind": "apprise", "url": url} | changes
    channel = open_channel("apprise", values, context)
    assert isinstance(channel, AppriseChannel)
    return channel


def place(server: HttpServer) -> str:
    return f"json://notifier:{SECRET}@127.0.0.1:{server.port}/hooks/{SECRET}"


def rendered(channel: AppriseChannel, **changes: Any) -> Delivery:
    event = make_event(make_task(**changes))
    return make_delivery(event, body=channel.render(make_render_request(event)))


async def sent(answer: Answer, context: ChannelContext, **changes: Any) -> tuple[Outcome, HttpServer]:
    async with HttpServer(answer) as server:
        channel = channel_to(place(server), context, **changes)
        outcome = await channel.send(rendered(channel))
    return outcome, server


async def test_a_message_arrives_as_plain_text(context: ChannelContext) -> None:
    outcome, server = await sent(reply(200), context)
    assert isinstance(outcome, Delivered)
    (request,) = server.requests
    message = json.loads(request.body)
    assert message["title"].startswith("🔴 Instance creation failed on gauss-6568-zzh")
    assert "The quota of vCPUs is not enough" in message["message"].replace("\u200b", "")
    assert message["type"] == "failure"


@pytest.mark.parametrize(
    ("status", "expected"),
    [(302, Retry), (401, Parked), (503, Retry)],
)
async def test_a_status_that_apprise_logs_decides(context: ChannelContext, status: int, expected: type) -> None:
    async with HttpServer() as canary:
        outcome, server = await sent(reply(status, headers={"Location": canary.url("/steal")}), context)
    assert isinstance(outcome, expected)
    assert str(status) in getattr(outcome, "reason", "")
    assert (len(server.requests), canary.connections) == (1, 0)


@pytest.mark.parametrize("answer", [reset(), cut_short(200)])
async def test_a_lost_answer_is_unknown(context: ChannelContext, answer: Answer) -> None:
    outcome, _ = await sent(answer, context)
    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize("answer", [silence(), flood(200)])
async def test_apprise_is_ended_when_it_takes_too_long(context: ChannelContext, answer: Answer) -> None:
    """Also while it reads a reply without end, for which its process has no memory."""
    before = children()
    outcome, _ = await sent(answer, context, timeout="3s")
    assert isinstance(outcome, Unknown)
    assert children() == before


def children() -> set[str]:
    """Return the ids of the processes whose parent is this one."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found.add(status.parent.name)
    return found


async def test_nothing_secret_is_logged_or_reported(context: ChannelContext, records: io.StringIO) -> None:
    logs.configure("debug", "json", records)
    for answer in (reply(404, SECRET.encode()), reset()):
        outcome, _ = await sent(answer, context)
        assert SECRET not in repr(outcome)
    assert SECRET not in records.getvalue()


async def test_hostile_text_is_no_mention_and_no_markup(context: ChannelContext) -> None:
    channel = channel_to("json://127.0.0.1:9", context)
    hostile = "@everyone <@123> [click](https://evil.example) **bold** `code` <b>x</b> https://evil.example"
    body = json.loads(channel.render(make_render_request(make_event(make_task(fail_reason=hostile)))).content)
    for active in ("@everyone", "<@", "](", "**", "`", "<b>", "evil.example"):
        assert active not in body["title"] + body["body"]


@pytest.mark.parametrize(("url", "service"), [("json://127.0.0.1", "JSON"), ("slack://TokenA/TokenB/TokenC/", "Slack")])
async def test_the_check_states_what_is_not_promised(context: ChannelContext, url: str, service: str) -> None:
    (result,) = await channel_to(url, context).check()
    assert (result.ok, result.proven) == (True, False)
    assert result.detail.startswith(f"{service}: best effort")
    assert "network.allow" in result.detail


async def test_the_check_names_the_kind_that_promises_more(context: ChannelContext) -> None:
    (result,) = await channel_to("json://127.0.0.1", context).check()
    assert result.remedy == "use the kind webhook, which promises more"


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # one of its plugins imports it
def test_the_services_with_a_kind_of_their_own_are_those_of_apprise() -> None:
    known = Apprise().details()["schemas"]
    schemes = {name for one in known for key in ("protocols", "secure_protocols") for name in one[key] or ()}
    assert KIND_BY_SCHEME.keys() <= schemes


async def test_a_url_that_apprise_does_not_understand_parks_the_channel(context: ChannelContext) -> None:
    channel = channel_to("nosuchservice://example.com", context)
    (result,) = await channel.check()
    assert not result.ok
    assert result.remedy
    assert isinstance(await channel.send(rendered(channel)), Parked)


async def test_nothing_is_imported_from_the_working_directory(
    context: ChannelContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service works in the folder of its data."""
    (tmp_path / "apprise.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    outcome, _ = await sent(reply(200), context)
    assert isinstance(outcome, Delivered)


async def test_a_proxy_applies(context: ChannelContext) -> None:
    async with HttpServer(reply(200)) as proxy, aclosing(HttpClient(proxy=proxy.url(""))) as http:
        behind = ChannelContext(http=http, clock=context.clock, localizer=context.localizer)
        channel = channel_to("json://receiver.example.com/x", behind)
        assert isinstance(await channel.send(rendered(channel)), Delivered)
    assert [request.target for request in proxy.requests] == ["http://receiver.example.com/x"]


@pytest.mark.parametrize(("status", "expected"), [(400, GaveUp), (404, Parked), (410, Parked), (429, Retry)])
def test_a_status_has_the_meaning_that_it_has_everywhere(status: int, expected: type) -> None:
    lines = [("WARNING", f"Failed to send JSON POST notification: Nope, error={status}.")]
    outcome = outcome_of({"service": "JSON", "status": "FAILURE", "lines": lines}, FakeClock().now())
    assert isinstance(outcome, expected)


def test_a_part_that_arrived_makes_a_failure_unknown() -> None:
    """A URL with several receivers has one result."""
    lines = [("INFO", "Sent JSON POST notification."), ("WARNING", "Failed to send: error=403.")]
    outcome = outcome_of({"service": "X", "status": "FAILURE", "lines": lines}, FakeClock().now())
    assert isinstance(outcome, Unknown)
