from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from factories import (
    HOSTILE,
    OWN_TYPES,
    PROJECT_ID,
    T0,
    TASK_TYPES,
    USUAL,
    decision,
    hostile_event,
    make_alert,
    make_delivery,
    make_event,
    make_event_of,
    make_events,
    make_gap,
    make_render_request,
    make_task,
)
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from servers.slack import (
    ACCEPTED_THEN_500,
    ACCEPTED_THEN_RESET,
    ACCEPTED_THEN_SILENT,
    CHANNEL,
    HOOK,
    HTML_500,
    NOT_JSON,
    RATE_LIMITED,
    TOKEN,
    Fault,
    SlackServer,
    blocks_of,
    mrkdwn_texts,
    problems,
    refused,
    shown_texts,
    slack_server,
    word,
)

from notifier.channels.base import PROBE_AFTER, BaseChannel, ChannelContext, Json
from notifier.core import storms
from notifier.core.delivery import (
    Body,
    Delivered,
    Delivery,
    GaveUp,
    Outcome,
    Parked,
    ResendPolicy,
    Retry,
    Thread,
    Unknown,
)
from notifier.core.events import EventType
from notifier.core.model import Event, TaskHistory
from notifier.core.mutes import Mute
from notifier.core.people import Acknowledgement
from notifier.core.routing import MAX_MENTIONS, ChannelPolicy, DeliveryRouting, RoutedEvent
from notifier.core.severity import Severity
from notifier.core.storm_plan import split_listed
from notifier.core.storms import Storm
from notifier.http import HttpClient
from notifier.integrations.slack.blockkit import (
    MESSAGE_LIMIT,
    Style,
    code_block,
    escape,
    inline_code,
    literal,
    sentence,
)
from notifier.integrations.slack.channel import MAX_HISTORY_PAGES, PAGE_SIZE, SlackChannel
from notifier.integrations.slack.errors import TOKEN_REMEDY
from notifier.integrations.slack.messages import event_message, live_message, plain_text_message, without_buttons
from notifier.integrations.slack.settings import HISTORY_DELAY, SlackSettings
from notifier.integrations.slack.summaries import FIRST_PART_ROOM, PART_ROOM, PART_SIZE
from notifier.wording.events import EventFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.marks import dated, quoted, strong
from notifier.wording.phrases import Language
from notifier.wording.sanitize import ID_LIMIT, NAME_LIMIT

SHANGHAI = ZoneInfo("Asia/Shanghai")
LANGUAGES: tuple[Language, ...] = ("en", "zh")
MARK = "ж"
"""Stands in every text from outside in the property tests, and nowhere else."""


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with slack_server() as running:
        yield running


@pytest.fixture
async def context() -> AsyncIterator[ChannelContext]:
    http = HttpClient()
    yield ChannelContext(
        http=http, clock=FakeClock(), localizer=FORMATTERS["en"].localizer, chat_tokens=frozenset({TOKEN})
    )
    await http.aclose()


def bot(server: SlackServer, context: ChannelContext, **settings: object) -> BaseChannel[SlackSettings]:
    values = {"name": "dba", "bot_token": TOKEN, "channel": CHANNEL, "api_url": server.api_url}
    return SlackChannel.open(SlackSettings.model_validate(values | settings), context)


def hook(server: SlackServer, context: ChannelContext, **settings: object) -> BaseChannel[SlackSettings]:
    values = {"name": "dba", "webhook_url": server.hook_url}
    return SlackChannel.open(SlackSettings.model_validate(values | settings), context)


def posted(ref: str) -> Delivered:
    """Return what a message comes to that begins a thread."""
    return Delivered(ref, thread=ref)


async def sent(channel: BaseChannel[SlackSettings], *events: Event) -> Outcome:
    return await channel.send(make_delivery(*events, body=channel.render(make_render_request(*events))))


FORMATTERS = {language: EventFormatter(Localizer(language=language, timezone=SHANGHAI)) for language in LANGUAGES}


def message(*events: Event, language: Language = "en") -> Json:
    return event_message(make_render_request(*events), FORMATTERS[language])


# ---- how it looks ----


def test_a_failure_has_everything_in_the_order_that_people_read() -> None:
    task = make_task(progress=60, instance_status="normal", fail_reason="Quota `exceeded`: 64 < 72")
    history = TaskHistory(failures=3)
    shown = message(make_event(task, environment="production", history=history, usual=USUAL))
    assert shown["text"] == "🔴 PROD gauss-6568-zzh: instance creation failed. Quota `exceeded`: 64 &lt; 72, 16:29"
    assert list(shown_texts(shown)) == [
        "🔴 *Instance creation failed on* `gauss-6568-zzh`  ·  *PROD*  ·  <!date^1768465760^{time_secs}|16:29:20>",
        "Quota `exceeded`: 64 < 72",
        "Instance is *normal*  ·  ran 12 min 20 s, stopped at 60%  ·  usually 7 to 10 min, from 14 runs",
        "A quota of the account or project is used up.",
        "Try  Read which quota is named, free or raise it, then submit again.",
        "prod / cn-north-4  ·  job `31b8ae23`  ·  3 failures on this instance in 24 h",
    ]


def test_a_failure_says_the_same_in_chinese() -> None:
    shown = message(make_event(make_task(fail_reason=None), environment="production"), language="zh")
    assert shown["text"] == "🔴【生产】gauss-6568-zzh 创建实例失败 16:29"
    assert list(shown_texts(shown))[:3] == [
        "🔴 *创建实例失败*  ·  `gauss-6568-zzh`  ·  *生产*  ·  <!date^1768465760^{time_secs}|16:29:20>",
        "接口未返回失败原因，请到控制台任务中心查看。",
        "实例状态 *创建中*  ·  运行 12 分 20 秒",
    ]


def test_a_failure_that_disturbs_nobody_differs_by_shape_and_weight() -> None:
    loud, quiet = message(make_event()), message(make_event(environment="staging"))
    assert next(mrkdwn_texts(quiet)).startswith("⭕ *Instance creation failed on* `gauss-6568-zzh`  ·  staging  ·  ")
    assert [acknowledge_style(one) for one in (loud, quiet)] == ["primary", None]


def acknowledge_style(shown: Json) -> str | None:
    (button,) = (element for element in elements(shown) if element["action_id"] == "acknowledge")
    style: str | None = button.get("style")
    return style


def elements(shown: Json) -> list[Json]:
    return [element for block in blocks_of(shown) if block["type"] == "actions" for element in block["elements"]]


def test_a_long_reason_is_six_lines_and_says_how_many_follow() -> None:
    shown = message(make_event(make_task(fail_reason="\n".join(f"line {n}" for n in range(60)))))
    (quote,) = (text for text in shown_texts(shown) if text.startswith("line 0"))
    assert quote.splitlines() == [*(f"line {n}" for n in range(6)), "… 54 more lines: Details"]
    (quote,) = (text for text in shown_texts(without_buttons(shown)) if text.startswith("line 0"))
    assert quote.splitlines()[-1] == "… 54 more lines"
    (cut,) = (text for text in shown_texts(message(make_event(make_task(fail_reason="y" * 900)))) if "yyy" in text)
    assert cut == "y" * 299 + "…"


