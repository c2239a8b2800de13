"""The section `web`: the HTTP server, and who may see and do what on its page."""

import re
from collections import Counter
from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from notifier.config.network import Network
from notifier.core.access import LONGEST_IDLE
from notifier.settings.base import Settings
from notifier.settings.explain import setting_error
from notifier.settings.types import (
    AsciiSecret,
    CaFile,
    Duration,
    HttpsUrl,
    KeyId,
    OriginUrl,
    PlainText,
    Secret,
    is_loopback,
)
from notifier.settings.words import HEADER_PATTERN, HOST_PATTERN, FixedMessageError
from notifier.web.access.libraries import OIDC_EXTRA, oidc_is_installed
from notifier.web.access.names import MAX_NAME
from notifier.web.access.passwords import HashedPassword, is_hashed
from notifier.web.access.viewer import RoleWord


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


def _whole_hash(value: SecretStr) -> SecretStr:
    """Refuse what looks like a hash and cannot be one: nobody could sign in with it."""
    text = value.get_secret_value()
    if is_hashed(text):
        try:
            HashedPassword.parse(text)
        except ValueError as error:
            raise FixedMessageError(f"{error}.") from None
    return value


def _hash_only(value: SecretStr) -> SecretStr:
    if not is_hashed(value.get_secret_value()):
        raise FixedMessageError("must be a hash, as `notifier hash-password` prints it, and not the password itself.")
    return _whole_hash(value)


def _kiosk_token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\w-]{24,200}", value.get_secret_value(), re.ASCII):
        raise FixedMessageError("must be of 24 letters, digits, - and _ at least; make one with: openssl rand -hex 24.")
    return value


def _not_everybody(network: Network) -> Network:
    if network.prefixlen == 0:
        raise FixedMessageError("would believe everybody. Name the addresses of the proxy, for example 10.0.0.5.")
    return network


HeaderName = Annotated[str, Field(pattern=HEADER_PATTERN)]
"""The name of a header of HTTP."""

HostName = Annotated[str, Field(pattern=HOST_PATTERN)]
"""The name of a host, without a port."""

GroupName = Annotated[str, Field(min_length=1, max_length=200)]


class RoleSettings(Settings):
    """Which groups may do what; `*` is everybody who is signed in. Whoever is in none of them sees nothing."""

    read: tuple[GroupName, ...] = ()
    """Groups that may read every page."""
    act: tuple[GroupName, ...] = ()
    """Groups that may also acknowledge, mute, retry and dismiss."""
    admin: tuple[GroupName, ...] = ()
    """Groups that may also change access, such as end sessions of others."""

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not (self.read or self.act or self.admin):
            raise setting_error("act", 'is missing, as are read and admin: nobody could see anything. Add act: ["*"].')
        return self


class UserSettings(Settings):
    """One person who signs in with a password of their own."""

    name: Annotated[PlainText, Field(max_length=MAX_NAME)]
    """The name that they type and that their actions are recorded with."""
    password_hash: Annotated[Secret, AfterValidator(_hash_only)]
    """Their password as `notifier hash-password` prints it. A new one ends their sessions."""
    role: RoleWord = "act"
    """`read`, `act` (acknowledge, mute, retry) or `admin` (also end sessions of others)."""


class ProxySettings(Settings):
    """A proxy in front of the page, and what is believed of it."""

    trusted: tuple[Annotated[Network, AfterValidator(_not_everybody)], ...] = Field(alias="from", min_length=1)
    """Addresses and networks of the proxy. Its headers are ignored in requests from elsewhere."""
    user_header: HeaderName | None = None
    """Header with the name of whoever the proxy has authenticated; absent: it authenticates nobody, and only
    `X-Forwarded-For` is read."""
    groups_header: HeaderName | None = None
    """Header with their groups, separated by commas or `|`."""
    roles: RoleSettings | None = None
    """Who may do what. Required with `user_header`."""

    @model_validator(mode="after")
    def _roles_of_users(self) -> Self:
        if self.user_header and self.roles is None:
            raise setting_error("roles", 'is missing. Say who may do what, for example roles: {act: ["*"]}.')
        return self


