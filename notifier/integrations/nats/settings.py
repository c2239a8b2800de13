"""Settings of a NATS channel."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from notifier.channels.stream_settings import Destination, StreamSettings
from notifier.settings.explain import setting_error
from notifier.settings.types import Secret


def _check_subject(subject: str) -> str:
    tokens = subject.split(".")
    if not all(tokens) or {"*", ">"} & {*tokens} or not subject.isprintable() or " " in subject:
        raise ValueError("must be a subject such as gaussdb.events: words with dots between them, without wildcards.")
    return subject


class NatsSettings(StreamSettings):
    """A subject of NATS that a stream of JetStream takes."""

    channel_class = "notifier.integrations.nats.channel:NatsChannel"
    mention_forms = "any text, as `mention` of the data"
    extra, library, default_port = "nats", "nats", 4222

    kind: Literal["nats"]
    subject: Annotated[Destination, AfterValidator(_check_subject)]
    """Subject of each message, which a stream must take. `{type}`, `{source}` and `{severity}` are filled in."""
    stream: str | None = None
    """Name of that stream, where a message that another one takes should be refused."""
    token: Secret | None = None
    """Token, in place of a user and a password."""

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        if self.token and self.username:
            raise setting_error("token", "takes the place of username and password: give one of them.")
        return self
