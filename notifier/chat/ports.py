"""What a door needs of the rest: somebody who handles what Slack or another chat sends, and the one room behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from notifier.chat.requests import ChatReply, ClickRequest, CommandRequest, Language

Json = dict[str, Any]
PermissionCheck = Callable[[], Awaitable[bool]]
"""Whether whoever asks may change something; asked only when that matters, for it may take a call to the chat.

Raises NotAllowed where more can be said than no.
"""


class PermissionDenied(Exception):
    """Whoever asks may not do this. The message is the key of the phrase that says why."""


class BadRequest(Exception):
    """A request that nobody's chat sends: a field is missing or is not what it should be. The message names it."""


class Responder(Protocol):
    """Answers from the store, whichever door the request came through."""

    async def answer(
        self, request: CommandRequest | ClickRequest, language: Language, may_change: PermissionCheck
    ) -> ChatReply | None:
        """Answer, and do what was asked for. None when there is nothing to say: the message itself will show it.

        Raises neither for what people write nor for a store that cannot be asked: both are told in words.
        """


class SlackRequestHandler(Protocol):
    """Handles what was proven to come from Slack, for both of its doors, within the time that Slack waits.

    `once` is what makes a request this one and no other, where it could be replayed, and None where it cannot.
    """

    async def command(self, form: Mapping[str, str], once: str | None) -> Json:
        """Answer a slash command with a message. Raises BadRequest; never StoreError: that is a reply in words."""

    async def interaction(self, payload: Json, once: str | None) -> None:
        """Take a click in; what is to be said is posted to its response_url, without waiting for that. As above."""
