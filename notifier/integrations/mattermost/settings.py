"""Settings of channels to Mattermost, and to Rocket.Chat, which accepts the same webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from notifier.channels.live_settings import LiveChatSettings
from notifier.channels.settings import ChannelSettings
from notifier.integrations.mattermost.mentions import CHAT_MENTION_FORMS, is_mention
from notifier.settings.explain import setting_error
from notifier.settings.types import AsciiSecret, Duration, HttpsUrl, Secret, url_rule

WebhookUrl = Annotated[Secret, url_rule("https://chat.example.com/hooks/…", https_only=True)]
MattermostId = Annotated[str, Field(pattern=r"^[a-z0-9]{26}$")]
"""An id of Mattermost."""


class ChatWebhookSettings(ChannelSettings):
    """Settings of an incoming webhook that both chats share."""

    mention_forms = CHAT_MENTION_FORMS
    takes_templates = True
    fields_of_webhook: ClassVar[Sequence[str]]
    """Names of the settings that are fields of each message."""

    webhook_url: WebhookUrl | None
    """URL of the incoming webhook. Whoever knows it can post."""

    @classmethod
    def accepts_mention(cls, text: str) -> bool:
        """Return whether an entry is `@` and a name."""
        return is_mention(text)

    @property
    def extra_fields(self) -> dict[str, str]:
        """The fields that the kind adds to each message: those of its own settings that are given."""
        return {name: value for name in self.fields_of_webhook if (value := getattr(self, name))}


class MattermostSettings(ChatWebhookSettings, LiveChatSettings):
    """An incoming webhook: where messages appear, and as whom. Or a bot, and the channel that it posts to."""

    channel_class = "notifier.integrations.mattermost.channel:MattermostChannel"
    fields_of_webhook = ("channel", "username", "icon_url")

    kind: Literal["mattermost"] = "mattermost"
    webhook_url: WebhookUrl | None = None
    """URL of the incoming webhook. Whoever knows it can post."""
    channel: str | None = Field(default=None, max_length=64)
    """Another channel than that of the webhook, where it may post there: its name in URLs, or `@user`."""
    username: str | None = Field(default=None, max_length=64)
    """Name of the sender, where the server lets webhooks set it."""
    icon_url: str | None = Field(default=None, pattern=r"^https?://\S+$", max_length=1000)
    """Picture of the sender."""
    server_url: HttpsUrl | None = None
    """Where the server of a bot is, instead of `webhook_url`."""
    bot_token: AsciiSecret | None = None
    """Access token of the bot."""
    channel_id: MattermostId | None = None
    """The channel that the bot posts to. The bot must be in it."""

    @property
    def threads(self) -> bool:
        """Whether later events of a task belong to its first message: a webhook does not learn which one it was."""
        return not self.webhook_url and super().threads

    @property
    def live(self) -> bool:
        """Whether the first message of a task changes as the task moves."""
        return not self.webhook_url and super().live

    @model_validator(mode="after")
    def _check_mode(self) -> MattermostSettings:
        bot = {"server_url": self.server_url, "bot_token": self.bot_token, "channel_id": self.channel_id}
        given = [name for name, value in bot.items() if value]
        if self.webhook_url and given:
            raise setting_error(given[0], f"give either webhook_url, or {', '.join(bot)}, not both")
        if not self.webhook_url and not given:
            raise setting_error("webhook_url", f"is missing; give it, or {', '.join(bot)} for a bot")
        if given and len(given) < len(bot):
            raise setting_error(next(name for name, value in bot.items() if not value), "is missing; a bot needs it")
        for name in self.fields_of_webhook:
            if given and getattr(self, name):
                raise setting_error(name, "belongs to a webhook: a bot has a channel_id, and its own name and picture")
        if self.webhook_url and self.style != "post" and "style" in self.model_fields_set:
            raise setting_error("style", f"{self.style} needs a bot: a webhook does not learn the id of a message")
        return self


class RocketChatSettings(ChatWebhookSettings):
    """Settings of an incoming webhook: where messages appear, and as whom."""

    channel_class = "notifier.integrations.mattermost.rocketchat:RocketChatChannel"
    fields_of_webhook = ("channel", "alias", "emoji")

    kind: Literal["rocketchat"] = "rocketchat"
    webhook_url: WebhookUrl
    """URL of the incoming webhook. Whoever knows it can post."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=30))
    """Maximum time of one attempt."""
    channel: str | None = Field(default=None, max_length=64)
    """Another channel than that of the webhook: `#name` or `@user`."""
    alias: str | None = Field(default=None, max_length=64)
    """Name of the sender."""
    emoji: str | None = Field(default=None, pattern=r"^:[a-z0-9_+-]{1,60}:$")
    """Picture of the sender, for example `:rotating_light:`."""
