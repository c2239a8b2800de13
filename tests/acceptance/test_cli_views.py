"""What look-ups look like: text from outside stays text, and 80 columns are enough."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fakes import START
from rich.console import Console, RenderableType

from notifier.cli.audit import audit_report
from notifier.cli.check import check_result
from notifier.cli.explain import attempt_lines, channel_account, explanation
from notifier.cli.health import channel_findings, health_report
from notifier.cli.mutes import mutes_table
from notifier.cli.output import UNBOUNDED_WIDTH, cell, show
from notifier.cli.samples import sample_event
from notifier.cli.views import View
from notifier.core import storms
from notifier.core.delivery import Attempt, Delivery, DeliveryState, Resolution
from notifier.core.events import EventType
from notifier.core.health import HealthReport, judge
from notifier.core.health_facts import Backlog, ConfiguredSource, Expected, HealthFacts
from notifier.core.identity import Subject
from notifier.core.matchers import Matcher
from notifier.core.model import ChannelState, SourceState, Task, TaskStatus
from notifier.core.mutes import Mute
from notifier.core.pacing import ChannelHealth as Pacing
from notifier.core.routing import Route, RoutedEvent, explain_routes
from notifier.lookup import Audit, ChannelRecord, EventRecord, TaskExplanation
from notifier.ports import CheckResult, Ledger, StoredTask
from notifier.wording import documents
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language, phrases

HOSTILE = (
    "[bold red]x[/bold red] [link=http://evil.example]y[/link] \x1b[31m\x1b]0;title\x07 \u202ereversed :boom: \r\nz"
)
VIEW = View(localizer=Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai")), now=START, width=80)
CHINESE = replace(VIEW, localizer=Localizer(language="zh", timezone=ZoneInfo("Asia/Shanghai")))

TASK = Task(
    source="prod",
    job_id="31b8ae23-c687-4d80-b7b4-42a66c9bb886",
    name="RestoreGaussDBV5InInstanceToExistedInst",
    status=TaskStatus.FAILED,
    raw_status="Failed",
    instance_id="d04b5d6d1d2b4f8b8b6ba4b1b5f0a2f1in14",
    instance_name="gauss-production-orders",
    created_at=START - timedelta(minutes=12),
    ended_at=START - timedelta(minutes=1),
    fail_reason="out of quota",
)
EVENT = sample_event(EventType.TASK_FAILED, START)
ROUTED = RoutedEvent(event=EVENT, routes=("failures",), channels=("dba",))
DELIVERY = Delivery(
    id="0c5c5f80-2f6b-5c53-8d5f-9f2a41a7b0b1",
    channel="dba",
    subject=EVENT.subject,
    state=DeliveryState.DEAD,
    available_at=START,
    created_at=START,
    events=(EVENT,),
    attempt=3,
    reason="HTTP 400",
    settled_at=START,
)

PARKED = ChannelState(name="dba", parked_since=START, reason="HTTP 410")


def unfolded(shown: RenderableType) -> str:
    """Return what `show` prints where the text is folded already."""
    console = Console(file=io.StringIO(), width=80, markup=False, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(shown, soft_wrap=True)
    return capture.get()


def printed(shown: RenderableType, *, width: int = 80, terminal: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=terminal, markup=False, highlight=False, emoji=False
    )
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def stored(task: Task) -> StoredTask:
    return StoredTask(task=task, first_seen_at=START, changed_at=START, listed=False)


def hostile(task: Task) -> Task:
    return replace(task, name=HOSTILE, instance_name=HOSTILE, fail_reason=HOSTILE, raw_status=HOSTILE, job_id=HOSTILE)


def everything(task: Task) -> list[RenderableType]:
    event = replace(EVENT, task=task)
    routed = replace(ROUTED, event=event)
    delivery = replace(DELIVERY, events=(event,), reason=task.fail_reason)
    attempt = Attempt(
        delivery_id=delivery.id, number=1, started_at=START, finished_at=START, outcome="retry", reason=task.fail_reason
    )
    account = ChannelRecord(channel="dba", planned=True, delivery=delivery, attempts=(attempt,))
    verdicts = tuple(explain_routes(event, [Route(name="r", match=(Matcher(field="instance", op="=", value="q"),))]))
    event_account = EventRecord(routed=routed, verdicts=verdicts, channels=(account,))
    ledger = Ledger(events=1, unrouted=0, pairs=1, by_state={}, unaccounted=(), dead=(delivery,))
    facts = HealthFacts(at=START, channels=[replace(PARKED, reason=task.fail_reason)])
    parked = judge(Expected(channels=["dba"]), facts)
    return [
        VIEW.tasks([stored(task)]),
        VIEW.task(stored(task), [routed]),
        VIEW.events([routed]),
        VIEW.deliveries([delivery]),
        explanation(VIEW, TaskExplanation(task=stored(task), events=(event_account,))),
        audit_report(VIEW, Audit(at=START, ledger=ledger)),
        channel_findings(VIEW, parked),
        health_report(VIEW, parked),
        check_result(
            CheckResult(ok=False, what="x", detail=task.fail_reason or "", remedy=task.fail_reason or ""),
            VIEW.localizer,
        ),
    ]


@pytest.mark.parametrize(
    ("resolution", "words"),
    [
        (Resolution.ARRIVED, "has the message of the earlier attempt: nothing was sent again"),
        (Resolution.ABSENT, "does not have the message of the earlier attempt: sent again"),
        (Resolution.REPEATED, "the receiver knows a repeat by its id"),
        (Resolution.RISKED, "sent again, perhaps twice"),
        (Resolution.HELD, "held, as on_unknown requires"),
        (None, "retry after 0.0 s: lost"),
    ],
)
def test_an_attempt_shows_what_was_done_about_the_one_before(resolution: Resolution | None, words: str) -> None:
    attempt = Attempt(
        delivery_id=DELIVERY.id,
        number=2,
        started_at=START,
        finished_at=START,
        outcome="retry",
        reason="lost",
        resolution=resolution,
    )
    shown = " ".join(printed(attempt_lines(VIEW, attempt)).split())
    assert words in shown
    assert ("earlier attempt" in shown) is (resolution is not None)
    assert documents.attempt(attempt)["doubt"] == resolution


@pytest.mark.parametrize(
    ("state", "outcome_unknown", "said"),
    [
        (DeliveryState.PENDING, True, True),
        (DeliveryState.DEAD, True, True),
        (DeliveryState.DEAD, False, False),
        (DeliveryState.DELIVERED, True, False),
    ],
)
def test_a_delivery_that_may_have_arrived_is_marked(state: DeliveryState, outcome_unknown: bool, said: bool) -> None:  # noqa: FBT001 - a table
    delivery = replace(DELIVERY, state=state, outcome_unknown=outcome_unknown)
    account = ChannelRecord(channel="dba", planned=True, delivery=delivery)
    for shown in (VIEW.deliveries([delivery]), channel_account(VIEW, account)):
        assert ("may have arrived" in printed(shown, width=200)) is said
    assert documents.delivery(delivery)["doubtful"] is outcome_unknown


@pytest.mark.parametrize(
    ("view", "state", "until", "why"),
    [
        (VIEW, "held", "sent in 3 h", "the budget of 20/h is used up"),
        (CHINESE, "已暂存", "3 小时后发送", "通知已达上限 20/h"),
    ],
)
def test_a_held_delivery_is_shown_with_its_rule_and_until_when(view: View, state: str, until: str, why: str) -> None:
    until_then = START + timedelta(hours=3)
    delivery = replace(
        DELIVERY,
        state=DeliveryState.PENDING,
        settled_at=None,
        rule="budget:20/h",
        reason="the budget of 20/h is used up",
        available_at=until_then,
    )
    account = ChannelRecord(channel="dba", planned=True, delivery=delivery)
    shown = printed(channel_account(view, account), width=200)
    assert all(part in shown for part in (state, until, why)), shown
    listed = printed(view.deliveries([delivery]), width=200)
    assert all(part in listed for part in (state, why)), listed
    assert documents.delivery(delivery)["rule"] == "budget:20/h"


def test_a_finding_that_is_well_may_still_have_advice() -> None:
    shown = printed(check_result(CheckResult(ok=True, what="x", detail="works", remedy="do y"), VIEW.localizer))
    assert [line.rstrip() for line in shown.splitlines()] == ["✓ x: works", "  do y"]


@pytest.mark.parametrize("number", range(7))
def test_outside_text_is_neither_markup_nor_a_terminal_sequence(number: int) -> None:
    shown = printed(everything(hostile(replace(TASK, status=TaskStatus.UNKNOWN)))[number], width=400)
    assert "[bold red]x[/bold red]" in shown or number == 3
    assert not set(shown) & {"\x1b", "\x07", "\r", "\u202e", "💥"}


@pytest.mark.parametrize("number", range(7))
def test_80_columns_are_enough(number: int) -> None:
    assert max(map(len, printed(everything(TASK)[number]).splitlines())) <= 80


@pytest.mark.parametrize("number", range(7))
def test_colours_are_only_for_terminals(number: int) -> None:
    assert "\x1b[" not in printed(everything(TASK)[number])
    assert "\x1b[" in printed(everything(TASK)[number], terminal=True)


def test_a_task_table_has_status_operation_instance_and_job() -> None:
    shown = printed(VIEW.tasks([stored(TASK), stored(replace(TASK, status=TaskStatus.RUNNING))]), width=100)
    assert "✗ Failed" in shown
    assert "▶ Running" in shown
    assert "Restore to existing" in shown
    assert "gauss-production-orders" in shown
    assert "31b8ae23" in shown
    assert "Source" not in shown


LONG = (
    "The quota of vCPUs is too low: 64 are wanted and 12 are left in the project. Free instances, or ask for a larger"
    " quota, and then create the instance again."
)


@pytest.mark.parametrize("sources", [("prod", "prod"), ("prod", "b")])
def test_failures_are_listed_with_their_end_and_whole_reason(sources: tuple[str, str]) -> None:
    task = replace(TASK, name="CreateGaussDBV5Instance", instance_name="gauss-orders", fail_reason=LONG)
    lines = printed(VIEW.tasks([stored(replace(task, source=source)) for source in sources])).splitlines()
    assert lines[0].split()[:4] == ["Failed", "Task", "Instance", "Job"]
    for first, *below in (lines[1:6], lines[6:11]):
        assert first.startswith("15 Jan 16:29:00 (UTC+8)  Instance creation  gauss-orders  31b8ae23")
        assert all(line.startswith("  ") for line in below)
        reason, cause = " ".join(map(str.strip, below)).split(" → ")
        assert reason == LONG
        assert cause.startswith("vCPU or memory quota used up · Free unused servers")
        assert cause.endswith("· Retry: helps once that is done")


def test_every_listing_gives_a_reason_whole_on_lines_of_its_own() -> None:
    failed = replace(EVENT, task=replace(TASK, fail_reason=LONG))
    about_source = replace(EVENT, task=None, type=EventType.SOURCE_FAILING, detail=LONG)
    listings = [
        VIEW.tasks([stored(replace(TASK, fail_reason=LONG)), stored(replace(TASK, status=TaskStatus.RUNNING))]),
        VIEW.events([replace(ROUTED, event=failed)]),
        VIEW.events([replace(ROUTED, event=about_source)]),
        VIEW.deliveries([replace(DELIVERY, reason=LONG)]),
        mutes_table(
            VIEW,
            [
                Mute(
                    id="7k2m",
                    since=START,
                    instance="i",
                    until=START,
                    by="cli:a",
                    name="a",
                    created_at=START,
                    reason=LONG,
                )
            ],
        ),
    ]
    for listing in listings:
        lines = printed(listing).splitlines()
        start = next(at for at, line in enumerate(lines) if line.startswith("  The quota"))
        assert " ".join(line.strip() for line in lines[start : start + 2]) == LONG
        assert f"  {LONG}" in printed(listing, width=UNBOUNDED_WIDTH).splitlines()


def test_a_pipe_gets_whole_lines_without_padding_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    task = replace(TASK, instance_name="y " * 200, fail_reason=LONG)
    show(replace(VIEW, width=UNBOUNDED_WIDTH).tasks([stored(task)]), VIEW.task(stored(task), [ROUTED]))
    lines = capsys.readouterr().out.splitlines()
    assert f"  {LONG}" in lines
    assert lines[1].endswith(f"  {('y ' * 200).strip()}  {TASK.job_id}")
    assert lines == [line.rstrip() for line in lines]


def test_tables_are_in_one_language() -> None:
    chinese = replace(VIEW, localizer=Localizer(language="zh", timezone=ZoneInfo("Asia/Shanghai")))
    running = stored(replace(TASK, status=TaskStatus.RUNNING, name="CreateGaussDBV5Instance", fail_reason=None))
    mute = Mute(id="7k2m", since=START, instance="i", until=START, by="cli:a", name="a", created_at=START)
    late = replace(ROUTED, event=replace(EVENT, late=True))
    digest = replace(DELIVERY, digest=True, events=(EVENT, EVENT))
    listings = [
        chinese.tasks([stored(TASK)]),
        chinese.tasks([running, stored(replace(TASK, source="b"))]),
        chinese.task(running, []),
        replace(chinese, width=200).events([late]),
        chinese.deliveries([digest]),
        mutes_table(chinese, [mute]),
    ]
    shown = "\n".join(printed(listing, width=200) for listing in listings)
    words = {phrase.format(count=2) for key, phrase in phrases("en").items() if key.startswith("table.")}
    assert {word for word in words if re.search(rf"\b{re.escape(word)}\b", shown)} == set()
    assert {"失败时间", "变更时间", "2 个事件的汇总", "已不在列表中"} <= set(re.split(r"\s{2,}|\n", shown))


def test_a_delivery_of_a_storm_is_named_by_its_storm() -> None:
    storm = storms.begin("dba", [EVENT] * 300)
    delivery = replace(DELIVERY, digest=True, storm=storm, subject=str(Subject(storm=storm.id)))
    assert "storm of 300 failures" in printed(VIEW.deliveries([delivery]))
    account = ChannelRecord(channel="dba", planned=True, delivery=delivery)
    assert f"{VIEW.when(START)}, in a storm of 300 failures" in printed(channel_account(VIEW, account))
    assert documents.delivery(delivery)["storm"] == {"id": storm.id, "failures": 300}
    assert documents.delivery(DELIVERY)["storm"] is None


def test_times_and_ids_stay_on_one_line_however_long_the_rest_is() -> None:
    task = replace(EVENT.task or TASK, name="x" * 70, instance_name="y" * 70, job_id=TASK.job_id)
    shown = printed(VIEW.events([replace(ROUTED, event=replace(EVENT, task=task))]))
    assert VIEW.when(EVENT.observed_at) in shown
    assert "31b8ae23" in shown
    assert "31b8ae23" in printed(VIEW.tasks([stored(task), stored(replace(task, status=TaskStatus.RUNNING))]))


def test_a_wide_terminal_shows_whole_job_ids() -> None:
    wide = replace(VIEW, width=140)
    assert TASK.job_id in printed(wide.tasks([stored(TASK)]), width=140)


def test_the_source_is_a_column_where_there_are_several() -> None:
    shown = printed(VIEW.tasks([stored(TASK), stored(replace(TASK, source="test"))]))
    assert "Source" in shown


def test_a_running_task_shows_its_progress() -> None:
    task = replace(TASK, status=TaskStatus.RUNNING, progress=60.0)
    assert VIEW.status(task).plain == "▶ Running 60%"


def test_an_unknown_status_is_shown_as_the_api_wrote_it() -> None:
    assert VIEW.status(replace(TASK, status=TaskStatus.UNKNOWN, raw_status="Paused")).plain == "~ Paused"


def test_times_are_in_the_configured_zone() -> None:
    assert "15 Jan 16:29:00 (UTC+8)" in printed(VIEW.task(stored(TASK), []))


def test_an_explanation_has_the_reason_a_channel_was_not_notified() -> None:
    verdicts = explain_routes(EVENT, [Route(name="r", match=(Matcher(field="type", op="=", value="task.started"),))])
    silent = ChannelRecord(channel="mail", planned=False, delivery=None)
    account = EventRecord(routed=replace(ROUTED, channels=(), routes=()), verdicts=tuple(verdicts), channels=(silent,))
    shown = printed(explanation(VIEW, TaskExplanation(task=stored(TASK), events=(account,))))
    assert "✗ r: requires type=task.started, was 'task.failed'" in shown
    assert "mail: not notified, no route leads here" in shown


def test_an_explanation_marks_a_pair_that_is_unaccounted() -> None:
    lost = ChannelRecord(channel="dba", planned=True, delivery=None)
    account = EventRecord(routed=ROUTED, verdicts=(), channels=(lost,))
    assert "unaccounted" in printed(explanation(VIEW, TaskExplanation(task=stored(TASK), events=(account,))))


def test_an_explanation_reports_routes_that_changed_since() -> None:
    account = EventRecord(routed=ROUTED, verdicts=(), channels=())
    shown = printed(explanation(VIEW, TaskExplanation(task=stored(TASK), events=(account,))))
    assert "Routes have changed since: at the time it went to dba." in shown


@pytest.mark.parametrize(("view", "said"), [(VIEW, "the alarm was raised before its list"), (CHINESE, "只作记录")])
def test_an_alarm_that_was_there_before_was_only_recorded(view: View, said: str) -> None:
    raised = replace(sample_event(EventType.ALARM_RAISED, START), quiet=True)
    routed = RoutedEvent(event=raised, routes=(), channels=())
    verdicts = tuple(explain_routes(routed.event, [Route(name="all", channels=("dba",))]))
    silent = ChannelRecord(channel="dba", planned=False, delivery=None)
    account = EventRecord(routed=routed, verdicts=verdicts, channels=(silent,))
    shown = printed(explanation(view, TaskExplanation(task=stored(TASK), events=(account,))), width=160)
    assert said in shown
    assert not any(word in shown for word in ("Routes have changed", "no route leads", "路由有变更"))


def test_a_task_of_the_baseline_is_explained_too() -> None:
    assert "baseline" in printed(explanation(VIEW, TaskExplanation(task=stored(TASK), events=())))


def test_a_task_with_pruned_events_is_not_shown_as_having_none() -> None:
    shown = printed(explanation(VIEW, TaskExplanation(task=replace(stored(TASK), events_pruned=True), events=())))
    assert "pruned" in shown
    assert "No channel was told" not in shown


def test_a_failed_audit_names_each_pair() -> None:
    ledger = Ledger(events=2, unrouted=0, pairs=1, by_state={DeliveryState.DEAD: 1}, unaccounted=(("e1", "dba"),))
    shown = printed(audit_report(VIEW, Audit(at=START, ledger=ledger)), width=200)
    assert "unaccounted: event e1 on dba" in shown
    assert shown.rstrip().endswith("1 unaccounted")


WHOLE = replace(VIEW, width=UNBOUNDED_WIDTH)
SOURCE = ConfiguredSource(name="prod", region="r", project_id="p", poll_every=timedelta(seconds=30))
EXPECTED = Expected(sources=[SOURCE], channels=["dba"])
POLLED = SourceState(name="prod", last_poll_at=START - timedelta(seconds=12), last_full_at=START)


def health_of(source: SourceState = POLLED, channel: ChannelState | None = None, **backlog: Any) -> HealthReport:
    states = [channel] if channel else []
    return judge(
        EXPECTED,
        HealthFacts(at=START, sources=[source], channels=states, backlogs=[Backlog(channel="dba", **backlog)]),
    )


def test_health_reports_that_all_is_well_and_each_state() -> None:
    assert unfolded(health_report(WHOLE, health_of())).splitlines() == [
        "✓ All is well",
        "✓ source prod: polled 12 s ago",
        "✓ channel dba: delivers",
    ]


@pytest.mark.parametrize(
    ("language", "sentence"),
    [("en", "– 2 open failures that nobody has acknowledged"), ("zh", "– 2 个故障尚无人认领")],
)
def test_health_names_open_failures_without_being_red(language: Language, sentence: str) -> None:
    view = replace(WHOLE, localizer=Localizer(language=language, timezone=ZoneInfo("UTC")))
    found = replace(health_of(), unacknowledged=2)
    assert found.ok
    assert unfolded(health_report(view, found)).splitlines()[1:3] == [sentence, "    notifier open"]
    document = documents.health(found)
    assert document["open_failures"] == {"unacknowledged": 2, "commands": ["notifier open"]}


def test_health_begins_with_what_is_wrong_and_what_helps() -> None:
    long_ago = START - timedelta(minutes=9)
    blind = replace(POLLED, last_poll_at=long_ago, last_full_at=long_ago, last_error="HTTP 503 from example.com")
    dead: dict[str, Any] = {"dead": 3, "dead_since": long_ago, "dead_reason": "HTTP 400: no such [bold]field"}
    assert unfolded(health_report(WHOLE, health_of(blind, **dead))).splitlines() == [
        "✗ Not well: 1 source blind, 3 messages not delivered",
        f"✗ source prod: not polled for 9 min, since {VIEW.when(long_ago)}",
        "    HTTP 503 from example.com",
        "    notifier check --online",
        f"✗ channel dba: 3 messages given up, the first 9 min ago, at {VIEW.when(long_ago)}",
        "    HTTP 400: no such [bold]field",
        "    notifier deliveries --state dead --channel dba",
        "    notifier retry --all-dead --channel dba",
        "    notifier dismiss --all-dead --channel dba",
    ]


def test_an_audit_reports_what_is_wrong_with_channels() -> None:
    facts = HealthFacts(at=START, channels=[PARKED], sources=[replace(POLLED, last_poll_at=None)])
    assert unfolded(channel_findings(WHOLE, judge(EXPECTED, facts))).splitlines() == [
        f"✗ channel dba: parked as misconfigured for under 1 s, since {VIEW.when(START)}",
        "    HTTP 410",
        "    notifier deliveries --channel dba",
        "    notifier retry --channel dba",
    ]


def test_health_shows_until_when_a_channel_is_held() -> None:
    soon = START + timedelta(minutes=1)
    failing = ChannelState(name="dba", health=Pacing(failing_since=START - timedelta(minutes=9), open_until=soon))
    shown = unfolded(health_report(WHOLE, health_of(channel=failing)))
    assert f"channel dba: after many failures nothing is sent until {VIEW.when(soon)}" in shown
    paused = ChannelState(name="dba", health=Pacing(paused_until=soon))
    shown = unfolded(health_report(WHOLE, health_of(channel=paused)))
    assert f"✓ channel dba: delivers; the receiver asked for a pause until {VIEW.when(soon)}" in shown


@pytest.mark.parametrize("width", [60, 80, UNBOUNDED_WIDTH])
def test_finding_sentences_are_folded_on_terminals_commands_never(width: int) -> None:
    name = "a-channel-of-the-database-administrators"
    reason = " ".join(["the receiver says a lot"] * 8)
    facts = HealthFacts(at=START, backlogs=[Backlog(channel=name, dead=1, dead_since=START, dead_reason=reason)])
    shown = unfolded(health_report(replace(VIEW, width=width), judge(Expected(channels=[name]), facts))).splitlines()
    assert f"    notifier deliveries --state dead --channel {name}" in shown
    assert (f"    {reason}" in shown) == (width == UNBOUNDED_WIDTH)
    assert " ".join(" ".join(shown).split()).count(reason) == 1
    assert max(len(line) for line in shown if not line.startswith("    notifier")) <= width


def test_an_empty_answer_names_what_was_queried_and_when() -> None:
    state = SourceState(name="prod", tasks=1234, last_poll_at=START - timedelta(seconds=12))
    chinese = replace(VIEW, localizer=Localizer(language="zh", timezone=ZoneInfo("UTC")))
    assert VIEW.freshness([state]) == "Searched prod (1,234 tasks, polled 12 s ago)"
    assert chinese.freshness([state]) == "已查询 prod（1,234 个任务，12 秒前轮询过）"
    assert "No source has been polled yet" in VIEW.freshness([])


def test_what_is_not_known_is_a_dash() -> None:
    assert (cell(None).plain, cell("").plain, cell("\x1b[31m").plain) == ("–", "–", "–")
