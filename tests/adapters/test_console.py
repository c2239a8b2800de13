from __future__ import annotations

import asyncio
import io
import os
import pty
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import PIPE, Popen
from typing import BinaryIO, TextIO
from zoneinfo import ZoneInfo

import pytest
from factories import (
    HOSTILE,
    hostile_event,
    make_delivery,
    make_event,
    make_events,
    make_gap,
    make_render_request,
    make_task,
)
from fakes import FakeClock

from notifier.channels.base import ChannelContext
from notifier.core.delivery import Delivered, Outcome, Retry, Unknown
from notifier.core.model import Event
from notifier.http import HttpClient
from notifier.integrations import console
from notifier.integrations.console import ConsoleChannel, ConsoleSettings, coloured
from notifier.wording.localizer import Localizer


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
    return channel.render(make_render_request(*events)).content.decode()


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


def test_a_failure_is_one_compact_block(context: ChannelContext) -> None:
    event = make_event(make_task(progress=60, fail_reason="Quota exceeded.\nAsk for more."))
    assert printed(channel(context), event) == (
        "✗ Task failed · Create instance · gauss-6568-zzh\n"
        "    Started 15 Jan 16:17:00 (UTC+8) · Ended 15 Jan 16:29:20 (UTC+8) · Ran for 12 min 20 s · Stopped at 60%"
        " · Instance status creating · Instance ID fe2bd7a6d5e34ec8a2d0f0ae3b4d3bcain14\n"
        "    │ Quota exceeded.\n"
        "    │ Ask for more.\n"
        "    Job 31b8ae23-c687-4d80-b7b4-42a66c9bb886 · prod / cn-north-4\n"
    )


def test_the_line_style_needs_one_line(context: ChannelContext) -> None:
    event = make_event(make_task(fail_reason="Quota exceeded.\nAsk for more."))
    assert printed(channel(context, style="line"), event) == (
        "✗ 15 Jan 16:29:20 (UTC+8)  Task failed · Create instance · gauss-6568-zzh"
        " · Job 31b8ae23-c687-4d80-b7b4-42a66c9bb886 · prod / cn-north-4 · Quota exceeded. Ask for more.\n"
    )


def test_a_digest_names_every_job_with_the_failures_first(context: ChannelContext) -> None:
    lines = printed(channel(context), *make_events(3)).splitlines()
    assert lines == [
        "✗ 2 tasks failed, 1 completed · source prod",
        "    ✗ Create instance · gauss-00000 · job-00000",
        "    ✗ Create instance · gauss-00002 · job-00002",
        "    ✓ Create instance · gauss-00001 · job-00001",
    ]


def test_a_gap_in_observation_is_printed_too(context: ChannelContext) -> None:
    assert printed(channel(context), make_gap()).startswith("! Gap in observation · prod\n")


@pytest.mark.parametrize("style", ["full", "line"])
@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_outside_text_cannot_begin_a_line_or_steer_the_terminal(context: ChannelContext, text: str, style: str) -> None:
    shown = printed(channel(context, style=style), hostile_event(text))
    first, *rest = shown.splitlines()
    assert first.startswith("✗ ")
    assert all(line.startswith("    ") for line in rest)
    assert not any(ord(char) < 32 and char != "\n" for char in shown)
    assert "\x1b" not in shown
    assert "\x9b" not in shown


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
    assert (out.getvalue(), err.getvalue()[:1]) == ("", "✗")


async def test_a_terminal_gets_colours(context: ChannelContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with terminal() as (stream, screen), redirect_stdout(stream):
        await sent(channel(context), make_event())
        seen = os.read(screen, 4096).decode()
    assert "\x1b[1;31m✗ Task failed" in seen


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in coloured("✗ Task failed\n", terminal=True)


def test_colours_change_no_letter_and_read_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    text = "✗ [bold]x[/bold] :smile: " + "long " * 100 + "\n    [link=http://evil.example]y[/link]\n"
    assert coloured(text, terminal=True) == text


async def test_a_terminal_that_knows_few_letters_gets_question_marks(context: ChannelContext, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as out, redirect_stdout(out):
        assert await sent(channel(context), make_event()) == Delivered()
    assert (tmp_path / "out").read_text(encoding="ascii").startswith("? Task failed")


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
