"""The console channel: prints events on the terminal, or into the log of the process manager."""

import asyncio
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from threading import Thread
from typing import ClassVar, Literal, TextIO

from notifier.channels.base import ChannelContext, stored_body
from notifier.channels.settings import ChannelSettings
from notifier.channels.templated import TemplatedChannel
from notifier.channels.templates import BUILT_IN, FilledTemplate
from notifier.core.delivery import Body, Delivered, Delivery, Outcome, Retry, Unknown
from notifier.core.severity import Severity
from notifier.ports import CheckResult, RenderRequest
from notifier.wording.events import EventFormatter
from notifier.wording.lines import CONTENT_TYPE, Line, Span, decode, encode, printed
from notifier.wording.localizer import Localizer
from notifier.wording.marks import quoted, split_marked, without_marks
from notifier.wording.message import Message, SummaryMessage
from notifier.wording.sanitize import DETAIL_LIMIT, cut, one_line, strip_controls
from notifier.wording.summary import SummaryFormatter
from notifier.wording.terminal import shows_colours

WRITE_SECONDS = 10.0
"""Maximum time that the terminal or the reader of a pipe may take, in seconds."""
CONSOLE_REASON_LIMIT = 2_000
"""Maximum length of a reason, in characters."""
USUAL_COLUMNS = 80
"""Width of a terminal that does not state its own, in columns."""

_INDENT = 11
"""Width of a time of day and of the mark of a state, in columns."""
_TAB = 4
_SEPARATOR = " · "
_STRONG = "bold"
_PRODUCTION = "bold reverse"
_COMMAND = re.compile(r"(`[^`]*`)")


class ConsoleSettings(ChannelSettings):
    """Where to print and how much."""

    takes_templates = True

    kind: Literal["console"] = "console"
    stream: Literal["stdout", "stderr"] = "stdout"
    style: Literal["full", "line"] = "full"
    """`full` prints a block for each event, `line` one line."""