class OidcSettings(Settings):
    """A provider of OpenID Connect where people sign in. Needs the extra `oidc`, and `url`."""

    issuer: HttpsUrl
    """The issuer's URL; its configuration is read from /.well-known/openid-configuration below it."""
    client_id: KeyId
    """The id under which the page is registered there, with the redirect URI `url`/login/oidc/callback."""
    client_secret: AsciiSecret | None = None
    """Its secret; absent for a public client. PKCE is used with and without it."""
    scopes: tuple[KeyId, ...] = ("openid", "profile", "email")
    """Scopes to ask for."""
    name_claim: str = Field(default="preferred_username", min_length=1)
    """Claim of the ID token with the name that actions are recorded with."""
    groups_claim: str = Field(default="groups", min_length=1)
    """Claim of the ID token with their groups."""
    roles: RoleSettings
    """Who may do what."""
    label: Annotated[PlainText, Field(max_length=40)] = "OpenID Connect"
    """The name of the provider on the button of the login page."""
    ca_file: CaFile = None
    """PEM file of authorities to trust for the provider besides the usual ones."""

    @model_validator(mode="after")
    def _has_its_libraries(self) -> Self:
        if not oidc_is_installed():
            raise setting_error("issuer", f"people cannot sign in there: {OIDC_EXTRA}.")
        return self

    @model_validator(mode="after")
    def _asks_for_an_id_token(self) -> Self:
        if "openid" not in self.scopes:
            raise setting_error("scopes", "must have openid, without which the provider names nobody.")
        return self


class WebSettings(Settings):
    """Where the HTTP server listens, and who may see and do what on its pages.

    It also takes the requests of chats; each of these proves itself with the secret of its chat.
    """

    listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:8080"
    """ADDRESS:PORT; port 0 selects a free one."""
    url: OriginUrl | None = None
    """The address at which people open the page, such as https://notifier.example.com. Messages link to it.
    Requests of other sites are known by it, and with https cookies are sent over https only."""
    hosts: tuple[HostName, ...] = ()
    """Further names under which the page is reached, such as that of a service in a cluster."""
    password: Annotated[Secret, AfterValidator(_whole_hash)] | None = None
    """A password for all, itself or as `notifier hash-password` prints it; people type their name with it. Required
    unless `listen` is a loopback address, or there are `users`, an authenticating `proxy` or `oidc`."""
    password_role: RoleWord = "act"  # noqa: S105 - a role
    """What people who sign in with `password` may do: `read`, `act` or `admin`."""
    users: tuple[UserSettings, ...] = ()
    """People with a password of their own."""
    proxy: ProxySettings | None = None
    oidc: OidcSettings | None = None
    kiosk_token: Annotated[AsciiSecret, AfterValidator(_kiosk_token)] | None = None
    """Lets a screen on a wall read: open `url`/?kiosk=TOKEN on it once. A new one ends its session."""
    session_ends_after: Duration = Field(default=timedelta(days=30), ge=timedelta(minutes=5), le=LONGEST_IDLE)
    """Time after which people sign in again, however much they use the page."""
    session_idle: Duration = Field(default=timedelta(days=7), ge=timedelta(minutes=5), le=LONGEST_IDLE)
    """Time without a request after which people sign in again."""
    metrics_open_to: tuple[Network, ...] = ()
    """Networks from which Prometheus may read `/metrics` without a token. The address of the connection counts: behind
    a proxy that is the proxy's."""

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

    @property
    def guarded(self) -> bool:
        """Whether people have to show who they are."""
        by_proxy = self.proxy is not None and self.proxy.user_header is not None
        return self.password is not None or bool(self.users) or by_proxy or self.oidc is not None

    @model_validator(mode="after")
    def _not_open_to_all(self) -> Self:
        if not (self.guarded or self.loopback):
            without = "is missing or empty, and so are users, proxy.user_header and oidc"
            raise setting_error("password", f"{without}; only a page on 127.0.0.1 goes without.")
        return self

    @model_validator(mode="after")
    def _names_of_their_own(self) -> Self:
        taken = Counter(user.name.casefold() for user in self.users)
        if repeated := next((user.name for user in self.users if taken[user.name.casefold()] > 1), None):
            raise setting_error("users", f"must have different names; {repeated!r} is there twice.")
        return self

    @model_validator(mode="after")
    def _provider_knows_the_way_back(self) -> Self:
        if self.oidc is not None and self.url is None:
            why = "is missing. The provider of oidc sends people back to it; add url: https://notifier.example.com."
            raise setting_error("url", why)
        return self
