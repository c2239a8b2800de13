"""The notifier's slash commands over HTTP, as its service serves them, while polls are being recorded.

    python benchmarks/chat/ours.py DATABASE

Prints its address, and ends when its input does.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

from starlette.applications import Starlette

sys.path.insert(0, str(Path(__file__).parent.parent))
from chat import signing, work
from notifier.chat.responder import ChatResponder, ResponderRules
from notifier.cli import event_loop, garbage
from notifier.clock import SystemClock
from notifier.core.health_facts import ConfiguredSource, Expected
from notifier.http import HttpClient
from notifier.integrations.slack.chat import SlackChat, SlackChatRules
from notifier.integrations.slack.http import SlackRoutes
from notifier.integrations.slack.users import UserDirectory
from notifier.logs import RejectionLog
from notifier.store.engine import SqlStore, open_store
from notifier.web.server import Server
from notifier.wording.localizer import Localizer

CHANGES = 50
"""Tasks that one poll a second finds changed."""


def responder_of(store: SqlStore) -> ChatResponder:
    """Return a responder with one source and one channel."""
    localizers = {"en": Localizer(language="en", timezone=ZoneInfo("UTC"))}
    source = ConfiguredSource(name="prod", region="r", project_id="p", poll_every=timedelta(seconds=30))
    rules = ResponderRules(
        localizers=localizers,  # type: ignore[arg-type]  # one language is enough
        expected=Expected(sources=[source], channels=("dba",)),
    )
    return ChatResponder(store, SystemClock(), rules, lambda: None)


async def keep_polling(store: SqlStore) -> None:
    """Record a poll each second."""
    rng = Random(2)
    while True:
        changed = list(work.tasks(CHANGES, rng, datetime.now(UTC)))
        await store.transact(lambda tx, changed=changed: work.record(tx, changed))  # type: ignore[misc]  # a default
        await asyncio.sleep(1)


async def main(path: str) -> None:
    """Serve."""
    rejections = RejectionLog("chat.requests_rejected", logger="benchmark", seconds=SystemClock().monotonic)
    async with aclosing(open_store(f"sqlite:///{path}")) as store, aclosing(HttpClient()) as http:
        rules = SlackChatRules(language="en")
        handler = SlackChat(responder_of(store), UserDirectory(None, SystemClock()), http, rules)
        chat = SlackRoutes(handler=handler, signing_secret=signing.SECRET, clock=SystemClock(), rejections=rejections)
        served = Server(Starlette(routes=chat.routes()), "127.0.0.1", 0, rejections=rejections)
        async with aclosing(handler), served as server:
            garbage.leave_out_what_lasts()
            print(server.url, flush=True)
            polling = asyncio.create_task(keep_polling(store))
            await asyncio.to_thread(sys.stdin.read)
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)


if __name__ == "__main__":
    event_loop.run(main(sys.argv[1]))
