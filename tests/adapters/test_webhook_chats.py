"""Mattermost and Rocket.Chat: what they are sent, within their limits, and what their answers mean."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import (
    HOSTILE,
    T0,
    hostile_event,
    make_alert,
    make_delivery,
    make_event,
    make_event_of,
    make_events,
    make_render_request,
    make_storm,
    make_task,
    open_channel,
)
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from servers.http import HttpServer, reply

from notifier.channels.base import PROBE_AFTER, ChannelContext
from notifier.channels.card import QUOTE_LINES
from notifier.core.delivery import Delivered, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.core.events import EventType
from notifier.core.ids import shorten_ids
from notifier.core.model import Event
from notifier.core.routing import DeliveryRouting
from notifier.core.storms import StormGroup, fitting
from notifier.http import HttpClient
from notifier.integrations.mattermost.channel import MattermostChannel
from notifier.integrations.mattermost.messages import MessageLayout
from notifier.integrations.mattermost.rocketchat import RocketChatChannel
from notifier.integrations.mattermost.settings import MattermostSettings
from notifier.integrations.mattermost.webhook_chat import WebhookChat
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter
from notifier.wording.links import LinkTemplates
from notifier.wording.localizer import Localizer
from notifier.wording.states import QUIET_EMOJI, STATES

SHANGHAI = ZoneInfo("Asia/Shanghai")
LINKS = LinkTemplates(
    console_url="https://console.example.com/(x)?region={region}", runbook_url="https://wiki.example.com/{error_code}"
)
ENGLISH = Localizer(language="en", timezone=SHANGHAI)
FORMATTERS: dict[str, EventFormatter] = {
    "en": EventFormatter(ENGLISH, links=LINKS),
    "zh": EventFormatter(Localizer(language="zh", timezone=SHANGHAI), links=LINKS),
}
TAKEN = {"mattermost": b"ok", "rocketchat": b'{"success":true}'}
KINDS: dict[str, type[WebhookChat[Any]]] = {"mattermost": MattermostChannel, "rocketchat": RocketChatChannel}
ZWSP = "\u200b"
ATTACKS = [
    *HOSTILE,
    "@channel",
    "@here @all",
    "<!channel>",
    "x" * 100_000,
    "[x](https://evil.example) ![x](https://evil.example/x.png)",
    "<https://evil.example|x> https://evil.example www.evil.example me@evil.example",
    "*bold* _italic_ ~struck~ ||hidden|| $x$ \\(x\\) :smile: #general +15551234567 <t:1700000000:R>",
    "x\n===\n---\n# heading\n1. one\n- two\n> three\n| a | b |\n|---|---|\n    code\n~~~\n```",
]


def shown(request: RenderRequest, kind: str = "mattermost", language: str = "en") -> dict[str, Any]:
    """Return a message as it is rendered, within the limits of its server."""
    channel = KINDS[kind]
    message = MessageLayout(channel.markup, channel.limits, FORMATTERS[language]).payload(request)
    assert len(message["text"]) <= channel.limits.text < SERVER_LIMITS[kind]
    assert all(len(attachment["text"]) <= channel.limits.attachment for attachment in message["attachments"])
    return message


EMOJI = "".join({state.tone.emoji for state in STATES} | {state.digest_emoji for state in STATES} | {QUIET_EMOJI})
SERVER_LIMITS = {"mattermost": 16_383, "rocketchat": 5_000}


def texts(message: dict[str, Any]) -> list[str]:
    """Return every text of a message that the server draws."""
    attachments = message["attachments"]
    fields = [field["value"] for attachment in attachments for field in attachment.get("fields", ())]
    return [message["text"], *(attachment["text"] for attachment in attachments), *fields]


def bare(text: str) -> str:
    """Return a text without its inline code."""
    return re.sub(r"`[^`\n]*`", "`", text)


def failed(**changes: Any) -> Event:
    task = make_task(
        "def160ec-c3ad-4647-8520-de0a8f84474c",
        name="ResizeGaussDBV5Flavor",
        instance_name="prod-orders-01",
        instance_status="normal",
        progress=96.0,
        fail_reason="The widget_s refused: 64 < 72.\nError code: ABC.123456.",
    )
    return make_event(task, **{"environment": "production"} | changes)


def mentioning(request: RenderRequest, *who: str) -> RenderRequest:
    return replace(request, routing=DeliveryRouting(routes=("failures",), mention=who))


def storm_request(count: int, *, opens: bool = True, name: str = "ledger-{n}", job: str = "{n:08}") -> RenderRequest:
    tasks = (
        make_task(f"{job.format(n=n)}-c3ad-4647-8520-de0a8f84474c", instance_name=name.format(n=n)[:120])
        for n in range(count)
    )
    seen = T0 + timedelta(seconds=30)
    events = tuple(make_event(task, environment="production", observed_at=seen) for task in tasks)
    names = tuple((str((event.task and event.task.instance_name) or ""), 8) for event in events)
    group = StormGroup(code="OBS.0503", operation="BackupSnapshotGaussDBV5InInstance", count=239, reason="down")
    other = StormGroup(code="", operation=name, count=1, reason=name * 10)
    storm = make_storm(latest=count, groups=(group, *[other] * 30), instances=names)
    return replace(make_render_request(*events), digest=True, storm=storm, opens_storm=opens)


# ---- what people read ----


def test_a_failure_says_what_where_and_when_then_why_how_bad_and_what_now() -> None:
    message = shown(mentioning(make_render_request(failed()), "@alice", "U0123ABCD"))
    assert message["text"] == ("🔴 **Flavor change failed on** `prod-orders-01` · **PROD** · 16:29:20 @alice")
    (attachment,) = message["attachments"]
    assert attachment["color"] == "#E01E5A"
    assert attachment["text"].replace(ZWSP, "") == (
        "> The widget\\_s refused: 64 < 72.\n"
        "> Error code: ABC.123456.\n"
        "\n"
        "Instance is normal · ran 12 min 20 s, stopped at 96%\n"
        "[Open console](https://console.example.com/%28x%29?region=cn-north-4) · "
        "[Runbook](https://wiki.example.com/ABC.123456)\n"
        "\n"
        "`prod` / `cn-north-4` · job `def160ec`"
    )
    assert attachment["fallback"] == (
        "PROD prod-orders-01: flavor change failed. The widget_s refused: 64 <\u200b 72 (ABC.123456), 16:29"
    )
    assert [field["title"] for field in attachment["fields"]] == ["Started", "Ended"]


def test_rocketchat_gets_no_backslashes() -> None:
    message = shown(make_render_request(failed()), kind="rocketchat")
    assert message["text"].startswith("🔴 *Flavor change failed on* `prod-orders-01` · *PROD* · 16:")
    (attachment,) = message["attachments"]
    assert "> The widgetˍs refused: 64 ‹ 72." in attachment["text"].replace(ZWSP, "")
    assert "\\" not in "".join(texts(message))


def test_a_failure_reads_as_well_in_chinese() -> None:
    message = shown(make_render_request(failed()), language="zh")
    assert message["text"].replace(ZWSP, "") == "🔴 **规格变更失败** · `prod-orders-01` · **生产** · 16:29:20"
    assert "实例状态 正常 · 运行 12 分 20 秒，停在 96%\n[打开控制台](" in message["attachments"][0]["text"]


def test_a_quiet_failure_has_a_hollow_mark_and_mentions_nobody() -> None:
    message = shown(mentioning(make_render_request(failed(environment="staging")), "@alice"))
    assert message["text"].startswith("⭕ **Flavor change failed on** `prod-orders-01` · staging")
    assert "@alice" not in message["text"]


def test_a_late_message_says_so_in_its_first_line() -> None:
    late = failed(late=True, away_since=T0 - timedelta(hours=1))
    assert "**Reported 40 s late: the notifier was down from" in shown(make_render_request(late))["text"]


def test_what_is_known_of_the_reason_stands_before_the_links() -> None:
    event = make_event(make_task(fail_reason="The quota of vCPUs is not sufficient."))
    (attachment,) = shown(make_render_request(event))["attachments"]
    found = [attachment["text"].index(text) for text in ("> ", "**Means** ", "**Try** ", "[Open console]")]
    assert found == sorted(found)


def test_commands_are_code() -> None:
    (attachment,) = shown(make_render_request(make_alert(EventType.CHANNEL_GAVE_UP)))["attachments"]
    assert "**Try** Send them again: `notifier retry --all-dead --channel dba`" in attachment["text"]


def test_a_long_reason_is_cut_to_lines_with_a_count_of_the_others() -> None:
    event = make_event(make_task(fail_reason="\n".join(f"line {n}" for n in range(60))))
    (attachment,) = shown(make_render_request(event))["attachments"]
    assert attachment["text"].count("> ") == QUOTE_LINES
    assert "… 48 more lines" in attachment["text"]


def test_a_digest_has_an_attachment_for_each_state() -> None:
    message = shown(make_render_request(*make_events(3)))
    assert message["text"] == "🚨 **2 tasks failed, 1 completed** · `prod`"
    assert [attachment["color"] for attachment in message["attachments"]] == ["#E01E5A", "#2EB67D"]
    assert [attachment["text"].splitlines() for attachment in message["attachments"]] == [
        [
            "**Failed**",
            "- `gauss-00000` · Instance creation · The quota of vCPUs is not enough · `job-00000`",
            "- `gauss-00002` · Instance creation · The quota of vCPUs is not enough · `job-00002`",
        ],
        ["**Completed**", "- `gauss-00001` · Instance creation · `job-00001`"],
    ]


def test_a_storm_has_total_reasons_and_instances_before_the_list() -> None:
    message = shown(mentioning(storm_request(3), "@here"))
    lines = message["text"].replace(ZWSP, "").splitlines()
    assert lines[0] == "🚨 **300 tasks failed within 1 min** · **PROD** · since 16:30:00 · `prod` / `cn-north-4` @here"
    assert lines[1] == "- **239 ×** `OBS.0503` Manual backup. Down"
    assert "3 instances, most: `ledger-0` \\(8\\), `ledger-1` \\(8\\), `ledger-2` \\(8\\)" in lines
    (attachment,) = message["attachments"]
    assert attachment["text"].splitlines() == [
        "**3 tasks, by instance**",
        "- `ledger-0` `00000000`",
        "- `ledger-1` `00000001`",
        "- `ledger-2` `00000002`",
    ]


def test_a_post_about_the_next_poll_has_the_total_and_the_list() -> None:
    message = shown(storm_request(2, opens=False))
    first = message["text"].replace(ZWSP, "").splitlines()[0]
    assert first == "🚨 **\\+2 failures, now 300 since 16:30:00** · **PROD** · `prod` / `cn-north-4`"
    assert len(message["attachments"]) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("opens", [True, False])
@pytest.mark.parametrize(
    ("name", "job"),
    [
        ("ledger-{n}", "{n:08}"),
        ("数" * 117 + "{n:03}", "{n:064}"),
        ("*" * 117 + "{n:03}", "@*{n:061}"),
        ("same", "{n:08}"),
    ],
)
def test_a_storm_names_every_task_whatever_their_names(
    kind: str,
    language: str,
    opens: bool,  # noqa: FBT001 - a table
    name: str,
    job: str,
) -> None:
    request = storm_request(KINDS[kind].storm_size, opens=opens, name=name, job=job)
    message = shown(request, kind, language)
    listed = "\n".join(attachment["text"] for attachment in message["attachments"]).replace(ZWSP, "")
    ids = shorten_ids({event.job_id for event in request.events})
    assert [text for text in ids.values() if f"`{text}`" not in listed] == []
    assert {event.task.instance_name for event in request.events if event.task} == set(
        re.findall(r"^- `([^`]*)`", listed, re.MULTILINE)
    )
    assert "…" not in listed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["{n}", "ledger-{n}", "数" * 117 + "{n:03}", "@" * 117 + "{n:03}"])
def test_what_a_storm_puts_into_one_message_is_bounded(kind: str, name: str) -> None:
    channel = KINDS[kind]
    events = storm_request(1_000, name=name).events
    count = fitting(events, channel.storm_size, channel.storm_room)
    message = shown(storm_request(count, name=name), kind)
    listed = [attachment["text"] for attachment in message["attachments"]]
    assert sum(text.count("`") for text in listed) == 4 * count, "each task has a name and an id"
    assert len("\n".join(listed).replace(ZWSP, "")) <= 14_000


# ---- hostile text ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
@pytest.mark.parametrize("count", [1, 2, 100])
def test_nothing_from_outside_is_a_mention_a_link_or_markup(kind: str, text: str, count: int) -> None:
    number = count if len(text) < 1_000 else min(count, 3)
    events = [replace(hostile_event(text), environment=text) for _ in range(number)]
    for drawn in texts(shown(make_render_request(*events), kind)):
        harmless(kind, drawn)


OUTSIDE = st.text(max_size=80) | st.sampled_from(ATTACKS) | st.text("@<>!*_~`[]()#:|\\$+-=. \nab1", max_size=80)


@given(
    OUTSIDE,
    st.sampled_from([*KINDS]),
    st.sampled_from(["en", "zh"]),
    st.sampled_from([*EventType]),
    st.sampled_from(["production", "staging", ""]),
)
def test_no_event_becomes_markup(text: str, kind: str, language: str, type_: EventType, environment: str) -> None:
    event = replace(make_event_of(type_), environment=environment, detail=text)
    if event.task:
        event = replace(hostile_event(text), type=type_, environment=environment)
    for drawn in texts(shown(make_render_request(event), kind, language)):
        harmless(kind, drawn)


@given(OUTSIDE, st.sampled_from([*KINDS]))
def test_no_storm_becomes_markup(text: str, kind: str) -> None:
    request = storm_request(3)
    storm = request.storm
    assert storm
    groups = (StormGroup(code=text, operation=text, count=2, reason=text),)
    hostile = replace(storm, groups=groups, instances=((text or "x", 2),), region=text, environment=text)
    for drawn in texts(shown(replace(request, storm=hostile), kind)):
        harmless(kind, drawn)


def harmless(kind: str, drawn: str) -> None:
    """Check that a text has no mention, address or markup but that of the layout."""
    outside = bare(drawn)
    assert outside.count("`") == drawn.count("`") / 2, "code begins and ends in one line"
    without_links = re.sub(r"\[[^\]\\]+\]\(https://(console|wiki)\.example\.com/[^ )]*\)", "", outside)
    assert not re.search(rf"@(?!{ZWSP})|https?:/|\.(?=example|com\b)", without_links)
    if kind == "mattermost":
        assert not re.search(rf"(?<!\\)[\[\]|#_]|[<~&$](?!{ZWSP})", without_links.replace("\\\\", ""))
        assert "*" not in re.sub(r"\*\*[^*]+\*\*", "", re.sub(r"\\.", "", without_links))
    else:
        assert not re.search(rf"[<|$~_]|[\[\]#\\](?!{ZWSP})", without_links)
        assert "*" not in re.sub(r"\*[^*\n]+\*", "", without_links)
        assert not re.search(rf"@(?!{ZWSP})", drawn), "not in code either"
    for line in drawn.splitlines():
        assert re.match(rf"[{EMOJI}]|- [`*]|> {ZWSP}|[*`\w[…{ZWSP}]|$", line), line


@given(st.integers(2, 100), st.sampled_from([*KINDS]))
def test_a_digest_fits_and_names_every_job(count: int, kind: str) -> None:
    task = make_task()
    events = [make_event(replace(task, job_id=f"31b8ae23-c687-4d80-b7b4-{n:012}")) for n in range(count)]
    listed = "".join(texts(shown(make_render_request(*events), kind)))
    assert [event.job_id for event in events if event.job_id not in listed] == []


# ---- what the servers answer ----


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
