"""Mattermost and Rocket.Chat: what they are sent, within their limits, and what their answers mean."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import HOSTILE, hostile_event, make_delivery, make_event, make_render_request, make_task, open_channel
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from servers.http import HttpServer, reply

from notifier.channels.base import PROBE_AFTER, ChannelContext
from notifier.core.delivery import Delivered, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.core.model import Event
from notifier.http import HttpClient
from notifier.integrations.mattermost.channel import MattermostChannel
from notifier.integrations.mattermost.rocketchat import RocketChatChannel
from notifier.integrations.mattermost.settings import MattermostSettings
from notifier.integrations.mattermost.webhook_chat import payload
from notifier.wording.localizer import Localizer

ENGLISH = Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
ATTACKS = [*HOSTILE, "@channel", "@here @all", "<!channel>", "x" * 100_000]
TAKEN = {"mattermost": b"ok", "rocketchat": b'{"success":true}'}
KINDS = {"mattermost": (MattermostChannel.limits, 16_383), "rocketchat": (RocketChatChannel.limits, 5_000)}


def shown(*events: Event, kind: str = "mattermost") -> dict[str, Any]:
    return payload(make_render_request(*events), ENGLISH, KINDS[kind][0])


def test_a_failure_is_a_headline_and_an_attachment_in_its_colour() -> None:
    message = shown(make_event(make_task(progress=60, fail_reason="Quota `exceeded`: 64 < 72")))
    assert message["text"] == "🔴 **Task failed** · Create instance · `gauss-6568-zzh`"
    (attachment,) = message["attachments"]
    assert attachment["color"] == "#E01E5A"
    assert attachment["text"].startswith("Reason\n```\nQuota ˋexceededˋ: 64 < 72\n```\nJob `31b8ae23-")
    assert {"title": "Ran for", "value": "12 min 20 s", "short": True} in attachment["fields"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", [*HOSTILE, "@channel", "@here @all", "<!channel>", "x" * 100_000], ids=range(len(HOSTILE) + 4)
)
def test_nothing_from_outside_is_a_mention_and_all_fits(kind: str, text: str) -> None:
    _, limit = KINDS[kind]
    for message in (shown(hostile_event(text), kind=kind), shown(*[hostile_event(text)] * 100, kind=kind)):
        said = json.dumps(message, ensure_ascii=False)
        bare = re.sub(r"```.*?```|`[^`]*`", "", json.dumps(message["text"], ensure_ascii=False), flags=re.DOTALL)
        assert not re.search(r"@\w|<!", bare)
        assert len(message["text"]) <= limit
        assert len(said) <= limit * 2


@given(st.integers(2, 100), st.sampled_from([*KINDS]))
def test_a_digest_fits_and_names_every_job(count: int, kind: str) -> None:
    task = make_task()
    events = [make_event(replace(task, job_id=f"31b8ae23-c687-4d80-b7b4-{n:012}")) for n in range(count)]
    message = shown(*events, kind=kind)
    assert len(message["text"]) <= KINDS[kind][1]
    assert [event.job_id for event in events if event.job_id not in message["text"]] == []


@pytest.fixture
async def context() -> AsyncIterator[ChannelContext]:
    async with aclosing(HttpClient()) as http:
        yield ChannelContext(http=http, clock=FakeClock(), localizer=ENGLISH)


async def sent(server: HttpServer, context: ChannelContext, kind: str, **settings: str) -> Outcome:
    values = {"name": "ops", "webhook_url": server.url("/hooks/obviously-fake")} | settings
    channel = open_channel(kind, values, context)
    event = make_event()
    return await channel.send(make_delivery(event, body=channel.render(make_render_request(event))))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("mattermost", {"channel": "dba", "username": "GaussDB", "icon_url": "https://example.com/x.png"}),
        ("rocketchat", {"channel": "#dba", "alias": "GaussDB", "emoji": ":rotating_light:"}),
    ],
)
async def test_what_the_settings_add_is_sent_along(
    context: ChannelContext, kind: str, settings: dict[str, str]
) -> None:
    async with HttpServer(reply(200, TAKEN[kind])) as server:
        assert isinstance(await sent(server, context, kind, **settings), Delivered)
        (request,) = server.requests
        body = json.loads(request.body)
        assert {name: body[name] for name in settings} == settings


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "kind_of_outcome"),
    [(400, GaveUp), (413, GaveUp), (429, Retry), (503, Retry), (302, Retry), (410, Parked)],
)
async def test_a_status_without_known_words_has_its_usual_meaning(
    context: ChannelContext, kind: str, status: int, kind_of_outcome: type[Outcome]
) -> None:
    async with HttpServer(reply(status, b"no")) as server:
        assert isinstance(await sent(server, context, kind), kind_of_outcome)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [401, 403, 404, 405])
async def test_a_webhook_that_is_not_valid_parks_the_channel(context: ChannelContext, kind: str, status: int) -> None:
    async with HttpServer(reply(status, b"no")) as server:
        outcome = await sent(server, context, kind)
    assert isinstance(outcome, Parked)
    assert outcome.probe_after == PROBE_AFTER
    assert "copy its URL again" in outcome.reason


PAGE = b"\n<!DOCTYPE html>\n<html><body><form><input type='password'></form></body></html>"
MATTERMOST_ERROR = b'{"id":"web.incoming_webhook.%s.app_error","message":"anything","status_code":400}'


@pytest.mark.parametrize(
    ("kind", "status", "body", "outcome"),
    [
        ("mattermost", 200, b"ok", Delivered),
        ("mattermost", 200, b" ok\n", Delivered),
        ("mattermost", 200, b"OK", Unknown),
        ("mattermost", 200, b"", Unknown),
        ("mattermost", 202, b"ok", Unknown),
        ("mattermost", 204, b"", Unknown),
        ("mattermost", 200, b"okay then", Unknown),
        ("mattermost", 200, b'{"success":false}', Retry),
        ("mattermost", 200, b'{"errcode":93000,"errmsg":"invalid webhook url"}', Parked),
        ("mattermost", 200, b'{"errcode":-1}', Retry),
        ("mattermost", 200, PAGE, Parked),
        ("mattermost", 400, MATTERMOST_ERROR % b"invalid", Parked),
        ("mattermost", 501, MATTERMOST_ERROR % b"disabled", Parked),
        ("mattermost", 404, MATTERMOST_ERROR % b"channel", Parked),
        ("mattermost", 500, MATTERMOST_ERROR % b"channel", Parked),
        ("mattermost", 403, MATTERMOST_ERROR % b"channel_locked", Parked),
        ("mattermost", 400, MATTERMOST_ERROR % b"user", Parked),
        ("mattermost", 403, MATTERMOST_ERROR % b"permissions", Parked),
        ("mattermost", 400, MATTERMOST_ERROR % b"text", GaveUp),
        ("mattermost", 400, b'{"id":"something.new","message":"web.incoming_webhook.invalid.app_error"}', GaveUp),
        ("mattermost", 400, b"[" * 60_000, GaveUp),
        ("rocketchat", 200, b'{"success":true}', Delivered),
        ("rocketchat", 200, b'{ "success": true, "responses": [] }', Delivered),
        ("rocketchat", 200, b'{"success":"true"}', Unknown),
        ("rocketchat", 200, b'{"success":1}', Unknown),
        ("rocketchat", 200, b"ok", Unknown),
        ("rocketchat", 200, b"[true]", Unknown),
        ("rocketchat", 200, b'{"success":false}', Retry),
        ("rocketchat", 200, b'{"success":false,"error":"invalid-channel"}', Parked),
        ("rocketchat", 201, b'{"success":true}', Unknown),
        ("rocketchat", 200, PAGE, Parked),
        ("rocketchat", 400, b'{"success":false,"error":"invalid-channel"}', Parked),
        ("rocketchat", 400, b'{"success":false,"error":"error-not-allowed"}', Parked),
        ("rocketchat", 400, b'{"success":false,"error":"Invalid integration id or token provided."}', Parked),
        ("rocketchat", 503, b'{"success":false,"error":"Service Unavailable"}', Parked),
        ("rocketchat", 503, b"Service Unavailable", Retry),
        ("rocketchat", 400, b'{"success":false,"error":"error-message-size-exceeded"}', GaveUp),
        ("rocketchat", 400, b'{"success":false,"error":"something new"}', GaveUp),
        ("rocketchat", 429, b'{"success":false,"errorType":"error-too-many-requests"}', Retry),
    ],
)
async def test_only_the_servers_own_success_reply_is_success(
    context: ChannelContext, kind: str, status: int, body: bytes, outcome: type[Outcome]
) -> None:
    async with HttpServer(reply(status, b"" if status == 204 else body)) as server:
        found = await sent(server, context, kind)
    assert type(found) is outcome
    if isinstance(found, Parked):
        assert found.probe_after == PROBE_AFTER
        assert "; " in found.reason, "it says what can be done"


@pytest.mark.parametrize("kind", sorted(TAKEN))
async def test_success_counts_though_it_comes_compressed(context: ChannelContext, kind: str) -> None:
    packed = reply(200, gzip.compress(TAKEN[kind]), {"Content-Encoding": "gzip"})
    async with HttpServer(packed) as server:
        assert isinstance(await sent(server, context, kind), Delivered)


async def test_of_a_servers_words_only_known_ones_become_a_reason(context: ChannelContext) -> None:
    body = b'{"id":"web.incoming_webhook.invalid.app_error","message":"https://chat.example.com/hooks/obviously-fake"}'
    async with HttpServer(reply(400, body)) as server:
        outcome = await sent(server, context, "mattermost")
    assert isinstance(outcome, Parked)
    assert outcome.reason == (
        "HTTP 400: web.incoming_webhook.invalid.app_error; "
        "the webhook was removed: make a new one and set webhook_url to its URL"
    )


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "chat.example.com/hooks/x", "http://chat.example.com/hooks/x", "https://", ""]
)
def test_what_is_no_webhook_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|https|missing"):
        MattermostSettings.model_validate({"name": "ops", "webhook_url": url})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "ok"), [(200, True), (404, True), (405, True), (503, True), (410, False), (301, False), (407, False)]
)
async def test_a_check_fails_for_known_faults_and_proves_nothing_else(
    context: ChannelContext,
    kind: str,
    status: int,
    ok: bool,  # noqa: FBT001 - a table
) -> None:
    async with HttpServer(reply(status, b"")) as server:
        values = {"name": "ops", "webhook_url": server.url("/hooks/obviously-fake")}
        (finding,) = await open_channel(kind, values, context).check()
    assert (finding.ok, finding.proven) == (ok, not ok)
    assert "obviously" not in str(finding)
