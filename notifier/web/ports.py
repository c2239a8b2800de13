"""What pages need of the store: the small protocols of their modules, put together."""

from collections.abc import Collection, Mapping
from typing import Protocol

from notifier.access import AccessReads, AccessRecords
from notifier.core.routing import RoutedEvent
from notifier.core.storms import Storm
from notifier.mutes import MuteRecords
from notifier.schedules import ReportReads
from notifier.statistics import StatisticsReads
from notifier.web.api.ports import ApiReads, ApiTx
from notifier.web.delivery_reads import DeliveryReads
from notifier.web.frame import FrameReads
from notifier.web.mute_reads import MuteReads
from notifier.web.needs import NowReads
from notifier.web.periods import PeriodReads
from notifier.web.task_reads import TasksReads


class WebReads(
    FrameReads,
    AccessReads,
    ApiReads,
    StatisticsReads,
    ReportReads,
    TasksReads,
    Protocol,
):
    """Reads for pages: one consistent view of the database."""

    @property
    def now_page(self) -> NowReads:
        """Reads of what needs somebody, what runs, and what was kept quiet."""

    @property
    def timeline(self) -> PeriodReads:
        """Reads of the tasks of a period."""

    def storms(self, ids: Collection[str]) -> Mapping[str, Storm]:
        """Return storms by id."""

    def event(self, event_id: str) -> RoutedEvent | None:
        """Return one event."""

    @property
    def mute_list(self) -> MuteReads:
        """Reads of mutes that are over, and of what mutes have held back."""

    @property
    def delivery_list(self) -> DeliveryReads:
        """Lists and counts of deliveries."""


class WebTx(ApiTx, Protocol):
    """The parts of a transaction that actions on pages use."""

    @property
    def queries(self) -> WebReads:
        """The reads that the page shows again where it refuses an action."""

    @property
    def access(self) -> AccessRecords:
        """Sessions and tokens."""

    @property
    def mutes(self) -> MuteRecords:
        """The recorded mutes."""
