"""Prometheus Alertmanager: each event is an alert and a group by itself, notified at once and never repeated."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import work

PROGRAM = "prometheus-alertmanager"


def config_of(place: work.Place) -> dict[str, Any]:
    names = [f"receiver-{n}" for n in range(len(place.urls))]
    hook = {"send_resolved": False, "max_alerts": 0}
    return {
        "route": {
            "receiver": names[0],
            "group_by": ["..."],
            "group_wait": "0s",
            "group_interval": "1h",
            "repeat_interval": "24h",
            "routes": [{"receiver": name, "continue": True} for name in names],
        },
        "receivers": [
            {"name": name, "webhook_configs": [hook | {"url": url}]}
            for name, url in zip(names, place.urls, strict=True)
        ],
    }


def alert_of(number: int) -> dict[str, Any]:
    return {
        "labels": {"alertname": "task.failed", "job_id": work.job_id(number)},
        "annotations": {"summary": work.FAIL_REASON},
    }


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def start(place: work.Place, port: int) -> subprocess.Popen[bytes]:
    config = Path(place.folder) / "alertmanager.yml"
    config.write_text(json.dumps(config_of(place)), encoding="utf-8")  # JSON is YAML
    options = {
        "config.file": config,
        "storage.path": Path(place.folder) / "data",
        "web.listen-address": f"127.0.0.1:{port}",
        "cluster.listen-address": "",
        "log.level": "warn",
    }
    return subprocess.Popen([PROGRAM, *(f"--{name}={value}" for name, value in options.items())])


async def ready(session: aiohttp.ClientSession, url: str) -> None:
    while True:
        try:
            async with session.get(f"{url}/-/ready") as reply:
                if reply.ok:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.1)


async def run(place: work.Place) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = start(place, port)
    try:
        async with aiohttp.ClientSession() as session:
            await asyncio.wait_for(ready(session, url), 20)

            async def accept(numbers: Sequence[int]) -> None:
                async with session.post(f"{url}/api/v2/alerts", json=[alert_of(n) for n in numbers]) as reply:
                    assert reply.ok, await reply.text()

            await work.serve(accept)
    finally:
        process.kill()  # a stop would wait for notifications that nobody answers
        process.wait()


if __name__ == "__main__":
    asyncio.run(run(work.place()))
