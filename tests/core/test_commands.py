"""What people type after a slash command."""

from __future__ import annotations

import unicodedata
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core import commands
from notifier.core.commands import (
    MAX_QUERY_LENGTH,
    NARROWED_EXAMPLE,
    USAGE,
    Change,
    ChatCommand,
    CreateMute,
    DescribeInstance,
    DescribeTask,
    EndMute,
    ExtendMute,
    Failed,
    Help,
    Mistake,
    Mutes,
    OnCall,
    Recent,
    Running,
    Stats,
    Status,
    SubscribeTask,
    SubscribeToEvents,
    Subscriptions,
    TaskSelection,
    Unsubscribe,
    parse_command,
)
from notifier.core.matchers import parse_matcher, parse_matchers
from notifier.core.mute_words import MuteWords
from notifier.core.mutes import MAX_MUTE, MuteScope

A_DAY = timedelta(days=1)
NARROWS_NOTHING = (
    "duration narrows no list; fields that do are instance, instance_id, name, operation, source, environment, region,"
    " project_id and label.NAME"
)
TWO_HOURS = timedelta(hours=2)


def named(about: str) -> TaskSelection:
    return TaskSelection(about=about, text=f'"{about}"' if " " in about else about)


def narrowed(text: str, *matchers: str, about: str = "") -> TaskSelection:
    return TaskSelection(about=about, match=tuple(map(parse_matcher, matchers)), text=text)


