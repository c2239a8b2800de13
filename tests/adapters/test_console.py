from __future__ import annotations

import asyncio
import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from subprocess import PIPE, Popen
from typing import BinaryIO, TextIO
from zoneinfo import ZoneInfo

import pytest
from factories import (
    HOSTILE,
    T0,
    hostile_event,
    make_delivery,
    make_event,
    make_event_of,
    make_events,
    make_gap,
    make_render_request,
    make_storm,
    make_task,
)
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from notifier.channels.base import ChannelContext
from notifier.core.delivery import Body, Delivered, Outcome, Retry, Unknown
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.storms import StormGroup
from notifier.http import HttpClient
from notifier.integrations import console
from notifier.integrations.console import ConsoleChannel, ConsoleSettings, drawn, lines_of
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter
from notifier.wording.lines import Line, Span, decode, encode
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language


@pytest.fixture
async def context() -> AsyncIterator[ChannelContext]:
    http = HttpClient()
    yield ChannelContext(
        http=http, clock=FakeClock(), localizer=Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
    )
    await http.aclose()


def channel(context: ChannelContext, **settings: object) -> ConsoleChannel:
    return ConsoleChannel(ConsoleSettings.model_validate({"kind": "console", "name": "here"} | settings), context)


def printed(channel: ConsoleChannel, *events: Event) -> str:
    """Return what a pipe gets: each logical line whole."""
    return drawn(decode(channel.render(make_render_request(*events)).content), None, colours=False)


async def sent(channel: ConsoleChannel, *events: Event) -> Outcome:
    return await channel.send(make_delivery(*events, body=channel.render(make_render_request(*events))))


@contextmanager
def terminal() -> Iterator[tuple[TextIO, int]]:
    """Give the two ends of a pseudo-terminal: what programs write to, and what the person sees."""
    screen, line = pty.openpty()
    try:
        with os.fdopen(line, "w", encoding="utf-8") as stream:
            yield stream, screen
    finally:
        os.close(screen)


def in_production(**changes: object) -> Event:
    task = make_task(
        "def160ec-c3ad-4647-8520-de0a8f84474c",
        name="ResizeGaussDBV5Flavor",
        instance_name="prod-orders-01",
        instance_status="normal",
        progress=96.0,
        fail_reason="The widget of this instance refused to turn to the left.\nError code: ABC.123456.",
    )
    return make_event(task, environment="production", **changes)


def storm_request(count: int, *, opens: bool = True) -> RenderRequest:
    events = tuple(
        make_event(make_task(f"{n:08}-c3ad-4647-8520-de0a8f84474c", instance_name=f"ledger-{n % 2}"))
        for n in range(count)
    )
    group = StormGroup(code="OBS.0503", operation="BackupSnapshotGaussDBV5InInstance", count=300, reason="down")
    storm = make_storm(latest=count, groups=(group,), instances=(("ledger-0", 150), ("ledger-1", 150)))
    return RenderRequest(delivery_id="d", events=events, digest=True, storm=storm, opens_storm=opens)


# ---- what is printed ----


def test_a_failure_is_one_compact_block(context: ChannelContext) -> None:
    assert printed(channel(context), in_production()) == (
        "16:29:20 ✗ FAILED  prod-orders-01  Flavor change  PROD prod/cn-north-4\n"
        "           │ The widget of this instance refused to turn to the left.\n"
        "           │ Error code: ABC.123456.\n"
        "           Instance is normal · ran 12 min 20 s, stopped at 96% · job def160ec\n"
    )


def test_a_failure_is_one_compact_block_in_chinese(context: ChannelContext) -> None:
    chinese = replace(context, localizer=replace(context.localizer, language="zh"))
    assert printed(channel(chinese), in_production()).splitlines()[::3] == [
        "16:29:20 ✗ 失败  prod-orders-01  规格变更  生产 prod/cn-north-4",
        "           实例状态 正常 · 运行 12 分 20 秒，停在 96% · 任务 def160ec",
    ]


