"""Settings of the channels that post to an incoming webhook of Mattermost or Rocket.Chat."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from notifier.channels.settings import ChannelSettings
from notifier.settings.base import Duration, Secret, is_loopback
from notifier.settings.explain import FixedMessageError


class ChatWebhookSettings(ChannelSettings):
    """What all chats of this kind need."""

    webhook_url: Secret
    """Of an incoming webhook. Whoever knows it can post."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=30))
    """For one attempt."""

    @field_validator("webhook_url")
    @classmethod
    def _check_webhook_url(cls, url: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(url.get_secret_value())
            scheme, host, usable = parts.scheme, parts.hostname or "", parts.port != 0
        except ValueError:
            scheme, host, usable = "", "", False
        if not usable or scheme not in ("http", "https") or not host or not url.get_secret_value().isprintable():
            raise FixedMessageError("this is not a URL; it looks like https://chat.example.com/hooks/…")
        if scheme == "http" and not is_loopback(host):
            raise FixedMessageError("must be https://: what is sent is a secret to others on the way")
        return url


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