def test_what_was_reported_late_says_so_below_the_first_line() -> None:
    late = make_event(late=True, observed_at=T0 + timedelta(minutes=30), away_since=T0)
    assert next(mrkdwn_texts(message(late))).split("\n")[1].startswith("🕓 Reported *30 min 40 s* late: ")


def test_a_source_that_is_not_polled_has_since_when_and_the_command_to_find_out_why() -> None:
    texts = list(shown_texts(message(make_alert(EventType.SOURCE_FAILING))))
    assert texts == [
        "🔴 *Blind:* `prod` *has not been polled since* <!date^1768465440^{time_secs}|16:24:00>",
        "HTTP 503 from example.com",
        "Its tasks are not being monitored. Changes will be reported when polling works again.",
        "Try  Check the endpoint, the network and the proxy: notifier check --online",
        f"prod / cn-north-4  ·  project `{PROJECT_ID[:8]}`",
    ]


def test_commands_in_advice_are_code() -> None:
    shown = message(make_alert(EventType.SOURCE_FAILING))
    (advice,) = (block for block in shown["attachments"][0]["blocks"] if block["type"] == "rich_text")
    assert advice["elements"][0]["elements"][-1] == {
        "type": "text",
        "text": "notifier check --online",
        "style": {"code": True},
    }


def test_mentions_stand_in_the_first_line_alone() -> None:
    routing = DeliveryRouting(mention=("U0ALICE", "S0DBAS", "@here", "<!channel>"))
    shown = event_message(replace(make_render_request(make_event()), routing=routing), FORMATTERS["en"])
    assert shown["blocks"][0]["text"]["text"].endswith("  <@U0ALICE> <!subteam^S0DBAS> <!here>")
    assert "U0ALICE" not in str((shown["text"], shown["attachments"]))
    quiet = replace(make_render_request(make_event(environment="staging")), routing=routing)
    assert "U0ALICE" not in str(event_message(quiet, FORMATTERS["en"]))


def test_what_and_why_are_above_one_attachment_in_the_states_colour() -> None:
    shown = message(make_event())
    assert [block["type"] for block in shown["blocks"]] == ["section", "rich_text"]
    assert [attachment["color"] for attachment in shown["attachments"]] == ["#E01E5A"]
    assert (shown["unfurl_links"], shown["unfurl_media"]) == (False, False)


def test_the_metadata_holds_the_key_to_find_a_message_by() -> None:
    request = make_render_request(make_event())
    metadata = event_message(request, FORMATTERS["en"])["metadata"]
    assert metadata == {
        "event_type": "gaussdb_task",
        "event_payload": {"key": request.delivery_id, "job_id": "31b8ae23-c687-4d80-b7b4-42a66c9bb886"},
    }


def test_an_unknown_operation_is_shown_as_code() -> None:
    shown = message(make_event(make_task(name="HOTFIX_VERSION_UPGRADE")))
    assert next(mrkdwn_texts(shown)).startswith("🔴 `HOTFIX_VERSION_UPGRADE` *failed on* `gauss-6568-zzh`  ·  ")


def test_a_time_that_slack_cannot_count_is_written_out() -> None:
    shown = message(make_event(make_task(created_at=datetime(1, 1, 2, tzinfo=UTC))))
    assert not any("<!date^-" in text for text in mrkdwn_texts(shown))


def test_a_digest_names_every_job_with_the_failures_first() -> None:
    shown = message(*(replace(event, environment="production") for event in make_events(3)))
    assert list(shown_texts(shown)) == [
        "🚨 *2 tasks failed, 1 completed*  ·  *PROD*",
        """*Failed*
• 🔴 `gauss-00000` · Instance creation · The quota of vCPUs is not enough · `job-00000`
• 🔴 `gauss-00002` · Instance creation · The quota of vCPUs is not enough · `job-00002`
*Completed*
• 🟢 `gauss-00001` · Instance creation · `job-00001`""",
        "prod",
        "`/gaussdb recent`",
    ]


def test_a_digest_with_a_gap_names_the_source_and_the_time() -> None:
    shown = list(mrkdwn_texts(message(make_event(), make_gap(detail="2025-12-01T00:00Z/2026-01-15T00:00Z"))))
    assert "*Not monitored*\n• 🟠 `prod` was not monitored from <!date^" in shown[1]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("count", [2, 20, 100])
def test_a_digest_of_real_jobs_names_each_within_the_limits(count: int, language: Language) -> None:
    ids = [f"{n:08x}-135c-4245-8bd8-b0bc6d03bc05" for n in range(count)]
    name = "RestoreGaussDBV5InInstanceToExistedInst"
    events = [make_event(make_task(id_, name=name, instance_name="gaussdb-production-0001")) for id_ in ids]
    shown = message(*events, language=language)
    text = "\n".join(mrkdwn_texts(shown))
    assert all(f"`{id_[:8]}`" in text for id_ in ids)
    assert text.count("`gaussdb-production-0001`") == count
    assert not list(problems(shown))
    assert len(text) <= MESSAGE_LIMIT


def test_a_digest_of_the_longest_texts_is_within_the_limits() -> None:
    mention = tuple(f"S{n:010}" for n in range(MAX_MENTIONS))
    events = [
        make_event(
            make_task(f"{'&' * 94}{n:06}", instance_name=f"{'&' * 114}{n:06}", name="&" * 500, fail_reason="&" * 500),
            type=TASK_TYPES[n % len(TASK_TYPES)],
            environment=f"{n}{'&' * 99}",
            source=f"{n}{'&' * 99}",
        )
        for n in range(100)
    ]
    shown = event_message(
        replace(make_render_request(*events), routing=DeliveryRouting(mention=mention)), FORMATTERS["en"]
    )
    assert not list(problems(shown))
    assert sum(map(len, shown_texts(shown))) <= 1.1 * MESSAGE_LIMIT


def test_every_kind_of_event_passes_as_slack_checks_it() -> None:
    for kind in EventType:
        event = make_event_of(kind)
        for language in LANGUAGES:
            assert not list(problems(message(event, language=language)))


def test_the_same_notice_gives_the_same_bytes(server: SlackServer, context: ChannelContext) -> None:
    request = make_render_request(*make_events(5))
    assert bot(server, context).render(request) == hook(server, context).render(request)


# ---- text from outside ----

hostile_text = st.text(st.sampled_from("<>&!@#|^*_~` \n\u202e\x1b\x07中"), max_size=60).map(
    lambda text: f"*{MARK}{text}"
)


@st.composite
def hostile_events(draw: st.DrawFn) -> Event:
    """Draw an event with hostile text in every field that somebody outside can fill."""
    text = draw(hostile_text) * draw(st.sampled_from([1, 1, 1, 500]))
    changes: dict[str, Any] = {
        "environment": draw(st.sampled_from(["", "production", "staging", text])),
        "source": text,
        "region": text,
        "project_id": text,
        "late": draw(st.booleans()),
        "away_since": draw(st.sampled_from([None, T0 - timedelta(days=1)])),
    }
    if draw(st.booleans()):
        return replace(make_event_of(draw(st.sampled_from(OWN_TYPES))), detail=text, **changes)
    history = TaskHistory(failures=2, recovered_after=60)
    changes |= {"type": draw(st.sampled_from(TASK_TYPES)), "history": history, "usual": USUAL}
    return make_event(hostile_event(text).task, previous_status=text, **changes)


