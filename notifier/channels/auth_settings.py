"""Settings of credentials that several kinds of channels share. Light: no network library is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from notifier.settings.base import Settings
from notifier.settings.types import PlainText, Secret
from notifier.settings.words import FixedMessageError


def _check_user(name: str) -> str:
    if ":" in name:
        raise FixedMessageError("must not have a colon: basic authentication ends the name there.")
    return name


def _check_scope(scope: str) -> str:
    if not re.fullmatch(r"[\x21\x23-\x5B\x5D-\x7E]+", scope):
        raise FixedMessageError("must be one scope of visible ASCII characters; write several as entries of the list.")
    return scope


BasicUser = Annotated[PlainText, AfterValidator(_check_user)]
"""The user of basic authentication (RFC 7617)."""


class OAuth2Client(Settings):
    """A client of an authorization server, which issues it tokens (OAuth 2.0, client credentials)."""

    client_id: PlainText
    client_secret: Secret
    scopes: Annotated[tuple[Annotated[str, AfterValidator(_check_scope)], ...], Field(max_length=50)] = ()
    """Scopes to ask for. Default: those that the server gives by itself."""
    parameters: Annotated[Mapping[str, PlainText], Field(max_length=20)] = Field(default_factory=dict)
    """Further parameters of the request for a token, such as `audience` or `resource`."""
    credentials: Literal["header", "body"] = "header"
    """Where the server wants the id and the secret of the client."""
