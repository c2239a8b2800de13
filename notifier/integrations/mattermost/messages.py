"""Messages of Mattermost and Rocket.Chat: a text with what happened, and attachments with the rest. Pure.

Both take incoming webhooks in Slack's older format and draw no Block Kit. The text is what notifications show, and its
length is limited; an attachment has a limit of its own, so that long lists are divided among several.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from notifier.channels.base import Json
from notifier.channels.templates import BUILT_IN, FilledTemplate
from notifier.integrations.mattermost.markdown import Markdown
from notifier.integrations.mattermost.mentions import mention_text
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.message import Fact, ListedInstance, Message, SummaryMessage
from notifier.wording.sanitize import cut, joined
from notifier.wording.summary import SummaryFormatter

PART_LIMIT = 500
"""Maximum length of a part of a line, in characters; names and ids are shorter, also when they are escaped."""
SHORT_REASON_LIMIT = 200
"""Maximum length of a reason in a list of reasons, in characters."""
QUOTE_LINES = 12
"""Maximum number of lines of a reason."""
_SEPARATOR = " · "
_TIMES = ("created_at", "ended_at")
"""Facts that are fields: a time with its zone helps readers in another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageLimits:
    """Maximum lengths of the parts of a message, in characters."""

    text: int
    attachment: int
    """Length of the text of one attachment."""


