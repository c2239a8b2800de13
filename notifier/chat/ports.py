"""Interfaces between the chats and the responder that answers all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from notifier.chat.requests import ChatReply, ClickRequest, CommandRequest
from notifier.wording.phrases import Language

PermissionCheck = Callable[[], Awaitable[bool]]
"""Return whether the requester may make changes. Called lazily: it can cost a call of the chat's API.

Raises PermissionDenied where more than a plain no can be said.
"""


class PermissionDenied(Exception):
    """The requester may not make changes. The message is the key of the phrase that says why."""


class BadRequest(Exception):
    """A request that no chat sends: a field is missing or malformed. The message names the field."""


class Responder(Protocol):
    """Answers requests from the store, whichever chat and transport they came through."""

    async def answer(
        self, request: CommandRequest | ClickRequest, language: Language, may_change: PermissionCheck
    ) -> ChatReply | None:
        """Do what was asked for and return the reply; None where the message itself shows the result.

        Mistakes in commands and a store that fails are replies, never exceptions.
        """
