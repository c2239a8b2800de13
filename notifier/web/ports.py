"""What pages need of the store: the small protocols of their modules, put together."""

from typing import Protocol

from notifier.access import AccessReads, AccessRecords
from notifier.mutes import MuteRecords
from notifier.schedules import ReportReads
from notifier.statistics import StatisticsReads
from notifier.web.api.ports import ApiReads, ApiTx
from notifier.web.frame import FrameReads


class WebReads(
    FrameReads,
    AccessReads,
    ApiReads,
    StatisticsReads,
    ReportReads,
    Protocol,
):
    """Reads for pages: one consistent view of the database."""


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
