"""The base of chats over HTTP that keep one message for each task, which changes as the task moves.

Each step is posted as a short line that belongs to the message: in its thread, or as a reply. A step that needs care is
posted whole. One that is loud too, and the end of what it reported, is posted where people notice it, because a change
notifies nobody; what needs care is then a copy of the message, and changes with it.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from dataclasses import replace
from hashlib import sha256
from typing import ClassVar, TypeVar

import structlog

from notifier.channels import rate_limits
from notifier.channels.base import ChannelContext, Json, stored_body
from notifier.channels.http_chat import Asked, ChatRequest, HttpChat
from notifier.channels.live_chat import LiveChat
from notifier.channels.live_settings import LiveChatSettings
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.templates import FilledTemplate
from notifier.core import dispatch
from notifier.core.delivery import Delivered, Delivery, GaveUp, Outcome, Parked, Thread, delivery_id

S = TypeVar("S", bound=LiveChatSettings)

log = structlog.get_logger(__name__)


class EditedChat(LiveChat[S], HttpChat[S]):
    """Posts and changes messages. A stored body is one JSON object; a kind adds the address when it is sent."""

    edit_limit: ClassVar[str]
    """Table of `limits.toml` with the rate at which messages may be changed."""

    def __init__(self, settings: S, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self.threads = self.coalesces = settings.threads
        budget = sha256(f"{self.kind} {self.budget_owner}".encode()).hexdigest()[:16]
        self.edit_budget = budget if settings.live else None
        limit = rate_limits.rate_limit(self.edit_limit)
        self.edit_pace = replace(self.pace, per_second=limit.per_second, burst=limit.burst)

    @property
    @abstractmethod
    def budget_owner(self) -> str:
        """What the service limits the changes of: a bot token, or a webhook. Its hash names the budget."""

    @abstractmethod
    def post_request(self, message: Json, key: str) -> ChatRequest:
        """Return the request that posts a message. `key` is the same for each attempt."""

    @abstractmethod
    def step_request(self, ref: str, message: Json, key: str) -> ChatRequest:
        """Return the request that posts a step quietly, so that it belongs to a message."""

    @abstractmethod
    def edit_request(self, ref: str, message: Json) -> ChatRequest:
        """Return the request that changes a message. It notifies nobody."""

    @abstractmethod
    def short(self, message: Json) -> Json:
        """Return what happened alone, in one line, of a rendered message."""

    @abstractmethod
    def live_message(self, thread: Thread, filled: FilledTemplate, *, replaces: bool) -> Json:
        """Return what the message of a thread shows now. One that replaces a deleted message mentions nobody."""

    @abstractmethod
    def owns(self, ref: str) -> bool:
        """Return whether a reference is of a message that can be changed and answered here: settings change."""

    @abstractmethod
    def gone(self, reply: ParsedReply) -> bool:
        """Return whether a reply says that the message to change or to answer does not exist (any more)."""

    def loud_request(self, ref: str, message: Json, key: str) -> ChatRequest:  # noqa: ARG002 - for other kinds
        """Return the request that posts a loud step where people notice it: as a new message."""
        return self.post_request(message, key)

    # -- posting --

    def request(self, delivery: Delivery) -> ChatRequest:
        """Return the request that posts the stored message."""
        return self.post_request(json.loads(stored_body(delivery).content), delivery.id)

    async def attempt(self, delivery: Delivery) -> Outcome:
        """Post once: as a step of the task's message where there is one, as a new message where that is gone."""
        end = self.attempt_end()
        message: Json = json.loads(stored_body(delivery).content)
        if (ref := delivery.thread) and self.owns(ref):
            aloud = self.settings.broadcast and dispatch.is_broadcast(delivery)
            if aloud:
                outcome, reply = await self.ask(self.loud_request(ref, message, delivery.id), end)
            else:
                whole = delivery.events[0].type.traits.acknowledgeable or delivery.storm is not None
                step = message if whole else self.short(message)
                outcome, reply = await self.post_step(ref, step, delivery.id, end)
            if reply is None or not self.gone(reply):
                return self._with_copy(delivery, outcome) if aloud else outcome
        outcome, _ = await self.ask(self.post_request(message, delivery.id), end)
        begins = isinstance(outcome, Delivered) and self.begins_thread(delivery)
        return replace(outcome, thread=outcome.ref) if isinstance(outcome, Delivered) and begins else outcome

    async def post_step(self, ref: str, message: Json, key: str, end: float) -> Asked:
        """Post a step that belongs to a message."""
        return await self.ask(self.step_request(ref, message, key), end)

    def _with_copy(self, delivery: Delivery, outcome: Outcome) -> Outcome:
        changes = self.edit_budget is not None and not delivery.ends_trouble
        return replace(outcome, copy=outcome.ref) if isinstance(outcome, Delivered) and changes else outcome

    # -- changing --

    async def show(self, thread: Thread) -> Outcome:
        """Change a message to its current state; post it again where it is gone."""
        if not self.owns(thread.ref):
            return GaveUp("the message is in another chat")
        end, filled = self.attempt_end(), self.filled_now(thread)
        outcome, reply = await self._edit(thread.ref, self.live_message(thread, filled, replaces=False), end)
        if reply is None or not self.gone(reply):
            return outcome
        log.warning("chat.message_gone", msg="posting it again", channel=self.name, job=thread.event.job_id)
        message = self.live_message(thread, filled, replaces=True)
        key = delivery_id(self.name, f"{thread.event.id} replaces {thread.ref}")  # not a repeat of the deleted message
        outcome, _ = await self.ask(self.post_request(message, key), end)
        return replace(outcome, thread=outcome.ref) if isinstance(outcome, Delivered) else outcome

    async def show_copy(self, thread: Thread, ref: str) -> Outcome | None:
        """Change a copy of a message to the message's current state; None where it is gone."""
        if not self.owns(ref):
            return None
        message = self.live_message(thread, self.filled_now(thread), replaces=False)
        outcome, reply = await self._edit(ref, message, self.attempt_end())
        return None if reply is not None and self.gone(reply) else outcome

    async def _edit(self, ref: str, message: Json, end: float) -> Asked:
        outcome, reply = await self.ask(self.edit_request(ref, message), end)
        if isinstance(outcome, Parked) and outcome.probe_after is None:  # what posted it never comes back
            outcome = GaveUp(outcome.reason, reply=outcome.reply)
        return (replace(outcome, ref=None) if isinstance(outcome, Delivered) else outcome), reply
