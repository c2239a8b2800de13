"""Settings of a mail channel."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from notifier.channels.settings import ChannelSettings
from notifier.core.routing import MAX_MENTIONS
from notifier.integrations.email.mailboxes import Mailbox, as_mailbox, parse_mailbox
from notifier.settings.explain import setting_error
from notifier.settings.types import Duration, Secret, is_loopback

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_LAST_PORT = 65535
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_HELO = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f.:]+\]|\[IPv6:[0-9A-Fa-f.:]+\])")


class EmailSettings(ChannelSettings):
    """Settings of a mail channel: a submission server, the sender and the recipients."""

    channel_class = "notifier.integrations.email.channel:EmailChannel"
    mention_forms = "a mail address, which gets a copy (Cc)"
    takes_templates = True

    kind: Literal["email"]
    host: str
    """Host name or address of the server, also as `host:port`."""
    port: int | None = Field(default=None, ge=1, le=_LAST_PORT)
    """Default: 587 with starttls, 465 with tls, 25 with none."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: Secret | None = None
    helo: str | None = None
    """Host name sent with EHLO. Default: the domain of the sender."""
    sender: str = Field(alias="from")
    """Sender, as `Name <address>` or an address."""
    to: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)]
    timeout: Duration = Field(default=timedelta(seconds=30), gt=timedelta(0), le=timedelta(seconds=45))
    """Maximum time of one attempt."""

    @model_validator(mode="before")
    @classmethod
    def _split_host(cls, data: Any) -> Any:  # noqa: ANN401 - whatever was written
        if not isinstance(data, Mapping) or not isinstance(data.get("host"), str):
            return data
        host, port = _host_and_port(data["host"])
        if port is None:
            return {**data, "host": host}
        if data.get("port") not in (None, port, str(port)):
            raise setting_error("port", f"is {data['port']}, and host says {port}; give it once")
        return {**data, "host": host, "port": port}

    @field_validator("helo")
    @classmethod
    def _check_helo(cls, text: str | None) -> str | None:
        if text is not None and not _HELO.fullmatch(text):
            raise ValueError(f"{text!r} is not a host name; write notifier.example.com or an address as [192.0.2.1]")
        return text

    @field_validator("sender")
    @classmethod
    def _check_sender(cls, text: str) -> str:
        parse_mailbox(text)
        return text

    @field_validator("to")
    @classmethod
    def _check_to(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            parse_mailbox(text)
        return texts

    @model_validator(mode="after")
    def _check_login(self) -> EmailSettings:
        if (self.username is None) != (self.password is None):
            missing = "password" if self.username else "username"
            raise setting_error(missing, "is missing; give both username and password, or neither")
        if self.username is not None and self.security == "none" and not is_loopback(self.host):
            raise setting_error("security", "must be starttls or tls: a password is not sent in the clear")
        return self

    @model_validator(mode="after")
    def _check_port(self) -> EmailSettings:
        if self.port == _PORTS["tls"] and self.security != "tls":
            raise setting_error("security", "must be tls with port 465, where TLS begins with the first byte")
        return self

    @classmethod
    def accepts_mention(cls, text: str) -> bool:
        """Return whether an entry is a mail address, also with a name."""
        return as_mailbox(text) is not None

    @property
    def server_port(self) -> int:
        """The port to connect to."""
        return self.port or _PORTS[self.security]

    @property
    def from_mailbox(self) -> Mailbox:
        """The sender."""
        return parse_mailbox(self.sender)

    @property
    def to_mailboxes(self) -> Sequence[Mailbox]:
        """The recipients."""
        return [parse_mailbox(text) for text in self.to]

    def cc_mailboxes(self, mention: Iterable[str]) -> Sequence[Mailbox]:
        """Return whom a mail with these mentions goes to besides the recipients: MAX_MENTIONS at most, each once."""
        found = {box.address.casefold(): box for box in map(as_mailbox, mention) if box}
        own = {box.address.casefold() for box in self.to_mailboxes}
        return [box for address, box in found.items() if address not in own][:MAX_MENTIONS]


def _host_and_port(text: str) -> tuple[str, int | None]:
    """Parse `host`, `host:port`, an address or `[address]:port`. Raises an error with a correct example."""
    written = text.strip().removesuffix(".")
    if "@" in written:  # never quoted: there may be a password in it
        what = "holds an @; write a name, smtp.example.com, and give `username` and `password` apart"
        raise setting_error("host", what)
    scheme, _, rest = written.rpartition("://")
    if scheme:
        security = {"smtps": "tls", "smtp": "starttls"}.get(scheme.lower(), "starttls, tls or none")
        named = rest.partition("/")[0] or "smtp.example.com"
        raise setting_error("host", f"is a URL; write `host: {named}` and `security: {security}`")
    host, port = written, None
    if bracketed := re.fullmatch(r"\[([^\]]*)\](?::(.*))?", written):
        host, port = bracketed.groups()
    elif written.count(":") == 1:
        host, port = written.split(":")
        host = host.removesuffix(".")
    if not _is_address(host) and (bracketed or not _NAME.fullmatch(host)):
        what = f"{text!r} is not a host{_ascii_hint(host)}; write a name, smtp.example.com, or an address"
        raise setting_error("host", what)
    if port is not None and not (re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) <= _LAST_PORT):
        raise setting_error("host", f"{port!r} is not a port; write `port: 587`, a number from 1 to {_LAST_PORT}")
    return host, int(port) if port else None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _ascii_hint(host: str) -> str:
    """Return a hint with the ASCII form of a name in another script."""
    if host.isascii():
        return ""
    try:
        return f" in ASCII ({host.encode('idna').decode()})"
    except UnicodeError:
        return " in ASCII"