def test_a_block_says_what_to_do_and_links_to_it(context: ChannelContext) -> None:
    linked = replace(context, console_url="https://console.example.com/{instance_id}", runbook_url="https://w.example/")
    event = make_event(make_task(fail_reason="The quota of vCPUs is not sufficient.", instance_id="in14"))
    lines = printed(channel(linked), event).splitlines()
    assert lines[-3].startswith("           Try Free unused servers")
    assert lines[-2:] == [
        "           Console https://console.example.com/in14",
        "           Runbook https://w.example/",
    ]


def test_a_late_message_says_so_in_its_first_line(context: ChannelContext) -> None:
    late = in_production(late=True, away_since=T0 - timedelta(hours=1))
    assert "Flavor change  Reported 40 s late: the notifier was down" in printed(channel(context), late).splitlines()[0]


def test_the_line_style_needs_one_line(context: ChannelContext) -> None:
    assert printed(channel(context, style="line"), in_production()) == (
        "16:29:20 ✗ FAILED prod-orders-01 Flavor change · The widget of this instance refused to turn to the left."
        " Error code: ABC.123456. · PROD · def160ec\n"
    )


def test_a_digest_names_every_job_with_the_failures_first(context: ChannelContext) -> None:
    lines = printed(channel(context), *make_events(3)).splitlines()
    assert lines == [
        "16:30:02 ✗ 2 tasks failed, 1 completed  prod",
        "           16:29:20 ✗ FAILED gauss-00000 Instance creation · The quota of vCPUs is not enough. · job-00000",
        "           16:29:20 ✗ FAILED gauss-00002 Instance creation · The quota of vCPUs is not enough. · job-00002",
        "           16:29:20 ✓ COMPLETED gauss-00001 Instance creation · job-00001",
    ]


def test_a_storm_has_its_reasons_and_lists_tasks_by_instance(context: ChannelContext) -> None:
    lines = drawn(decode(channel(context).render(storm_request(3)).content), None, colours=False).splitlines()
    assert lines == [
        "16:30:00 ✗ 300 tasks failed within 1 min · since 16:30:00  PROD prod/cn-north-4",
        "           300 × OBS.0503  Manual backup. Down",
        "           2 instances, most: ledger-0 (150), ledger-1 (150)",
        "           ledger-0  00000000, 00000002",
        "           ledger-1  00000001",
    ]


def test_what_continues_a_storm_is_a_line_and_a_list(context: ChannelContext) -> None:
    body = channel(context).render(storm_request(2, opens=False))
    assert drawn(decode(body.content), None, colours=False).splitlines() == [
        "16:30:00 ✗ 2 of the 300 failures since 16:30:00  PROD prod/cn-north-4",
        "           ledger-0  00000000",
        "           ledger-1  00000001",
    ]


def test_a_gap_in_observation_is_printed_too(context: ChannelContext) -> None:
    assert printed(channel(context), make_gap()).startswith("16:30:00 ! NOT MONITORED  prod was not monitored from ")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", EventType)
async def test_every_event_is_printed_whole_at_every_width(
    context: ChannelContext, kind: EventType, language: Language
) -> None:
    there = replace(context, localizer=replace(context.localizer, language=language))
    for environment in ("production", "staging", ""):
        body = channel(there).render(make_render_request(replace(make_event_of(kind), environment=environment)))
        whole = drawn(decode(body.content), None, colours=False).replace("│ ", "").split()
        for width in (40, 80, 120, 200):
            lines = drawn(decode(body.content), width, colours=False).splitlines()
            assert max(map(cell_len, lines)) <= width
            words = "\n".join(lines).replace("│ ", "").split()
            assert "".join(words) == "".join(whole)
            assert words == whole or language == "zh", "no word is divided"


# ---- hostile text ----


