"""Settings of a webhook channel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from notifier.channels.mutual_tls import MutualTlsSettings
from notifier.channels.reply_conditions import RetryCondition, Success
from notifier.channels.templates import TemplateSetting, TemplateText
from notifier.integrations.webhook.auth_settings import WebhookAuth
from notifier.integrations.webhook.body_template import Renderer
from notifier.settings.explain import setting_error
from notifier.settings.types import Duration, HttpUrl, Secret, SigningSecret

JSON = "application/json"

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
# fmt: off
_RESERVED = frozenset((
    "connection", "content-encoding", "content-length", "content-type", "expect", "host", "keep-alive",
    "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    "webhook-id", "webhook-signature", "webhook-timestamp",
))
# fmt: on


class WebhookSettings(MutualTlsSettings):
    """Settings of a webhook channel: the receiver, how to sign, what to send and what counts as success."""

    channel_class = "notifier.integrations.webhook.channel:WebhookChannel"
    takes_templates = True
    mention_forms = "any text, as `data.mention`"

    kind: Literal["webhook"]
    url: HttpUrl
    """http or https. Treated as a secret, because many receivers put a token into it."""
    secret: SigningSecret | None = None
    """Signing secret of every request: `whsec_` and 24 to 64 bytes in base64."""
    secrets: tuple[SigningSecret, ...] = ()
    """More signing secrets, for a rotation. Every request is signed with each."""
    headers: Mapping[str, Secret] = Field(default_factory=dict)
    """Headers of every request. Their values are treated as secrets."""
    auth: WebhookAuth | None = None
    """How to prove who sends: `kind: basic`, `bearer` or `oauth2`, with their keys."""
    format: Literal["standard", "cloudevents-binary", "cloudevents-structured"] = "standard"
    """The envelope: Standard Webhooks, or CloudEvents 1.0 with its attributes in headers (binary) or all of it in the
    body (structured)."""
    body_template: TemplateSetting | None = None
    """Jinja2 template with `type`, `timestamp` and `data` of the standard body, and `headline`, one line for people.
    Values from the environment, such as a key, are put in when a message is sent and are not stored."""
    content_type: Annotated[str, Field(pattern=r"^[\w.+-]+/[\w.+-]+(; ?[\w-]+=[\w.-]+)*$")] = JSON
    """Content type of the body that the template makes. For JSON, printed text is escaped and the body is checked."""
    success: Success | None = None
    """What a reply must have to count as success. Default: 2xx, unless the body is known to mean failure."""
    retry_if: Annotated[tuple[RetryCondition, ...], Field(max_length=20)] = ()
    """Replies that mean that the message has to be sent again, whatever their status and `success`."""
    timeout: Duration = Field(default=timedelta(seconds=20), gt=timedelta(0), le=timedelta(seconds=30))
    """Maximum time of one attempt."""
    digest_above: Annotated[int, Field(ge=1)] | None = None
    """Events of one poll above which digests are sent. Default: none, because machines want each event by itself."""
    concurrency: int = Field(default=4, ge=1, le=256)

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        for name, value in headers.items():
            _check_header(name, value.get_secret_value())
        return headers

    @model_validator(mode="after")
    def _check_format(self) -> WebhookSettings:
        if self.format == "standard":
            return self
        for key in ("body_template", "templates"):
            if getattr(self, key):
                raise setting_error(key, f"makes the whole body, but format: {self.format} does: remove one.")
        if any(name.lower().startswith("ce-") for name in self.headers):
            raise setting_error("headers", "headers that begin with ce- are the attributes of a CloudEvent.")
        return self

    @model_validator(mode="after")
    def _check_template(self) -> WebhookSettings:
        if self.body_template is not None:
            Renderer(self.body_template, self.content_type).check()
        return self

    @model_validator(mode="after")
    def _check_authorization(self) -> WebhookSettings:
        if self.auth is None:
            return self
        if "authorization" in map(str.lower, self.headers):
            raise setting_error("auth", "makes the header Authorization, which is among headers too: remove one.")
        if urlsplit(self.url.get_secret_value()).username:
            raise setting_error("auth", "makes the header Authorization, and so does the user in url: remove one.")
        return self

    @classmethod
    def accepts_mention(cls, text: str) -> bool:  # noqa: ARG003 - only the receiver knows whom it can call
        """Return True: the receiver gets every entry."""
        return True

    @property
    def has_template(self) -> bool:
        """Whether `body_template` or one of `templates` makes bodies."""
        return self.body_template is not None or bool(self.templates)

    def template_problem(self, part: str, template: TemplateText) -> str | None:
        """Return why a template cannot be that of a body; see `ChannelSettings.template_problem`."""
        if part == "title":
            return "a body has no title: give the text of the whole body"
        return Renderer(template, self.content_type).syntax_problem()

    @property
    def signing_secrets(self) -> tuple[str, ...]:
        """All secrets to sign with, the main one first."""
        return tuple(secret.get_secret_value() for secret in (self.secret, *self.secrets) if secret)


def _check_header(name: str, value: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a header name")
    if name.lower() in _RESERVED:
        raise ValueError(f"the header {name} is set by the notifier and cannot be changed")
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(f"the value of the header {name} must be printable ASCII, without a line break")
