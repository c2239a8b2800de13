"""The page over HTTP, as the service serves it, while polls are being recorded.

    python benchmarks/page/serve.py DATABASE-URL

Prints its address, and ends when its input does.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent))
from chat import work

from notifier.cli import event_loop, garbage
from notifier.config.config import Config
from notifier.config.loading import load
from notifier.core.model import Task
from notifier.logs import RejectionLog
from notifier.web.server import Server
from notifier.wiring.app import App, open_app
from notifier.wiring.web import build_web
from page.history import CHANNELS, SOURCES

CHANGES = 50
"""Tasks that one poll a second finds changed."""

_CONFIGURATION = """
timezone: Asia/Shanghai
store: {{url: "{url}"}}
sources:
{sources}
channels:
{channels}
routes:
- {{name: all, channels: [{names}]}}
web: {{listen: "127.0.0.1:0"}}
"""


def configuration(url: str) -> str:
    """Return a configuration of the sources and channels of the history."""
    auth = "auth: {{kind: aksk, access_key: AK, secret_key: SK}}"
    source = "- {{name: {0}, kind: gaussdb, region: cn-north-4, project_id: '{0:0>32}', " + auth + "}}"
    channel = (
        "- {{name: {0}, kind: webhook, url: 'http://127.0.0.1:9/{0}', secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}}"
    )
    return _CONFIGURATION.format(
        url=url,
        sources="\n".join(map(source.format, SOURCES)),
        channels="\n".join(map(channel.format, CHANNELS)),
        names=", ".join(CHANNELS),
    )


async def keep_polling(app: App) -> None:
    """Record a poll each second."""
    rng = Random(2)
    while True:
        changed = poll(rng, datetime.now(UTC))
        await app.store.transact(lambda tx, changed=changed: work.record(tx, changed))  # type: ignore[misc]  # a default
        await asyncio.sleep(1)


def poll(rng: Random, now: datetime) -> Sequence[Task]:
    """Return what a poll finds changed: tasks that run, and tasks that ended just now, as nearly all do."""
    return [_ended_now(task, now) for task in islice(work.tasks(CHANGES, rng, now), CHANGES)]


def _ended_now(task: Task, now: datetime) -> Task:
    if task.created_at is None or task.ended_at is None:
        return task
    return replace(task, created_at=now - (task.ended_at - task.created_at), ended_at=now)


def configured(url: str) -> Config:
    """Return the same, as a service reads it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "notifier.yaml"
        file.write_text(configuration(url), encoding="utf-8")
        return load(file, {})


async def main(url: str) -> None:
    """Serve."""
    config = configured(url)
    if config.web is None:
        raise RuntimeError("no web")
    async with open_app(config) as app:
        rejections = RejectionLog("web.requests_rejected", logger="benchmark", seconds=app.clock.monotonic)
        served = build_web(app, config.web, wake=lambda: None, beside=())
        async with Server(served, config.web.host, config.web.port, rejections=rejections) as server:
            garbage.leave_out_what_lasts()
            print(server.url, flush=True)
            polling = asyncio.create_task(keep_polling(app))
            await asyncio.to_thread(sys.stdin.read)
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)


if __name__ == "__main__":
    event_loop.run(main(sys.argv[1]))
