"""Who started an operation. Events carry the value; `notifier.core.origins` finds it."""

from dataclasses import dataclass
from enum import StrEnum


class StartedVia(StrEnum):
    """The way on which an operation was started. The values are stored, and matchers name them."""

    CONSOLE = "console"
    """A person in the cloud's console."""
    API = "api"
    """A call of the API with a user's own key or token: a script, Terraform."""
    AGENCY = "agency"
    """A call of the API by somebody, or something, that acts for an agency."""
    SYSTEM = "system"
    """The cloud itself: a schedule, autoscaling, or a service that acts for the account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedBy:
    """Who started an operation, and how. All texts are from outside: bounded, and free of control characters."""

    name: str
    """Name of the user or of the session of an agency; the empty string where the cloud names nobody."""
    via: StartedVia
    agency: str = ""
    """Name of the agency that the session acts for; the empty string for none."""
    address: str = ""
    """IP address that the request came from; the empty string unless `started_by_address` keeps it."""