def refused(text: str) -> str:
    """Return why a text is no matcher."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - whatever it says
        parse_matchers(text)
    return str(caught.value)


def muting(instance: str, reason: str | None = None) -> CreateMute:
    words = MuteWords(covers=(instance,), length=TWO_HOURS, reason=reason)
    return CreateMute(words=words, scope=MuteScope(instance=instance))


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("", Help()),
        ("   ", Help()),
        ("?", Help()),
        ("help", Help()),
        ("failed", Failed(within=A_DAY)),
        ("failed 90m", Failed(within=timedelta(minutes=90))),
        ("FAILED 24H", Failed(within=A_DAY)),
        ("failed\u00a07d", Failed(within=timedelta(days=7))),
        ("failed\u30002ｄ", Failed(within=timedelta(days=2))),
        ("ｆａｉｌｅｄ　２ｄ　ｐｒｏｄ", Failed(within=timedelta(days=2), tasks=named("prod"))),
        ("ｆａｉｌｅｄ", Failed(within=A_DAY)),
        ("failed 2d prod", Failed(within=timedelta(days=2), tasks=named("prod"))),
        ('failed 2d "gauss prod"', Failed(within=timedelta(days=2), tasks=named("gauss prod"))),
        ("running", Running()),
        ("running gauss-1", Running(tasks=named("gauss-1"))),
        ("recent", Recent()),
        ("recent prod", Recent(tasks=named("prod"))),
        ("failed 2d gauss prod", Failed(within=timedelta(days=2), tasks=named("gauss prod"))),
        ("running prod-*", Running(tasks=narrowed("prod-*", "instance=prod-*"))),
        ("recent instance=prod", Recent(tasks=narrowed("instance=prod", "instance=prod"))),
        (
            "failed 24h  prod-*   operation=backup",
            Failed(within=A_DAY, tasks=narrowed("prod-* operation=backup", "instance=prod-*", "operation=backup")),
        ),
        (
            "failed 1d orders backup",
            Failed(within=A_DAY, tasks=narrowed("orders backup", "operation=backup", about="orders")),
        ),
        (
            "running source in [a, b]",
            Running(tasks=narrowed("source in [a, b]", "source in [a, b]")),
        ),
        ("stats 7d prod", Stats(within=timedelta(days=7), ignored="prod")),
        ("ｓｔａｔｕｓ please", Status(ignored="please")),
        ("mutes prod", Mutes(ignored="prod")),
        ("ｔａｓｋ　３１ｂ８", DescribeTask(job_id="31b8")),
        (
            "ｍｕｔｅ　ｇａｕｓｓ－１　２ｈ　升级，勿扰",
            muting("gauss-1", reason="升级，勿扰"),
        ),
        ("task 31b8ae23", DescribeTask(job_id="31b8ae23")),
        ("task &lt;odd&gt;", DescribeTask(job_id="<odd>")),
        ("instance “gauss prod 1”", DescribeInstance(instance="gauss prod 1")),
        ("instance gauss prod 1", DescribeInstance(instance="gauss prod 1")),
        ("instance <https://db.example.com|db.example.com>", DescribeInstance(instance="db.example.com")),
        ("stats", Stats(within=timedelta(days=7))),
        ("stats 30d", Stats(within=timedelta(days=30))),
        ("watch job-1", SubscribeTask(job_id="job-1")),
        ("mute gauss-1 2h", muting("gauss-1")),
        ('mute "gauss 1" 2h resizing it', muting("gauss 1", reason="resizing it")),
        (
            "mute gauss-1 2h for <@U012AB3CD|alice>",
            muting("gauss-1", reason="for alice"),
        ),
        ("unmute gauss-1", EndMute(name="gauss-1")),
        ("unmute 7k2m", EndMute(name="7k2m")),
        ("extend 7k2m ２ｈ", ExtendMute(name="7k2m", length=TWO_HOURS)),
        ("extend gauss prod 2h", ExtendMute(name="gauss prod", length=TWO_HOURS)),
        ("subscribe prod-* failed", SubscribeToEvents(matchers="prod-* failed")),
        ("Subscribe  HERE  prod-*   failed", SubscribeToEvents(matchers="prod-* failed", here=True)),
        ("subscribe duration&gt;30m “gauss prod 1”", SubscribeToEvents(matchers='duration>30m "gauss prod 1"')),
        ("ｓｕｂｓｃｒｉｂｅ　ｈｅｒｅ　ｓｏｕｒｃｅ＝ｐｒｏｄ", SubscribeToEvents(matchers="source=prod", here=True)),
        ("subscribe instance in [a, b]", SubscribeToEvents(matchers="instance in [a, b]")),
        ("unsubscribe prod-* failed", Unsubscribe(wanted="prod-* failed")),
        ("unsubscribe ALL", Unsubscribe(wanted="")),
        ("unsubscribe here all", Unsubscribe(wanted="", here=True)),
        ("unsubscribe whatever=odd", Unsubscribe(wanted="whatever=odd")),
        ("subscriptions", Subscriptions()),
        ("mutes", Mutes()),
        ("status", Status()),
        ("oncall", OnCall()),
        ("oncall dba", OnCall(rota="dba")),
    ],
)
def test_a_command_is_read_however_it_is_typed(text: str, command: ChatCommand) -> None:
    assert parse_command(text) == command


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("faild 24h", Mistake(key="mistake.meant", given="faild", meant="failed 24h")),
        ("statu", Mistake(key="mistake.meant", given="statu", meant="status")),
        ("mut gauss 2h", Mistake(key="mistake.meant", given="mut", meant="mute gauss 2h")),
        ("ｆａｉｌｄ", Mistake(key="mistake.meant", given="ｆａｉｌｄ", meant="failed 24h")),
        ("failed 2d " + "x" * (MAX_QUERY_LENGTH + 1), Mistake(key="mistake.long", meant=USAGE["failed"])),
        ("frobnicate", Mistake(key="mistake.unknown", given="frobnicate")),
        ("failed yesterday", Mistake(key="mistake.duration", given="yesterday", meant="failed 24h")),
        ("failed 0h", Mistake(key="mistake.window", given="0h", meant="failed 24h")),
        ("stats 999w", Mistake(key="mistake.window", given="999w", meant="stats 7d")),
        ("task", Mistake(key="mistake.missing.task", meant=USAGE["task"])),
        ("instance", Mistake(key="mistake.missing.instance", meant=USAGE["instance"])),
        ("watch", Mistake(key="mistake.missing.watch", meant=USAGE["watch"])),
        (
            "failed 1d instance in []",
            Mistake(
                key="mistake.filter",
                given="the list of instance is empty; name values, for example instance in [a, b]",
                meant="failed 24h",
            ),
        ),
        (
            "failed 1d enviroment=prod",
            Mistake(
                key="mistake.filter",
                given="unknown field 'enviroment', did you mean 'environment'?",
                meant="failed 24h",
            ),
        ),
        ("running duration>30m", Mistake(key="mistake.filter", given=NARROWS_NOTHING, meant="running")),
        ("subscribe", Mistake(key="mistake.missing.subscribe", meant=USAGE["subscribe"])),
        ("subscribe here", Mistake(key="mistake.missing.subscribe", meant=USAGE["subscribe"])),
        ("unsubscribe", Mistake(key="mistake.missing.unsubscribe", meant=USAGE["unsubscribe"])),
        ("subscribe " + "x" * 301, Mistake(key="mistake.long", meant=USAGE["subscribe"])),
        (
            "subscribe status=faild",
            Mistake(
                key="mistake.filter", given="status is never 'faild'. Did you mean failed?", meant=USAGE["subscribe"]
            ),
        ),
        ("subscrib prod-*", Mistake(key="mistake.meant", given="subscrib", meant="subscribe prod-*")),
        ("mute", Mistake(key="mistake.missing.mute", meant=USAGE["mute"])),
        ("unmute", Mistake(key="mistake.missing.unmute", meant=USAGE["unmute"])),
        ("mute gauss-1", Mistake(key="mistake.missing.length", given="gauss-1", meant="mute gauss-1 2h")),
        ("mute gauss-1 soon", Mistake(key="mistake.duration", given="soon", meant="mute gauss-1 2h")),
        ("mute gauss-1 1s", Mistake(key="mistake.mute", given="1s", meant="mute gauss-1 2h")),
        ("mute nosuch=field 2h", Mistake(key="mistake.matcher", given=refused("nosuch=field"), meant=USAGE["mute"])),
        ("mute prod-* every moonday 22:00 2h", Mistake(key="mistake.every", given="moonday", meant=USAGE["mute"])),
        ("mute prod-* until dusk", Mistake(key="mistake.time", given="dusk", meant=USAGE["mute"])),
        (
            "mute prod-* operation=backup",
            Mistake(
                key="mistake.missing.length", given="prod-* operation=backup", meant="mute prod-* operation=backup 2h"
            ),
        ),
        ("extend 7k2m", Mistake(key="mistake.missing.extend", meant=USAGE["extend"])),
        ("extend 2h", Mistake(key="mistake.missing.extend", meant=USAGE["extend"])),
        ("extend 7k2m 31d", Mistake(key="mistake.mute", given="31d", meant=USAGE["extend"])),
        ("mute gauss-1 31d", Mistake(key="mistake.mute", given="31d", meant="mute gauss-1 2h")),
        ("task " + "j" * (MAX_QUERY_LENGTH + 1), Mistake(key="mistake.long", meant=USAGE["task"])),
    ],
)
def test_a_mistake_is_answered_with_what_would_be_right(text: str, mistake: Mistake) -> None:
    assert parse_command(text) == mistake


@pytest.mark.parametrize("text", [*USAGE.values(), NARROWED_EXAMPLE])
def test_every_example_is_a_command(text: str) -> None:
    assert not isinstance(parse_command(text), Mistake)


def test_only_what_others_see_is_restricted() -> None:
    changes = {name: command for name, usage in USAGE.items() if isinstance(command := parse_command(usage), Change)}
    assert {name for name, command in changes.items() if command.restricted} == {"mute", "unmute", "extend", "resolve"}
    assert changes.keys() - {"mute", "unmute", "extend", "resolve"} == {"watch", "subscribe", "unsubscribe"}
    for text in ("subscribe here failed", "unsubscribe here all"):
        command = parse_command(text)
        assert isinstance(command, SubscribeToEvents | Unsubscribe)
        assert command.restricted


@given(st.text(max_size=300))
def test_any_text_means_something(text: str) -> None:
    command = parse_command(text)
    if isinstance(command, CreateMute) and command.words.length is not None:
        assert timedelta() < command.words.length <= MAX_MUTE


@given(st.sampled_from([*USAGE]), st.text(max_size=300))
def test_whatever_follows_a_command_means_something(name: str, text: str) -> None:
    command = parse_command(f"{name} {text}")
    assert isinstance(command, commands.ChatCommand)


@given(st.sampled_from([*USAGE]), st.text(max_size=60))
def test_nothing_that_is_not_shown_reaches_a_name(name: str, text: str) -> None:
    command = parse_command(f"{name} {text}")
    wanted = next((getattr(command, field) for field in ("instance", "job_id", "name") if hasattr(command, field)), "")
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in wanted)
