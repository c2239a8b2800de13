"""Channels to incoming webhooks in Slack's older format: a line of Markdown and one coloured attachment.

Mattermost and Rocket.Chat do not draw Block Kit. `payload` is pure.
"""

import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import ClassVar, TypeVar

from notifier.channels.base import PROBE_AFTER, Json, encode_json, stored_body
from notifier.channels.http_channel import (
    MISCONFIGURED,
    HttpChannel,
    address_problem,
    outcome_of_error,
    outcome_of_status,
)
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.reply_rules import known_outcome
from notifier.channels.templated import TemplatedChannel
from notifier.channels.templates import BUILT_IN, FilledTemplate
from notifier.core.delivery import Body, Delivered, Delivery, Outcome, Parked, Unknown
from notifier.core.model import Event
from notifier.http import HttpError, ReplyTooLarge
from notifier.integrations.mattermost.markdown import code, fence, plain
from notifier.integrations.mattermost.mentions import mention_text
from notifier.integrations.mattermost.settings import ChatWebhookSettings
from notifier.ports import CheckResult, RenderRequest
from notifier.wording.formatter import Message, MessageFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.sanitize import cut
from notifier.wording.states import by_severity, state_of

ATTACHMENT_LINE_LIMIT = 300
"""Maximum length of a line, in characters."""
VALUE_LIMIT = 300
"""Maximum length of the value of a field, in characters."""
_HEADINGS = 700
"""Maximum length of the headline and the headings of a digest together, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageLimits:
    """Maximum lengths of the parts of a message, in characters."""

    text: int
    """The text: one line, or the whole digest."""
    reason: int


def payload(
    request: RenderRequest, localizer: Localizer, limits: MessageLimits, filled: FilledTemplate = BUILT_IN
) -> Json:
    """Return the message without the fields that the settings add."""
    events = by_severity(request.events)
    mention = mention_text(request.mention)
    if request.digest:
        first, *lines = _digest(events, localizer, limits.text - len(mention))
        if filled.title:
            first = _own_headline(state_of(events[0]).digest_emoji, filled.title)
        if filled.text:
            lines = [cut(filled.text, limits.reason)]
        return {"text": "\n".join((f"{first} {mention}".rstrip(), *lines))}
    message = MessageFormatter(localizer).describe(events[0])
    headline = _own_headline(message.state.tone.emoji, filled.title) if filled.title else _headline(message)
    return {"text": f"{headline} {mention}".rstrip(), "attachments": [_attachment(message, limits, filled)]}


def _own_headline(emoji: str, title: str) -> str:
    return f"{emoji} {cut(title, ATTACHMENT_LINE_LIMIT)}"


def _headline(message: Message) -> str:
    label = (plain if message.known else code)(message.label, ATTACHMENT_LINE_LIMIT) if message.label else ""
    subject = code(message.subject, ATTACHMENT_LINE_LIMIT) if message.subject else ""
    return " · ".join(filter(None, (f"{message.state.tone.emoji} **{message.title}**", label, subject)))


def _attachment(message: Message, limits: MessageLimits, filled: FilledTemplate) -> Json:
    footer = code(message.job.value, ATTACHMENT_LINE_LIMIT) if message.job else ""
    origin = plain(message.origin, ATTACHMENT_LINE_LIMIT)
    about = " · ".join(filter(None, (f"{message.job.label} {footer}" if message.job else "", origin)))
    reason = f"{message.reason_label}\n{fence(message.reason, limits.reason)}\n" if message.reason else ""
    if filled.text:
        reason = f"{cut(filled.text, limits.reason)}\n\n"
    return {
        "fallback": cut(filled.title or plain(message.headline, ATTACHMENT_LINE_LIMIT), ATTACHMENT_LINE_LIMIT),
        "color": message.state.tone.colour,
        "text": f"{reason}{about}",
        "fields": [
            {"title": fact.label, "value": (code if fact.quoted else plain)(fact.value, VALUE_LIMIT), "short": True}
            for fact in message.facts
            if not filled.text
        ],
    }


def _digest(events: Sequence[Event], localizer: Localizer, limit: int) -> Iterator[str]:
    """Yield a heading for each state, and a line with the job id for each event."""
    mark = state_of(events[0]).digest_emoji
    room = min(ATTACHMENT_LINE_LIMIT, (limit - _HEADINGS) // len(events) - 1)
    formatter = MessageFormatter(localizer)
    yield f"{mark} **{plain(formatter.digest_headline(events), ATTACHMENT_LINE_LIMIT)}**"
    for state, group in groupby(events, key=state_of):
        yield f"**{localizer.text(f'verb.{state.name}').capitalize()}**"
        yield from (_line(formatter.describe(event), room) for event in group)


def _line(message: Message, room: int) -> str:
    """Return a line of at most `room` characters. The job id comes first, then the instance."""
    label = (plain if message.known else code)(message.label or message.title, ATTACHMENT_LINE_LIMIT)
    subject = code(message.subject, ATTACHMENT_LINE_LIMIT) if message.subject else ""
    job = code(message.job.value, room - 2) if message.job else ""
    for pieces in ((label, subject, job), (subject, job)):
        line = "- " + " · ".join(filter(None, pieces))
        if len(line) <= room:
            return line
    return f"- {job}" if job else f"- {plain(message.title, room - 2)}"


S = TypeVar("S", bound=ChatWebhookSettings)


class WebhookChat(TemplatedChannel[S], HttpChannel[S]):
    """Posts to an incoming webhook. A kind has the limits of a message, and the reply that accepts one."""

    limits: ClassVar[MessageLimits]

    @abstractmethod
    def accepted(self, reply: ParsedReply) -> bool:
        """Return whether a reply is the one that the server gives to a posted message, and to no other."""

    def escape(self, text: str) -> str:
        """Return the text in Markdown in which nothing is markup, a mention or a link."""
        return plain(text, self.limits.reason)

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the message as JSON. The fields of the settings are added when it is sent."""
        message = payload(request, self.context.localizer, self.limits, filled)
        return Body(content=encode_json(message), content_type="application/json")

    async def attempt(self, delivery: Delivery) -> Outcome:
        """Post once."""
        now = self.context.clock.now
        message = json.loads(stored_body(delivery).content) | self.settings.extra_fields
        try:
            json_type = {"content-type": "application/json"}
            reply = await self.exchange("POST", self._url, headers=json_type, content=encode_json(message))
        except HttpError as error:
            return self.with_reply(self._outcome_of_error(error, now()), error)
        return self.with_reply(self._outcome(ParsedReply(reply.status, reply.headers, reply.body), now()), reply)

    @property
    def _url(self) -> str:
        return self.settings.webhook_url.get_secret_value()

    def _outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        if self.accepted(reply):
            return Delivered()
        if outcome := known_outcome(self.kind, reply, now) or known_outcome("webhook", reply, now):
            return outcome
        if reply.status in MISCONFIGURED:
            return Parked(f"HTTP {reply.status}; {_NOT_VALID}", PROBE_AFTER)
        if reply.succeeded and reply.is_page:
            return Parked(f"HTTP {reply.status} with a web page; {_ELSEWHERE}", PROBE_AFTER)
        if reply.succeeded:
            return Unknown(f"HTTP {reply.status}, but not the reply of a webhook of {self.kind}")
        return outcome_of_status(reply.status, reply.headers, now)

    def _outcome_of_error(self, error: HttpError, now: datetime) -> Outcome:
        if isinstance(error, ReplyTooLarge):  # the chat never replies so much: something else does
            return self._outcome(ParsedReply(error.status, error.headers, error.body), now)
        return outcome_of_error(error, now)

    async def check(self) -> Sequence[CheckResult]:
        """Ask whether something answers. Only a message proves that it is the webhook."""
        try:
            status = await self.ask_status("GET", self._url)
        except HttpError as error:
            remedy = "check the address, the network and the proxy"
            return (CheckResult(ok=False, what=self.kind, detail=str(error), remedy=remedy),)
        # Both servers answer 404 to a GET at a webhook, as at any other address.
        if refused := address_problem(status, absent=(410,)):
            remedy = "check webhook_url"
            return (CheckResult(ok=False, what=self.kind, detail=f"HTTP {status} to GET: {refused}", remedy=remedy),)
        detail = f"answers; only a message proves that it is the webhook: notifier test-send {self.name}"
        return (CheckResult(ok=True, what=self.kind, detail=detail, proven=False),)


_NOT_VALID = "the webhook is not valid: copy its URL again or make a new one"
_ELSEWHERE = "webhook_url is the address of something else, or a login protects the server: check it from this host"
