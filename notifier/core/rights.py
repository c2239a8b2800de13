"""Rights that a part of a source lacks: that part stops and is tried again slowly, while the rest goes on.

How a part uses this. Its call raises `PermissionDenied`: call `tx.rights.lack(source, part, action, tx.now())` in the
transaction that would have recorded the answer, and go on without it. Before calls, leave out the sources that
`tx.rights.paused(part, tx.now())` returns: each is due again when its pause ends. After a call that worked, call
`tx.rights.have(source, part)`. `notifier health` shows what is lacking as `source.right_missing`, with the action to
grant.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from notifier.core.retry import backoff

RIGHT_PAUSES = (timedelta(minutes=5), timedelta(hours=1))
"""The pause after a right was found missing, and the longest: somebody has to grant it first."""


class SourcePart(StrEnum):
    """A part of a source that needs a right of its own. The values are stored, and phrases name the parts by them."""

    STARTED_BY = "started_by"
    ALARMS = "alarms"
    MAINTENANCE = "maintenance"
    PROJECTS = "projects"
    """The list of the projects of an account, whose name stands for that of a source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRight:
    """A right that a part of a source lacks, as it is recorded."""

    source: str
    part: SourcePart
    action: str
    """Name of the action to grant: `cts:trace:list`."""
    since: datetime
    """When it was found missing first."""
    retry_at: datetime
    """When the part is tried again."""
    refusals: int = 1
    """How often the service has refused the part in a row."""


def refused(known: MissingRight | None, found: MissingRight, now: datetime) -> MissingRight:
    """Return what to record after a refusal; `known` is what was recorded before."""
    refusals = known.refusals + 1 if known else 1
    wait = backoff(refusals, *RIGHT_PAUSES)
    return replace(found, since=known.since if known else found.since, retry_at=now + wait, refusals=refusals)
