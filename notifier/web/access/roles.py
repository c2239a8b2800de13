"""Roles by the groups that a proxy or a provider says somebody is in."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from notifier.web.access.viewer import AccessRole

ANY_GROUP: Final = "*"
"""The group that everybody is in who is signed in."""


@dataclass(frozen=True, slots=True)
class GroupRoles:
    """Which groups have which role."""

    groups: Mapping[AccessRole, Collection[str]]

    def role_of(self, groups: Collection[str]) -> AccessRole:
        """Return the highest role of somebody who is in these groups; NONE without one."""
        theirs = {*groups, ANY_GROUP}
        return max(
            (role for role, listed in self.groups.items() if not theirs.isdisjoint(listed)), default=AccessRole.NONE
        )
