"""Settings of the channels that post to an incoming webhook of Mattermost or Rocket.Chat."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from notifier.channels.settings import ChannelSettings
from notifier.settings.types import Duration, Secret, url_rule


class ChatWebhookSettings(ChannelSettings):
    """What all chats of this kind need."""

    webhook_url: Annotated[Secret, url_rule("https://chat.example.com/hooks/…", https_only=True)]
    """Of an incoming webhook. Whoever knows it can post."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=30))
    """For one attempt."""


class MattermostSettings(ChatWebhookSettings):
    """An incoming webhook, and how its messages are addressed."""

    channel_class = "notifier.integrations.mattermost.channel:MattermostChannel"

    kind: Literal["mattermost"] = "mattermost"
    channel: str | None = Field(default=None, max_length=64)
    """Another channel than the webhook's own, where the webhook may: its name in URLs, or `@user`."""
    username: str | None = Field(default=None, max_length=64)
    """Who messages are from, where the server lets webhooks say so."""
    icon_url: str | None = Field(default=None, pattern=r"^https?://\S+$", max_length=1000)
    """The picture beside it."""


class RocketChatSettings(ChatWebhookSettings):
    """An incoming webhook, and how its messages are addressed."""

    channel_class = "notifier.integrations.mattermost.rocketchat:RocketChatChannel"

    kind: Literal["rocketchat"] = "rocketchat"
    channel: str | None = Field(default=None, max_length=64)
    """Another channel than the webhook's own: `#name` or `@user`."""
    alias: str | None = Field(default=None, max_length=64)
    """Who messages are from."""
    emoji: str | None = Field(default=None, pattern=r"^:[a-z0-9_+-]{1,60}:$")
    """The picture beside it, for example `:rotating_light:`."""