@st.composite
def hostile_storms(draw: st.DrawFn) -> Storm:
    """Draw a storm of failures with hostile text in every field."""
    texts = draw(st.lists(hostile_text, min_size=1, max_size=4))
    events = [make_event(hostile_event(text).task, source=text, region=text, environment=text) for text in texts]
    storm = storms.begin("dba", events)
    return replace(storm, ended_at=draw(st.sampled_from([None, T0 + timedelta(hours=1)])), opened_by="d")


@st.composite
def routings(draw: st.DrawFn) -> DeliveryRouting:
    severity = draw(st.sampled_from([None, *Severity]))
    return DeliveryRouting(routes=("all",), severity=severity, mention=tuple(draw(st.lists(hostile_text, max_size=30))))


@st.composite
def reactions(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what people with hostile names did."""
    who = draw(hostile_text)
    at = T0 + timedelta(hours=draw(st.integers(min_value=0, max_value=48)))
    ack = Acknowledgement(event_id="e", by="U0", name=who, at=at)
    mute = Mute(
        id="7k2m",
        since=T0,
        instance=who,
        until=at,
        by="U0",
        name=who,
        created_at=T0,
        reason=draw(st.sampled_from([None, who])),
    )
    return {"acknowledged": draw(st.sampled_from([None, ack])), "mute": draw(st.sampled_from([None, mute]))}


languages = st.sampled_from(LANGUAGES)


def assert_harmless(shown: Json) -> None:
    """Check that Slack takes a message, and that text from outside is code wherever Slack reads markup."""
    assert not list(problems(shown))
    for text in mrkdwn_texts(shown):
        assert MARK not in without_code(text)
        assert_apart(text)
    assert_inert(shown["text"])
    assert len(plain_text_message(shown)["text"]) <= 40_000
    assert not list(problems(without_buttons(shown)))


def assert_apart(text: str) -> None:
    """Check that no inline code touches a letter: Slack would show the backticks, and read what is between them."""
    for code in re.finditer(r"`[^`\n]+`", text):
        around = text[: code.start()][-1:] + text[code.end() :][:1]
        assert not any(char.isalnum() for char in around)


@given(st.lists(hostile_events(), min_size=1, max_size=5), routings(), languages)
def test_outside_text_is_only_ever_code_in_a_valid_message(
    events: list[Event], routing: DeliveryRouting, language: Language
) -> None:
    assert_harmless(event_message(replace(make_render_request(*events), routing=routing), FORMATTERS[language]))


@given(hostile_events(), routings(), reactions(), languages)
def test_outside_text_is_only_ever_code_in_a_changed_message(
    event: Event, routing: DeliveryRouting, done: dict[str, Any], language: Language
) -> None:
    thread = Thread(channel="dba", subject=event.subject, ref="C0:1", event=event, revision=1, routing=routing, **done)
    shown = live_message(thread, FORMATTERS[language])
    assert_harmless(shown)
    assert not any(f"<{mark}" in text for mark in "@#" for text in mrkdwn_texts(shown))


failures = hostile_text.map(lambda text: make_event(hostile_event(text).task, source=text, environment=text))


@given(st.lists(failures, min_size=1, max_size=5), hostile_storms(), routings(), reactions(), languages)
def test_outside_text_is_only_ever_code_in_a_storm(
    events: list[Event], storm: Storm, routing: DeliveryRouting, done: dict[str, Any], language: Language
) -> None:
    request = replace(make_render_request(*events, digest=True), routing=routing, storm=storm)
    for opens in (True, False):
        assert_harmless(event_message(replace(request, opens_storm=opens), FORMATTERS[language]))
    about: dict[str, Any] = {"channel": "dba", "subject": "storm:s", "ref": "C0:1", "event": events[0], "revision": 1}
    assert_harmless(live_message(Thread(storm=storm, routing=routing, **about, **done), FORMATTERS[language]))


# ---- storms ----


def make_storm(n: int = 300) -> tuple[Storm, list[Event]]:
    """Return a storm, and its failures."""
    events = [
        make_event(
            make_task(f"{i:08x}-c3ad-4647-8520-de0a8f84474c", instance_name=f"pg-{i % 40:02}"), environment="prod"
        )
        for i in range(n)
    ]
    return replace(storms.begin("dba", events), opened_by="d"), events


def storm_thread(storm: Storm, event: Event, **changes: Any) -> Thread:
    return Thread(channel="dba", subject="storm:s", ref="C0:1", event=event, revision=1, storm=storm, **changes)


def test_a_storm_is_one_message_of_why_where_and_how_many() -> None:
    storm, events = make_storm()
    shown = live_message(storm_thread(storm, events[0]), FORMATTERS["en"])
    first, *others = shown_texts(shown)
    assert first.startswith("🚨 *300 tasks failed within 1 min*  ·  *PROD*  ·  since <!date^1768465760^{time_secs}|")
    assert first.endswith(">  ·  still rising")
    assert others == [
        "300 × Instance creation. vCPU or memory quota used up",
        "*40 instances*, most: `pg-00` (8), `pg-01` (8), `pg-02` (8) … and 37 more\nFirst: `pg-00`, job `00000000`",
        "prod / cn-north-4  ·  every task is named in the thread",
        "`/gaussdb failed 2h`",
    ]
    assert [(one["text"]["text"], one["value"], one.get("style")) for one in elements(shown)] == [
        ("Acknowledge all 300", storm.id, "primary"),
        ("Show all 300", storm.id, None),
    ]


def test_a_storm_that_is_over_rises_no_more_and_keeps_its_colour() -> None:
    storm, events = make_storm()
    shown = live_message(storm_thread(replace(storm, ended_at=T0), events[0]), FORMATTERS["en"])
    line = next(mrkdwn_texts(shown))
    assert "still rising" not in line
    assert "over since" in line
    assert shown["attachments"][0]["color"] == "#E01E5A"


def test_an_acknowledged_storm_names_the_person_and_is_grey() -> None:
    storm, events = make_storm()
    ack = Acknowledgement(event_id="e", by="U0", name="Alice", at=T0)
    shown = live_message(storm_thread(storm, events[0], acknowledged=ack), FORMATTERS["en"])
    assert next(mrkdwn_texts(shown)).startswith(
        "✅ Alice, <!date^1768465800^{time_secs}|16:30:00>  ·  *300 tasks failed"
    )
    assert shown["attachments"][0]["color"] == "#8D8D8D"
    assert [element["action_id"] for element in elements(shown)] == ["storm_tasks"]


def test_a_message_that_opens_a_storm_is_like_the_one_it_becomes() -> None:
    storm, events = make_storm()
    request = replace(make_render_request(events[0], digest=True), storm=storm, opens_storm=True)
    opening, live = (
        event_message(request, FORMATTERS["en"]),
        live_message(storm_thread(storm, events[0]), FORMATTERS["en"]),
    )
    assert list(shown_texts(opening))[1:] == list(shown_texts(live))[1:]
    assert elements(opening) == elements(live)


def test_without_a_chat_a_storm_names_no_command() -> None:
    storm, events = make_storm()
    shown = without_buttons(live_message(storm_thread(storm, events[0]), FORMATTERS["en"]))
    assert "/gaussdb" not in str(shown)
    assert not elements(shown)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("room", "opens"), [(PART_ROOM, False), (FIRST_PART_ROOM, True)])
@pytest.mark.parametrize("letter", ["&", "名", "a"])
@pytest.mark.parametrize(("name", "job_id"), [(NAME_LIMIT, ID_LIMIT), (NAME_LIMIT, 7), (7, ID_LIMIT), (7, 7)])
def test_everything_in_a_storm_is_named_whatever_the_lengths(  # noqa: PLR0917 - a table
    language: Language,
    room: int,
    opens: bool,  # noqa: FBT001 - a table
    letter: str,
    name: int,
    job_id: int,
) -> None:
    tasks = [
        make_task(
            f"{letter * (job_id - 6)}{n:06}",
            instance_name=f"{letter * (name - 6)}{n:06}",
            name=letter * 400,
            fail_reason=f"{letter * 400} DBS.{10_000 + n}",
        )
        for n in range(300)
    ]
    events = [make_event(task, environment=letter * 100, source=letter * 200, region=letter * 200) for task in tasks]
    storm = replace(storms.begin("dba", events), opened_by="d")
    policy = ChannelPolicy(name="dba", storm_size=PART_SIZE, storm_room=room)
    listed = [RoutedEvent(event=event, routes=(), channels=("dba",)) for event in events]
    parts = list(split_listed(listed, policy))
    assert [item for part in parts for item in part] == listed
    for part in parts:
        of_part = [item.event for item in part]
        request = replace(make_render_request(*of_part, digest=True), storm=storm, opens_storm=opens)
        shown = event_message(request, FORMATTERS[language])
        named = "\n".join(shown_texts(shown))
        assert all(event.task and str(event.task.instance_name) in named for event in of_part)
        assert all(event.job_id in named for event in of_part)
        assert sum(map(len, shown_texts(shown))) <= MESSAGE_LIMIT
        assert not list(problems(shown))
        assert len(plain_text_message(shown)["text"]) <= 40_000


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_known_attacks_become_no_mention_link_or_markup(text: str) -> None:
    shown = message(hostile_event(text))
    assert not list(problems(shown))
    for part in (*mrkdwn_texts(shown), shown["text"], plain_text_message(shown)["text"]):
        assert_inert(part)


def without_code(text: str) -> str:
    """Return what Slack would read as markup: the text less its code blocks and inline code."""
    return re.sub(r"`[^`\n]+`", "", re.sub(r"```[^`]+```", "", text))


def assert_inert(text: str) -> None:
    """Check that the only angle brackets are those of our dates, and that every ampersand begins an entity."""
    rest = re.sub(r"<!date\^\d+\^[^|<>]+\|[^<>|]+>", "", text)
    assert "<" not in rest
    assert ">" not in rest
    assert "&" not in re.sub(r"&(amp|lt|gt);", "", rest)


@given(st.text(st.sampled_from("&<>a`")), st.integers(min_value=8, max_value=60))
def test_text_is_cut_to_its_escaped_length_and_never_in_an_entity(text: str, limit: int) -> None:
    for shown in (escape(text, limit), inline_code(text, limit), code_block(text, limit)):
        assert len(shown) <= limit
        assert_inert(shown)


@given(st.text(st.sampled_from("&<>a`")), st.integers(min_value=8, max_value=60))
def test_nothing_closes_the_code_that_it_stands_in(text: str, limit: int) -> None:
    assert "`" not in inline_code(text, limit)[1:-1]
    assert "`" not in code_block(text, limit)[3:-3]


def test_inline_code_has_no_line_break_which_would_end_it() -> None:
    assert inline_code("a\n*b*", 20) == "`a *b*`"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"Failed on {quoted('x')}", "*Failed on* `x`"),
        (f"{quoted('x')}: not polled", "`x`: *not polled*"),
        (f"规格变更失败 · {quoted('x')}，中断", "*规格变更失败*  ·  `x`，中断"),
        (f"{quoted('x')}失败", "`x` 失败"),
        (f"自 {dated(T0, '1月15日')} 起", "自<!date^1768465800^{date_short_pretty} {time_secs}|1月15日>起"),
        (f"自 {dated(T0, '16:30', day=False)} 起", "*自* <!date^1768465800^{time_secs}|16:30> *起*"),
        ("", "…"),
    ],
)
def test_bold_text_and_code_are_marked_where_slack_takes_the_marks_for_markup(text: str, shown: str) -> None:
    assert sentence(text, bold=True) == shown


def test_what_matters_most_is_bold_in_any_sentence() -> None:
    assert sentence(f"no progress for {strong('10 min')}, x") == "no progress for *10 min*, x"
    assert sentence(f"已 {strong('10 分钟')}无进展") == "已 10 分钟无进展"


sentences = st.lists(
    st.one_of(
        st.text(st.sampled_from("a 中·：:,<&*"), max_size=6),
        st.text(max_size=9).map(quoted),
        st.sampled_from(["bold", "加粗"]).map(strong),
        st.just(dated(T0, "16:30")),
    ),
    max_size=8,
).map("".join)


@given(sentences, st.integers(min_value=6, max_value=80), st.booleans(), st.sampled_from([inline_code, literal]))
def test_a_sentence_has_its_length_and_no_code_that_is_none(text: str, limit: int, bold: bool, quote: Style) -> None:  # noqa: FBT001
    shown = sentence(text, limit, bold=bold, quote=quote)
    assert len(shown) <= limit
    assert shown.count("`") % 2 == 0
    assert_apart(shown)
    assert_inert(shown)


@given(st.text(), st.integers(min_value=8, max_value=60))
def test_text_from_outside_is_plain_only_without_any_mark(text: str, limit: int) -> None:
    shown = literal(text, limit)
    assert len(shown) <= limit
    assert shown.startswith("`") or not set(shown) & set("*_~`<>&@#|:\\\n")


def test_text_that_fits_is_not_cut() -> None:
    assert escape("a < b & c", 17) == "a &lt; b &amp; c"
    assert escape("a < b & c", 14) == "a &lt; b …"


# ---- sending with a token ----


async def test_slack_takes_it_and_the_reference_is_what_an_edit_needs(
    server: SlackServer, context: ChannelContext
) -> None:
    assert decision(await sent(bot(server, context), make_event())) == posted("C0GAUSS:1768465800.000001")
    assert server.messages == [message(make_event()) | {"channel": CHANNEL}]


async def test_the_worst_content_is_accepted_too(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    for text in HOSTILE:
        assert isinstance(await sent(channel, hostile_event(text)), Delivered)
    assert isinstance(await sent(channel, *(hostile_event(text) for text in HOSTILE)), Delivered)


Mode = Literal["bot", "hook"]


@pytest.mark.parametrize("fault", [NOT_JSON, Fault(status=200), Fault(body="[1]")], ids=str)
async def test_a_web_api_answer_without_its_own_words_proves_nothing(
    server: SlackServer, context: ChannelContext, fault: Fault
) -> None:
    server.faults.append(fault)
    unknown = Unknown("Slack: HTTP 200, and no word on whether the message was taken")
    assert decision(await sent(bot(server, context), make_event())) == unknown


@pytest.mark.parametrize("mode", ["bot", "hook"])
@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (RATE_LIMITED, Retry("Slack: ratelimited", timedelta(seconds=7))),
        (Fault(status=429, headers={"Retry-After": "7"}), Retry("Slack: HTTP 429", timedelta(seconds=7))),
        (HTML_500, Unknown("Slack: HTTP 500, and no word on whether the message was taken")),
        (Fault(status=502), Unknown("Slack: HTTP 502, and no word on whether the message was taken")),
        (Fault(status=404), Parked("Slack: HTTP 404; check the URL: a webhook may have been removed", PROBE_AFTER)),
        (Fault(status=418), Retry("Slack: HTTP 418")),
        (Fault(status=302, headers={"Location": "/elsewhere"}), Retry("Slack: HTTP 302: redirect not followed")),
    ],
    ids=str,
)
async def test_answers_that_both_modes_know(
    server: SlackServer, context: ChannelContext, mode: Mode, fault: Fault, outcome: Outcome
) -> None:
    if mode == "hook" and isinstance(fault.body, dict):
        fault = Fault(status=fault.status, body=fault.body["error"], headers=fault.headers)
    server.faults.append(fault)
    assert decision(await sent({"bot": bot, "hook": hook}[mode](server, context), make_event())) == outcome
    assert (server.messages, server.followed_redirects) == ([], 0)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("rate_limited", Retry),
        ("service_unavailable", Retry),
        ("something_new", Retry),
        ("internal_error", Unknown),
        ("fatal_error", Unknown),
        ("invalid_blocks", GaveUp),
        ("msg_too_long", GaveUp),
        ("no_text", GaveUp),
        ("channel_not_found", Parked),
        ("not_in_channel", Parked),
        ("is_archived", Parked),
        ("restricted_action_thread_only_channel", Parked),
        ("invalid_auth", Parked),
        ("token_revoked", Parked),
        ("account_inactive", Parked),
    ],
)
async def test_every_class_of_error_has_its_outcome(
    server: SlackServer, context: ChannelContext, error: str, outcome: type[Outcome]
) -> None:
    server.faults.extend([refused(error)] * 2)
    result = await sent(bot(server, context), make_event())
    assert isinstance(result, outcome)
    assert f"Slack: {error}" in (result.reason or "")


@pytest.mark.parametrize(
    ("error", "after"),
    [("message_limit_exceeded", timedelta(hours=1)), ("org_login_required", timedelta(minutes=10))],
)
async def test_some_errors_take_long_to_pass(
    server: SlackServer, context: ChannelContext, error: str, after: timedelta
) -> None:
    server.faults.append(refused(error))
    assert decision(await sent(bot(server, context), make_event())) == Retry(f"Slack: {error}", after)


async def test_a_channel_without_the_bot_is_parked_with_the_remedy(
    server: SlackServer, context: ChannelContext
) -> None:
    server.faults.append(refused("not_in_channel"))
    assert decision(await sent(bot(server, context), make_event())) == Parked(
        "Slack: not_in_channel; invite the bot: type /invite @ and its name in the channel", PROBE_AFTER
    )


async def test_a_missing_scope_is_named(server: SlackServer, context: ChannelContext) -> None:
    server.scopes = "commands"
    assert decision(await sent(bot(server, context), make_event())) == Parked(
        "Slack: missing_scope; add the bot scope chat:write under OAuth & Permissions and reinstall the app",
        timedelta(minutes=5),
    )


async def test_messages_waiting_for_a_fixed_channel_go_to_the_new_one(
    server: SlackServer, context: ChannelContext
) -> None:
    old = bot(server, context, channel="C0GONE")
    delivery = make_delivery(body=old.render(make_render_request()))
    assert isinstance(await old.send(delivery), Parked)
    assert isinstance(await bot(server, context).send(delivery), Delivered)
    assert server.messages[0]["channel"] == CHANNEL


async def test_a_refused_layout_is_sent_as_plain_text_with_all_content(
    server: SlackServer, context: ChannelContext
) -> None:
    server.faults.append(refused("invalid_blocks", errors=["too long [json-pointer:/blocks/0/text/text]"]))
    events = make_events(40)
    assert isinstance(await sent(bot(server, context), *events), Delivered)
    (taken,) = server.messages
    assert "blocks" not in taken
    assert all(event.job_id in taken["text"] for event in events)


async def test_a_layout_over_a_limit_is_refused_by_slack_and_still_arrives(
    server: SlackServer, context: ChannelContext
) -> None:
    broken = message(make_event())
    broken["blocks"][0]["text"]["text"] = "x" * 3_001
    body = Body(content=json.dumps(broken).encode(), content_type="application/json")
    assert isinstance(await bot(server, context).send(make_delivery(body=body)), Delivered)
    assert server.messages[0]["text"].startswith("x" * 3_001)
    assert len(server.requests) == 2


async def test_content_refused_twice_is_dead_and_names_the_place(server: SlackServer, context: ChannelContext) -> None:
    server.faults.extend([refused("invalid_blocks", errors=["too long [json-pointer:/blocks/0/text/text]"])] * 2)
    assert decision(await sent(bot(server, context), make_event())) == GaveUp(
        "Slack: invalid_blocks at /blocks/0/text/text, also as plain text"
    )


@pytest.mark.parametrize("fault", [ACCEPTED_THEN_SILENT, ACCEPTED_THEN_RESET], ids=["silence", "reset"])
async def test_a_message_that_may_have_arrived_is_unknown_not_repeated(
    server: SlackServer, context: ChannelContext, fault: Fault
) -> None:
    server.faults.append(fault)
    assert isinstance(await sent(bot(server, context, timeout="300ms"), make_event()), Unknown)
    assert len(server.messages) == 1


async def test_a_refused_connection_is_tried_again(context: ChannelContext) -> None:
    async with slack_server() as gone:
        pass
    outcome = await sent(bot(gone, context), make_event())
    assert outcome == Retry(f"connection refused by {gone.url.removeprefix('http://')}")


async def test_an_address_the_configuration_forbids_parks_the_channel(
    server: SlackServer, context: ChannelContext
) -> None:
    strict = HttpClient(deny=[ip_network("127.0.0.0/8")])
    try:
        outcome = await sent(bot(server, replace(context, http=strict)), make_event())
    finally:
        await strict.aclose()
    assert isinstance(outcome, Parked)
    assert server.requests == []


async def test_an_answer_without_end_is_not_read_to_its_end(server: SlackServer, context: ChannelContext) -> None:
    server.faults.append(Fault(body="x" * 1_000_000))
    assert isinstance(await sent(bot(server, context), make_event()), Unknown)


async def test_a_proxy_in_the_environment_is_not_used(
    server: SlackServer, context: ChannelContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert isinstance(await sent(bot(server, context), make_event()), Delivered)


# ---- pace ----


async def test_a_channel_is_paced_as_slack_bears_it_in_its_mode(server: SlackServer, context: ChannelContext) -> None:
    paces = [make(server, context).pace for make in (bot, hook)]
    assert [(pace.per_second, pace.burst) for pace in paces] == [(1.0, 3), (1.0, 3)]


async def test_nothing_waits_here_for_its_turn(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    server.faults.append(RATE_LIMITED)
    assert decision(await sent(channel, make_event())) == Retry("Slack: ratelimited", timedelta(seconds=7))
    for event in make_events(6):
        assert isinstance(await sent(channel, event), Delivered)
    assert slept(context) == []


async def test_a_wait_that_slack_asks_for_is_passed_on_in_full(server: SlackServer, context: ChannelContext) -> None:
    server.faults.append(Fault(status=429, headers={"Retry-After": "600"}))
    assert decision(await sent(bot(server, context), make_event())) == Retry("Slack: HTTP 429", timedelta(seconds=600))


def slept(context: ChannelContext) -> list[float]:
    assert isinstance(context.clock, FakeClock)
    return context.clock.slept


# ---- what may have arrived ----


def of_one(channel: BaseChannel[SlackSettings], *events: Event) -> Delivery:
    return make_delivery(*events, body=channel.render(make_render_request(*events)))


def asked(server: SlackServer) -> list[Json]:
    return [query for path, query in server.requests if path == "/api/conversations.history"]


@pytest.mark.parametrize(
    "fault", [ACCEPTED_THEN_SILENT, ACCEPTED_THEN_RESET, ACCEPTED_THEN_500], ids=["hang", "reset", "500"]
)
async def test_a_message_whose_answer_was_lost_is_found_by_its_key(
    server: SlackServer, context: ChannelContext, fault: Fault
) -> None:
    channel = bot(server, context, timeout="300ms")
    delivery = of_one(channel)
    await sent(channel, make_event(make_task("another")))
    server.faults.append(fault)
    assert isinstance(await channel.send(delivery), Unknown)
    await sent(channel, make_event(make_task("a third")))
    assert await channel.find_sent(delivery) == posted("C0GAUSS:1768465800.000002")
    assert slept(context) == [HISTORY_DELAY]


async def test_what_it_asks_begins_before_the_delivery_was_planned(
    server: SlackServer, context: ChannelContext
) -> None:
    channel = bot(server, context)
    assert await channel.find_sent(of_one(channel)) is None
    (query,) = asked(server)
    assert query == {
        "channel": CHANNEL,
        "include_all_metadata": "true",
        "limit": "100",
        "oldest": f"{(T0 - timedelta(minutes=1)).timestamp():.6f}",
    }


async def test_a_message_that_never_arrived_is_not_found_among_others(
    server: SlackServer, context: ChannelContext
) -> None:
    channel = bot(server, context)
    server.take({"channel": CHANNEL, "text": "people talk", "metadata": "of a strange form"})
    server.take({"channel": CHANNEL, "text": "deploy", "metadata": {"event_type": "x", "event_payload": {"key": 7}}})
    await sent(channel, make_event(make_task("another")))
    assert await channel.find_sent(of_one(channel)) is None


async def test_a_refused_layout_is_found_as_its_plain_text(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    delivery = of_one(channel)
    server.faults.extend([refused("invalid_metadata_schema"), ACCEPTED_THEN_RESET])
    assert isinstance(await channel.send(delivery), Unknown)
    assert "blocks" not in server.messages[0]
    assert isinstance(await channel.find_sent(delivery), Delivered)


async def test_every_page_is_read_before_a_message_is_called_absent(
    server: SlackServer, context: ChannelContext
) -> None:
    channel = bot(server, context)
    delivery = of_one(channel)
    await channel.send(delivery)
    for event in make_events(4):
        await sent(channel, event)
    server.page_size = 2
    assert await channel.find_sent(delivery) == posted("C0GAUSS:1768465800.000001")
    server.messages[0]["metadata"]["event_payload"]["key"] = "another"
    assert await channel.find_sent(delivery) is None
    assert [query.get("cursor") for query in asked(server)] == [None, "2", "4"] * 2


async def test_a_history_without_end_is_given_up_as_unknown(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    server.page_size = 1
    for event in make_events(MAX_HISTORY_PAGES + 1):
        await sent(channel, event)
    assert decision(await channel.find_sent(of_one(channel))) == Unknown(
        f"not among the first {MAX_HISTORY_PAGES * PAGE_SIZE} messages since it was planned, and there are more"
    )
    assert len(asked(server)) == MAX_HISTORY_PAGES


HOW_TO_READ = "add the bot scope channels:history under OAuth & Permissions and reinstall the app"
BOTH_SCOPES = "add the bot scope channels:history (groups:history for a private channel) under OAuth & Permissions"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (refused("missing_scope", needed="channels:history"), Unknown(f"Slack: missing_scope; {HOW_TO_READ}")),
        (refused("missing_scope"), Unknown(f"Slack: missing_scope; {BOTH_SCOPES} and reinstall the app")),
        (
            refused("not_in_channel"),
            Unknown("Slack: not_in_channel; invite the bot: type /invite @ and its name in the channel"),
        ),
        (refused("invalid_cursor"), Unknown("Slack: invalid_cursor; check again later")),
        (refused("invalid_auth"), Unknown(f"Slack: invalid_auth; {TOKEN_REMEDY}")),
        (Fault(body={"ok": True}), Unknown("Slack: an answer without a history")),
        (Fault(body={"ok": True, "messages": [], "has_more": True}), Unknown("Slack: a history that is not whole")),
        (RATE_LIMITED, Retry("searching for an earlier message: Slack: ratelimited", timedelta(seconds=7))),
        (HTML_500, Retry("searching for an earlier message: Slack: HTTP 500")),
        (NOT_JSON, Retry("searching for an earlier message: Slack: HTTP 200")),
        (refused("internal_error"), Retry("searching for an earlier message: Slack: internal_error")),
    ],
    ids=str,
)
async def test_an_answer_without_the_message_proves_nothing(
    server: SlackServer, context: ChannelContext, answer: Fault, outcome: Outcome
) -> None:
    channel = bot(server, context)
    server.faults.append(answer)
    assert decision(await channel.find_sent(of_one(channel))) == outcome


async def test_no_answer_to_a_search_is_tried_again(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context, timeout="300ms")
    server.faults.append(Fault(then="hang"))
    outcome = await channel.find_sent(of_one(channel))
    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith("searching for an earlier message: no answer from 127.0.0.1")


async def test_a_history_larger_than_it_can_be_is_unknown(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    server.faults.append(Fault(body="x" * 5_000_000))
    assert isinstance(await channel.find_sent(of_one(channel)), Unknown)


@pytest.mark.parametrize(
    ("channel", "resend_policy"),
    [
        (CHANNEL, ResendPolicy.RECONCILABLE),
        ("G0PRIVATE", ResendPolicy.RECONCILABLE),
        ("#dba", ResendPolicy.UNSAFE),
        ("dba", ResendPolicy.UNSAFE),
    ],
)
async def test_only_a_channel_given_by_id_can_be_searched(
    server: SlackServer, context: ChannelContext, channel: str, resend_policy: ResendPolicy
) -> None:
    assert bot(server, context, channel=channel).resend_policy is resend_policy


async def test_nothing_is_asked_where_messages_cannot_be_found(server: SlackServer, context: ChannelContext) -> None:
    for channel in (hook(server, context), bot(server, context, channel="#dba")):
        assert channel.resend_policy is ResendPolicy.UNSAFE
        assert isinstance(await channel.find_sent(of_one(channel)), Unknown)
    assert server.requests == []


async def test_the_deadline_covers_the_wait_the_search_and_the_post(
    server: SlackServer, context: ChannelContext
) -> None:
    assert bot(server, context, timeout="4s").deadline == HISTORY_DELAY + 4 + 4
    assert bot(server, context, timeout="30s").deadline == HISTORY_DELAY + 10 + 30
    assert hook(server, context, timeout="4s").deadline == 4


# ---- webhooks, the degraded mode ----


async def test_a_webhook_takes_the_same_message_without_metadata(server: SlackServer, context: ChannelContext) -> None:
    assert decision(await sent(hook(server, context), make_event())) == Delivered(None)
    expected = without_buttons(message(make_event()))
    del expected["metadata"]
    assert server.messages == [expected]


_GONE = Parked("Slack: no_service; the webhook was removed: make a new one", PROBE_AFTER)
_NO_WORD = Unknown("Slack: HTTP 200, and no word on whether the message was taken")


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (word("created", 201), Delivered()),
        (word("accepted", 202), Delivered()),
        (word("ok then", 200), Delivered()),
        (word("", 200), Delivered()),
        (word('{"ok": true}', 200), Delivered()),
        (word('{"id": "31b8", "error": null}', 200), Delivered()),
        (word('{"ok": false, "error": "no_service"}', 200), _GONE),
        (word('{"success": false}', 200), _NO_WORD),
        (word('{"errcode": 93000}', 200), _NO_WORD),
        (word('{"error": "it is not"}', 200), _NO_WORD),
        (word("Invalid payload", 200), _NO_WORD),
        (word("Microsoft Teams endpoint returned HTTP error 429", 200), _NO_WORD),
        (word("<!DOCTYPE html><html><title>Log in</title></html>", 200), _NO_WORD),
        (word("no_service", 200), _GONE),
        (word("an_error_of_tomorrow", 200), Retry("Slack: an_error_of_tomorrow")),
        (word("no_service", 404), Parked("Slack: no_service; the webhook was removed: make a new one", PROBE_AFTER)),
        (word("rollup_error", 500), Unknown("Slack: rollup_error")),
        (word("rate_limited", 429), Retry("Slack: rate_limited")),
    ],
    ids=str,
)
async def test_words_of_a_webhook(server: SlackServer, context: ChannelContext, fault: Fault, outcome: Outcome) -> None:
    server.faults.append(fault)
    assert decision(await sent(hook(server, context), make_event())) == outcome


@pytest.mark.parametrize(
    ("text", "status"),
    [
        *((code, 404) for code in ["no_active_hooks", "no_service", "no_service_id", "no_team", "team_disabled"]),
        *((code, 403) for code in ["team_access_not_granted", "posting_to_general_channel_denied"]),
        ("channel_not_found", 404),
        ("user_not_found", 400),
        ("", 404),
        ("", 401),
    ],
)
async def test_a_misconfigured_webhook_is_parked_with_a_remedy(
    server: SlackServer, context: ChannelContext, text: str, status: int
) -> None:
    server.faults.append(word(text, status))
    outcome = await sent(hook(server, context), make_event())
    assert isinstance(outcome, Parked)
    assert outcome.probe_after == PROBE_AFTER
    assert outcome.reason.partition("; ")[2]


@pytest.mark.parametrize(
    ("text", "status"),
    [("invalid_token", 403), ("action_prohibited", 403), ("", 403), ("channel_is_archived", 410), ("", 410)],
)
async def test_a_webhook_that_is_gone_is_parked(
    server: SlackServer, context: ChannelContext, text: str, status: int
) -> None:
    server.faults.append(word(text, status))
    assert isinstance(await sent(hook(server, context), make_event()), Parked)


async def test_a_webhook_that_refuses_the_layout_gets_plain_text(server: SlackServer, context: ChannelContext) -> None:
    server.faults.append(word("invalid_blocks", 400))
    assert isinstance(await sent(hook(server, context), make_event()), Delivered)
    assert "blocks" not in server.messages[0]


# ---- checks ----


async def test_a_check_names_the_bot_and_posts_nothing(server: SlackServer, context: ChannelContext) -> None:
    server.scopes += ",channels:read"
    findings = await bot(server, context).check()
    assert all(finding.ok and finding.proven for finding in findings)
    assert [finding.detail for finding in findings] == [
        "@gaussdb in Acme",
        "C0GAUSS: the bot is in it",
        "posted messages can be found again",
    ]
    assert server.messages == []


READS, HISTORY, ANYWHERE = "chat:write,channels:read", "chat:write,channels:history", "chat:write.public"
INVITE = "invite the bot: type /invite @ and its name in the channel"
UNKNOWN_CHANNEL = f"check the channel's ID; a private channel is found only by its members, so {INVITE}"


@pytest.mark.parametrize(
    ("scopes", "state", "found"),
    [
        (READS, {"channels": set()}, ("channel_not_found", UNKNOWN_CHANNEL)),
        (HISTORY, {"channels": set()}, ("channel_not_found", UNKNOWN_CHANNEL)),
        (f"{READS},{ANYWHERE}", {"channels": set()}, ("channel_not_found", UNKNOWN_CHANNEL)),
        (READS, {"archived": True}, ("is_archived", "unarchive the channel or set another one")),
        (READS, {"archived": True, "member": False}, ("is_archived", "unarchive the channel or set another one")),
        (READS, {"member": False}, ("not_in_channel", INVITE)),
        (HISTORY, {"member": False}, ("not_in_channel", INVITE)),
    ],
)
async def test_a_check_knows_a_channel_that_cannot_be_posted_to(
    server: SlackServer, context: ChannelContext, scopes: str, state: dict[str, Any], found: tuple[str, str]
) -> None:
    server.scopes = scopes
    for name, value in state.items():
        setattr(server, name, value)
    _, finding = await bot(server, context).check()
    assert (finding.ok, finding.what) == (False, "Slack channel")
    assert (finding.detail.removeprefix("C0GAUSS: "), finding.remedy) == found


@pytest.mark.parametrize(
    ("scopes", "member", "line"),
    [
        (f"{READS},{ANYWHERE}", False, "✓ the bot may post without being in it"),
        (f"{HISTORY},{ANYWHERE}", False, "! only posting tells whether the bot may post there"),
        (HISTORY, True, "! the bot is in it; only posting tells whether it is archived"),
        ("chat:write", True, "! only posting tells whether the bot may post there"),
    ],
)
async def test_a_check_marks_what_only_posting_would_prove(
    server: SlackServer,
    context: ChannelContext,
    scopes: str,
    member: bool,  # noqa: FBT001 - a table
    line: str,
) -> None:
    server.scopes, server.member = scopes, member
    found = (await bot(server, context).check())[1]
    assert found.ok
    assert f"{'✓' if found.proven else '!'} {found.detail.removeprefix('C0GAUSS: ')}" == line


async def test_a_check_names_a_missing_scope(server: SlackServer, context: ChannelContext) -> None:
    server.scopes = "commands"
    (missing,) = [finding for finding in await bot(server, context).check() if not finding.ok]
    assert missing.detail == "chat:write is missing"


async def test_a_check_proves_that_messages_can_be_found(server: SlackServer, context: ChannelContext) -> None:
    findings = await bot(server, context).check()
    assert [(finding.detail, finding.remedy) for finding in findings[2:]] == [
        ("posted messages can be found again", "")
    ]


@pytest.mark.parametrize(
    ("on_unknown", "cost"),
    [("resend", "posted again, and may be seen twice"), ("hold", "held until somebody decides")],
)
async def test_a_check_warns_of_what_a_missing_scope_costs(
    server: SlackServer, context: ChannelContext, on_unknown: str, cost: str
) -> None:
    server.scopes = "chat:write"
    *_, found = await bot(server, context, on_unknown=on_unknown).check()
    assert (found.ok, found.proven) == (True, False)
    assert found.detail == f"missing_scope: a message whose answer is lost is {cost}"
    assert found.remedy == HOW_TO_READ


@pytest.mark.parametrize("channel", ["#dba", "dba", "U0123ABCD"])
async def test_a_check_reports_that_a_name_cannot_be_searched(
    server: SlackServer, context: ChannelContext, channel: str
) -> None:
    *_, named = await bot(server, context, channel=channel).check()
    assert (named.ok, named.proven) == (True, False)
    assert named.remedy == "set `channel` to its ID, for example C0123ABCD"


async def test_a_check_reports_what_is_wrong_with_a_token(server: SlackServer, context: ChannelContext) -> None:
    (finding,) = await bot(server, context, bot_token="xoxb-wrong").check()
    assert (finding.ok, finding.detail) == (False, "invalid_auth")


async def test_a_check_proves_a_webhook_without_posting(server: SlackServer, context: ChannelContext) -> None:
    (alive,) = await hook(server, context).check()
    server.faults.append(word("no_service", 404))
    (gone,) = await hook(server, context).check()
    assert (alive.ok, gone.ok, gone.remedy) == (True, False, "the webhook was removed: make a new one")
    assert server.messages == []


async def test_a_check_reports_an_unreachable_service(context: ChannelContext) -> None:
    async with slack_server() as server:
        pass
    for channel in (bot(server, context), hook(server, context)):
        (finding,) = await channel.check()
        assert not finding.ok
        assert "connection refused" in finding.detail


# ---- settings and secrets ----


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "give bot_token and channel, or webhook_url"),
        ({"bot_token": TOKEN}, "a bot needs the ID of the channel"),
        ({"bot_token": TOKEN, "webhook_url": "https://hooks.slack.com/services/x", "channel": "C1"}, "not both"),
        ({"bot_token": "xapp-1", "channel": "C1"}, "must be a bot token"),
        ({"bot_token": "secret-words", "channel": "C1"}, "must be a bot token"),
        ({"bot_token": TOKEN, "channel": "a b"}, "channel"),
        ({"webhook_url": "hooks.slack.com/services/x"}, "must be a URL such as https://hooks.slack.com/services/…"),
        ({"webhook_url": "https://hooks.slack.com:99999/"}, "must be a URL such as https://hooks.slack.com/services/…"),
        ({"webhook_url": "http://hooks.slack.com/services/x"}, "must begin with https://"),
        ({"bot_token": TOKEN, "channel": "C1", "api_url": "http://slack.com/api/"}, "must begin with https://"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_remedy(settings: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        SlackSettings.model_validate({"name": "dba"} | settings)
    assert complaint in str(refusal.value)
    for secret in ("obviously", "secret-words", "services/x"):
        assert secret not in str(refusal.value)


@pytest.mark.parametrize(
    "fault",
    [Fault(status=500), refused(TOKEN), refused("missing_scope", needed=f"chat:write {TOKEN}"), word(HOOK, 500)],
)
async def test_no_secret_is_in_a_reason_or_a_channels_description(
    server: SlackServer, context: ChannelContext, fault: Fault
) -> None:
    for make in (hook,) if fault.body == HOOK else (bot, hook):
        server.faults.append(fault)
        channel = make(server, context)
        outcome = await sent(channel, make_event())
        shown = f"{outcome} {channel} {channel.settings!r} {getattr(channel, '_api', None)!r}"
        assert "obviously" not in shown


async def test_a_stored_body_holds_no_secret_and_no_destination(server: SlackServer, context: ChannelContext) -> None:
    body = bot(server, context).render(make_render_request()).content
    assert TOKEN.encode() not in body
    assert "channel" not in json.loads(body)


# ---- what Slack said ----

REMARKS = {"messages": ["[ERROR] must be less than 3001 characters [json-pointer:/blocks/0/text/text]"]}


@pytest.mark.parametrize(
    ("make", "fault", "reply"),
    [
        (bot, Fault(body={"ok": True, "channel": "C0GAUSS", "ts": "1.2"}), "HTTP 200: ok"),
        (bot, refused("not_in_channel"), "HTTP 200: not_in_channel"),
        (bot, refused("missing_scope", needed="chat:write"), "HTTP 200: missing_scope; needed: chat:write"),
        (bot, refused("fatal_error", response_metadata=REMARKS), f"HTTP 200: fatal_error; {REMARKS['messages'][0]}"),
        (bot, refused("fatal_error", response_metadata={"messages": [1, {}]}, errors="x"), "HTTP 200: fatal_error"),
        (bot, HTML_500, "HTTP 500: Oops"),
        (bot, Fault(status=503), "HTTP 503"),
        (hook, word("ok", 200), "HTTP 200: ok"),
        (hook, word("no_service", 404), "HTTP 404: no_service"),
        (hook, HTML_500, "HTTP 500: Oops"),
        (hook, refused(HOOK), 'HTTP 200: {"ok": false, "error": "***"}'),
    ],
)
async def test_slacks_reply_goes_with_the_outcome(
    server: SlackServer,
    context: ChannelContext,
    make: Callable[..., BaseChannel[SlackSettings]],
    fault: Fault,
    reply: str,
) -> None:
    server.faults.append(fault)
    assert (await sent(make(server, context), make_event())).reply == reply


async def test_content_refused_twice_keeps_slacks_last_reply(server: SlackServer, context: ChannelContext) -> None:
    server.faults += [refused("invalid_blocks"), refused("msg_too_long", response_metadata=REMARKS)]
    outcome = await sent(bot(server, context), make_event())
    assert isinstance(outcome, GaveUp)
    assert outcome.reply == f"HTTP 200: msg_too_long; {REMARKS['messages'][0]}"