@dataclass(frozen=True, slots=True)
class MessageLayout:
    """Lays out messages in the Markdown of one server, for readers of one language."""

    markdown: Markdown
    limits: MessageLimits
    formatter: EventFormatter

    def payload(self, request: RenderRequest, filled: FilledTemplate = BUILT_IN) -> Json:
        """Return the message without the fields that the settings add."""
        mention = mention_text(request.mention)
        if request.digest or request.storm:
            return self._summary(SummaryFormatter(self.formatter).describe(request), mention, filled)
        message = self.formatter.describe(request.events[0], request.routing)
        headline = self._own_headline(message.emoji, filled.title) if filled.title else self._headline(message)
        return {"text": f"{headline} {mention}".rstrip(), "attachments": [self._attachment(message, filled)]}

    def _own_headline(self, emoji: str, title: str) -> str:
        return f"{emoji} {cut(title, PART_LIMIT)}"

    @property
    def localizer(self) -> Localizer:
        """Texts in the language of the readers."""
        return self.formatter.localizer

    # -- one event --

    def _headline(self, message: Message) -> str:
        """Return what happened where and when, in one line."""
        what = self._sentence(message.sentence, bold=True)
        parts = (
            what,
            self._environment(message),
            self._sentence(message.when),
            self._sentence(message.late, bold=True),
        )
        return f"{message.emoji} {_SEPARATOR.join(filter(None, parts))}"

    def _attachment(self, message: Message, filled: FilledTemplate) -> Json:
        """Return why, how bad it is, and what to do now, in this order; or what a template has instead."""
        about = self._about(message)
        room = self.limits.attachment - len(about) - 2
        above = [cut(filled.text, room)] if filled.text else self._body(message, room)
        fields = [self._field(fact) for fact in message.facts if fact.name in _TIMES and not filled.text]
        return {
            "fallback": self.markdown.unformatted(filled.title or message.headline.push, PART_LIMIT),
            "color": message.state.tone.colour,
            "text": "\n\n".join(filter(None, (*above, about))),
            "fields": fields,
        }

    def _body(self, message: Message, room: int) -> Sequence[str]:
        """Return the paragraphs above the last: why, and the rest of which lines may be left out."""
        why = self._reason(message.reason) if message.reason else self._sentence(message.reason_note)
        return why, "\n".join(_fitting(self._details(message), room - len(why) - 2))

    def _reason(self, reason: str) -> str:
        lines = [line for line in reason.splitlines() if line.strip()]
        quote = self.markdown.block_quote("\n".join(lines[:QUOTE_LINES]), self.limits.attachment // 2)
        left_out = len(lines) - len(quote.splitlines())
        more = self.localizer.counted("message.more_lines", left_out) if left_out else ""
        return "\n\n".join(filter(None, (quote, more)))

    def _details(self, message: Message) -> Iterator[str]:
        localizer, markdown = self.localizer, self.markdown
        yield from filter(None, [_SEPARATOR.join(map(self._sentence, message.conditions))])
        yield from map(self._sentence, message.notes)
        for name, text in (("means", message.meaning), ("try", message.advice)):
            if text:
                label = markdown.bold(localizer.text(f"message.{name}"), PART_LIMIT)
                yield f"{label} {markdown.commands(text, PART_LIMIT)}"
        if links := self._links(message.console_url, message.runbook_url):
            yield links

    def _about(self, message: Message) -> str:
        """Return where it is from, which job it is, and how often that has happened."""
        job = self.localizer.text("message.job", job=self._code(message.job)) if message.job else ""
        return _SEPARATOR.join(filter(None, (self._sentence(message.origin), job, self._plain(message.history))))

    def _field(self, fact: Fact) -> Json:
        return {"title": fact.label, "value": self._plain(fact.value), "short": True}

    # -- several --

    def _summary(self, summary: SummaryMessage, mention: str, filled: FilledTemplate) -> Json:
        """Return a digest, or a part of a storm: how much of what, why and where; and all of it in attachments."""
        first, *lines = _fitting(self._overview(summary, mention), self.limits.text)
        if filled.title:
            first = f"{self._own_headline(summary.emoji, filled.title)} {mention}".rstrip()
        if filled.text:
            return {"text": f"{first}\n{cut(filled.text, self.limits.text - len(first) - 1)}"}
        return {"text": "\n".join((first, *lines)), "attachments": [*self._groups(summary), *self._listed(summary)]}

    def _overview(self, summary: SummaryMessage, mention: str) -> Iterator[str]:
        """Yield what happened, the reasons, the instances and a link."""
        parts = (
            self._sentence(summary.sentence, bold=True),
            self._environment(summary),
            self._sentence(summary.since),
            self._sentence(summary.origin),
        )
        yield f"{summary.emoji} {_SEPARATOR.join(filter(None, parts))} {mention}".rstrip()
        for reason in summary.reasons:
            count = self.markdown.bold(reason.count, PART_LIMIT)
            named = (self._plain if reason.known else self._code)(reason.operation) if reason.operation else ""
            why = self.markdown.plain(reason.reason, SHORT_REASON_LIMIT)
            text = self.localizer.text("headline.why", head=named, why=why) if named else why
            code = self._code(reason.code) if reason.code else ""
            yield "- " + " ".join(filter(None, (count, code, text)))
        yield from map(self._sentence, filter(None, (summary.more_reasons, summary.instances)))
        if summary.console_url:
            yield self._links(summary.console_url, "")

    def _groups(self, summary: SummaryMessage) -> Iterator[Json]:
        for state, messages in groupby(summary.events, key=lambda message: message.state):
            heading = self.markdown.bold(self.localizer.text(f"verb.{state.name}").capitalize(), PART_LIMIT)
            lines = (self._item(message, summary) for message in messages)
            for text in joined((heading, *lines), self.limits.attachment):
                yield {
                    "fallback": self.markdown.unformatted(summary.push, PART_LIMIT),
                    "color": state.tone.colour,
                    "text": text,
                }

    def _item(self, message: Message, summary: SummaryMessage) -> str:
        """Return one event of a digest in one line."""
        environment = message.environment if message.environment != summary.environment else ""
        name = self._code(message.subject) if message.operation and message.subject else ""
        parts = (name, self._sentence(message.detail), self._plain(environment), self._plain(message.why))
        job = self._code(message.job) if message.job else ""
        return f"- {_SEPARATOR.join(filter(None, (*parts, job)))}"

    def _listed(self, summary: SummaryMessage) -> Iterator[Json]:
        """Yield attachments that name every task of a storm by its instance."""
        if not summary.tasks:
            return
        count = self.localizer.counted("tasks", sum(len(instance.tasks) for instance in summary.tasks))
        heading = self.markdown.bold(self.localizer.text("storm.listed", tasks=count), PART_LIMIT)
        lines = (line for instance in summary.tasks for line in self._tasks(instance))
        for text in joined((heading, *lines), self.limits.attachment):
            yield {
                "fallback": self.markdown.unformatted(summary.push, PART_LIMIT),
                "color": summary.state.tone.colour,
                "text": text,
            }

    def _tasks(self, instance: ListedInstance) -> Iterator[str]:
        """Yield the tasks of one instance in lines that fit an attachment."""
        begin = f"- {self._code(instance.name)}"
        line = begin
        for job in map(self._code, instance.tasks):
            if len(line) + 1 + len(job) > self.limits.attachment:
                yield line
                line = begin
            line += f" {job}"
        yield line

    # -- parts --

    def _environment(self, message: Message | SummaryMessage) -> str:
        if message.production:
            return self.markdown.bold(message.environment, PART_LIMIT)
        return self._plain(message.environment)

    def _links(self, console_url: str, runbook_url: str) -> str:
        urls = {"open_console": console_url, "runbook": runbook_url}
        links = (self.markdown.link(self.localizer.text(f"mail.{name}"), url) for name, url in urls.items() if url)
        return _SEPARATOR.join(links)

    def _sentence(self, sentence: str, *, bold: bool = False) -> str:
        return self.markdown.sentence(sentence, PART_LIMIT, bold=bold)

    def _plain(self, text: str) -> str:
        return self.markdown.plain(text, PART_LIMIT)

    def _code(self, text: str) -> str:
        return self.markdown.code(text, PART_LIMIT)


def _fitting(lines: Iterable[str], limit: int) -> Iterator[str]:
    """Yield the lines that fit into `limit` characters together, without those for which no room is left."""
    left = limit + 1
    for line in lines:
        if len(line) + 1 <= left:
            left -= len(line) + 1
            yield line
