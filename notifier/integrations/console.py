"""The console channel: prints events on the terminal, or into the log of the process manager."""

import asyncio
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import ClassVar, Literal, TextIO

from notifier.channels.base import BaseChannel, ChannelContext, stored_body
from notifier.channels.settings import ChannelSettings
from notifier.core.delivery import Body, Delivered, Delivery, Outcome, Retry, Unknown
from notifier.core.model import Event
from notifier.ports import CheckResult, RenderRequest
from notifier.wording.formatter import Message, MessageFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.sanitize import cut, one_line
from notifier.wording.states import STATES, by_severity, state_of

WRITE_SECONDS = 10.0
"""Maximum time that the terminal or the reader of a pipe may take, in seconds."""
CONSOLE_REASON_LIMIT = 2_000
"""Maximum length of a reason, in characters."""

_STYLES = {state.glyph: state.tone.terminal for state in STATES}
_INDENT = "    "


class ConsoleSettings(ChannelSettings):
    """Where to print and how much."""

    kind: Literal["console"] = "console"
    stream: Literal["stdout", "stderr"] = "stdout"
    style: Literal["full", "line"] = "full"
    """`full` prints a block for each event, `line` one line."""


class ConsoleChannel(BaseChannel[ConsoleSettings]):
    """Prints. The body is plain text; colours are added for a terminal alone."""

    kind: ClassVar[str] = "console"
    Settings: ClassVar[type[ChannelSettings]] = ConsoleSettings

    def __init__(self, settings: ConsoleSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self.body_key = (self.kind, context.localizer, settings.style)
        self._lock = asyncio.Lock()
        self._writing: Future[None] | None = None

    def render(self, request: RenderRequest) -> Body:
        """Return the text to print. Every line that does not begin an event is indented."""
        lines = _lines(request, self.context.localizer, brief=self.settings.style == "line")
        return Body(content=("\n".join(lines) + "\n").encode(), content_type="text/plain; charset=utf-8")

    async def send(self, delivery: Delivery) -> Outcome:
        """Print in one write, in a thread, so that a blocked reader blocks nothing else.

        While one write is blocked no other begins: that keeps the order, and bounds the number of threads.
        """
        text = stored_body(delivery).content.decode()
        async with self._lock:
            if self._writing and not self._writing.done():
                return Retry(f"{self.settings.stream} is still blocked by an earlier message")
            self._writing = _in_thread(partial(_write, self._stream(), text))
            return await self._outcome(self._writing)

    async def _outcome(self, writing: Future[None]) -> Outcome:
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await asyncio.wrap_future(writing)
        except TimeoutError:
            return Unknown(f"{self.settings.stream} accepts no more output")
        except (OSError, ValueError) as error:
            return Retry(f"cannot write to {self.settings.stream}: {getattr(error, 'strerror', None) or error}")
        return Delivered()

    async def check(self) -> Sequence[CheckResult]:
        """Return where the events will appear."""
        where = "a terminal" if self._stream().isatty() else "not a terminal: printed without colours"
        return (CheckResult(ok=True, what=f"{self.settings.stream} is open", detail=where),)

    def _stream(self) -> TextIO:
        return sys.stdout if self.settings.stream == "stdout" else sys.stderr


def _lines(request: RenderRequest, localizer: Localizer, *, brief: bool) -> Iterator[str]:
    if request.digest:
        yield from _digest(request.events, localizer)
    elif brief:
        yield from (_brief(event, localizer) for event in request.events)
    else:
        for event in request.events:
            yield from _block(MessageFormatter(localizer).describe(event))


def _block(message: Message) -> Iterator[str]:
    yield f"{message.state.glyph} {message.headline}"
    if message.facts:
        yield _INDENT + " · ".join(f"{fact.label} {fact.value}" for fact in message.facts)
    yield from (f"{_INDENT}│ {line}" for line in cut(message.reason or "", CONSOLE_REASON_LIMIT).splitlines())
    yield _INDENT + message.footer


def _brief(event: Event, localizer: Localizer) -> str:
    message = MessageFormatter(localizer).describe(event)
    moment = localizer.when(event.occurred_at or event.observed_at)
    parts = (message.headline, message.footer, one_line(message.reason or "", CONSOLE_REASON_LIMIT))
    return f"{message.state.glyph} {moment}  " + " · ".join(part for part in parts if part)


def _digest(events: Sequence[Event], localizer: Localizer) -> Iterator[str]:
    ordered = by_severity(events)
    formatter = MessageFormatter(localizer)
    yield f"{state_of(ordered[0]).glyph} {formatter.digest_headline(ordered)}"
    yield from (f"{_INDENT}{state_of(event).glyph} {formatter.digest_line(event)}" for event in ordered)


def coloured(text: str, *, terminal: bool) -> str:
    """Return the text for a terminal, each line in the colour of its leading glyph; unchanged for anything else."""
    if not terminal:
        return text
    from rich.console import Console  # noqa: PLC0415 - reading settings must not load it
    from rich.text import Text  # noqa: PLC0415 - as above

    console = Console(file=io.StringIO(), force_terminal=True, soft_wrap=True, highlight=False)
    with console.capture() as capture:
        for line in text.splitlines():
            console.print(Text(line, style=_STYLES.get(line.strip()[:1], "")))
    return capture.get()


def _in_thread(work: Callable[[], None]) -> Future[None]:
    """Run work in a daemon thread, for which neither the event loop nor the interpreter waits at a stop."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()  # running work cannot be cancelled

    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raised where the future is awaited
            future.set_exception(error)
        else:
            future.set_result(None)

    Thread(target=run, name="console", daemon=True).start()
    return future


def _write(stream: TextIO, text: str) -> None:
    from notifier.logs import shows_colours  # noqa: PLC0415 - it loads structlog

    encoding = stream.encoding or "utf-8"
    shown = coloured(text, terminal=shows_colours(stream))
    stream.write(shown.encode(encoding, "replace").decode(encoding))
    stream.flush()
