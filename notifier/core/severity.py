"""How bad an event is, and which environments may disturb people."""

from collections.abc import Iterable
from enum import StrEnum

PRODUCTION = frozenset({"production", "prod", "生产", "生产环境"})
"""Names of the environment whose failures disturb people, in lower case."""


class Severity(StrEnum):
    """How bad an event is, the worst first. The values are stored, and routes may set them."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def loud(self) -> bool:
        """True where a message may mention people and appears in the channel itself, not only in a thread."""
        return self in _LOUD


_LOUD = frozenset({Severity.CRITICAL, Severity.ERROR})


def is_production(environment: str) -> bool:
    """Return whether this is the name of the production environment."""
    return environment.strip().casefold() in PRODUCTION


def severity_in(environment: str, usual: Severity, *, critical_in_production: bool) -> Severity:
    """Return how bad something is in an environment, given how bad it is in one without a name.

    An error is critical in production if its kind allows that. In any other environment that has a name it is a
    warning, so that nobody is disturbed by default.
    """
    if not usual.loud or not environment:
        return usual
    if is_production(environment):
        return Severity.CRITICAL if critical_in_production else usual
    return Severity.WARNING


def worst(severities: Iterable[Severity]) -> Severity:
    """Return the worst of several severities; INFO for none."""
    order = list(Severity)
    return min(severities, key=order.index, default=Severity.INFO)
