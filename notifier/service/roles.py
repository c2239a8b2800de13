"""The parts of the work that a process has."""

from collections.abc import Collection

from notifier.core.health_facts import Role as Role  # noqa: PLC0414 - re-exported for callers of the service
from notifier.settings.words import did_you_mean

ALL_ROLES = frozenset(Role)


def parse_roles(text: str) -> frozenset[Role]:
    """Parse `poll,deliver`. Raises ValueError with a sentence for the operator."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in list(Role):
            raise ValueError(f"there is no role {name!r}. {did_you_mean(name, list(Role), otherwise='Roles')}")
    if not names:
        raise ValueError(f"name at least one role. Roles: {', '.join(Role)}.")
    return frozenset(Role(name) for name in names)


def writes_data(roles: Collection[Role]) -> bool:
    """Return whether these roles poll or deliver; with SQLite, only one process may have such roles."""
    return not {Role.POLL, Role.DELIVER}.isdisjoint(roles)
