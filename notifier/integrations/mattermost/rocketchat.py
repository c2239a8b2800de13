"""A Rocket.Chat channel, through an incoming webhook. Limits: docs.rocket.chat."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from notifier.channels.base import ChannelSettings
from notifier.channels.reply_rules import ParsedReply
from notifier.integrations.mattermost.webhook_chat import ChatWebhookSettings, Json, MessageLimits, WebhookChat


class RocketChatSettings(ChatWebhookSettings):
    """An incoming webhook, and how its messages are addressed."""

    kind: Literal["rocketchat"] = "rocketchat"
    channel: str | None = Field(default=None, max_length=64)
    """Another channel than the webhook's own: `#name` or `@user`."""
    alias: str | None = Field(default=None, max_length=64)
    """Who messages are from."""
    emoji: str | None = Field(default=None, pattern=r"^:[a-z0-9_+-]{1,60}:$")
    """The picture beside it, for example `:rotating_light:`."""


class RocketChatChannel(WebhookChat[RocketChatSettings]):
    """Posts to one Rocket.Chat channel."""

    kind: ClassVar[str] = "rocketchat"
    Settings: ClassVar[type[ChannelSettings]] = RocketChatSettings
    limits: ClassVar[MessageLimits] = MessageLimits(
        text=4_800, reason=3_000
    )  # a message has 5,000 at most unless configured

    def extra_fields(self) -> Json:
        """Return what the settings add to a message."""
        known = {name: getattr(self.settings, name) for name in ("channel", "alias", "emoji")}
        return {name: value for name, value in known.items() if value}

    def accepted(self, reply: ParsedReply) -> bool:
        """Tell whether Rocket.Chat posted it: its answer has a `success` that is true."""
        said = reply.data if isinstance(reply.data, dict) else {}
        return reply.status == 200 and said.get("success") is True  # noqa: PLR2004 - the only status of success there
