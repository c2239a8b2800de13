"""What is configured about access, as far as requests are judged by it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from notifier.core.access import SignedInBy, WebSession, proof_of
from notifier.web.access.addresses import TrustedProxies
from notifier.web.access.proxy import ProxyRules
from notifier.web.access.roles import GroupRoles
from notifier.web.access.viewer import AccessRole

KIOSK_NAME: Final = "kiosk"
"""The name that a screen on a wall reads as."""
KIOSK_LASTS: Final = timedelta(days=3650)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageUser:
    """Somebody with a password of their own."""

    name: str
    password: str = field(repr=False)
    """As it is stored: a hash."""
    role: AccessRole


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcRules:
    """A provider of OpenID Connect."""

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    scopes: tuple[str, ...] = ("openid",)
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"
    roles: GroupRoles
    label: str = "OpenID Connect"
    redirect_uri: str
    """Where the provider sends people back to."""
    home: str
    """The address of the page, where people come to after they sign out at the provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRules:
    """Who may sign in how, and what they may do."""

    password: str | None = field(default=None, repr=False)
    """The one that all share, itself or its hash."""
    password_role: AccessRole = AccessRole.ACT
    users: Mapping[str, PageUser] = field(default_factory=dict)
    """By name, folded as `fold` does."""
    proxy: ProxyRules | None = None
    trusted: TrustedProxies = field(default_factory=TrustedProxies)
    oidc: OidcRules | None = None
    kiosk_token: str | None = field(default=None, repr=False)
    ends_after: timedelta = timedelta(days=30)
    idle: timedelta = timedelta(days=7)
    secure: bool = False
    """Whether cookies are sent over https only."""

    @property
    def open(self) -> bool:
        """Whether everybody who can connect may do everything: nothing else is configured."""
        return not (self.password or self.users or self.proxy or self.oidc)

    @property
    def takes_passwords(self) -> bool:
        """Whether the login page has a form."""
        return bool(self.password or self.users)

    @property
    def cookie(self) -> str:
        """Name of the cookie of a session. With the prefix, a browser takes it over https from this host alone."""
        return "__Host-notifier" if self.secure else "notifier"

    def user(self, name: str) -> PageUser | None:
        """Return the user of a name, however it is capitalised."""
        return self.users.get(fold(name))

    def role_of(self, session: WebSession, secret: str) -> AccessRole | None:
        """Return what a session allows now; None where its credential is no longer valid, so that it is over."""
        credential = self.credential_of(session.how, session.name)
        if credential is None or proof_of(secret, credential) != session.proof:
            return None
        match session.how:
            case SignedInBy.PASSWORD:
                return self.password_role
            case SignedInBy.USER:
                user = self.user(session.name)
                return user.role if user else None
            case SignedInBy.OIDC:
                return self.oidc.roles.role_of(session.groups) if self.oidc else None
            case SignedInBy.KIOSK:
                return AccessRole.READ

    def credential_of(self, how: SignedInBy, name: str) -> str | None:
        """Return what a session is bound to, so that it ends when that changes; None where there is no such way in.

        A name that has become a user's own is none of those that the shared password may be used with.
        """
        user = self.user(name)
        match how:
            case SignedInBy.PASSWORD:
                return None if user else self.password
            case SignedInBy.USER:
                return user.password if user else None
            case SignedInBy.OIDC:
                return f"{self.oidc.issuer} {self.oidc.client_id}" if self.oidc else None
            case SignedInBy.KIOSK:
                return self.kiosk_token

    def lasts(self, how: SignedInBy) -> timedelta:
        """Return how long a new session may last."""
        return KIOSK_LASTS if how is SignedInBy.KIOSK else self.ends_after

    def idle_of(self, how: SignedInBy) -> timedelta:
        """Return how long a session may stay unused."""
        return max(self.idle, timedelta(days=30)) if how is SignedInBy.KIOSK else self.idle


def fold(name: str) -> str:
    """Return the form in which names are compared."""
    return name.casefold()
