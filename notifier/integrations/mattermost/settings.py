"""Settings of the channels that post to an incoming webhook of Mattermost or Rocket.Chat."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from notifier.channels.settings import ChannelSettings
from notifier.integrations.mattermost.mentions import CHAT_MENTION_FORMS, is_mention
from notifier.settings.types import Duration, Secret, url_rule


class ChatWebhookSettings(ChannelSettings):
    """Settings that both chats share."""

    mention_forms = CHAT_MENTION_FORMS
    takes_templates = True

    webhook_url: Annotated[Secret, url_rule("https://chat.example.com/hooks/…", https_only=True)]
    """URL of the incoming webhook. Whoever knows it can post."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=30))
    """Maximum time of one attempt."""

    @classmethod
    def accepts_mention(cls, text: str) -> bool:
        """Return whether an entry is `@` and a name."""
        return is_mention(text)

    @property
    def extra_fields(self) -> dict[str, str]:
        """The fields that the kind adds to each message: those of its own settings that are given."""
        own = [name for name in type(self).model_fields if name not in ChatWebhookSettings.model_fields]
        return {name: value for name in own if (value := getattr(self, name))}


class MattermostSettings(ChatWebhookSettings):
    """Settings of an incoming webhook: where messages appear, and as whom."""

    channel_class = "notifier.integrations.mattermost.channel:MattermostChannel"

    kind: Literal["mattermost"] = "mattermost"
    channel: str | None = Field(default=None, max_length=64)
    """Another channel than that of the webhook, where it may post there: its name in URLs, or `@user`."""
    username: str | None = Field(default=None, max_length=64)
    """Name of the sender, where the server lets webhooks set it."""
    icon_url: str | None = Field(default=None, pattern=r"^https?://\S+$", max_length=1000)
    """Picture of the sender."""


class RocketChatSettings(ChatWebhookSettings):
    """Settings of an incoming webhook: where messages appear, and as whom."""

    channel_class = "notifier.integrations.mattermost.rocketchat:RocketChatChannel"

    kind: Literal["rocketchat"] = "rocketchat"
    channel: str | None = Field(default=None, max_length=64)
    """Another channel than that of the webhook: `#name` or `@user`."""
    alias: str | None = Field(default=None, max_length=64)
    """Name of the sender."""
    emoji: str | None = Field(default=None, pattern=r"^:[a-z0-9_+-]{1,60}:$")
    """Picture of the sender, for example `:rotating_light:`."""
