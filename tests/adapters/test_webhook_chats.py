"""Mattermost and Rocket.Chat: what they are sent, within their limits, and what their answers mean."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import HOSTILE, hostile_event, make_delivery, make_event, make_notice, make_task
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from servers.http import HttpServer, reply

from notifier.channels.attachments import payload
from notifier.channels.base import PROBE_AFTER, Toolbox, load
from notifier.channels.mattermost import MattermostChannel
from notifier.channels.rocketchat import RocketChatChannel
from notifier.core.model import Delivered, Event, GaveUp, Outcome, Parked, Retry
from notifier.http import HttpClient
from notifier.render import Wording

ENGLISH = Wording(language="en", timezone=ZoneInfo("Asia/Shanghai"))
ATTACKS = [*HOSTILE, "@channel", "@here @all", "<!channel>", "x" * 100_000]
KINDS = {"mattermost": (MattermostChannel.limits, 16_383), "rocketchat": (RocketChatChannel.limits, 5_000)}


def shown(*events: Event, kind: str = "mattermost") -> dict[str, Any]:
    return payload(make_notice(*events), ENGLISH, KINDS[kind][0])


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
async def toolbox() -> AsyncIterator[Toolbox]:
    async with aclosing(HttpClient()) as http:
        yield Toolbox(http=http, clock=FakeClock(), wording=ENGLISH)


async def sent(server: HttpServer, toolbox: Toolbox, kind: str, **settings: str) -> Outcome:
    found = load(kind)
    values = {"name": "ops", "webhook_url": server.url("/hooks/obviously-fake")} | settings
    channel = found(found.Settings.model_validate(values), toolbox)
    event = make_event()
    return await channel.send(make_delivery(event, body=channel.render(make_notice(event))))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("mattermost", {"channel": "dba", "username": "GaussDB", "icon_url": "https://example.com/x.png"}),
        ("rocketchat", {"channel": "#dba", "alias": "GaussDB", "emoji": ":rotating_light:"}),
    ],
)
async def test_what_the_settings_add_is_sent_along(toolbox: Toolbox, kind: str, settings: dict[str, str]) -> None:
    async with HttpServer(reply(200)) as server:
        assert await sent(server, toolbox, kind, **settings) == Delivered(reply="HTTP 200: ok")
        (request,) = server.requests
        body = json.loads(request.body)
        assert {name: body[name] for name in settings} == settings


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "kind_of_outcome"),
    [(200, Delivered), (400, GaveUp), (429, Retry), (503, Retry), (404, Parked), (403, Parked)],
)
async def test_an_answer_means_what_it_says(
    toolbox: Toolbox, kind: str, status: int, kind_of_outcome: type[Outcome]
) -> None:
    async with HttpServer(reply(status)) as server:
        outcome = await sent(server, toolbox, kind)
    assert isinstance(outcome, kind_of_outcome)
    if isinstance(outcome, Parked):
        assert outcome.probe_after == PROBE_AFTER
        assert "copy its URL again" in outcome.reason


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "chat.example.com/hooks/x", "http://chat.example.com/hooks/x", "https://", ""]
)
def test_what_is_no_webhook_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|https|missing"):
        MattermostChannel.Settings.model_validate({"name": "ops", "webhook_url": url})
