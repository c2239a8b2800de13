"""How a webhook channel proves who it is, besides a client's certificate. Light: no network library is imported."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from notifier.channels.auth_settings import BasicUser, OAuth2Client
from notifier.settings.base import Settings
from notifier.settings.types import AsciiSecret, HttpsUrl, Secret


class WebhookBasicAuth(Settings):
    """A user and a password (RFC 7617)."""

    kind: Literal["basic"]
    username: BasicUser
    password: Secret


class WebhookBearerAuth(Settings):
    """A fixed token (RFC 6750)."""

    kind: Literal["bearer"]
    token: AsciiSecret


class WebhookOAuth2(OAuth2Client):
    """A client of an authorization server, which issues it tokens (OAuth 2.0, client credentials)."""

    kind: Literal["oauth2"]
    token_url: HttpsUrl
    """Token endpoint of the authorization server. `ca_file` and `cert_file` of the channel apply to it too."""


WebhookAuth = Annotated[WebhookBasicAuth | WebhookBearerAuth | WebhookOAuth2, Field(discriminator="kind")]
