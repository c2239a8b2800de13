"""The section `doorbell`: who may request that sources are polled now."""

import re
from collections.abc import Collection
from datetime import timedelta
from importlib.util import find_spec
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from notifier.core.doorbell import MIN_INTERVAL
from notifier.settings.base import Settings
from notifier.settings.explain import setting_error
from notifier.settings.types import AsciiSecret, Duration, EndpointUrl, SigningSecret, TopicUrn
from notifier.settings.words import FixedMessageError

DOORBELL_EXTRA: Final = "install the extra doorbell: make extras, or pip install 'gaussdb-notifier[doorbell]'"


def _long_enough(value: SecretStr) -> SecretStr:
    """Refuse what could be guessed: a right token is accepted however many wrong ones there were."""
    if not re.fullmatch(r"[\x21-\x7e]{24,200}", value.get_secret_value()):
        raise FixedMessageError("must be of 24 characters at least; make one with: openssl rand -hex 24.")
    return value


DoorbellToken = Annotated[AsciiSecret, AfterValidator(_long_enough)]
"""A token that callers send."""


class SmnDoorbellSettings(Settings):
    """Topics of SMN whose messages ring. Needs the extra `doorbell`."""

    topics: tuple[TopicUrn, ...] = Field(min_length=1, max_length=100)
    """URNs of the topics (`urn:smn:REGION:PROJECT_ID:NAME`). Subscriptions to these, and to no other, are confirmed."""
    origins: tuple[EndpointUrl, ...] = Field(default=(), max_length=20)
    """Where SMN has its certificates and the console confirms subscriptions, for private editions. Default: the
    addresses of Huawei Cloud in the region of the topic, which these replace."""

    @model_validator(mode="after")
    def _has_its_library(self) -> Self:
        if find_spec("cryptography") is None:
            raise setting_error("topics", f"the signature of SMN cannot be verified: {DOORBELL_EXTRA}.")
        return self

    @model_validator(mode="after")
    def _each_topic_once(self) -> Self:
        if len({*self.topics}) < len(self.topics):
            raise setting_error("topics", "must be different; one is there twice.")
        return self


class DoorbellSettings(Settings):
    """Who may request that sources are polled now: `POST /doorbell/SOURCE`. Needs `web`; at least one of the three."""

    token: DoorbellToken | None = None
    """Token that callers send as `Authorization: Bearer TOKEN`, of 24 characters at least."""
    tokens: tuple[DoorbellToken, ...] = Field(default=(), max_length=20)
    """More tokens, for other callers or for a rotation."""
    secret: SigningSecret | None = None
    """Secret of Standard Webhooks with which callers sign: `whsec_` and 24 to 64 bytes in base64."""
    secrets: tuple[SigningSecret, ...] = Field(default=(), max_length=20)
    """More secrets, for a rotation."""
    smn: SmnDoorbellSettings | None = None
    min_interval: Duration = Field(default=MIN_INTERVAL, ge=timedelta(seconds=1), le=timedelta(hours=1))
    """Shortest time from the end of a poll to the next one that a ring causes. Rings within it are one."""

    @model_validator(mode="after")
    def _somebody_may_ring(self) -> Self:
        if not (self.accepted_tokens or self.accepted_secrets or self.smn):
            raise setting_error("token", "is missing or empty, and so are secret and smn: nobody could ring.")
        return self

    @property
    def accepted_tokens(self) -> tuple[str, ...]:
        """All tokens."""
        return tuple(_given(self.token, self.tokens))

    @property
    def accepted_secrets(self) -> tuple[str, ...]:
        """All secrets to verify with."""
        return tuple(_given(self.secret, self.secrets))

    @property
    def topics(self) -> tuple[str, ...]:
        """URNs of the topics that may ring."""
        return self.smn.topics if self.smn else ()


def _given(first: SecretStr | None, more: Collection[SecretStr]) -> Collection[str]:
    return [secret.get_secret_value() for secret in (first, *more) if secret]
