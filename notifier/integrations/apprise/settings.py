"""Settings of a channel through the library Apprise."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from notifier.channels.settings import ChannelSettings
from notifier.settings.types import Duration, Secret
from notifier.settings.words import FixedMessageError

KIND_BY_SCHEME = {
    "dingtalk": "dingtalk",
    "discord": "discord",
    "feishu": "feishu",
    "gchat": "googlechat",
    "github": "github",
    "jira": "jira",
    "json": "webhook",
    "jsons": "webhook",
    "lark": "feishu",
    "mailto": "email",
    "mailtos": "email",
    "matrix": "matrix",
    "matrixs": "matrix",
    "mmost": "mattermost",
    "mmosts": "mattermost",
    "ntfy": "ntfy",
    "ntfys": "ntfy",
    "pagerduty": "pagerduty",
    "rocket": "rocketchat",
    "rockets": "rocketchat",
    "slack": "slack",
    "tgram": "telegram",
    "wecombot": "wecom",
    "workflow": "teams",
    "workflows": "teams",
}
"""Schemes of Apprise for services that have a kind of their own here, with its name."""


def _check_url(url: SecretStr) -> SecretStr:
    scheme, separator, rest = url.get_secret_value().partition("://")
    if not separator or not rest or not scheme.isascii() or not scheme.replace("+", "").isalnum():
        raise FixedMessageError("an Apprise URL begins with the name of a service, for example pover://USER@TOKEN")
    return url


class AppriseSettings(ChannelSettings):
    """One URL of Apprise. Give each receiver a channel of its own: Apprise reports one result for all of a URL."""

    channel_class = "notifier.integrations.apprise.channel:AppriseChannel"
    extra = "apprise"
    library = "apprise"
    takes_templates = True

    kind: Literal["apprise"] = "apprise"
    url: Annotated[Secret, AfterValidator(_check_url)]
    """URL in the notation of Apprise, for example `pover://USER@TOKEN`. Whoever knows it can post."""
    max_length: int = Field(default=2_000, ge=1_000, le=30_000)
    """Maximum length of a message, in characters. Apprise divides what is too long for the service."""
    digest_size: int = Field(default=20, ge=2, le=100)
    """Maximum number of events in one digest."""
    timeout: Duration = Field(default=timedelta(seconds=20), ge=timedelta(seconds=3), le=timedelta(minutes=2))
    """Maximum time of one attempt. Apprise is ended when it takes longer."""

    @property
    def scheme(self) -> str:
        """Name of the service in Apprise's notation."""
        return self.url.get_secret_value().partition("://")[0].lower()