class ConsoleChannel(TemplatedChannel[ConsoleSettings]):
    """Prints. The body is logical lines; a terminal gets them wrapped to its width, and coloured."""

    kind: ClassVar[str] = "console"
    Settings: ClassVar[type[ChannelSettings]] = ConsoleSettings
    storm_size = 1_000

    def __init__(self, settings: ConsoleSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self.body_key = (self.kind, self.context.formatter, settings.style, self.template_key)
        self._lock = asyncio.Lock()
        self._writing: Future[None] | None = None

    def escape(self, text: str) -> str:
        """Return the text: lines on a terminal have no markup."""
        return text

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the lines to print. Every line that does not begin a message is indented."""
        lines = lines_of(request, self.context.formatter, brief=self.settings.style == "line", filled=filled)
        return Body(content=encode(lines), content_type=CONTENT_TYPE)

    async def attempt(self, delivery: Delivery) -> Outcome:
        """Print in one write, in a thread, so that a blocked reader blocks nothing else.

        While one write is blocked no other begins: that keeps the order, and bounds the number of threads.
        """
        body = stored_body(delivery)
        async with self._lock:
            if self._writing and not self._writing.done():
                return Retry(f"{self.settings.stream} is still blocked by an earlier message")
            self._writing = _in_thread(partial(_write, self._stream(), body))
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


def lines_of(
    request: RenderRequest, formatter: EventFormatter, *, brief: bool, filled: FilledTemplate = BUILT_IN
) -> Iterator[Line]:
    """Yield the lines to print, each event of its own in one where they are to be brief."""
    if request.digest or request.storm:
        summary = SummaryFormatter(formatter).describe(request)
        latest = max(event.observed_at for event in request.events)
        yield from _summary(summary, formatter.localizer, latest, filled)
    else:
        for event in request.events:
            message = formatter.describe(event, request.routing)
            yield from [_brief(message, filled=filled)] if brief else _block(message, formatter.localizer, filled)


def _block(message: Message, localizer: Localizer, filled: FilledTemplate) -> Iterator[Line]:
    """Yield what happened where, why, how bad it is and what to do now, in this order."""
    what = _own_title(filled) or _happened(message)
    yield _headline(message.clock, _state(message), [*what, *_late(message.late)], _place(message))
    job = message.named_job(quoted(message.job))
    yield from _own_text(filled, job) if filled.text else _body(message, localizer, job)
    if message.severity is not Severity.INFO:
        links = {"page.link": message.page.url, "console.console": message.console_url}
        yield from _links(links | {"console.runbook": message.runbook_url}, localizer)


def _links(links: Mapping[str, str], localizer: Localizer) -> Iterator[Line]:
    """Yield the links that there are, by the phrases of their labels, each in a line that is not wrapped."""
    for name, url in links.items():
        if url:
            yield Line((Span(f"{localizer.text(name)} {url}"),), indent=_INDENT, wraps=False)


def _body(message: Message, localizer: Localizer, job: str) -> Iterator[Line]:
    for line in cut(message.reason, CONSOLE_REASON_LIMIT).expandtabs(_TAB).splitlines():
        yield Line((Span(line),), indent=_INDENT, hang=_INDENT, gutter="│ ")
    for section in message.sections:
        if section.heading:
            yield _detail([Span(section.heading, _STRONG)])
        bullet = [Span("• ")] if section.items else []
        yield from (_detail([*bullet, *_commands_in(_marked(line))]) for line in section.lines)
    texts = [message.reason_note, _SEPARATOR.join(filter(None, (*message.conditions, message.history, job)))]
    texts += [*message.notes, message.meaning]
    yield from (_detail(_marked(text)) for text in texts if text)
    if message.advice:
        yield _detail([Span(localizer.text("message.try") + " ", _STRONG), *_commands(message.advice)])


def _own_title(filled: FilledTemplate) -> list[Span]:
    """Return the headline of a template; nothing where the built-in one stays."""
    return [Span(one_line(filled.title, DETAIL_LIMIT), _STRONG)] if filled.title else []


def _own_text(filled: FilledTemplate, job: str) -> Iterator[Line]:
    """Yield the lines of a template, and the job after them."""
    lines = cut(strip_controls(filled.text or ""), CONSOLE_REASON_LIMIT).expandtabs(_TAB).split("\n")
    yield from (_detail([Span(line)]) for line in lines)
    if job:
        yield _detail(_marked(job))


def _brief(message: Message, *, indent: int = 0, place: bool = True, filled: FilledTemplate = BUILT_IN) -> Line:
    """Return everything in one line."""
    what = _own_title(filled) or _happened(message, separator=" ")
    environment = message.environment if place else ""
    why = one_line(filled.text or message.reason, DETAIL_LIMIT)
    more = [why, environment, quoted(message.job), message.late]
    parts = [span for text in more if text for span in (Span(_SEPARATOR), *_marked(text))]
    head = [Span(f"{message.clock} "), _state(message), Span(" ")]
    return Line((*head, *what, *parts), indent=indent, hang=indent + _INDENT)


def _summary(summary: SummaryMessage, localizer: Localizer, latest: datetime, filled: FilledTemplate) -> Iterator[Line]:
    """Yield a digest or a part of a storm: how much of what, then all of it."""
    lead = _SEPARATOR.join(filter(None, (summary.sentence, summary.since, summary.progress)))
    state = Span(summary.state.glyph, summary.state.tone.terminal)
    yield _headline(localizer.clock(latest), state, _own_title(filled) or _marked(lead), _place(summary), gap=" ")
    yield from _own_text(filled, "") if filled.text else _listed(summary, localizer)
    yield from _links({"page.link": summary.page.url}, localizer)


def _listed(summary: SummaryMessage, localizer: Localizer) -> Iterator[Line]:
    for reason in summary.reasons:
        code = [Span(reason.code, whole=True), Span("  ")] if reason.code else []
        named = f"{reason.operation}{localizer.text('headline.why_separator')}" if reason.operation else ""
        yield _detail([Span(f"{reason.count} "), *code, Span(named), Span(reason.reason)])
    yield from (_detail(_marked(text)) for text in (summary.more_reasons, summary.instances) if text)
    for instance in summary.tasks:
        ids = [Span(job, whole=True) for job in instance.tasks]
        listed = [part for span in ids for part in (Span(", "), span)][1:]
        yield _detail([Span(instance.name, whole=True), Span("  "), *listed])
    yield from (_brief(message, indent=_INDENT, place=False) for message in summary.events)


def _headline(clock: str, state: Span, what: Sequence[Span], place: Sequence[Span], gap: str = "  ") -> Line:
    return Line((Span(f"{clock} "), state, Span(gap), *what), hang=_INDENT, right=tuple(place))


def _state(message: Message) -> Span:
    style = message.state.tone.terminal
    return Span(f"{message.state.glyph} {message.verb.upper()}", style, whole=True)


def _happened(message: Message, separator: str = "  ") -> list[Span]:
    """Return which operation on which instance; or what happened to a source, a channel or the store."""
    if not message.operation:
        return _marked(message.sentence)
    name = [Span(message.subject, _STRONG, whole=True), Span(separator)] if message.subject else []
    return [*name, *_marked(message.detail)]


def _late(text: str) -> list[Span]:
    return [Span("  "), *_marked(text)] if text else []


def _place(message: Message | SummaryMessage) -> list[Span]:
    style = _PRODUCTION if message.production else ""
    environment = [Span(message.environment, style), Span(" ")] if message.environment else []
    return [*environment, Span(without_marks(message.origin).replace(" / ", "/"))]


def _detail(spans: Iterable[Span]) -> Line:
    return Line(tuple(spans), indent=_INDENT, hang=_INDENT)


def _marked(sentence: str) -> list[Span]:
    return [Span(part.text, whole=part.quoted) for part in split_marked(sentence)]


def _commands_in(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield spans with their commands apart."""
    for span in spans:
        yield from _commands(span.text) if "`" in span.text else [span]


def _commands(text: str) -> list[Span]:
    """Return sentences with commands in backticks, which can be copied whole."""
    return [Span(part, whole=part.startswith("`")) for part in _COMMAND.split(text) if part]


def drawn(lines: Iterable[Line], width: int | None, *, colours: bool) -> str:
    """Return lines as they are printed: wrapped to `width` columns, or each in one line where that is None."""
    shown = [spans for line in lines for spans in printed(line, width)]
    if not colours:
        return "".join("".join(span.text for span in spans).rstrip() + "\n" for spans in shown)
    from rich.console import Console  # noqa: PLC0415 - reading settings must not load it
    from rich.text import Text  # noqa: PLC0415 - as above

    console = Console(file=io.StringIO(), force_terminal=True, soft_wrap=True, highlight=False)
    with console.capture() as capture:
        for spans in shown:
            text = Text.assemble(*((span.text, span.style) for span in spans))
            text.rstrip()
            console.print(text)
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


def _write(stream: TextIO, body: Body) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(_shown(stream, body).encode(encoding, "replace").decode(encoding))
    stream.flush()


def _shown(stream: TextIO, body: Body) -> str:
    if body.content_type != CONTENT_TYPE:  # of a version that stored text without structure
        return body.content.decode()

    return drawn(decode(body.content), _width(stream), colours=shows_colours(stream))


def _width(stream: TextIO) -> int | None:
    """Return the number of columns of a terminal; None for anything else."""
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_COLUMNS
    except (OSError, ValueError):
        return USUAL_COLUMNS
