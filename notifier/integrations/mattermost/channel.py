"""A Mattermost channel, through an incoming webhook. Limits: developers.mattermost.com."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from notifier.channels.base import ChannelSettings
from notifier.channels.reply_rules import ParsedReply
from notifier.integrations.mattermost.webhook_chat import ChatWebhookSettings, Json, MessageLimits, WebhookChat


class MattermostSettings(ChatWebhookSettings):
    """An incoming webhook, and how its messages are addressed."""

    kind: Literal["mattermost"] = "mattermost"
    channel: str | None = Field(default=None, max_length=64)
    """Another channel than the webhook's own, where the webhook may: its name in URLs, or `@user`."""
    username: str | None = Field(default=None, max_length=64)
    """Who messages are from, where the server lets webhooks say so."""
    icon_url: str | None = Field(default=None, pattern=r"^https?://\S+$", max_length=1000)
    """The picture beside it."""


class MattermostChannel(WebhookChat[MattermostSettings]):
    """Posts to one Mattermost channel."""

    kind: ClassVar[str] = "mattermost"
    Settings: ClassVar[type[ChannelSettings]] = MattermostSettings
    limits: ClassVar[MessageLimits] = MessageLimits(text=14_000, reason=6_000)  # a post has 16,383 characters at most

    def extra_fields(self) -> Json:
        """Return what the settings add to a message."""
        known = {name: getattr(self.settings, name) for name in ("channel", "username", "icon_url")}
        return {name: value for name, value in known.items() if value}

    def accepted(self, reply: ParsedReply) -> bool:
        """Tell whether Mattermost posted it: its answer is `ok` and nothing else."""
        return reply.status == 200 and reply.text == "ok"  # noqa: PLR2004 - the only status of success there
