"""The part that both ways to post to Slack share: the message, its plain form, and what a response means."""

import json
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import ClassVar

import structlog

from notifier.channels.base import Json, json_body, stored_body
from notifier.channels.http_channel import HttpChannel
from notifier.channels.reply_conditions import decompressed
from notifier.channels.reply_text import http_reply
from notifier.channels.templated import TemplatedChannel
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Body, Delivery, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.http import AddressRefused, HttpError, NotSent
from notifier.integrations.slack.api import SlackResponse
from notifier.integrations.slack.errors import SLACK_PROBE_AFTER, ContentRefused, MessageGone, outcome_of
from notifier.integrations.slack.messages import event_message, plain_text_message, without_buttons
from notifier.integrations.slack.settings import SlackSettings
from notifier.integrations.slack.summaries import FIRST_PART_ROOM, PART_SIZE
from notifier.integrations.slack.templates import inert
from notifier.ports import CheckResult, RenderRequest

log = structlog.get_logger(__name__)

SendCall = Callable[[Json, float], Awaitable[SlackResponse]]
"""Send a message within a number of seconds. Raises HttpError."""


class SlackSender(TemplatedChannel[SlackSettings], HttpChannel[SlackSettings]):
    """Base of the channels that post to Slack."""

    kind: ClassVar[str] = "slack"
    storm_size = PART_SIZE
    storm_room = FIRST_PART_ROOM
    clickable = False
    """Whether clicks on the buttons of a message reach this program."""

    def escape(self, text: str) -> str:
        """Return the text as markup in which nothing is styled, a mention or a link."""
        return inert(text)

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the message as JSON, without its address, which is added when it is sent."""
        message = event_message(request, self.context.formatter, self.context.chat_command, filled)
        return json_body(message)

    def stored_message(self, delivery: Delivery) -> Json:
        """Return the message that was rendered for a delivery."""
        message: Json = json.loads(stored_body(delivery).content)
        return message

    def deadline_at(self, seconds: float) -> float:
        """Return the end of a time that begins now, by the monotonic clock."""
        return self.context.clock.monotonic() + seconds

    async def post_with_fallback(self, call: SendCall, message: Json, end: float) -> Outcome | MessageGone:
        """Send a message; once more as plain text where Slack refuses the layout."""
        message = message if self.clickable else without_buttons(message)
        outcome = await self._exchange(call, message, end)
        if isinstance(outcome, ContentRefused):
            log.warning("slack.layout_refused", msg="sending plain text", channel=self.name, reason=outcome.reason)
            outcome = await self._exchange(call, plain_text_message(message), end)
        if isinstance(outcome, ContentRefused):
            return GaveUp(f"{outcome.reason}, also as plain text", reply=outcome.reply)
        return outcome

    async def _exchange(self, call: SendCall, message: Json, end: float) -> Outcome | ContentRefused | MessageGone:
        clock = self.context.clock
        try:
            response = await call(message, end - clock.monotonic())
        except HttpError as error:
            return self.with_reply(_outcome_of_error(error), error)
        return replace(self.meaning_of(response), reply=self.reply_text(response))

    def meaning_of(self, response: SlackResponse) -> Outcome | ContentRefused | MessageGone:
        """Return what a response means for the message."""
        return outcome_of(response, self.context.clock.now())

    def reply_text(self, response: SlackResponse) -> str:
        """Return a response as text that can be stored and shown, without our secrets."""
        content_type = response.headers.get("content-type", "")
        body = decompressed(response.body, response.headers.get("content-encoding", ""))
        return http_reply(response.status, body, content_type, secrets=self.secrets)

    async def check(self) -> Sequence[CheckResult]:
        """Prove that posting could work, without posting."""
        try:
            return await self.check_slack(self.settings.timeout.total_seconds())
        except HttpError as error:
            remedy = "check the address, the network and the proxy"
            return (CheckResult(ok=False, what="Slack", detail=str(error), remedy=remedy),)

    @abstractmethod
    async def check_slack(self, deadline: float) -> Sequence[CheckResult]:
        """See `check`. Raises HttpError."""


def final_outcome(outcome: Outcome | MessageGone) -> Outcome:
    """Return the outcome of a post, for which a missing message is final."""
    return GaveUp(outcome.reason, reply=outcome.reply) if isinstance(outcome, MessageGone) else outcome


def _outcome_of_error(error: HttpError) -> Outcome:
    if isinstance(error, AddressRefused):
        return Parked(str(error), SLACK_PROBE_AFTER)
    return Retry(str(error)) if isinstance(error, NotSent) else Unknown(str(error))