@pytest.mark.parametrize("style", ["full", "line"])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_outside_text_cannot_begin_a_line_or_steer_the_terminal(context: ChannelContext, text: str, style: str) -> None:
    body = channel(context, style=style).render(make_render_request(hostile_event(text)))
    for width in (None, 40, 80, 120):
        shown = drawn(decode(body.content), width, colours=False)
        first, *rest = shown.splitlines()
        assert first.startswith("16:29:20 ✗ FAILED")
        assert all(line.startswith("           ") for line in rest)
        assert not any(ord(char) < 32 and char != "\n" for char in shown)
        assert not {"\x1b", "\x9b"} & set(shown)


OUTSIDE = st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | st.sampled_from(HOSTILE)


@given(OUTSIDE, st.integers(20, 200), st.sampled_from(["en", "zh"]), st.booleans())
def test_no_text_from_outside_reaches_the_left_edge(
    text: str,
    width: int,
    language: Language,
    digest: bool,  # noqa: FBT001 - drawn
) -> None:
    formatter = EventFormatter(Localizer(language=language, timezone=ZoneInfo("UTC")))
    events = (hostile_event(text), hostile_event(text)) if digest else (hostile_event(text),)
    lines = lines_of(make_render_request(*events), formatter, brief=False)
    shown = drawn(decode(encode(lines)), width, colours=False)
    assert re.match(r"\d\d:\d\d:\d\d ✗ ", shown)
    assert all(line.startswith("           ") or not line for line in shown.split("\n")[1:])


# ---- printing ----


async def test_what_is_printed_is_the_body(context: ChannelContext) -> None:
    out = io.StringIO()
    here = channel(context)
    with redirect_stdout(out):
        assert await sent(here, make_event()) == Delivered()
    assert out.getvalue() == printed(here, make_event())


async def test_it_can_print_to_the_error_stream(context: ChannelContext) -> None:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        await sent(channel(context, stream="stderr"), make_event())
    assert (out.getvalue(), err.getvalue()[:10]) == ("", "16:29:20 ✗")


