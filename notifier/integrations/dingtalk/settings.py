"""Settings of a DingTalk robot."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from notifier.channels import rate_limits
from notifier.channels.rate_limits import RateLimit
from notifier.channels.settings import ChannelSettings
from notifier.integrations.dingtalk.mentions import DINGTALK_MENTION_FORMS, is_mention
from notifier.settings.explain import setting_error
from notifier.settings.types import AsciiSecret, Duration, EndpointUrl, KeyId, PlainText, Secret, url_rule


class DingTalkSettings(ChannelSettings):
    """The custom robot of a group, or the robot of an enterprise's own app and the group that it posts to."""

    channel_class = "notifier.integrations.dingtalk.channel:DingTalkChannel"
    mention_forms = DINGTALK_MENTION_FORMS
    takes_templates = True

    kind: Literal["dingtalk"] = "dingtalk"
    webhook_url: (
        Annotated[Secret, url_rule("https://oapi.dingtalk.com/robot/send?access_token=…", https_only=True)] | None
    ) = None
    """URL of a custom robot. Whoever knows its token can post, unless the robot wants more."""
    secret: AsciiSecret | None = None
    """`SEC…`, of a custom robot that wants signed requests."""
    keyword: Annotated[PlainText, Field(max_length=40)] | None = None
    """A word that each message ends with, for a custom robot that wants one."""
    app_key: KeyId | None = None
    """AppKey (Client ID) of an app, instead of `webhook_url`."""
    app_secret: AsciiSecret | None = None
    robot_code: KeyId | None = None
    """RobotCode of the app's robot."""
    conversation_id: Annotated[KeyId, Field(max_length=200)] | None = None
    """openConversationId of the group, which begins with `cid`. The robot must be in it."""
    api_url: EndpointUrl = "https://api.dingtalk.com"
    """Where the API for apps is; `https://api.dingtalk.io` outside of China."""
    digest_size: int = Field(default=50, ge=2, le=100)
    """Maximum number of events in one digest."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=30))
    """Maximum time of one attempt, with the request for an access token that an app may need."""

    @classmethod
    def accepts_mention(cls, text: str) -> bool:
        """Return whether an entry is a user id with its prefix, a mobile number or `@all`."""
        return is_mention(text)

    @property
    def limit(self) -> RateLimit:
        """DingTalk's limit for this way to post."""
        return rate_limits.rate_limit("dingtalk" if self.webhook_url else "dingtalk-app")

    @model_validator(mode="after")
    def _check_mode(self) -> DingTalkSettings:
        app = {
            "app_key": self.app_key,
            "app_secret": self.app_secret,
            "robot_code": self.robot_code,
            "conversation_id": self.conversation_id,
        }
        given = [name for name, value in app.items() if value]
        if self.webhook_url and given:
            raise setting_error(given[0], "give either webhook_url, or the keys of an app, not both")
        if not self.webhook_url and not given:
            raise setting_error(
                "webhook_url", f"is missing; give it for a custom robot, or {', '.join(app)} for the robot of an app"
            )
        if given and len(given) < len(app):
            missing = next(name for name, value in app.items() if not value)
            raise setting_error(missing, "is missing; the robot of an app needs it")
        for name in ("secret", "keyword"):
            if given and getattr(self, name):
                raise setting_error(name, "belongs to a custom robot: the robot of an app has neither")
        return self
