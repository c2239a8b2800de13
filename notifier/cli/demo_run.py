"""The service on a simulated cloud: a task list, the real service, and a receiver that verifies its webhooks."""

import asyncio
import base64
import json
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from notifier.config import loading as configuration
from notifier.lookup import Audit, audit_ledger
from notifier.service.service import serve
from notifier.service.stats import Summary
from notifier.simulator.options import Options
from notifier.simulator.server import Simulator
from notifier.wiring.app import open_app


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A webhook that arrived with a valid signature."""

    delivery_id: str
    type: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """The result of a demonstration."""

    summary: Summary
    audit: Audit
    receipts: int
    rejected: int
    """Webhooks with a wrong signature."""


class Receiver:
    """Receives webhooks on loopback and verifies each with the `standardwebhooks` package, as any receiver would."""

    def __init__(self, secret: str, on_receipt: Callable[[Receipt], None]) -> None:
        self._webhook = Webhook(secret)
        self._on_receipt = on_receipt
        self.receipts = 0
        self.rejected = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/hooks/gaussdb", self._receive)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hooks/gaussdb"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        try:
            body = self._webhook.verify(await request.read(), dict(request.headers))
        except (WebhookVerificationError, ValueError):
            self.rejected += 1
            return web.Response(status=401)
        self.receipts += 1
        self._on_receipt(Receipt(delivery_id=request.headers["webhook-id"], type=body["type"], body=body))
        return web.Response(status=204)


def webhook_secret(rng: random.Random) -> str:
    """Return a signing secret of Standard Webhooks: `whsec_` and 24 bytes in base64."""
    return "whsec_" + base64.b64encode(rng.randbytes(24)).decode()


def free_address() -> str:
    """Return an address of this machine that nobody listens on: it is to be shown before the page is served."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


def demo_config(source: Mapping[str, Any], receiver_url: str, secret: str, folder: Path, page: str) -> dict[str, Any]:
    """Return the configuration of the demonstration: one source, a console and a webhook, everything to both.

    `page` is the address of its page.
    """
    return {
        "timezone": "UTC",
        "store": {"url": f"sqlite:///{folder / 'notifier.db'}"},
        "sources": [dict(source) | {"poll_every": "1s", "calls_per_minute": 600}],
        "channels": [
            {"name": "terminal", "kind": "console"},
            {"name": "tickets", "kind": "webhook", "url": receiver_url, "secret": secret},
        ],
        "routes": [{"name": "everything", "channels": ["terminal", "tickets"]}],
        "web": {"listen": page},
    }


async def run_demo(
    folder: Path,
    options: Options,
    secret: str,
    *,
    stop: asyncio.Event,
    on_ready: Callable[[str, str, str], None],
    on_receipt: Callable[[Receipt], None],
) -> DemoResult:
    """Run until `stop` is set, with the database in `folder`.

    `on_ready` gets the addresses of the cloud, the receiver and the page.
    """
    async with Simulator(options) as simulator, Receiver(secret, on_receipt) as receiver:
        page = free_address()
        document = demo_config(simulator.source_config(), receiver.url, secret, folder, page)
        on_ready(simulator.url, receiver.url, f"http://{page}")
        config = configuration.loads(json.dumps(document), {}, origin="demo")
        async with open_app(config, exclusive=True, expect_new=True) as app:
            summary = await serve(app, stop=stop)
            found = await app.store.read(lambda q: audit_ledger(q, app.clock.now()))
        return DemoResult(summary=summary, audit=found, receipts=receiver.receipts, rejected=receiver.rejected)
