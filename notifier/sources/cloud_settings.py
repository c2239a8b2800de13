"""What all sources of Huawei Cloud are configured with: a project in a region, and who reads it. Light, as `base`."""

import platform
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from notifier.settings.base import Settings
from notifier.settings.types import AccountPassword, AsciiSecret, EndpointUrl, KeyId, OriginUrl, PlainText
from notifier.settings.words import PROJECT_ID_PATTERN, REGION_PATTERN
from notifier.sources.base import SourceSettings

METADATA_URL = "http://169.254.169.254"

ApiLanguage = Literal["en-us", "zh-cn"]
"""Language of X-Language, in which the API writes fail_reason."""


class AkSk(Settings):
    """An access key; with a security token a temporary one."""

    kind: Literal["aksk"]
    access_key: KeyId
    secret_key: AsciiSecret
    security_token: AsciiSecret | None = None


class Token(Settings):
    """An IAM user with a password, for whom IAM issues tokens."""

    kind: Literal["token"]
    iam_endpoint: EndpointUrl | None = None
    """Default: that of the region."""
    domain: PlainText
    """The account that the user belongs to."""
    username: PlainText
    password: AccountPassword


class EcsAgency(Settings):
    """The agency of the ECS instance that the notifier runs on."""

    kind: Literal["ecs_agency"]
    metadata_url: OriginUrl = METADATA_URL


class DefaultChain(Settings):
    """The keys that the official SDK finds: in the environment, its credentials file or the metadata service."""

    kind: Literal["default_chain"]
    metadata_url: OriginUrl = METADATA_URL


AnyAuth: TypeAlias = AkSk | Token | EcsAgency | DefaultChain


class CloudSettings(SourceSettings):
    """One project in one region of Huawei Cloud."""

    region: Annotated[str, Field(pattern=REGION_PATTERN, max_length=64)]
    project_id: Annotated[str, Field(pattern=PROJECT_ID_PATTERN)]
    auth: Annotated[AnyAuth, Field(discriminator="kind")]
    language: ApiLanguage | None = None
    """X-Language: the language that the API writes fail_reason in. Default: that of the configuration."""

    @property
    def credential(self) -> str:
        """The cloud's identity that makes the calls; see `SourceSettings.credential`."""
        match self.auth:
            case AkSk(access_key=key):
                return f"aksk {key}"
            case Token(domain=domain, username=username):
                return f"token {domain} {username}"
            case _:  # keys that depend on the machine
                return f"{self.auth.kind} {self.auth.metadata_url} {platform.node()}"
