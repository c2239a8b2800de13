"""The section `web`: the HTTP server."""

from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from notifier.settings.base import Settings
from notifier.settings.explain import setting_error
from notifier.settings.types import OriginUrl, Secret, is_loopback
from notifier.settings.words import FixedMessageError


def split_address(text: str) -> tuple[str, int]:
    """Split `127.0.0.1:8080` or `[::1]:8080` into host and port. Raises ValueError with an example."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 65535):  # noqa: PLR2004 - the last port
        raise FixedMessageError("must be ADDRESS:PORT, for example 127.0.0.1:8080 or [::1]:8080.")
    return host, int(port)


def _address(text: str) -> str:
    split_address(text)
    return text


class WebSettings(Settings):
    """Where the HTTP server listens, and who may open its pages.

    It also takes the requests of chats; each of these proves itself with the secret of its chat.
    """

    listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:8080"
    """ADDRESS:PORT; port 0 selects a free one."""
    url: OriginUrl | None = None
    """The address at which people open the page, such as https://notifier.example.com. Messages link to it."""
    password: Secret | None = None
    """Required unless `listen` is a loopback address."""

    @property
    def host(self) -> str:
        """The address of `listen`."""
        return split_address(self.listen)[0]

    @property
    def port(self) -> int:
        """The port of `listen`."""
        return split_address(self.listen)[1]

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect to it."""
        return is_loopback(self.host)

    @model_validator(mode="after")
    def _not_open_to_all(self) -> Self:
        if self.password is None and not self.loopback:
            raise setting_error("password", "is missing or empty; only a page on 127.0.0.1 goes without.")
        return self
