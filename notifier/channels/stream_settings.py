"""The settings that channels to message brokers share. Light: reading a configuration imports this."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from notifier.channels.mutual_tls import MutualTlsSettings
from notifier.settings.explain import setting_error
from notifier.settings.types import Duration, PlainText, Secret, is_loopback
from notifier.settings.words import FixedMessageError

_SERVER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?::([1-9][0-9]{0,4}))?")
_HIGHEST_PORT = 65535


def split_server(text: str, port: int) -> tuple[str, int]:
    """Return the host and the port of `host`, `host:port` or `[address]:port`. Raises FixedMessageError."""
    found = _SERVER.fullmatch(text)
    if found is None or int(found[2] or port) > _HIGHEST_PORT:
        raise FixedMessageError("must be a host with a port, such as broker.example.com:4222, without a scheme.")
    return found[1].strip("[]"), int(found[2] or port)


def _check_server(text: str) -> str:
    split_server(text, 1)
    return text


BrokerAddress = Annotated[str, AfterValidator(_check_server)]
"""A broker, written `host`, `host:port` or `[address]:port`."""

_FIELDS = frozenset({"type", "source", "severity"})
_FIELD = re.compile(r"\{([^{}]*)\}")


def _check_destination(text: str) -> str:
    if wrong := [name for name in _FIELD.findall(text) if name not in _FIELDS]:
        raise ValueError(f"has no value for {{{wrong[0]}}}: use {{type}}, {{source}} or {{severity}}.")
    if re.search(r"[{}]", _FIELD.sub("", text)):
        raise ValueError("has a brace without its other one.")
    return text


Destination = Annotated[PlainText, Field(max_length=200), AfterValidator(_check_destination)]
"""Where messages go, with `{type}` (`task.failed`), `{source}` and `{severity}` for those of the message."""


class StreamSettings(MutualTlsSettings):
    """Settings that every kind of stream has."""

    default_port: ClassVar[int]

    servers: Annotated[
        tuple[BrokerAddress, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
    ]
    """Brokers of one cluster, each `host:port`. The first one that answers is used."""
    tls: bool = True
    """Whether the connection is encrypted. `ca_file` names an authority of your own."""
    username: PlainText | None = None
    password: Secret | None = None
    format: Literal["binary", "structured"] = "binary"
    """CloudEvents 1.0 with the attributes in headers (binary), or all of it in the message (structured)."""
    timeout: Annotated[Duration, Field(ge=timedelta(milliseconds=100), le=timedelta(seconds=30))] = timedelta(
        seconds=10
    )
    """Maximum time of one attempt, connecting included."""
    digest_above: Annotated[int, Field(ge=1)] | None = None
    """Events of one poll above which digests are sent. Default: none, because machines want each event by itself."""
    concurrency: int = Field(default=16, ge=1, le=256)

    @classmethod
    def accepts_mention(cls, text: str) -> bool:  # noqa: ARG003 - only the consumer knows whom it can call
        """Return True: the consumer gets every entry."""
        return True

    @property
    def places(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each server."""
        return tuple(split_server(server, self.default_port) for server in self.servers)

    @property
    def password_text(self) -> str | None:
        """The password; None for none."""
        return self.password.get_secret_value() if self.password else None

    @property
    def exposes_secrets(self) -> bool:
        """Whether others can read a secret on its way."""
        return not self.tls and self.password is not None and not all(is_loopback(host) for host, _ in self.places)

    @model_validator(mode="after")
    def _check_connection(self) -> Self:
        if not self.servers:
            raise setting_error("servers", "must have at least one entry.")
        if (self.username is None) != (self.password is None):
            missing = "password" if self.password is None else "username"
            raise setting_error(missing, "is missing: a user and a password go together.")
        if not self.tls:
            for key in ("cert_file", "ca_file"):
                if getattr(self, key) is not None:
                    raise setting_error(key, "has no effect without tls.")
        return self
