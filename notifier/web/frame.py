"""What every page shows around its content: tabs with counts, and when it was made."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from notifier.core.health import judge
from notifier.core.health_facts import Expected
from notifier.core.mutes import Mute
from notifier.web.access.viewer import AccessRole
from notifier.web.needs import CountReads, count_needs


class CountedDeliveries(Protocol):
    """Counts of deliveries."""

    def count_not_through(self) -> int:
        """Count the parked deliveries, and the dead ones that nobody has dismissed, with a limit."""


class FrameReads(CountReads, Protocol):
    """The reads of the frame."""

    def now(self) -> datetime:
        """Return the time of the database."""

    def mutes(self, now: datetime) -> Sequence[Mute]:
        """Return the mutes that are in force."""

    @property
    def delivery_list(self) -> CountedDeliveries:
        """Counts of deliveries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """One of the pages that can be opened from everywhere."""

    name: str
    """Of the page; `now`."""
    path: str
    minor: bool = False
    """Whether the tab gives way where there is no room; it is in the footer then."""
    role: AccessRole = AccessRole.READ
    """The least role that the page is for."""


TABS = (
    Tab(name="now", path="/"),
    Tab(name="tasks", path="/tasks"),
    Tab(name="timeline", path="/timeline"),
    Tab(name="statistics", path="/statistics"),
    Tab(name="deliveries", path="/deliveries"),
    Tab(name="mutes", path="/mutes"),
    Tab(name="reports", path="/reports", minor=True),
    Tab(name="configuration", path="/configuration", minor=True, role=AccessRole.ACT),
)


def tab_path(name: str) -> str:
    """Return the address of a tab; that of Now for none."""
    return next((tab.path for tab in TABS if tab.name == name), "/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The facts of the frame."""

    now: datetime
    """The time of the database at which the page was read. Ages are counted up to it."""
    counts: Mapping[str, int]
    """The number beside each tab, by the tab's name."""
    urgent: Collection[str]
    """Names of the tabs whose number calls for somebody."""
    lost: str = ""
    """What happened to the file of the database while it is in use; empty where nothing did."""


def read_frame(q: FrameReads, expected: Expected) -> Frame:
    """Return the facts of the frame. `expected` are the configured sources and channels."""
    now = q.now()
    needs = count_needs(q.count_unacknowledged(), judge(expected, q.health_facts()))
    counts = {"now": needs, "deliveries": q.delivery_list.count_not_through(), "mutes": len(q.mutes(now))}
    return Frame(now=now, counts=counts, urgent=("now",) if needs else ())