async def on_terminal(context: ChannelContext, event: Event, columns: int) -> str:
    """Return what a terminal of this width receives."""
    with terminal() as (stream, screen), redirect_stdout(stream):
        fcntl.ioctl(stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        assert await sent(channel(context), event) == Delivered()
        return os.read(screen, 8192).decode().replace("\r\n", "\n")


async def test_a_terminal_gets_colours(context: ChannelContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    seen = await on_terminal(context, in_production(), 80)
    assert "\x1b[1;31m✗ FAILED\x1b[0m" in seen
    assert "\x1b[1;7mPROD\x1b[0m" in seen


@pytest.mark.parametrize("no_color", ["1", None])
async def test_a_terminal_gets_lines_of_its_width(
    context: ChannelContext, monkeypatch: pytest.MonkeyPatch, no_color: str | None
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", await on_terminal(context, in_production(), 60))
    assert plain.splitlines() == [
        "16:29:20 ✗ FAILED  prod-orders-01  Flavor change",
        "           PROD prod/cn-north-4",
        "           │ The widget of this instance refused to turn to",
        "           │ the left.",
        "           │ Error code: ABC.123456.",
        "           Instance is normal · ran 12 min 20 s, stopped at",
        "           96% · job def160ec",
    ]


async def test_a_wide_terminal_has_the_place_at_its_right_edge(
    context: ChannelContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("COLUMNS", raising=False)
    first, *_ = (await on_terminal(context, in_production(), 100)).splitlines()
    assert first == "16:29:20 ✗ FAILED  prod-orders-01  Flavor change" + "PROD prod/cn-north-4".rjust(52)


async def test_no_color_removes_colour(context: ChannelContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in await on_terminal(context, in_production(), 80)


def test_colours_change_no_letter_and_read_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    text = "✗ [bold]x[/bold] :smile: " + "long " * 100 + "[link=http://evil.example]y[/link]"
    lines = [Line((Span(text, "bold red"),))]
    assert re.sub(r"\x1b\[[0-9;]*m", "", drawn(lines, None, colours=True)) == text + "\n"


async def test_what_an_earlier_version_stored_is_printed_as_it_is(context: ChannelContext) -> None:
    out, text = io.StringIO(), "✗ Task failed · gauss-sample\n    Started 15 Jan\n"
    body = Body(content=text.encode(), content_type="text/plain; charset=utf-8")
    with redirect_stdout(out):
        assert await channel(context).send(make_delivery(body=body)) == Delivered()
    assert out.getvalue() == text


async def test_a_terminal_that_knows_few_letters_gets_question_marks(context: ChannelContext, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as out, redirect_stdout(out):
        assert await sent(channel(context), make_event()) == Delivered()
    assert (tmp_path / "out").read_text(encoding="ascii").startswith("16:29:20 ? FAILED")


async def test_a_stream_that_is_gone_is_tried_again(context: ChannelContext) -> None:
    read, write = os.pipe()
    os.close(read)
    broken = os.fdopen(write, "w", encoding="utf-8", buffering=1)
    with redirect_stdout(broken):
        assert await sent(channel(context), make_event()) == Retry("cannot write to stdout: Broken pipe")
    with pytest.raises(BrokenPipeError):
        broken.close()
    with redirect_stdout(broken):
        assert isinstance(await sent(channel(context), make_event()), Retry)


async def test_a_reader_that_stopped_reading_holds_up_nothing_else(context: ChannelContext) -> None:
    read, write = os.pipe()
    with closing(os.fdopen(read, "rb")) as reader, os.fdopen(write, "w", encoding="utf-8") as stream:
        with redirect_stdout(stream):
            big = make_events(2000)
            writing = asyncio.create_task(sent(channel(context), *big))
            await asyncio.sleep(0)
            assert not writing.done()
        size = len(printed(channel(context), *big).encode())
        assert len(await asyncio.to_thread(reader.read, size)) == size
        assert await writing == Delivered()


@contextmanager
def unread() -> Iterator[tuple[TextIO, BinaryIO]]:
    """Give the two ends of a pipe that nobody reads yet."""
    read, write = os.pipe()
    with os.fdopen(write, "w", encoding="utf-8") as stream, os.fdopen(read, "rb") as reader:
        yield stream, reader


def writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "console"]


async def test_a_stuck_write_blocks_other_writes_and_nothing_else(
    context: ChannelContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "WRITE_SECONDS", 0.05)
    here, big = channel(context, concurrency=4), make_events(2000)
    with unread() as (stream, reader), redirect_stdout(stream):
        first, *others = await asyncio.gather(*(sent(here, *big) for _ in range(4)))
        assert first == Unknown("stdout accepts no more output")
        assert [*others, await sent(here, make_event())] == [Retry("stdout is still blocked by an earlier message")] * 4
        (stuck,) = writers()
        assert len(await asyncio.gather(*(asyncio.to_thread(int) for _ in range(40)))) == 40
        await asyncio.to_thread(reader.read, len(printed(here, *big).encode()))
        await asyncio.to_thread(stuck.join)
        assert await sent(here, make_event()) == Delivered()


async def stop_while_stuck() -> None:
    """Run in a process of its own: print more than its reader takes, and end."""
    localizer = Localizer(language="en", timezone=ZoneInfo("UTC"))
    console.WRITE_SECONDS = 0.05
    async with aclosing(HttpClient()) as http:
        here = channel(ChannelContext(http=http, clock=FakeClock(), localizer=localizer))
        assert isinstance(await sent(here, *make_events(2000)), Unknown)
        await here.aclose()


def test_a_stop_waits_for_no_write_that_is_stuck() -> None:
    tests = Path(__file__).parent
    program = "import asyncio, test_console; asyncio.run(test_console.stop_while_stuck())"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tests), str(tests.parent)))}
    with Popen([sys.executable, "-c", program], env=environ, stdout=PIPE) as running:  # noqa: S603 - our own
        assert running.wait(60) == 0


async def test_a_check_names_where_events_will_appear(context: ChannelContext) -> None:
    with redirect_stdout(io.StringIO()):
        (finding,) = await channel(context).check()
    assert finding.ok
    assert finding.detail == "not a terminal: printed without colours"
