"""Settings of a Feishu or Lark bot."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from notifier.channels import rate_limits
from notifier.channels.live_settings import LiveChatSettings
from notifier.channels.rate_limits import RateLimit
from notifier.integrations.feishu.mentions import FEISHU_MENTION_FORMS, is_mention
from notifier.settings.explain import setting_error
from notifier.settings.types import AsciiSecret, EndpointUrl, KeyId, PlainText, Secret, url_rule


class FeishuSettings(LiveChatSettings):
    """The custom bot of a group, or the bot of an enterprise's own app and the group that it posts to."""

    channel_class = "notifier.integrations.feishu.channel:FeishuChannel"
    mention_forms = FEISHU_MENTION_FORMS
    takes_templates = True

    kind: Literal["feishu"] = "feishu"
    webhook_url: (
        Annotated[Secret, url_rule("https://open.feishu.cn/open-apis/bot/v2/hook/…", https_only=True)] | None
    ) = None
    """URL of a custom bot, of Feishu or of Lark. Whoever knows it can post, unless the bot wants more."""
    secret: AsciiSecret | None = None
    """Of a custom bot that wants signed requests."""
    keyword: Annotated[PlainText, Field(max_length=40)] | None = None
    """A word that each title ends with, for a custom bot that wants one."""
    app_id: KeyId | None = None
    """App ID (`cli_…`) of an app, instead of `webhook_url`."""
    app_secret: AsciiSecret | None = None
    chat_id: Annotated[KeyId, Field(max_length=100, pattern=r"^oc_[0-9a-zA-Z]+$")] | None = None
    """ID of the group (`oc_…`). The bot must be in it."""
    api_url: EndpointUrl = "https://open.feishu.cn"
    """Where the API for apps is; `https://open.larksuite.com` for Lark."""
    digest_size: int = Field(default=60, ge=2, le=100)
    """Maximum number of events in one digest."""

    @classmethod
    def accepts_mention(cls, text: str) -> bool:
        """Return whether an entry is an open id or `@all`."""
        return is_mention(text)

    @property
    def threads(self) -> bool:
        """Whether later events of a task belong to its first card: never for a custom bot, which has no threads."""
        return not self.webhook_url and super().threads

    @property
    def live(self) -> bool:
        """Whether the first card of a task changes as the task moves."""
        return not self.webhook_url and super().live

    @property
    def limit(self) -> RateLimit:
        """Feishu's limit for this way to post."""
        return rate_limits.rate_limit("feishu" if self.webhook_url else "feishu-app")

    @model_validator(mode="after")
    def _check_mode(self) -> FeishuSettings:
        app = {"app_id": self.app_id, "app_secret": self.app_secret, "chat_id": self.chat_id}
        given = [name for name, value in app.items() if value]
        if self.webhook_url and given:
            raise setting_error(given[0], "give either webhook_url, or the keys of an app, not both")
        if not self.webhook_url and not given:
            raise setting_error(
                "webhook_url", f"is missing; give it for a custom bot, or {', '.join(app)} for the bot of an app"
            )
        if given and len(given) < len(app):
            missing = next(name for name, value in app.items() if not value)
            raise setting_error(missing, "is missing; the bot of an app needs it")
        for name in ("secret", "keyword"):
            if given and getattr(self, name):
                raise setting_error(name, "belongs to a custom bot: the bot of an app has neither")
        if self.webhook_url and self.style != "post" and "style" in self.model_fields_set:
            raise setting_error("style", f"{self.style} needs an app: a custom bot does not learn the id of a message")
        return self
