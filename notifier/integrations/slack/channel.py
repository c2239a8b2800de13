"""A Slack channel posted to with a bot token.

A task has one message, which changes as the task moves. Each step is posted in the message's thread. A loud step that
needs care, and the end of what it reported, is shown in the channel too, because a change notifies nobody. What the
channel shows of a step that needs care is a copy of the message: it has its buttons, and changes with it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Self

import structlog

from notifier.channels import rate_limits
from notifier.channels.base import ChannelContext, Json
from notifier.channels.live_chat import LiveChat
from notifier.channels.reply_text import reply_line
from notifier.core import dispatch
from notifier.core.delivery import Delivered, Delivery, Outcome, ResendPolicy, Retry, Thread, Unknown, delivery_id
from notifier.core.identity import MessageRef
from notifier.http import AddressRefused, HttpError, ReplyTooLarge
from notifier.integrations.slack.api import SlackResponse, WebApi
from notifier.integrations.slack.errors import (
    MessageGone,
    NextPage,
    channel_verdict,
    error_text,
    find_in_history,
    history_remedy,
    remedy_of,
    scope_remedy,
    token_remedy,
)
from notifier.integrations.slack.messages import live_message, replacement_message, thread_reply
from notifier.integrations.slack.sender import SlackSender, final_outcome
from notifier.integrations.slack.settings import CHANNEL_ID, HISTORY_DELAY, SlackSettings
from notifier.integrations.slack.summaries import FIRST_PART_ROOM, PART_ROOM
from notifier.integrations.slack.webhook import SlackWebhookChannel
from notifier.ports import CheckResult
from notifier.wording.sanitize import one_line

POST_SCOPE = "chat:write"
POST_PUBLIC_SCOPE = "chat:write.public"
"""Scope with which a bot may post to a public channel without being in it."""

CLOCK_SKEW = timedelta(minutes=1)
"""Maximum time by which our clock may be ahead of Slack's. A search begins that long before the delivery's creation."""
PAGE_SIZE = 100
MAX_HISTORY_PAGES = 10
MAX_PAGE = 4 * 1024 * 1024
"""Maximum size of a page of history, in bytes: a hundred messages of the largest size."""

log = structlog.get_logger(__name__)


class SlackChannel(SlackSender, LiveChat[SlackSettings]):
    """Posts to one Slack channel with a bot token."""

    def __init__(self, settings: SlackSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self.resend_policy = ResendPolicy.RECONCILABLE if settings.can_search else ResendPolicy.UNSAFE
        self.threads = self.coalesces = settings.threads
        self.storm_room = PART_ROOM if settings.threads else FIRST_PART_ROOM
        token = settings.bot_token.get_secret_value() if settings.bot_token else ""
        self.edit_budget = sha256(token.encode()).hexdigest()[:16] if settings.live else None
        limit = rate_limits.rate_limit("slack-edit")
        self.edit_pace = replace(self.pace, per_second=limit.per_second, burst=limit.burst)
        self.clickable = bool(token) and token in context.chat_tokens
        self._api = WebApi(http=self.context.http, url=settings.api_url, token=token)
        self._channel = settings.channel or ""

    @classmethod
    def open(cls, settings: SlackSettings, context: ChannelContext) -> Self | SlackWebhookChannel:
        """Return a channel for these settings: with a bot token, or through an incoming webhook."""
        return SlackWebhookChannel(settings, context) if settings.webhook_url else cls(settings, context)

    async def attempt(self, delivery: Delivery) -> Outcome:
        """Post once: in the thread of the task where there is one, in a new message where that is gone."""
        end = self.deadline_at(self.settings.timeout.total_seconds())
        message = self.stored_message(delivery)
        if delivery.thread:
            reply = partial(self._reply, delivery, MessageRef.parse(delivery.thread))
            outcome = await self.post_with_fallback(reply, message, end)
            if not isinstance(outcome, MessageGone):
                return self._with_copy(delivery, outcome)
        outcome = await self.post_with_fallback(self._post, message, end)
        if isinstance(outcome, Delivered) and self.begins_thread(delivery):
            return replace(outcome, thread=outcome.ref)
        return final_outcome(outcome)

    async def show(self, thread: Thread) -> Outcome:
        """Change a message to its current state; post it again where it is gone."""
        end = self.deadline_at(self.settings.timeout.total_seconds())
        formatter, command = self.context.formatter, self.context.chat_command
        outcome = await self._edit(thread, thread.ref, end)
        if not isinstance(outcome, MessageGone):
            return outcome
        log.warning("slack.message_gone", msg="posting it again", channel=self.name, job=thread.event.job_id)
        key = delivery_id(self.name, thread.event.id)
        message = replacement_message(thread, key, formatter, command, self.filled_now(thread))
        outcome = await self.post_with_fallback(self._post, message, end)
        return replace(outcome, thread=outcome.ref) if isinstance(outcome, Delivered) else final_outcome(outcome)

    async def show_copy(self, thread: Thread, ref: str) -> Outcome | None:
        """Change a copy of a message to the message's current state; None where it is gone."""
        outcome = await self._edit(thread, ref, self.deadline_at(self.settings.timeout.total_seconds()))
        return None if isinstance(outcome, MessageGone) else outcome

    async def _edit(self, thread: Thread, ref: str, end: float) -> Outcome | MessageGone:
        filled = self.filled_now(thread)
        message = live_message(thread, self.context.formatter, self.context.chat_command, filled)
        outcome = await self.post_with_fallback(partial(self._change, MessageRef.parse(ref)), message, end)
        return replace(outcome, ref=None) if isinstance(outcome, Delivered) else outcome

    def _is_broadcast(self, delivery: Delivery) -> bool:
        return self.settings.broadcast and dispatch.is_broadcast(delivery)

    def _with_copy(self, delivery: Delivery, outcome: Outcome) -> Outcome:
        """Add to the outcome of a reply in a thread that the channel shows it too, and that it changes."""
        if self.edit_budget is None:
            return outcome
        is_copy = isinstance(outcome, Delivered) and self._is_broadcast(delivery) and not delivery.ends_trouble
        return replace(outcome, copy=outcome.ref) if isinstance(outcome, Delivered) and is_copy else outcome

    def reply_text(self, response: SlackResponse) -> str:
        """Return Slack's own words where the response has any, else its body."""
        text = error_text(response)
        if text:
            return reply_line(f"HTTP {response.status}", text, secrets=self.secrets)
        return super().reply_text(response)

    async def _post(self, message: Json, deadline: float) -> SlackResponse:
        return await self._api.call("chat.postMessage", deadline, message | {"channel": self._channel})

    async def _reply(self, delivery: Delivery, thread: MessageRef, message: Json, deadline: float) -> SlackResponse:
        broadcast = self._is_broadcast(delivery)
        if broadcast and not delivery.ends_trouble:
            body = message
        else:
            body = thread_reply(message, whole=broadcast or delivery.events[0].type.traits.acknowledgeable)
        place = {"channel": thread.channel, "thread_ts": thread.ts} | ({"reply_broadcast": True} if broadcast else {})
        return await self._api.call("chat.postMessage", deadline, body | place)

    async def _change(self, ref: MessageRef, message: Json, deadline: float) -> SlackResponse:
        shown = {name: message.get(name, []) for name in ("text", "blocks", "attachments")}
        return await self._api.call("chat.update", deadline, shown | {"channel": ref.channel, "ts": ref.ts})

    async def _history(
        self,
        deadline: float,
        *,
        oldest: datetime | None = None,
        thread: MessageRef | None = None,
        cursor: str = "",
        limit: int = PAGE_SIZE,
    ) -> SlackResponse:
        """Return a page of the history of the channel or of a thread, since `oldest`. Raises HttpError."""
        query = {
            "channel": thread.channel if thread else self._channel,
            "ts": thread.ts if thread else None,
            "include_all_metadata": "true",
            "limit": limit,
            "oldest": f"{oldest.timestamp():.6f}" if oldest else None,
            "cursor": cursor or None,
        }
        method = "conversations.replies" if thread else "conversations.history"
        return await self._api.call(method, deadline, query=query, max_bytes=MAX_PAGE)

    async def find_sent(self, delivery: Delivery) -> Outcome | None:
        """Search the history of the task's thread, else of the channel, for the message with the delivery's id."""
        if not self.settings.can_search:
            return Unknown("the history of a channel can be searched only when the channel is given by its ID")
        await self.context.clock.sleep(HISTORY_DELAY)
        end = self.deadline_at(self.settings.search_timeout.total_seconds())
        found: Outcome | MessageGone | None = MessageGone("no thread")
        if delivery.thread:
            found = await self._search(delivery, MessageRef.parse(delivery.thread), end)
        if isinstance(found, MessageGone):
            found = await self._search(delivery, None, end)
        if isinstance(found, Delivered):
            if found.thread:
                return self._with_copy(delivery, replace(found, thread=None))
            return replace(found, thread=found.ref) if self.begins_thread(delivery) else found
        return Unknown(found.reason) if isinstance(found, MessageGone) else found

    async def _search(self, delivery: Delivery, thread: MessageRef | None, end: float) -> Outcome | MessageGone | None:
        cursor = ""
        for _ in range(MAX_HISTORY_PAGES):
            found = await self._search_page(delivery, thread, cursor, end - self.context.clock.monotonic())
            if not isinstance(found, NextPage):
                return found
            cursor = found.cursor
        return Unknown(
            f"not among the first {MAX_HISTORY_PAGES * PAGE_SIZE} messages since it was planned, and there are more"
        )

    async def _search_page(
        self, delivery: Delivery, thread: MessageRef | None, cursor: str, deadline: float
    ) -> Outcome | NextPage | MessageGone | None:
        oldest = delivery.created_at - CLOCK_SKEW
        try:
            response = await self._history(deadline, oldest=oldest, thread=thread, cursor=cursor)
        except (AddressRefused, ReplyTooLarge) as error:
            return Unknown(str(error))
        except HttpError as error:
            return Retry(f"searching for an earlier message: {error}")
        found = find_in_history(response, delivery, self._channel, self.context.clock.now())
        return replace(found, reply=self.reply_text(response)) if isinstance(found, Retry | Unknown) else found

    async def check_slack(self, deadline: float) -> Sequence[CheckResult]:
        """Ask Slack for the bot's name and scopes, and about the channel and its history. Raises HttpError."""
        what, response = "Slack token", await self._api.call("auth.test", deadline, {})
        if not response.ok:
            return (CheckResult(ok=False, what=what, detail=response.failure, remedy=token_remedy(response.data)),)
        bot, team = (one_line(str(response.data.get(key, "?"))) for key in ("user", "team"))
        token = CheckResult(ok=True, what=what, detail=f"@{bot} in {team}")
        scopes = response.scopes
        if scopes is not None and POST_SCOPE not in scopes:
            detail, remedy = f"{POST_SCOPE} is missing", scope_remedy(POST_SCOPE)
            return token, CheckResult(ok=False, what="Slack scopes", detail=detail, remedy=remedy)
        return (token, *await self._check_channel(deadline, posts_anywhere=POST_PUBLIC_SCOPE in (scopes or ())))

    async def _check_channel(self, deadline: float, *, posts_anywhere: bool) -> Sequence[CheckResult]:
        what = "Slack channel"
        if not CHANNEL_ID.fullmatch(self._channel):
            detail = f"{self._channel} is a name: only posting tells whether the bot may post there"
            remedy = "set `channel` to its ID, for example C0123ABCD"
            return (CheckResult(ok=True, what=what, detail=detail, remedy=remedy, proven=False),)
        info = await self._api.call("conversations.info", deadline, query={"channel": self._channel})
        history = await self._history(deadline, limit=1)
        found = channel_verdict(info, history, posts_anywhere=posts_anywhere)
        detail = f"{self._channel}: {found.detail}"
        if found.error:
            return (CheckResult(ok=False, what=what, detail=detail, remedy=remedy_of(found.error)),)
        return (CheckResult(ok=True, what=what, detail=detail, proven=found.proven), self._check_history(history))

    def _check_history(self, history: SlackResponse) -> CheckResult:
        """Return whether messages can be found again. Posting works without it, but may repeat a message."""
        what = "Slack history"
        if history.ok:
            return CheckResult(ok=True, what=what, detail="posted messages can be found again")
        detail, remedy = f"{history.failure}: {_COSTS[self.on_unknown]}", history_remedy(history, self._channel)
        return CheckResult(ok=True, what=what, detail=detail, remedy=remedy, proven=False)


_COSTS = {
    "resend": "a message whose answer is lost is posted again, and may be seen twice",
    "hold": "a message whose answer is lost is held until somebody decides",
}
"""Consequence of a history that cannot be read, by `on_unknown`."""
