"""Teams: cards that fit the published schema, mentions, and what nothing from outside can do in a card."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from channels_teams import card, text, text_blocks
from chats import FAILED, delivery_of, make_context
from factories import (
    HOSTILE,
    hostile_event,
    make_event,
    make_event_of,
    make_events,
    make_render_request,
    make_task,
    open_channel,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from servers.http import HttpServer, reply
from servers.teams import SIGNATURE, TARGET, Teams, TeamsServer, card_problems

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.core.delivery import Delivered, Outcome, Parked
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.tickets import TicketLink
from notifier.http import HttpClient
from notifier.integrations.teams.settings import TeamsSettings
from notifier.wording.phrases import Language

URL = f"https://default0a1b.environment.api.powerplatform.com{TARGET}"
ATTACKS = [*HOSTILE, "<at>Alice</at>", "[x](https://evil.example)", "**x** _x_ `x`\n# x\n- x", "\ue000x\ue002\ue001"]


def with_runbooks(http: HttpClient, language: Language) -> ChannelContext:
    return replace(make_context(http, language), runbook_url="https://wiki.example.com/{cause}")


@pytest.fixture
def context(http: HttpClient) -> ChannelContext:
    return with_runbooks(http, "zh")


@pytest.fixture
async def server() -> AsyncIterator[TeamsServer]:
    async with TeamsServer(Teams()) as running:
        yield running


def workflow(context: ChannelContext, url: str = URL, **changes: Any) -> BaseChannel[Any]:
    return open_channel("teams", {"name": "dba", "kind": "teams", "webhook_url": url} | changes, context)


async def sent(channel: BaseChannel[Any], *events: Event, mention: Sequence[str] = ()) -> Outcome:
    return await channel.send(delivery_of(channel, *events or (FAILED,), mention=mention))


# ---- cards ----


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_the_workflow_posts_every_type_of_message(
    server: TeamsServer, http: HttpClient, language: Language
) -> None:
    channel = workflow(with_runbooks(http, language), server.url(TARGET))
    messages = [(make_event_of(type_),) for type_ in EventType]
    for events in (*messages, (FAILED,), make_events(2), make_events(50)):
        assert isinstance(await sent(channel, *events, mention=["teams:alice@example.com"]), Delivered)
    assert server.service.failed == []
    assert len(server.service.posted) == len(messages) + 3


async def test_a_card_says_what_where_why_and_what_now(context: ChannelContext) -> None:
    event = make_event(
        make_task(instance_name="prod_orders-01", fail_reason="no VM\nDBS.280277"), environment="production"
    )
    delivery = delivery_of(workflow(context), event)
    assert delivery.body
    content = card(delivery.body)
    head, why, *lines = content["body"]
    assert head["style"] == "attention"
    assert [run["text"] for run in head["items"][0]["inlines"]][:4] == ["🔴 ", "创建实例失败", " · ", "prod_orders-01"]
    assert [block["inlines"][0]["text"] for block in why["items"]] == ["no VM", "DBS.280277"]
    assert lines[-1]["inlines"][-1] | {"text": ""} == {
        "type": "TextRun",
        "text": "",
        "isSubtle": True,
        "size": "Small",
        "fontType": "Monospace",
    }
    assert [action["title"] for action in content["actions"]] == ["打开控制台", "处理手册"]
    assert content["msteams"] == {"width": "Full"}


async def test_what_has_no_room_is_left_out_before_the_reason_and_the_job(context: ChannelContext) -> None:
    long = hostile_event("\u4e2d\u6587" * 4_000)
    delivery = delivery_of(workflow(context), replace(long, environment="production"))
    assert delivery.body
    assert len(delivery.body.content) <= 24_000
    assert card_problems(card(delivery.body)) == []
    assert long.job_id[:8] in text(delivery.body)


@settings(max_examples=settings().max_examples // 3)
@given(
    st.sampled_from(ATTACKS) | st.text("@<>![]()*_`\\# \nab\ue000\ue001\ue002", max_size=60), st.sampled_from([1, 2])
)
def test_nothing_from_outside_is_a_mention_a_link_or_markup(text: str, count: int) -> None:
    channel = workflow(make_context(HttpClient(), "zh"))
    events = [replace(hostile_event(text), environment=text)] * count
    content = card(channel.render(make_render_request(*events)))
    assert list(text_blocks(content)) == [], "markup is in text blocks alone, and no event gets into one"
    assert content["msteams"] == {"width": "Full"}
    assert not re.search("[\ue000-\ue002]", json.dumps(content, ensure_ascii=False))
    assert "](" not in content["fallbackText"]
    assert {action["url"].partition("/{")[0] for action in content.get("actions", ())} <= {
        "https://console.example.com/cn-north-4",
        "https://wiki.example.com/",
    }


def test_a_template_writes_markdown_and_prints_text(context: ChannelContext) -> None:
    templates = {"task.failed": {"title": "**{{ data.task.instance.name }}**", "text": "- {{ data.task.fail_reason }}"}}
    channel = workflow(context, templates=templates)
    event = make_event(make_task(instance_name="[x](y)", fail_reason="**no** <at>x</at>"), environment="production")
    content = card(channel.render(make_render_request(event)))
    zero = "\u200b"
    assert list(text_blocks(content)) == [
        r"🔴 **\[x\]\(y\)**",
        rf"- \*\*no\*\* <{zero}at\>x<{zero}/at\>",
    ]
    assert card_problems(content) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"body": [{"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": "x", "weight": "Heavy"}]}]},
        {"body": [{"type": "Container", "style": "red", "items": []}]},
        {"actions": [{"type": "Action.OpenUrl", "title": "x"}]},
        {"actions": [{"type": "Action.Submit", "title": "x"}]},
        {"msteams": {"entities": [{"type": "mention", "text": "<at>x</at>"}]}},
        {"version": "1.5"},
    ],
)
async def test_the_workflow_of_these_tests_refuses_a_wrong_card(context: ChannelContext, wrong: dict[str, Any]) -> None:
    body = delivery_of(workflow(context), FAILED).body
    assert body
    assert card_problems(card(body)) == []
    assert card_problems(card(body) | wrong) != []


def test_tickets_are_buttons_as_far_as_teams_shows_them(context: ChannelContext) -> None:
    url = "https://tickets.example.com/OPS"
    tickets = tuple(
        TicketLink(channel="tickets", label=f"OPS-{n} <at>x</at> [x](y)", url=f"{url}-{n}") for n in range(9)
    )
    request = replace(make_render_request(FAILED), tickets=tickets)
    content = card(workflow(context).render(request))
    assert [action["url"] for action in content["actions"]][2:] == [f"{url}-{n}" for n in range(4)]
    assert content["actions"][2]["title"] == "工单 OPS-0 <at>x</at> [x](y)"
    assert card_problems(content) == []


# ---- mentions ----


async def test_whom_the_routes_name_is_called_and_nobody_else(server: TeamsServer, context: ChannelContext) -> None:
    channel = workflow(context, server.url(TARGET))
    await sent(
        channel, mention=["teams:alice@example.com", "teams:alice@other.example", "teams:b@x.cn|DBA's lead", "@all"]
    )
    await sent(channel)
    called, calm = server.service.posted
    entities = called["msteams"]["entities"]
    assert [(one["mentioned"]["id"], one["text"]) for one in entities] == [
        ("alice@example.com", "<at>alice</at>"),
        ("alice@other.example", "<at>alice 2</at>"),
        ("b@x.cn", "<at>DBA's lead</at>"),
    ]
    assert list(text_blocks(called)) == [" ".join(one["text"] for one in entities)]
    assert list(text_blocks(calm)) == []


@pytest.mark.parametrize(
    "entry",
    [
        "teams:alice",
        "alice@example.com",
        "teams:alice@example.com|",
        "teams:a@x.cn|<at>",
        "teams:a@x.cn|b_c",
        "teams:1-2",
    ],
)
def test_entries_of_other_forms_are_refused(entry: str) -> None:
    assert not TeamsSettings.accepts_mention(entry)


# ---- replies ----


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (TARGET.replace("0a1b2c3d", "other"), "the workflow was removed"),
        (TARGET.partition("&sig")[0], "let Anyone trigger the workflow"),
        (TARGET.replace(SIGNATURE, "wrong"), "copy the URL of the workflow again"),
    ],
)
async def test_a_url_that_is_refused_is_explained(
    server: TeamsServer, context: ChannelContext, target: str, words: str
) -> None:
    outcome = await sent(workflow(context, server.url(target)))
    assert isinstance(outcome, Parked)
    assert words in outcome.reason
    assert SIGNATURE not in repr(outcome)


async def test_a_workflow_that_is_switched_off_parks_the_channel(server: TeamsServer, context: ChannelContext) -> None:
    server.service.enabled = False
    outcome = await sent(workflow(context, server.url(TARGET)))
    assert isinstance(outcome, Parked)
    assert "its owner can switch it on" in outcome.reason


async def test_a_workflow_may_reply_as_its_author_wants(context: ChannelContext) -> None:
    async with HttpServer(reply(200, b'{"done": 1}')) as server:
        assert isinstance(await sent(workflow(context, server.url(TARGET))), Delivered)


# ---- check ----


async def test_a_check_never_calls_the_workflow(server: TeamsServer, context: ChannelContext) -> None:
    (found,) = await workflow(context, server.url(TARGET)).check()
    assert (found.ok, found.proven) == (True, False)
    assert [(request.method, request.target) for request in server.requests] == [("GET", "/")]


async def test_a_check_names_a_url_without_a_signature(server: TeamsServer, context: ChannelContext) -> None:
    (found,) = await workflow(context, server.url(TARGET.partition("&sig")[0])).check()
    assert (found.ok, found.proven) == (True, False)
    assert "no sig=" in found.detail
    assert "let Anyone trigger" in found.remedy


async def test_a_check_names_a_proxy_that_wants_a_login(context: ChannelContext) -> None:
    async with HttpServer(reply(407)) as server:
        (found,) = await workflow(context, server.url(TARGET)).check()
    assert not found.ok


# ---- settings ----


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://example.webhook.office.com/webhookb2/1/IncomingWebhook/2/3", "switched those off"),
        ("https://outlook.office.com/webhook/1/IncomingWebhook/2/3", "switched those off"),
        ("https://teams.microsoft.com/l/channel/19%3A1/General", "is the address of a page"),
        ("https://make.powerautomate.com/environments/1/flows/2", "is the address of a page"),
        ("http://default0a1b.environment.api.powerplatform.com/x", "https"),
    ],
)
def test_a_url_that_is_no_workflow_is_refused_with_a_hint(url: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TeamsSettings.model_validate({"name": "dba", "webhook_url": url})


@pytest.mark.parametrize(
    "host", ["prod-12.westeurope.logic.azure.com", "default1.environment.api.powerplatform.com", "teams.example.com"]
)
def test_urls_of_workflows_are_taken_as_they_are(host: str) -> None:
    url = f"https://{host}:443/workflows/1/invoke?sp=%2Ftriggers%2Fmanual%2Frun&sig=a-b_c%2F"
    settings = TeamsSettings.model_validate({"name": "dba", "webhook_url": url})
    assert settings.webhook_url.get_secret_value() == url
    assert settings.is_signed
