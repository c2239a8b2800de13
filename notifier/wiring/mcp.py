"""Serves tools for language models on standard input and output, beside a running service."""

from zoneinfo import ZoneInfo

from notifier import __version__
from notifier.config.config import Config
from notifier.core.people import Person
from notifier.core.usual_memory import UsualMemory
from notifier.web.api.reads import ReadRules
from notifier.web.mcp_tools import ToolBox, build_mcp
from notifier.wiring.stores import open_existing_store
from notifier.wording.localizer import Localizer


async def serve_tools(config: Config, person: Person, *, allow_changes: bool) -> None:
    """Serve until standard input ends. Changes are recorded as made by `person`. Raises StoreError at the start."""
    rules = ReadRules(
        localizer=Localizer(language=config.language, timezone=ZoneInfo(config.timezone)),
        expected=config.expected,
        routes=config.routes,
        causes=config.cause_catalogue,
        usual=UsualMemory(),
    )
    async with open_existing_store(config) as store:
        box = ToolBox(store=store, rules=rules, person=person)
        await build_mcp(box, __version__, allow_changes=allow_changes).run_stdio_async()
