"""Events in words: what, where, why, since when, how bad and what now."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from factories import (
    HOSTILE,
    T0,
    USUAL,
    hostile_event,
    make_alert,
    make_event,
    make_events,
    make_gap,
    make_missing,
    make_task,
)
from hypothesis import given
from hypothesis import strategies as st

from notifier.cli.samples import sample_event
from notifier.core.causes import Cause, CauseCatalogue, Retryable
from notifier.core.events import EventType
from notifier.core.foreseen import OverdueLimit
from notifier.core.ids import shorten_id, shorten_ids
from notifier.core.model import ClosedFailure, Event, FollowUp, TaskHistory, TaskStatus
from notifier.core.routing import DeliveryRouting
from notifier.core.severity import Severity
from notifier.wording.events import EventFormatter
from notifier.wording.links import URL_LIMIT, LinkTemplates
from notifier.wording.localizer import Localizer
from notifier.wording.marks import split_marked, without_marks
from notifier.wording.message import Message
from notifier.wording.phrases import Language
from notifier.wording.sanitize import NAME_LIMIT

SHANGHAI = ZoneInfo("Asia/Shanghai")
LINKS = LinkTemplates(
    console_url="https://console.example.com/?region={region}#{instance_id}",
    runbook_url="https://wiki.example.com/{error_code}",
)
FORMATTERS: dict[Language, EventFormatter] = {
    "en": EventFormatter(Localizer(language="en", timezone=SHANGHAI), links=LINKS),
    "zh": EventFormatter(Localizer(language="zh", timezone=SHANGHAI), links=LINKS),
}
RECOVERIES = (EventType.SOURCE_RECOVERED, EventType.CHANNEL_RECOVERED)
TIMED_OUT = "Timed out while waiting for the VM to become active. Error code: DBS.111205."


def failed(**changes: object) -> Event:
    task = make_task(
        name="ResizeGaussDBV5Flavor",
        instance_name="prod-orders-01",
        instance_status="normal",
        progress=96.0,
        fail_reason=TIMED_OUT,
    )
    values = {"environment": "production", "history": TaskHistory(failures=3, recovered_after=720), "usual": USUAL}
    return make_event(task, **values | changes)


def english(event: Event, routing: DeliveryRouting | None = None) -> Message:
    return FORMATTERS["en"].describe(event, routing)


def chinese(event: Event) -> Message:
    return FORMATTERS["zh"].describe(event)


# ---- the six questions ----


def test_a_push_text_names_what_where_why_and_when() -> None:
    assert english(failed()).headline.push == (
        "PROD prod-orders-01: flavor change failed. "
        "Timed out while waiting for the VM to become active (DBS.111205), 16:29"
    )
    assert chinese(failed()).headline.push == "【生产】prod-orders-01 规格变更失败：操作超时（DBS.111205） 16:29"


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", list(EventType))
def test_a_summary_is_the_sentence_and_why_without_marks(kind: EventType, language: Language) -> None:
    for name in ("prod-orders-01", "100%s {subject}", "", *HOSTILE):
        event = sample_event(kind, T0)
        if event.task:
            named: Any = dict.fromkeys(("name", "instance_name", "raw_status", "fail_reason"), name)
            event = replace(event, task=replace(event.task, instance_id=None, **named))
        message = FORMATTERS[language].describe(event)
        said = filter(None, [without_marks(message.sentence), message.why])
        assert message.summary == (": " if language == "en" else "：").join(said)


def test_a_title_begins_with_the_instance_and_fits_a_lock_screen() -> None:
    assert english(failed()).headline.title == "prod-orders-01: flavor change failed (PROD)"
    assert chinese(failed()).headline.title == "【失败】prod-orders-01 规格变更（生产）"


def test_a_preheader_goes_on_with_why_and_how_bad() -> None:
    assert english(failed()).headline.preheader == (
        "Timed out while waiting for the VM to become active (DBS.111205). 16:29. Instance is normal. "
        "Ran 12 min 20 s, stopped at 96%. Usually 7 to 10 min, from 14 runs."
    )
    assert chinese(failed()).headline.preheader.startswith("操作超时（DBS.111205）。16:29。实例状态 正常。")


def test_a_sentence_quotes_what_comes_from_outside() -> None:
    parts = list(split_marked(english(failed()).sentence))
    assert [(part.text, part.quoted) for part in parts] == [
        ("Flavor change failed on ", False),
        ("prod-orders-01", True),
    ]
    unknown = replace(failed(), task=make_task(name="HotfixUpgrade"))
    assert next(split_marked(english(unknown).sentence)).quoted
    assert not english(unknown).known


def test_a_failure_says_how_bad_it_is_and_what_to_do() -> None:
    message = english(failed())
    assert [part.text for part in split_marked(message.conditions[0]) if part.strong] == ["normal"]
    assert [without_marks(part) for part in message.conditions] == [
        "Instance is normal",
        "ran 12 min 20 s, stopped at 96%",
        "usually 7 to 10 min, from 14 runs",
    ]
    assert message.meaning
    assert message.advice
    assert message.history == (
        "3 failures on this instance in 24 h  ·  last time it succeeded 12 min after it had failed"
    )
    assert (message.job, message.explanation.code) == ("31b8ae23", "DBS.111205")


def test_a_failure_without_a_reason_says_where_to_find_one() -> None:
    message = english(make_event(make_task(fail_reason=None)))
    assert (message.reason, message.why) == ("", "")
    assert message.reason_note == "The API gave no reason. The console's task center may know more."
    assert not english(failed()).reason_note


@pytest.mark.parametrize(
    ("kind", "english_sentence", "chinese_sentence"),
    [
        (EventType.TASK_STARTED, "Instance creation started on gauss-sample", "创建实例已开始 · gauss-sample"),
        (EventType.TASK_PROGRESSED, "Instance creation is at 60% on gauss-sample", "创建实例进行到 60% · gauss-sample"),
        (EventType.TASK_COMPLETED, "Instance creation completed on gauss-sample", "创建实例已完成 · gauss-sample"),
        (
            EventType.TASK_STALLED,
            "Instance creation is stuck at 60% on gauss-sample",
            "创建实例停滞在 60% · gauss-sample",
        ),
        (
            EventType.TASK_UNLISTED,
            "Instance creation vanished from the task list at 60% on gauss-sample",
            "创建实例从任务列表中消失（最后进度 60%） · gauss-sample",
        ),
        (
            EventType.SOURCE_FAILING,
            "Blind: sample has not been polled since 16:24:00",
            "监控中断 · sample 自 16:24:00 起无法轮询",
        ),
        (EventType.CHANNEL_GAVE_UP, "3 messages to sample not delivered", "3 条通知未送达，已停止重试 · sample"),
    ],
)
def test_each_type_has_a_sentence_of_its_own(kind: EventType, english_sentence: str, chinese_sentence: str) -> None:
    event = sample_event(kind, T0)
    assert without_marks(english(event).sentence) == english_sentence
    assert without_marks(chinese(event).sentence) == chinese_sentence


@pytest.mark.parametrize("kind", list(EventType))
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_type_fills_every_line(kind: EventType, language: Language) -> None:
    message = FORMATTERS[language].describe(sample_event(kind, T0))
    assert all((message.sentence, message.headline.push, message.headline.title, message.headline.line, message.origin))
    assert "{" not in "".join((message.sentence, message.headline.push, *message.notes, message.advice))


def test_progress_without_a_number_has_none() -> None:
    silent = make_event(make_task(status="running", progress=None), type=EventType.TASK_PROGRESSED)
    assert without_marks(english(silent).sentence) == "Instance creation progressed on gauss-6568-zzh"
    assert english(silent).percent is None


def test_the_time_left_is_an_estimate() -> None:
    event = make_event(make_task(status="running"), type=EventType.TASK_PROGRESSED)
    assert english(event).conditions[:2] == ("60%", "about 3 to 18 min left")


def test_what_is_usual_narrows_the_time_left() -> None:
    running = make_task(status="running", created_at=T0 - timedelta(minutes=5))
    event = make_event(running, type=EventType.TASK_PROGRESSED, usual=USUAL)
    assert english(event).conditions[:2] == ("60%", "about 2 to 5 min left")
    assert english(event).conditions[-1] == "usually 7 to 10 min, from 14 runs"
    assert chinese(event).conditions[1] == "剩余约 2 至 5 分钟"
    assert chinese(event).conditions[-1] == "平时 7 至 10 分钟（最近 14 次）"


def test_what_exceeds_the_usual_has_no_invented_end() -> None:
    running = make_task(status="running", progress=None, created_at=T0 - timedelta(minutes=25))
    event = make_event(running, type=EventType.TASK_PROGRESSED, usual=USUAL)
    assert english(event).conditions[0] == "Longer than usual"
    assert chinese(event).conditions[0] == "已超过平时用时"


def test_only_a_success_that_took_longer_names_the_usual() -> None:
    for minutes, shown in ((8, False), (31, True)):
        task = make_task(status="completed", created_at=T0 - timedelta(minutes=minutes), ended_at=T0)
        conditions = english(make_event(task, usual=USUAL)).conditions
        assert ("usually 7 to 10 min, from 14 runs" in conditions) is shown
        assert f"took {minutes} min" in [part.lower() for part in conditions]


def test_an_overdue_task_says_what_that_is_based_on() -> None:
    running = make_task(status="running", created_at=T0 - timedelta(minutes=31))
    changes: dict[str, Any] = {"type": EventType.TASK_OVERDUE, "usual": USUAL}
    learned = make_event(running, overdue=OverdueLimit(seconds=1_500), **changes)
    assert english(learned).sentence == "Instance creation is overdue at 60% on \ue000gauss-6568-zzh\ue001"
    assert "running 31 min" in [part.lower() for part in english(learned).conditions]
    assert english(learned).notes == ("It counts as overdue after about 25 min, far longer than earlier runs took.",)
    assert chinese(learned).notes == ("超过约 25 分钟视为超时，远长于以往用时。",)
    fixed = make_event(running, overdue=OverdueLimit(seconds=1_800, matcher="operation=create"), **changes)
    assert without_marks(english(fixed).notes[0]) == (
        "It counts as overdue after 30 min: the limit of operation=create."
    )
    assert "notifier explain 31b8ae23" in english(learned).advice


def test_a_missing_run_says_what_that_is_based_on() -> None:
    message = english(make_missing(environment="production"))
    assert message.headline.push == "PROD gauss-6568-zzh: manual backup is missing, 16:30"
    assert message.headline.title == "gauss-6568-zzh: manual backup is missing (PROD)"
    assert chinese(make_missing()).headline.title == "【未按时执行】gauss-6568-zzh 手动创建备份"
    assert [without_marks(part) for part in message.conditions] == ["Last run 14 Jan 13:30:00"]
    assert [without_marks(part) for part in message.notes] == [
        "It recurs every 24 h, as 12 intervals show, and was expected at 13:30:00."
    ]
    expected = make_missing().expectation
    assert expected
    rule = replace(expected, rule="manual backup of prod-* every 26h", expected_at=None, last=None)
    configured = english(make_missing(expectation=rule))
    assert [without_marks(part) for part in configured.conditions] == ["No run is known"]
    assert [without_marks(part) for part in configured.notes] == ["Configured: manual backup of prod-* every 26h."]


def test_a_vanished_task_is_neither_a_success_nor_a_failure() -> None:
    message = english(sample_event(EventType.TASK_UNLISTED, T0))
    assert message.notes == ("It may have succeeded, failed or been deleted: check the instance.",)
    assert message.emoji == "❔"


def test_a_gap_has_its_bounds() -> None:
    message = english(make_gap(detail=f"{(T0 - timedelta(days=40)).isoformat()}/{T0.isoformat()}"))
    assert without_marks(message.sentence) == "prod was not monitored from 6 Dec 16:30:00 to 15 Jan 16:30:00"
    assert not message.reason
    assert without_marks(english(make_gap(detail="somebody else wrote this")).sentence).endswith("from ? to ?")


@pytest.mark.parametrize("times", [{"created_at": None}, {"ended_at": None}, {"ended_at": T0 - timedelta(days=1)}])
def test_a_length_is_shown_only_where_both_times_are_known_and_in_order(times: dict[str, Any]) -> None:
    message = english(make_event(make_task(**times)))
    assert not any("ran" in part for part in message.conditions)
    assert "Ran for" not in {fact.label for fact in message.facts}


def test_the_facts_of_a_failure_have_names_for_channels_to_choose_by() -> None:
    found = {fact.name: fact for fact in english(failed()).facts}
    names = ["created_at", "ended_at", "ran_for", "stopped_at", "usual", "instance_status", "job", "instance_id"]
    assert list(found) == names
    assert found["ended_at"].value == "15 Jan 16:29:20 (UTC+8)"
    assert (found["usual"].value, found["stopped_at"].percent) == ("7 to 10 min, from 14 runs on this instance", 96)
    assert [name for name in names if found[name].quoted] == ["job", "instance_id"]


def test_the_title_of_a_task_without_an_instance_begins_with_the_operation() -> None:
    nothing = make_task(instance_name=None, instance_id=None)
    assert english(make_event(nothing)).headline.title == "Instance creation failed"


def test_the_time_of_detection_is_a_fact_where_the_api_gives_none() -> None:
    assert "Seen" not in {fact.label for fact in english(make_event()).facts}
    found = {fact.label: fact for fact in english(make_event(occurred_at=None)).facts}
    assert (found["Seen"].value, found["Seen"].at) == ("15 Jan 16:30:00 (UTC+8)", T0)


def test_a_changed_status_is_shown_with_the_one_before_it() -> None:
    task = make_task(status="unknown", raw_status="Pending")
    message = english(make_event(task, previous_status="running"))
    assert without_marks(message.sentence) == "Instance creation changed to Pending on gauss-6568-zzh"
    assert message.conditions[0].casefold().endswith("running")


def test_an_unnamed_instance_goes_by_its_id_or_is_left_out() -> None:
    assert english(make_event(make_task(instance_name=None))).subject == "fe2bd7a6d5e34ec8a2d0f0ae3b4d3bcain14"
    nothing = english(make_event(make_task(instance_name=None, instance_id=None)))
    assert (nothing.subject, nothing.sentence) == ("", "Instance creation failed")


# ---- what the program reports of itself ----


def test_silence_without_an_error_is_named_as_such() -> None:
    message = english(make_alert(EventType.SOURCE_FAILING, detail=None))
    assert message.notes[0].startswith("No poll has ended, successful or not")


def test_a_recovery_has_its_length_and_no_reason() -> None:
    source, channel = (english(make_alert(kind, detail="x")) for kind in RECOVERIES)
    assert without_marks(source.sentence) == "prod is being monitored again, after 6 min (16:24:00 to 16:30:00)"
    assert without_marks(channel.sentence) == "dba: delivery works again, after 6 min (16:24:00 to 16:30:00)"
    assert (source.reason, channel.reason) == ("", "")


def test_trouble_of_a_channel_has_the_command_that_helps() -> None:
    assert english(make_alert(EventType.CHANNEL_FAILING)).advice.endswith("`notifier deliveries --channel dba`")
    assert english(make_alert(EventType.CHANNEL_GAVE_UP)).advice.endswith("`notifier retry --all-dead --channel dba`")


def test_counts_of_a_digest_begin_with_the_most_urgent_state() -> None:
    events = [*make_events(5), make_gap(late=False)]
    assert FORMATTERS["en"].counts(events) == "3 tasks failed, 2 completed, 1 × not monitored"
    assert FORMATTERS["zh"].counts(events) == "3 个任务失败，2 个已完成，1 次监控空档"


# ---- where it is from ----


def test_production_and_staging_differ_without_colour() -> None:
    production, staging = english(failed()), english(failed(environment="staging"))
    assert (production.emoji, production.environment, production.production) == ("🔴", "PROD", True)
    assert (staging.emoji, staging.environment, staging.production) == ("⭕", "staging", False)
    assert (production.severity, staging.severity) == (Severity.CRITICAL, Severity.WARNING)


def test_an_environment_of_ones_own_is_shown_as_it_is_written() -> None:
    assert english(failed(environment="Schulung")).environment == "Schulung"
    assert chinese(failed(environment="PROD")).environment == "生产"
    assert len(english(failed(environment="x" * 500)).environment) <= 40


def test_a_source_without_an_environment_is_loud_and_has_no_label() -> None:
    message = english(failed(environment=""))
    assert (message.emoji, message.environment, message.severity) == ("🔴", "", Severity.ERROR)
    assert message.headline.title == "prod-orders-01: flavor change failed"


def test_a_route_decides_how_bad_an_event_is() -> None:
    message = english(failed(environment="staging"), DeliveryRouting(severity=Severity.ERROR))
    assert (message.severity, message.emoji) == (Severity.ERROR, "🔴")


# ---- when ----


def test_what_was_found_late_says_by_how_much_and_why() -> None:
    late = failed(late=True, observed_at=T0 + timedelta(minutes=30), away_since=T0 - timedelta(hours=1))
    assert without_marks(english(late).late) == (
        "Reported 30 min 40 s late: the notifier was down from 15:30:00 to 17:00:00"
    )
    assert without_marks(chinese(replace(late, away_since=None)).late) == "补报：晚了 30 分 40 秒"
    assert english(replace(late, occurred_at=None)).late == "Reported late: the notifier was down"
    assert not english(failed()).late


def test_a_time_has_its_date_only_where_that_is_another_day() -> None:
    (when,) = split_marked(english(failed()).when)
    assert (when.text, when.day) == ("16:29:20", False)
    (long_ago,) = split_marked(english(failed(observed_at=T0 + timedelta(days=2))).when)
    assert (long_ago.text, long_ago.day) == ("15 Jan 16:29:20", True)


# ---- why ----


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("the disk is full; free some", "The disk is full"),
        ("vCPU limit", "vCPU limit"),
        ("x" * 500, "x" * 59 + "…"),
        ("nothing known here at all", "Nothing known here at all"),
    ],
)
def test_a_reason_in_short_is_its_first_sentence(reason: str, why: str) -> None:
    formatter = replace(FORMATTERS["en"], causes=CauseCatalogue(()))
    assert formatter.describe(make_event(make_task(fail_reason=reason))).why == why


def test_a_long_reason_is_shortened_to_the_words_of_its_cause() -> None:
    long = "the flavor that you have chosen for this operation of yours is sold out in the zone"
    assert english(make_event(make_task(fail_reason=long))).why != long
    assert len(english(make_event(make_task(fail_reason=long))).why) <= 60


def test_what_is_only_inferred_says_usually() -> None:
    cause = Cause(id="own", match=("odd",), means={"en": "Odd."}, do={"en": "Wait."}, retry=Retryable.NO, inferred=True)
    formatter = replace(FORMATTERS["en"], causes=CauseCatalogue((cause,)))
    message = formatter.describe(make_event(make_task(fail_reason="an odd thing")))
    assert (message.meaning, message.advice) == ("Usually: Odd.", "Wait.")


def test_our_own_reasons_are_in_the_readers_language() -> None:
    event = replace(make_alert(EventType.CHANNEL_FAILING), detail="connection refused by hooks.example.com")
    assert chinese(event).reason == "hooks.example.com 拒绝连接"


# ---- links ----


def test_links_lead_to_the_instance_and_to_the_runbook() -> None:
    message = english(failed())
    assert message.console_url == "https://console.example.com/?region=cn-north-4#fe2bd7a6d5e34ec8a2d0f0ae3b4d3bcain14"
    assert message.runbook_url == "https://wiki.example.com/DBS.111205"


def test_a_runbook_that_needs_what_is_not_known_is_left_out() -> None:
    assert not english(make_event(make_task(fail_reason="no code"))).runbook_url
    assert not english(sample_event(EventType.TASK_COMPLETED, T0)).runbook_url


def test_a_cause_may_have_a_runbook_of_its_own() -> None:
    own = Cause(
        id="own", match=("odd",), means={}, do={}, retry=Retryable.NO, runbook_url="https://wiki.example.com/odd"
    )
    formatter = replace(FORMATTERS["en"], causes=CauseCatalogue((own,)))
    assert formatter.describe(make_event(make_task(fail_reason="odd"))).runbook_url == "https://wiki.example.com/odd"


@given(st.text(max_size=40) | st.from_regex(r"[0-9A-Za-z._~-]*", fullmatch=True))
def test_a_value_in_a_link_is_escaped_as_urllib_does(text: str) -> None:
    known = text.encode("utf-8", "replace").decode()
    links = LinkTemplates(console_url="https://c.example.com/?{unknown}={region}&{instance_id}")
    url = links.console(make_event(make_task(instance_id=known), region=known))
    assert url == f"https://c.example.com/?{{unknown}}={quote(known, safe='')}&{quote(known, safe='')}"


@given(st.text())
def test_no_value_leaves_its_place_in_a_link(text: str) -> None:
    links = LinkTemplates(console_url="https://c.example.com/{instance_id}/end")
    url = links.console(make_event(make_task(instance_id=text.encode("utf-8", "replace").decode())))
    assert url == "" or (url.startswith("https://c.example.com/") and url.endswith("/end") and url.count("/") == 4)
    assert len(url) <= URL_LIMIT
    assert not set(url) & set("<>|\n {}")


# ---- ids ----


def test_random_ids_are_short_and_others_whole() -> None:
    assert shorten_id("def160ec-c3ad-4647-8520-de0a8f84474c") == "def160ec"
    assert shorten_id("def160ecc3ad46478520de0a8f84474c") == "def160ec"
    assert shorten_id("job-2026-000001") == "job-2026-000001"


@given(st.sets(st.one_of(st.uuids().map(str), st.text(min_size=1)), min_size=1, max_size=20))
def test_short_ids_can_be_told_apart(ids: set[str]) -> None:
    short = shorten_ids(ids)
    assert short.keys() == ids
    random = [text for job_id, text in short.items() if len(job_id) == 36 and len(text) == 8]
    assert len(set(random)) == len(random)


def test_ids_with_one_beginning_are_whole() -> None:
    ids = {"aaaaaaaa-0000-0000-0000-000000000001", "aaaaaaaa-0000-0000-0000-000000000002"}
    assert shorten_ids(ids) == {one: one for one in ids}


# ---- hostile text ----


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_from_outside_leaves_its_line_or_its_quotes(text: str, language: Language) -> None:
    event = replace(hostile_event(text), environment=text, source="prod")
    message = FORMATTERS[language].describe(event)
    lines = (
        message.headline.push,
        message.headline.title,
        message.headline.line,
        message.headline.preheader,
        message.environment,
        message.subject,
        message.operation,
        without_marks(message.sentence),
        *map(without_marks, message.conditions),
    )
    assert not any(set("\n\r\x00\x1b\u2028\u202e\ue000\ue001\ue002\ue003\ue004") & set(line) for line in lines)
    assert len(message.subject) <= NAME_LIMIT
    assert len(message.headline.push) < 1_000
    outside = {message.subject, message.operation}
    assert all(part.quoted for part in split_marked(message.sentence) if part.text in outside)


def test_a_missing_run_is_reminded_of_in_its_own_words() -> None:
    about = FollowUp(failure_id="f", type=EventType.TASK_MISSING, event_id=make_missing().id, failures=1, number=1)
    reminded = make_missing(id="r", type=EventType.TASK_REMINDED, since=T0 - timedelta(hours=1), follow_up=about)
    assert (
        without_marks(english(reminded).sentence) == "Still open after 1 h: manual backup is missing on gauss-6568-zzh"
    )
    assert f"notifier explain {shorten_id(make_missing().id)}" in english(reminded).advice
    assert chinese(reminded).headline.push
    assert "Last run 14 Jan 13:30:00" in [without_marks(part) for part in english(reminded).conditions]
    assert reminded.subject == make_missing().subject


def test_a_success_says_what_it_closes() -> None:
    done = replace(failed(), type=EventType.TASK_COMPLETED, history=None)
    assert done.task
    done = replace(done, task=replace(done.task, status=TaskStatus.COMPLETED, fail_reason=None))
    closing = replace(done, closes=ClosedFailure(type=EventType.TASK_FAILED, since=T0 - timedelta(hours=4), failures=3))
    assert [without_marks(note) for note in english(closing).notes] == [
        "It closes the failure of 12:30:00: 3 failures."
    ]
    push = english(closing).headline.push
    assert "flavor change completed. It closes the failure of 12:30:00: 3 failures, 16:2" in push
    assert [without_marks(note) for note in chinese(closing).notes] == ["12:30:00 起的 3 次失败已解决。"]
    taken = replace(closing, closes=replace(closing.closes, acknowledged_by="Ann")) if closing.closes else closing
    assert without_marks(english(taken).notes[1]) == "Acknowledged by Ann."


def test_a_reminder_says_how_long_a_failure_is_open_and_that_nobody_has_it() -> None:
    about = FollowUp(
        failure_id="f",
        type=EventType.TASK_FAILED,
        event_id="e",
        failures=3,
        number=24,
        told=("dba",),
        last=True,
        together=3,
        delay_seconds=7200,
    )
    reminder = replace(
        failed(), type=EventType.TASK_REMINDED, observed_at=T0 + timedelta(hours=1), since=T0, follow_up=about
    )
    message = english(reminder)
    assert without_marks(message.sentence) == "Still open after 1 h: flavor change failed on prod-orders-01"
    assert message.headline.title == "prod-orders-01: still open after 1 h: flavor change failed (PROD)"
    assert [without_marks(note) for note in message.notes] == [
        "Failing since 16:30:00: 3 failures.",
        "Nobody has acknowledged it.",
        "2 more open failures were due with it: `notifier open` lists them.",
        "This is 2 h late: the notifier was down.",
        "No more of these follow. It stays open: `notifier open` lists it.",
    ]
    escalated = english(replace(reminder, type=EventType.TASK_ESCALATED))
    assert "Notified so far: dba." in [without_marks(note) for note in escalated.notes]
    assert without_marks(escalated.sentence) == "Nobody has reacted for 1 h: flavor change failed on prod-orders-01"
