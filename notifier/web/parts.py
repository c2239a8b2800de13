"""What pages are made of. Wiring puts it together; see `notifier.wiring.web`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from notifier.core.causes import CauseCatalogue
from notifier.core.expectations import MissingRules
from notifier.core.health_facts import Expected
from notifier.core.rota import Rotas
from notifier.core.routing import RoutingConfig
from notifier.ports import Clock, Store
from notifier.schedules import ScheduleRules
from notifier.statistics import TaskMemory
from notifier.web.access.viewer import Access
from notifier.web.configured import ShownConfiguration
from notifier.web.ports import WebReads, WebTx
from notifier.web.security import KnownNames
from notifier.wording.links import LinkTemplates
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language


@dataclass(frozen=True, slots=True, kw_only=True)
class WebRules:
    """What is configured, as far as pages show it or depend on it."""

    version: str
    url: str | None
    """The public address of the page, without a trailing slash; None where none is configured."""
    language: Language
    """For readers whose browser asks for none of ours."""
    localizers: Mapping[Language, Localizer]
    expected: Expected
    """The configured sources and channels."""
    routing: RoutingConfig
    causes: CauseCatalogue
    links: LinkTemplates
    rotas: Rotas
    schedules: ScheduleRules
    missing: MissingRules
    """Which runs are expected."""
    command: str
    """The slash command of the chat, as people type it."""
    configuration: ShownConfiguration
    """For people to read."""
    ended: TaskMemory
    """What the process remembers of ended tasks."""


async def _hear_nothing(_hear: Callable[[], None]) -> None:
    await asyncio.Event().wait()


async def nothing_is_lost() -> None:
    """Say that the file of the database is where it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebParts:
    """Everything that the page, the API and the metrics need."""

    rules: WebRules
    store: Store[WebTx, WebReads]
    clock: Clock
    access: Access
    wake: Callable[[], None]
    """Is called after somebody changed something that messages show."""
    listen: Callable[[Callable[[], None]], Awaitable[None]] = _hear_nothing
    """Calls a function whenever something new may be recorded, until cancelled. It only saves time."""
    verify: Callable[[], Awaitable[None]] = nothing_is_lost
    """Raises StoreReplaced where the file of the database was moved or replaced while it is in use."""
    names: KnownNames = field(default_factory=KnownNames)
    """The names of this server, besides those of loopback."""
