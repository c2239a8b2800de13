"""Settings of a WeCom robot."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from notifier.channels.settings import ChannelSettings
from notifier.integrations.wecom.mentions import WECOM_MENTION_FORMS, is_mention
from notifier.settings.types import Duration, Secret, url_rule


class WeComSettings(ChannelSettings):
    """The robot of a group."""

    channel_class = "notifier.integrations.wecom.channel:WeComChannel"
    mention_forms = WECOM_MENTION_FORMS
    takes_templates = True

    kind: Literal["wecom"] = "wecom"
    webhook_url: Annotated[Secret, url_rule("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=…", https_only=True)]
    """URL of the robot. Whoever knows its key can post."""
    format: Literal["markdown", "markdown_v2"] = "markdown"
    """`markdown` has colours and can mention people. `markdown_v2` has neither, and shows code and quotes better; a
    message that mentions somebody is sent as `markdown` all the same."""
    digest_size: int = Field(default=20, ge=2, le=100)
    """Maximum number of events in one digest: a message has little room."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=30))
    """Maximum time of one attempt."""

    @classmethod
    def accepts_mention(cls, text: str) -> bool:
        """Return whether an entry is a user id with its prefix, a mobile number or `@all`."""
        return is_mention(text)
