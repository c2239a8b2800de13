"""A Rocket.Chat channel, through an incoming webhook. Limits: docs.rocket.chat."""

from __future__ import annotations

from typing import ClassVar

from notifier.channels.reply_conditions import ParsedReply
from notifier.integrations.mattermost.settings import RocketChatSettings
from notifier.integrations.mattermost.webhook_chat import Json, MessageLimits, WebhookChat


class RocketChatChannel(WebhookChat[RocketChatSettings]):
    """Posts to one Rocket.Chat channel."""

    kind: ClassVar[str] = "rocketchat"
    limits: ClassVar[MessageLimits] = MessageLimits(
        text=4_800, reason=3_000
    )  # a message has 5,000 at most unless configured

    def extra_fields(self) -> Json:
        """Return the fields that the settings add to a message."""
        known = {name: getattr(self.settings, name) for name in ("channel", "alias", "emoji")}
        return {name: value for name, value in known.items() if value}

    def accepted(self, reply: ParsedReply) -> bool:
        """Return whether Rocket.Chat posted the message: its reply has a `success` that is true."""
        data = reply.data if isinstance(reply.data, dict) else {}
        return reply.status == 200 and data.get("success") is True  # noqa: PLR2004 - the only status of success there
