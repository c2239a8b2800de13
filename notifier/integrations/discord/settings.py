"""Settings of a Discord channel."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from notifier.channels import rate_limits
from notifier.channels.live_settings import LiveChatSettings
from notifier.channels.rate_limits import RateLimit
from notifier.integrations.discord.mentions import DISCORD_MENTION_FORMS, is_mention
from notifier.settings.explain import setting_error
from notifier.settings.types import AsciiSecret, HttpsUrl, Secret, url_rule

Snowflake = Annotated[str, Field(pattern=r"^[0-9]{15,20}$")]
"""An id of Discord."""


class DiscordSettings(LiveChatSettings):
    """A webhook, or a bot and the channel it posts to."""

    channel_class = "notifier.integrations.discord.channel:DiscordChannel"
    mention_forms = DISCORD_MENTION_FORMS
    takes_templates = True

    kind: Literal["discord"] = "discord"
    webhook_url: Annotated[Secret, url_rule("https://discord.com/api/webhooks/…", https_only=True)] | None = None
    """URL of a webhook. Whoever knows it can post."""
    thread_id: Snowflake | None = None
    """A thread of the webhook's channel to post to. A forum needs one."""
    bot_token: AsciiSecret | None = None
    """Of a bot, instead of `webhook_url`."""
    channel_id: Snowflake | None = None
    """The channel, or the thread, that the bot posts to."""
    api_url: HttpsUrl = "https://discord.com/api/v10"
    """Where the API for bots is."""
    digest_size: int = Field(default=25, ge=2, le=100)
    """Maximum number of events in one digest: a message has little room."""

    @classmethod
    def accepts_mention(cls, text: str) -> bool:
        """Return whether an entry is the id of a user or a role with its prefix, or a word for everybody."""
        return is_mention(text)

    @property
    def limit(self) -> RateLimit:
        """Discord's limit for this way to post."""
        return rate_limits.rate_limit("discord-webhook" if self.webhook_url else "discord-bot")

    @model_validator(mode="after")
    def _check_mode(self) -> DiscordSettings:
        if self.webhook_url and (self.bot_token or self.channel_id):
            raise setting_error("webhook_url", "give either webhook_url, or bot_token and channel_id, not both")
        if not self.webhook_url and not (self.bot_token or self.channel_id):
            raise setting_error("webhook_url", "is missing; give it, or bot_token and channel_id")
        for name in ("bot_token", "channel_id"):
            if not self.webhook_url and not getattr(self, name):
                raise setting_error(name, "is missing; a bot needs it")
        if self.thread_id and not self.webhook_url:
            raise setting_error("thread_id", "belongs to a webhook: set channel_id to the id of the thread")
        if self.webhook_url and self.style == "thread":
            raise setting_error("style", "thread needs a bot: a webhook begins no threads")
        return self
