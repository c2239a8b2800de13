"""Storms: many failures of one source within a short time, which one message per channel reports.

Pure. A storm begins when one poll gives a channel more failures than its `digest_above`. It grows with each poll that
brings enough more, and it ends with the first that does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StormGroup:
    """The failures of a storm that have one reason and one operation."""

    code: str
    """Error code of the reason; the empty string where it has none."""
    operation: str
    """The API's name of the operation."""
    count: int
    reason: str = ""
    """Reason of the first of them, as the API wrote it, at most REASON_LIMIT characters."""


REASON_LIMIT = 300
"""Maximum length of a stored reason of a group, in characters."""
MAX_GROUPS = 50
"""Maximum number of groups. Failures beyond them are counted in the total alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """Many failures of one source, as one channel reports them."""

    id: str
    channel: str
    source: str
    region: str = ""
    environment: str = ""
    started_at: datetime
    """Time of the first failure: its end as the API gives it, else when it was detected."""
    updated_at: datetime
    """Time at which the latest failures were detected."""
    ended_at: datetime | None = None
    """Time of the poll that found it over; None while it lasts."""
    total: int = 0
    latest: int = 0
    """Number of failures that the latest poll added."""
    groups: tuple[StormGroup, ...] = ()
    """The most frequent first."""
    instances: tuple[tuple[str, int], ...] = ()
    """Number of failures by name of the instance, or its id; the most frequent first."""
    opened_by: str = ""
    """Id of the delivery that reports it first."""
