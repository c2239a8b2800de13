"""Digests and storms in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import HOSTILE, T0, hostile_event, make_event, make_events, make_task

from notifier.core.model import Event
from notifier.core.severity import Severity
from notifier.core.storms import Storm, StormGroup, begin
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter
from notifier.wording.links import LinkTemplates
from notifier.wording.localizer import Localizer
from notifier.wording.marks import without_marks
from notifier.wording.message import SummaryMessage
from notifier.wording.phrases import Language
from notifier.wording.summary import MAX_REASONS, SummaryFormatter

LINKS = LinkTemplates(console_url="https://console.example.com/?region={region}")
FORMATTERS: dict[Language, SummaryFormatter] = {
    "en": SummaryFormatter(EventFormatter(Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai")), links=LINKS)),
    "zh": SummaryFormatter(EventFormatter(Localizer(language="zh", timezone=ZoneInfo("Asia/Shanghai")), links=LINKS)),
}
OBS = StormGroup(
    code="OBS.0503",
    operation="BackupSnapshotGaussDBV5InInstance",
    count=239,
    reason="Failed to upload the backup to OBS. Service unavailable.",
)


def make_storm(**changes: Any) -> Storm:
    values: dict[str, Any] = {
        "id": "storm",
        "channel": "ops",
        "source": "prod",
        "region": "cn-north-4",
        "environment": "production",
        "started_at": T0,
        "updated_at": T0 + timedelta(seconds=30),
        "total": 300,
        "latest": 300,
        "groups": (OBS, StormGroup(code="", operation="CreateGaussDBV5Instance", count=61)),
        "instances": (("ledger", 8), ("catalog", 7), ("audit", 6), ("x", 1)),
        "opened_by": "d1",
    }
    return Storm(**values | changes)


def failures(n: int) -> tuple[Event, ...]:
    return tuple(
        make_event(make_task(f"{i:08}-c3ad-4647-8520-de0a8f84474c", instance_name=f"pg-{i % 3}")) for i in range(n)
    )


def part(storm: Storm, events: tuple[Event, ...], *, opens: bool, language: Language = "en") -> SummaryMessage:
    request = RenderRequest(delivery_id="d", events=events, digest=True, storm=storm, opens_storm=opens)
    return FORMATTERS[language].describe(request)


# ---- storms ----


def test_a_storm_says_the_total_first_then_why_and_where() -> None:
    message = FORMATTERS["en"].live(make_storm(), Severity.CRITICAL)
    assert message.push == ("PROD: 300 tasks failed within 1 min. 239 × OBS.0503, 61 × no reason given. 4 instances")
    assert message.title == "300 tasks failed (PROD): 239 × OBS.0503"
    assert (without_marks(message.sentence), message.emoji) == ("300 tasks failed within 1 min", "🚨")
    assert without_marks(message.since) == "since 16:30:00"
    assert without_marks(message.instances) == "4 instances, most: ledger (8), catalog (7), audit (6) … and 1 more"
    assert (message.command, message.console_url) == ("failed 2h", "https://console.example.com/?region=cn-north-4")


def test_a_storm_says_the_same_in_chinese() -> None:
    message = FORMATTERS["zh"].live(make_storm(), Severity.CRITICAL)
    assert message.push == "【生产】1 分钟内 300 个任务失败：OBS.0503 239 个，未给出原因 61 个；涉及 4 个实例"
    assert message.title == "【失败】300 个任务（生产）：OBS.0503 239 个"
    assert without_marks(message.instances).startswith("涉及 4 个实例，最多的是 ledger（8 个）、catalog（7 个）")


def test_a_storm_that_lasts_is_rising_and_one_that_ended_says_when() -> None:
    lasts = FORMATTERS["en"].live(make_storm(), Severity.CRITICAL)
    ended = FORMATTERS["en"].live(make_storm(ended_at=T0 + timedelta(minutes=5)), Severity.CRITICAL)
    assert lasts.progress == "still rising"
    assert without_marks(ended.progress) == "over since 16:35:00"


@pytest.mark.parametrize("opens", [True, False])
def test_a_storm_that_happened_while_the_notifier_was_down_says_so(opens: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    late = tuple(replace(event, late=True) for event in failures(3))
    storm = make_storm(started_at=T0 - timedelta(hours=5), updated_at=T0)

    def shown(storm: Storm, events: tuple[Event, ...], language: Language) -> SummaryMessage:
        if opens:
            return part(storm, events, opens=True, language=language)
        return FORMATTERS[language].live(storm, Severity.CRITICAL, events[:1])

    english, chinese = shown(storm, late, "en"), shown(storm, late, "zh")
    assert english.sentence == "300 tasks failed within 5 h while the notifier was down"
    assert english.push.startswith("PROD: 300 tasks failed within 5 h while the notifier was down. ")
    assert english.title.startswith("300 tasks failed while the notifier was down (PROD): ")
    assert chinese.sentence == "补报：通知程序中断期间 5 小时内 300 个任务失败"
    assert chinese.title.startswith("【补报】通知程序中断期间 300 个任务失败（生产）")
    # What a later poll adds has just happened.
    grown = replace(storm, updated_at=T0 + timedelta(seconds=30))
    assert shown(grown, late, "en").sentence == "300 tasks failed within 5 h 1 min"
    assert shown(storm, failures(3), "en").sentence == "300 tasks failed within 5 h"


def test_a_storm_whose_failures_are_ahead_of_our_clock_has_a_command() -> None:
    ahead = make_storm(started_at=T0 + timedelta(hours=9), updated_at=T0)
    message = FORMATTERS["en"].live(ahead, Severity.CRITICAL)
    assert (message.command, message.sentence) == ("failed 1h", "300 tasks failed within 1 min")


def test_the_reasons_of_a_storm_are_bounded_and_counted() -> None:
    groups = tuple(replace(OBS, code=f"OBS.{n:04}") for n in range(MAX_REASONS + 4))
    message = FORMATTERS["en"].live(make_storm(groups=groups), Severity.CRITICAL)
    assert len(message.reasons) == MAX_REASONS
    assert message.more_reasons == "… and 4 more reasons"
    assert not FORMATTERS["en"].live(make_storm(), Severity.CRITICAL).more_reasons


def test_a_storm_in_another_environment_is_hollow() -> None:
    message = FORMATTERS["en"].live(make_storm(environment="staging"), Severity.WARNING)
    assert (message.emoji, message.environment, message.production) == ("⭕", "staging", False)


def test_the_message_that_opens_a_storm_names_its_tasks_by_instance() -> None:
    message = part(make_storm(), failures(7), opens=True)
    assert [(one.name, len(one.tasks)) for one in message.tasks] == [("pg-0", 3), ("pg-1", 2), ("pg-2", 2)]
    assert message.tasks[0].tasks == ("00000000", "00000003", "00000006")
    assert message.reasons
    assert not message.progress


def test_a_message_about_the_next_poll_has_the_total_and_says_why() -> None:
    message = part(make_storm(total=330, latest=30, updated_at=T0), failures(30), opens=False)
    assert without_marks(message.sentence) == "+30 failures, now 330 since 16:30:00"
    assert message.title == "+30 failures, now 330 (PROD): 239 × OBS.0503"
    assert message.since == ""
    assert message.reasons[0].code == "OBS.0503"
    assert sum(len(one.tasks) for one in message.tasks) == 30


@pytest.mark.parametrize("changes", [{"latest": 100}, {"latest": 30, "updated_at": T0 + timedelta(minutes=1)}])
def test_a_part_of_what_a_poll_found_is_called_a_part(changes: Mapping[str, Any]) -> None:
    storm = make_storm(**{"total": 330, "updated_at": T0, **changes})
    messages = [part(storm, failures(30), opens=False, language=language) for language in FORMATTERS]
    assert [without_marks(message.sentence) for message in messages] == [
        "30 of the 330 failures since 16:30:00",
        "自 16:30:00 起 330 个失败任务中的 30 个",
    ]
    assert [message.title for message in messages] == [
        "30 of 330 failures (PROD): 239 × OBS.0503",
        "【失败】330 个任务中的 30 个（生产）：OBS.0503 239 个",
    ]
    assert {(message.reasons, message.instances) for message in messages} == {((), "")}


def test_a_reason_without_a_code_is_counted_in_the_words_of_its_cause() -> None:
    quota = StormGroup(code="", operation="", count=60, reason="The vCPU quota is not enough: 343 more are needed.")
    message = FORMATTERS["en"].live(make_storm(groups=(quota,)), Severity.CRITICAL)
    assert "60 × vCPU or memory quota used up" in message.push


@pytest.mark.parametrize("opens", [True, False])
@pytest.mark.parametrize("count", [1, 100, 500])
def test_every_task_of_a_storm_is_named_once(opens: bool, count: int) -> None:  # noqa: FBT001 - a parameter of pytest
    named = [job for one in part(make_storm(), failures(count), opens=opens).tasks for job in one.tasks]
    assert len(named) == len(set(named)) == count


@pytest.mark.parametrize("name", [None, "", "  ", "\u202e", "\u200b", "\ue000", "\x00"])
def test_an_instance_whose_name_shows_nothing_is_listed_by_its_id(name: str | None) -> None:
    event = make_event(make_task("job", instance_name=name, instance_id="in14"))
    (listed,) = part(begin("ops", [event]), (event,), opens=True).tasks
    assert (listed.name, listed.tasks) == ("in14", ("job",))
    assert begin("ops", [event]).instances == (("in14", 1),)


def test_tasks_without_an_instance_are_listed_together() -> None:
    event = make_event(make_task(instance_name=None, instance_id=None))
    assert [one.name for one in part(make_storm(), (event,), opens=True).tasks] == ["no instance named"]


# ---- digests ----


def digest(*events: Event, language: Language = "en") -> SummaryMessage:
    return FORMATTERS[language].describe(RenderRequest(delivery_id="d", events=events, digest=True))


def test_a_digest_counts_the_most_urgent_first_and_says_why() -> None:
    message = digest(*(replace(event, environment="production") for event in make_events(5)))
    assert message.sentence == "3 tasks failed, 2 completed"
    assert message.push.startswith("PROD: 3 tasks failed, 2 completed. 3 × The quota of vCPUs is not enough. ")
    assert message.title == "3 tasks failed, 2 completed (PROD): 3 × The quota of vCPUs is not enough"
    assert [event.state.name for event in message.events] == ["failed"] * 3 + ["completed"] * 2
    assert not message.tasks


def test_a_digest_of_environments_names_them_all() -> None:
    events = [replace(event, environment=name) for event, name in zip(make_events(2), ("staging", "prod"), strict=True)]
    message = digest(*events)
    assert (message.environment, message.production) == ("PROD, staging", False)


def test_a_digest_in_which_all_is_late_says_so_first() -> None:
    late = [replace(event, late=True) for event in make_events(2)]
    assert digest(*late).sentence == "1 task failed, 1 completed while the notifier was down"
    assert digest(*late, language="zh").sentence.startswith("补报：")
    assert "down" not in digest(late[0], replace(late[1], late=False)).sentence


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_in_its_line(text: str) -> None:
    events = tuple(replace(hostile_event(text), environment=text) for _ in range(3))
    storm = make_storm(
        environment=text, source=text, instances=((text, 3),), groups=(replace(OBS, reason=text, code=""),)
    )
    for language in ("en", "zh"):
        for message in (digest(*events, language=language), part(storm, events, opens=True, language=language)):
            lines = (message.push, message.title, message.environment, without_marks(message.instances))
            lists = [name for one in message.tasks for name in (one.name, *one.tasks)]
            reasons = [reason.reason for reason in message.reasons]
            assert not any(
                set("\n\r\x00\x1b\u2028\u202e\ue000\ue001") & set(line) for line in (*lines, *lists, *reasons)
            )
            assert len(message.push) < 2_000
