"""What polls and messages leave behind: nothing that only a search for garbage would find."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from zoneinfo import ZoneInfo

from factories import make_task
from fakes import FakeClock, FakeSource
from servers.http import HttpServer, reply

from notifier.channels.base import ChannelContext
from notifier.cli import garbage as garbage_rules
from notifier.config.loading import loads
from notifier.http import HttpClient
from notifier.integrations.webhook.channel import WebhookChannel
from notifier.integrations.webhook.settings import WebhookSettings
from notifier.service.service import Service
from notifier.store.engine import open_store
from notifier.wiring.app import App
from notifier.wording.localizer import Localizer

CONFIGURATION = """
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}}
channels: [{name: hook, kind: webhook, url: "${HOOK}"}]
routes: [{name: everything, channels: [hook]}]
"""


@contextmanager
def garbage() -> Iterator[list[str]]:
    """Collect the names of those of the program's objects that become garbage meanwhile and wait to be found."""
    found: list[str] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += [kind.__qualname__ for kind in map(type, gc.garbage) if kind.__module__.startswith("notifier.")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def test_polls_and_messages_leave_no_garbage(sqlite_url: str, clock: FakeClock) -> None:
    """A reference cycle would keep all that a transaction read until a search, and the service searches seldom."""
    async with (
        HttpServer(reply(200)) as receiver,
        aclosing(open_store(sqlite_url, now=clock.now)) as store,
        aclosing(HttpClient()) as http,
    ):
        config = loads(CONFIGURATION, {"HOOK": receiver.url()})
        context = ChannelContext(http=http, clock=clock, localizer=Localizer(language="en", timezone=ZoneInfo("UTC")))
        settings = config.channels[0]
        assert isinstance(settings, WebhookSettings)
        source = FakeSource(clock)
        app = App(
            config=config,
            store=store,
            sources={"prod": source},
            channels={"hook": WebhookChannel(settings, context)},
            clock=clock,
            rng=random.Random(1),
            http=http,
        )
        service = Service(app)
        await service.start()

        async def round_of(number: int) -> None:
            source.tasks += [make_task(f"{number}-{n}") for n in range(10)]
            await service.polling.poll(source, force=True)
            await service.delivering.drain()

        await round_of(0)
        with garbage() as found:
            for number in range(1, 4):
                await round_of(number)
        assert len(receiver.requests) >= 30
        assert found == []


def test_what_lasted_until_a_reload_is_given_back() -> None:
    class Part:
        def __init__(self) -> None:
            self.itself = self

    before = gc.get_threshold()
    try:
        garbage_rules.leave_out_what_lasts()
        frozen = Part()
        gone = weakref.ref(frozen)
        garbage_rules.leave_out_what_lasts()
        del frozen
        gc.collect()
        assert gone() is not None  # left out
        garbage_rules.leave_out_what_lasts()
        assert gone() is None
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
