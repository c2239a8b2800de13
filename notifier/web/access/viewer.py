"""Who asks: a viewer with a role."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from notifier.core.people import Person


class AccessRole(IntEnum):
    """What a viewer may do. Each role includes those before it."""

    READ = 1
    """See everything but the configuration's access."""
    ACT = 2
    """Acknowledge, mute, retry: what people do in the chat."""
    ADMIN = 3
    """End sessions of others, and see who has access."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Somebody who asks for a page, or for an answer of the API."""

    person: Person
    """Who it is; the author of what they do."""
    role: AccessRole

    @property
    def may_act(self) -> bool:
        """Whether buttons that change something are shown."""
        return self.role >= AccessRole.ACT


LOCAL_VIEWER = Viewer(person=Person(id="web:local", name="local"), role=AccessRole.ADMIN)
"""Whoever opens a page that only this machine can reach, where nothing else is configured."""


class Access(Protocol):
    """Finds out who asks."""

    async def viewer(self, request: Request) -> Viewer | Response:
        """Return who asks; a response where nobody may be let in, such as a redirect to the login page."""


class OpenAccess:
    """Lets everybody in: only for an address that no other machine can reach."""

    async def viewer(self, request: Request) -> Viewer:  # noqa: ARG002 - of the protocol
        """Return the local viewer."""
        return LOCAL_VIEWER
