"""Settings of a topic of SMN."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from notifier.channels.settings import ChannelSettings
from notifier.settings.types import AsciiSecret, Duration, EndpointUrl, KeyId, TopicUrn
from notifier.settings.words import PROJECT_ID_PATTERN


class SmnSettings(ChannelSettings):
    """A topic, and the access key that publishes to it."""

    channel_class = "notifier.integrations.smn.channel:SmnChannel"
    takes_templates = True

    kind: Literal["smn"] = "smn"
    topic_urn: TopicUrn
    """URN of the topic (`urn:smn:REGION:PROJECT_ID:NAME`), which its page in the console shows."""
    access_key: KeyId
    secret_key: AsciiSecret
    security_token: AsciiSecret | None = None
    """Of a temporary access key."""
    project_id: Annotated[str, Field(pattern=PROJECT_ID_PATTERN)] | None = None
    """Project of the access key in the region of the topic. Default: that of the topic, which may be another account's
    that lets this one publish."""
    endpoint: EndpointUrl | None = None
    """Where SMN is. Default: that of the region of the topic."""
    time_to_live: Duration = Field(default=timedelta(hours=1), ge=timedelta(minutes=1), le=timedelta(days=1))
    """Time for which SMN tries to pass a message on."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=30))
    """Maximum time of one attempt."""

    @property
    def url(self) -> str:
        """URL of the API."""
        if self.endpoint:
            return self.endpoint
        region = self.topic_urn.split(":")[2]
        domain = "myhuaweicloud.eu" if region.startswith("eu-west-1") else "myhuaweicloud.com"
        return f"https://smn.{region}.{domain}"

    @property
    def project(self) -> str:
        """The project that requests name."""
        return self.project_id or self.topic_urn.split(":")[3]
