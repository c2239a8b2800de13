"""Settings of a topic of ntfy."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from notifier.channels.by_severity import BySeverity
from notifier.channels.settings import ChannelSettings
from notifier.core.severity import Severity
from notifier.settings.explain import setting_error
from notifier.settings.types import AsciiSecret, Duration, EndpointUrl, PlainText, Secret
from notifier.settings.words import FixedMessageError

NtfyPriority = Annotated[int, Field(ge=1, le=5)]

USUAL_NTFY_PRIORITIES: Mapping[Severity, int] = {
    Severity.CRITICAL: 5,
    Severity.ERROR: 4,
    Severity.WARNING: 3,
    Severity.INFO: 2,
}
"""Priorities of messages where the settings name none: 5 rings until somebody looks, 2 makes no sound."""


def _check_topic(topic: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[-_A-Za-z0-9]{1,64}", topic.get_secret_value()):
        raise FixedMessageError("must be the name of a topic: letters, digits, `-` and `_`, at most 64")
    return topic


class NtfySettings(ChannelSettings):
    """A topic of a server."""

    channel_class = "notifier.integrations.ntfy.channel:NtfyChannel"
    takes_templates = True

    kind: Literal["ntfy"] = "ntfy"
    url: EndpointUrl = "https://ntfy.sh"
    """Where the server is."""
    topic: Annotated[AsciiSecret, AfterValidator(_check_topic)]
    """Name of the topic. Where a server lets everybody in, who knows it can read and write: it counts as a secret."""
    token: AsciiSecret | None = None
    """Access token (`tk_…`) of a user who may write to the topic."""
    username: PlainText | None = None
    """Instead of a token, with a password."""
    password: Secret | None = None
    priority: BySeverity[NtfyPriority] | None = None
    """Priority of messages from 1 to 5, or one for each severity. Default: 5 for critical, 4 for error, 3 for warning,
    2 for info."""
    digest_size: int = Field(default=20, ge=2, le=100)
    """Maximum number of events in one digest: a message has little room."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=30))
    """Maximum time of one attempt."""

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        if self.token and (self.username or self.password):
            raise setting_error("token", "give either token, or username and password, not both")
        if bool(self.username) != bool(self.password):
            missing = "password" if self.username else "username"
            raise setting_error(missing, "is missing; give username and password together")
        return self
