"""What is judged to be wrong, since when, how much of it, and which command helps."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import PROJECT_ID, REGION, T0
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.calendars import CalendarAge
from notifier.core.health import FINDING_COMMANDS, FindingKind, HealthFinding, HealthReport, judge, unavailable
from notifier.core.health_facts import Backlog, ConfiguredSource, Expected, HealthFacts, Replica, Role
from notifier.core.model import ChannelState, SourceState
from notifier.core.pacing import ChannelHealth as Pacing
from notifier.core.projects import AccountState
from notifier.core.rights import MissingRight, SourcePart, refused
from notifier.wording.findings import HealthFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
PROD = ConfiguredSource(name="prod", region=REGION, project_id=PROJECT_ID, poll_every=timedelta(seconds=30))
EVERYTHING = Expected(sources=[PROD], channels=["dba", "mail"], direct=True)


def polled(**more: Any) -> SourceState:
    """Return a source that was last polled `age` ago, and last scanned completely `whole` ago, in so many calls."""
    values: dict[str, Any] = {
        "last_poll_at": T0 - more.pop("age", timedelta()),
        "last_full_at": T0 - more.pop("whole", timedelta()),
        "last_full_calls": more.pop("calls", 1),
    }
    return SourceState(name="prod", **values | more)


def verdict(expected: Expected = EVERYTHING, **facts: Any) -> HealthReport:
    return judge(expected, HealthFacts(at=T0, **{"sources": [polled()]} | facts))


def only(found: HealthReport) -> HealthFinding:
    (finding,) = found.findings
    return finding


def source_kinds(state: SourceState, source: ConfiguredSource = PROD, **expected: Any) -> list[FindingKind]:
    found = verdict(Expected(sources=[source], **expected), sources=[state])
    assert found.sources[0].ok is found.ok
    return [finding.kind for finding in found.findings]


def test_all_is_well() -> None:
    found = verdict()
    assert (found.ok, found.findings) == (True, ())
    assert [(channel.name, channel.ok) for channel in found.channels] == [("dba", True), ("mail", True)]


# ---- sources ----


@pytest.mark.parametrize(
    ("every", "failing_after", "limit"),
    [
        (30 * SECOND, 5 * MINUTE, 5 * MINUTE),
        (10 * MINUTE, 5 * MINUTE, 50 * MINUTE),
        (30 * SECOND, MINUTE, 150 * SECOND),
        (30 * SECOND, 60 * MINUTE, 60 * MINUTE),
    ],
)
@pytest.mark.parametrize(
    ("what", "kind"), [("age", FindingKind.SOURCE_NOT_POLLED), ("whole", FindingKind.SOURCE_NOT_WHOLE)]
)
def test_a_source_is_red_after_five_polls_and_failing_after(
    what: str, kind: FindingKind, every: timedelta, failing_after: timedelta, limit: timedelta
) -> None:
    source = replace(PROD, poll_every=every)
    assert source_kinds(polled(**{what: limit - SECOND}), source, failing_after=failing_after) == []
    assert source_kinds(polled(**{what: limit}), source, failing_after=failing_after) == [kind]


@pytest.mark.parametrize(("calls_per_minute", "slower"), [(20, 1), (5, 4)])
def test_a_long_list_gets_the_time_its_call_budget_needs(calls_per_minute: int, slower: int) -> None:
    """A thousand calls take 50 minutes at 20 a minute: twice that without a poll is too long, ten times unseen whole.

    A scan of that length begins again at most 200 minutes after its beginning.
    """
    source = replace(PROD, calls_per_minute=calls_per_minute)
    assert source_kinds(polled(age=slower * 100 * MINUTE - SECOND, calls=1000), source) == []
    assert source_kinds(polled(age=slower * 100 * MINUTE, calls=1000), source) == [FindingKind.SOURCE_NOT_POLLED]
    assert source_kinds(polled(whole=slower * 500 * MINUTE - SECOND, calls=1000), source) == []
    assert source_kinds(polled(whole=slower * 500 * MINUTE, calls=1000), source) == [FindingKind.SOURCE_NOT_WHOLE]


@pytest.mark.parametrize("state", [[], [SourceState(name="prod")]])
def test_a_source_that_was_never_polled_is_red(state: list[SourceState]) -> None:
    found = verdict(sources=state)
    assert (only(found).kind, only(found).since, found.ok) == (FindingKind.SOURCE_NOT_POLLED, None, False)


def test_a_source_that_was_never_scanned_completely_is_red() -> None:
    assert source_kinds(polled(last_full_at=None)) == [FindingKind.SOURCE_NOT_WHOLE]


def test_a_finding_has_the_time_and_error_of_an_unpolled_source() -> None:
    state = polled(age=9 * MINUTE, failing_since=T0 - 8 * MINUTE, last_error="HTTP 503")
    finding = only(verdict(sources=[state]))
    assert (finding.about, finding.since, finding.reason) == ("prod", T0 - 9 * MINUTE, "HTTP 503")


def test_a_restart_does_not_turn_a_long_unpolled_source_green() -> None:
    state = polled(age=timedelta(days=2), failing_since=T0, last_error="HTTP 503")
    assert source_kinds(state) == [FindingKind.SOURCE_NOT_POLLED]


@pytest.mark.parametrize("what", ["age", "whole"])
def test_a_poll_in_the_future_is_red_beyond_the_tolerance(what: str) -> None:
    assert source_kinds(polled(**{what: -MINUTE})) == []
    assert source_kinds(polled(**{what: -61 * SECOND})) == [FindingKind.SOURCE_AHEAD]


def test_rows_that_the_database_refuses_are_red_at_once() -> None:
    finding = only(verdict(sources=[polled(refused_rows=3, refused_since=T0)]))
    assert (finding.kind, finding.count, finding.since, finding.red) == (FindingKind.SOURCE_REFUSED, 3, T0, True)


def test_a_source_that_is_no_longer_configured_is_a_remark() -> None:
    found = verdict(sources=[polled(), replace(polled(age=timedelta(days=9)), name="old")])
    assert (found.ok, only(found).kind, only(found).about) == (True, FindingKind.SOURCE_REMOVED, "old")


# ---- calendars ----


def test_a_calendar_is_red_when_its_last_good_copy_is_a_day_old() -> None:
    fresh = CalendarAge(name="duty", fetched_at=T0 - timedelta(hours=23), tried_at=T0, error="HTTP 503")
    assert verdict(sources=[polled()], calendars=[fresh]).findings == ()
    stale = replace(fresh, fetched_at=T0 - timedelta(days=1))
    found = only(verdict(sources=[polled()], calendars=[stale]))
    assert (found.kind, found.about, found.since, found.reason, found.red) == (
        FindingKind.CALENDAR_STALE,
        "duty",
        stale.fetched_at,
        "HTTP 503",
        True,
    )


def test_a_calendar_that_could_never_be_read_is_red_at_once() -> None:
    unread = CalendarAge(name="duty", fetched_at=None, tried_at=None, error=None)
    assert verdict(sources=[polled()], calendars=[unread]).findings == ()
    assert only(verdict(sources=[polled()], calendars=[replace(unread, error="HTTP 404")])).since is None


# ---- channels ----


def channel(**facts: Any) -> HealthReport:
    """Judge the channel dba: `state` is what is recorded of it, `pacing` its health, the rest its backlog."""
    state = ChannelState(name="dba", health=Pacing(**facts.pop("pacing", {})), **facts.pop("state", {}))
    return verdict(channels=[state], backlogs=[Backlog(channel="dba", **facts)])


def test_a_parked_channel_is_red_at_once() -> None:
    found = channel(state={"parked_since": T0, "reason": "HTTP 410"}, pacing={"failing_since": T0 - MINUTE}, parked=7)
    finding = only(found)
    assert (finding.kind, finding.since, finding.count, finding.reason) == (
        FindingKind.CHANNEL_PARKED,
        T0 - MINUTE,
        7,
        "HTTP 410",
    )


def test_a_channel_that_each_probe_parks_anew_is_parked_since_the_first_time() -> None:
    found = channel(state={"parked_since": T0, "announced_since": T0 - 75 * MINUTE}, parked=7)
    assert (only(found).since, found.channels[0].parked_since) == (T0 - 75 * MINUTE, T0 - 75 * MINUTE)
    assert channel(state={"announced_since": T0 - 75 * MINUTE}).channels[0].parked_since is None


@pytest.mark.parametrize(("age", "red"), [(5 * MINUTE - SECOND, False), (5 * MINUTE, True)])
def test_a_channel_that_delivers_nothing_is_red_after_a_while(age: timedelta, *, red: bool) -> None:
    found = channel(pacing={"failing_since": T0 - age}, pending=2, reason="HTTP 503")
    assert [(one.kind, one.count, one.reason) for one in found.findings] == [
        (FindingKind.CHANNEL_FAILING, 2, "HTTP 503")
    ] * red
    assert found.channels[0].ok is not red
    assert found.channels[0].failing_since == T0 - age


@pytest.mark.parametrize(("age", "red"), [(5 * MINUTE - SECOND, False), (5 * MINUTE, True)])
def test_long_waiting_messages_are_red_though_nothing_fails(age: timedelta, *, red: bool) -> None:
    found = channel(pending=2, pending_since=T0 - age)
    assert [(one.kind, one.since) for one in found.findings] == [(FindingKind.CHANNEL_WAITING, T0 - age)] * red


def test_dead_messages_are_red_until_somebody_handles_them() -> None:
    long_ago = T0 - timedelta(days=100)
    finding = only(channel(dead=3, dead_since=long_ago, dead_reason="HTTP 400"))
    assert (finding.kind, finding.since, finding.count, finding.reason) == (
        FindingKind.CHANNEL_DEAD,
        long_ago,
        3,
        "HTTP 400",
    )
    assert "notifier dismiss --all-dead --channel dba" in finding.commands
    assert "notifier retry --all-dead --channel dba" in finding.commands


def test_waits_that_are_over_are_not_shown() -> None:
    (dba, _) = channel(pacing={"open_until": T0 + SECOND, "paused_until": T0 - SECOND}).channels
    assert (dba.open_until, dba.paused_until) == (T0 + SECOND, None)


@pytest.mark.parametrize(
    ("name", "direct", "kind"),
    [
        ("old", True, FindingKind.CHANNEL_REMOVED),
        ("dm:U1", False, FindingKind.CHANNEL_REMOVED),
        ("dm:U1", True, FindingKind.CHANNEL_WAITING),
        ("dba", False, FindingKind.CHANNEL_WAITING),
    ],
)
def test_messages_for_a_channel_without_a_way_to_deliver_are_red(name: str, kind: FindingKind, *, direct: bool) -> None:
    waits = Backlog(channel=name, pending=4, pending_since=T0 - 5 * MINUTE)
    expected = replace(EVERYTHING, direct=direct)
    finding = only(verdict(expected, backlogs=[waits]))
    assert (finding.kind, finding.about, finding.count, finding.since) == (kind, name, 4, T0 - 5 * MINUTE)
    # Not at once: one replica may know a channel that another does not know yet.
    assert verdict(expected, backlogs=[replace(waits, pending_since=T0)]).ok


# ---- processes ----

ALL = tuple(Role)


def process(*roles: Role, seen: timedelta = timedelta(), **more: Any) -> Replica:
    values: dict[str, Any] = {"owner": "host:1:a", "started_at": T0 - timedelta(hours=9), "seen_at": T0 - seen}
    return Replica(roles=roles or ALL, **values | more)


def roles_missing(
    *replicas: Replica, expected: Expected = EVERYTHING, **facts: Any
) -> list[tuple[str, datetime | None]]:
    found = verdict(expected, replicas=replicas, **facts)
    return [(one.about, one.since) for one in found.findings if one.kind is FindingKind.ROLE_NOT_SERVED]


def test_a_process_that_reports_serves_its_roles() -> None:
    assert roles_missing(process(seen=MINUTE)) == []
    assert roles_missing(process(Role.POLL), process(Role.DELIVER), process(Role.WEB)) == []


def test_a_process_that_falls_silent_is_missed_at_once() -> None:
    """It was killed, hangs, or cannot write: a full disk shows here within a minute."""
    assert roles_missing(process(seen=61 * SECOND)) == [("poll,deliver,web", T0 - 61 * SECOND)]
    gone, there = process(seen=timedelta(hours=1)), process(Role.POLL, Role.DELIVER)
    assert roles_missing(gone, there) == [("web", T0 - timedelta(hours=1))]
    assert roles_missing(gone, process()) == []


def test_a_process_that_stopped_is_missed_when_its_work_is_due() -> None:
    stopped = process(seen=5 * MINUTE, stopped_at=T0 - 5 * MINUTE)
    assert roles_missing(stopped) == []
    late: dict[str, Any] = {
        "sources": [polled(age=5 * MINUTE)],
        "backlogs": [Backlog(channel="dba", pending_since=T0 - 5 * MINUTE)],
    }
    assert roles_missing(stopped, **late) == [("poll,deliver", T0 - 5 * MINUTE)]
    just_now = replace(stopped, seen_at=T0 - MINUTE, stopped_at=T0 - MINUTE)
    assert roles_missing(just_now, **late) == []


def test_work_without_any_process_is_missed_when_it_is_due() -> None:
    """Every process runs with `--only poll`."""
    waiting = [Backlog(channel="dba", pending=1, pending_since=T0 - 5 * MINUTE)]
    since = T0 - timedelta(hours=9)
    assert roles_missing(process(Role.POLL), backlogs=waiting) == [("deliver", since)]
    assert roles_missing(process(Role.POLL)) == []
    with_chat = replace(EVERYTHING, chat=True)
    assert roles_missing(process(Role.POLL, Role.DELIVER), expected=with_chat) == [("web", since)]


def test_a_database_without_processes_reports_no_roles() -> None:
    assert roles_missing(sources=[]) == []


def test_a_chat_without_a_connected_process_is_red_after_a_while() -> None:
    down = process(chat_down_since=T0 - 5 * MINUTE, chat_error="invalid_auth")
    finding = only(verdict(replicas=[down]))
    assert (finding.kind, finding.since, finding.reason) == (FindingKind.CHAT_DOWN, T0 - 5 * MINUTE, "invalid_auth")
    assert verdict(replicas=[down, process()]).ok
    assert verdict(replicas=[replace(down, chat_down_since=T0 - MINUTE)]).ok


# ---- whatever is recorded ----


def test_every_kind_has_its_commands() -> None:
    assert set(FINDING_COMMANDS) == set(FindingKind)


def test_a_database_that_cannot_be_used_is_one_red_finding() -> None:
    found = unavailable(T0, "the disk is full")
    assert (found.ok, only(found).kind, only(found).reason) == (False, FindingKind.DATABASE, "the disk is full")


MOMENTS = st.none() | st.integers(-10, 600).map(lambda minutes: T0 - minutes * MINUTE)
COUNTS = st.integers(0, 3)
SOURCES = st.builds(
    SourceState,
    name=st.sampled_from(["prod", "old"]),
    last_poll_at=MOMENTS,
    last_full_at=MOMENTS,
    failing_since=MOMENTS,
    refused_since=MOMENTS,
    refused_rows=COUNTS,
)
CHANNELS = st.builds(
    ChannelState,
    name=st.sampled_from(["dba", "old", "dm:U1"]),
    parked_since=MOMENTS,
    announced_since=MOMENTS,
    health=st.builds(Pacing, failing_since=MOMENTS, open_until=MOMENTS, paused_until=MOMENTS),
)
BACKLOGS = st.builds(
    Backlog,
    channel=st.sampled_from(["dba", "old", "dm:U1"]),
    pending=COUNTS,
    pending_since=MOMENTS,
    parked=COUNTS,
    dead=COUNTS,
    dead_since=MOMENTS,
)
REPLICAS = st.builds(
    Replica,
    owner=st.just("host:1:a"),
    roles=st.lists(st.sampled_from(ALL), unique=True).map(tuple),
    started_at=MOMENTS.filter(bool),
    seen_at=MOMENTS.filter(bool),
    stopped_at=MOMENTS,
    chat_down_since=MOMENTS,
)


@given(
    sources=st.lists(SOURCES, max_size=2),
    channels=st.lists(CHANNELS),
    backlogs=st.lists(BACKLOGS),
    replicas=st.lists(REPLICAS),
    chat=st.booleans(),
)
def test_whatever_is_recorded_the_parts_agree_with_the_whole(
    *,
    sources: list[SourceState],
    channels: list[ChannelState],
    backlogs: list[Backlog],
    replicas: list[Replica],
    chat: bool,
) -> None:
    expected = replace(EVERYTHING, chat=chat)
    found = verdict(expected, sources=sources, channels=channels, backlogs=backlogs, replicas=replicas)
    assert found.ok == (not any(one.red for one in found.findings))
    blamed = {one.about for one in found.findings if one.red}
    assert {source.name for source in found.sources if not source.ok} <= blamed
    assert {one.name for one in found.channels if not one.ok} <= blamed
    for one in found.findings:
        assert all(command.startswith(("notifier ", "date")) and "{" not in command for command in one.commands)


# ---- rights of parts ----


def test_a_missing_right_is_a_remark_that_names_the_action() -> None:
    right = MissingRight(
        source="prod", part=SourcePart.STARTED_BY, action="cts:trace:list", since=T0 - MINUTE, retry_at=T0
    )
    found = verdict(sources=[polled()], missing_rights=[right, replace(right, source="unconfigured")])
    assert (found.ok, only(found).kind, only(found).about, only(found).since, only(found).reason, only(found).part) == (
        True,
        FindingKind.SOURCE_RIGHT_MISSING,
        "prod",
        T0 - MINUTE,
        "cts:trace:list",
        SourcePart.STARTED_BY,
    )


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("part", SourcePart)
def test_a_missing_right_is_shown_with_its_part_and_action(language: Language, part: SourcePart) -> None:
    right = MissingRight(source="prod", part=part, action="cts:trace:list", since=T0 - MINUTE, retry_at=T0)
    found = verdict(sources=[polled()], missing_rights=[right])
    localizer = Localizer(language=language, timezone=ZoneInfo("UTC"))
    shown = HealthFormatter(health=found, localizer=localizer).finding(only(found))
    assert "cts:trace:list" in shown
    assert localizer.text(f"source_part.{part}") in shown


def test_a_right_that_stays_missing_is_tried_ever_more_slowly() -> None:
    first = MissingRight(source="prod", part=SourcePart.ALARMS, action="ces:events:list", since=T0, retry_at=T0)
    known, now, waits = None, T0, []
    for _ in range(6):
        known = refused(known, replace(first, since=now), now)
        waits.append((known.retry_at - now) // MINUTE)
        now = known.retry_at
    assert waits == [5, 10, 20, 40, 60, 60]
    assert known is not None
    assert (known.since, known.refusals) == (T0, 6)


# ---- accounts ----


def account_verdict(read_at: datetime | None, error: str | None, *rights: MissingRight) -> HealthReport:
    state = AccountState(name="acme", read_at=read_at, error=error)
    others = replace(state, name="removed")
    facts = HealthFacts(at=T0, accounts=[state, others], missing_rights=rights)
    return judge(Expected(accounts=("acme",)), facts)


def test_an_account_whose_list_was_read_is_well() -> None:
    assert account_verdict(T0, None).findings == ()


def test_an_account_that_was_never_listed_is_not_polled() -> None:
    found = account_verdict(None, "source acme: credentials rejected")
    assert (found.ok, only(found).kind, only(found).about) == (False, FindingKind.SOURCE_NOT_POLLED, "acme")
    assert only(found).reason == "source acme: credentials rejected"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_list_that_fails_later_is_a_remark_with_its_last_time(language: Language) -> None:
    found = account_verdict(T0 - MINUTE, "source acme: no connection")
    assert (found.ok, only(found).kind, only(found).since) == (True, FindingKind.SOURCE_PROJECTS_UNREAD, T0 - MINUTE)
    localizer = Localizer(language=language, timezone=ZoneInfo("UTC"))
    assert "acme" in HealthFormatter(health=found, localizer=localizer).finding(only(found))


def test_a_right_that_an_account_lacks_is_one_finding() -> None:
    right = MissingRight(
        source="acme", part=SourcePart.PROJECTS, action="iam:projects:listProjects", since=T0, retry_at=T0
    )
    found = account_verdict(T0 - MINUTE, "source acme: not allowed to list projects", right)
    assert (only(found).kind, only(found).reason) == (FindingKind.SOURCE_RIGHT_MISSING, "iam:projects:listProjects")
