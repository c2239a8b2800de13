"""Who asks, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, Protocol

from notifier.core.access import TokenScope
from notifier.core.people import Person

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


class AccessRole(IntEnum):
    """What somebody may do. Each includes those before it."""

    NONE = 0
    """Nothing on the page: a token for metrics has it."""
    READ = 1
    """Read every page."""
    ACT = 2
    """Acknowledge, mute, retry, dismiss and so on."""
    ADMIN = 3
    """Change access: end sessions of others."""


RoleWord = Literal["read", "act", "admin"]
"""A role as the configuration writes it."""


def role_of(word: RoleWord) -> AccessRole:
    """Return the role of a word of the configuration."""
    return AccessRole[word.upper()]


How = Literal["open", "password", "user", "proxy", "oidc", "kiosk", "token"]
"""How a request shows who asks. `open`: nothing is asked for on a loopback address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who asks: the author of every action, and what they may do."""

    person: Person
    role: AccessRole
    how: How = "open"
    session: str | None = None
    """Id of their session; None where each request shows by itself who asks."""
    scopes: frozenset[TokenScope] = frozenset()
    """Of a token; empty for all others."""
    token: str | None = None
    """Id of the token."""

    @property
    def may_act(self) -> bool:
        """Whether buttons that change something are shown."""
        return self.role >= AccessRole.ACT

    @property
    def may_administer(self) -> bool:
        """Whether buttons that change access are shown."""
        return self.role >= AccessRole.ADMIN

    @property
    def may_read_metrics(self) -> bool:
        """Return whether they may read `/metrics`."""
        return self.role >= AccessRole.READ or TokenScope.METRICS in self.scopes

    @property
    def may_read_feeds(self) -> bool:
        """Return whether they may read the feeds."""
        return self.role >= AccessRole.READ or TokenScope.FEED in self.scopes


LOCAL_VIEWER = Viewer(person=Person(id="web:local", name="local"), role=AccessRole.ADMIN)
"""Everybody, where the server listens on a loopback address and no way to sign in is configured."""


class Access(Protocol):
    """Finds out who asks."""

    async def viewer(self, request: Request) -> Viewer | Response:
        """Return who asks; a response where nobody may be let in.

        That is a redirect to the login page or a page for people, and problem+json below `/api`.
        """
