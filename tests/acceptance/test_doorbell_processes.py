"""The doorbell of one process makes another one poll: real programs, a simulated SMN, and sources polled hourly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from servers.cloud import WatchedCloud, watched_cloud
from servers.moments import Moments
from servers.program import Program
from servers.receiver import SECRET, Receiver
from timeouts import HANG_TIMEOUT

TOKEN = "obviously-fake-token-of-a-pipeline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A process that is rung and another one that polls and delivers, with a cloud and a receiver."""

    web: Program
    url: str
    cloud: WatchedCloud
    receiver: Receiver
    client: httpx.AsyncClient

    async def steer(self, **command: object) -> None:
        """Tell the simulated SMN what to do."""
        answer = await self.client.post(f"{self.cloud.simulator.url}/_sim/smn", json=command)
        assert answer.status_code == 200, answer.text

    async def told(self, *expected: tuple[str, str]) -> None:
        """Wait until the receiver has got as many messages, and compare type and task of each."""
        await self.cloud.moments.until(lambda: len(self.receiver.received) >= len(expected))
        assert [(one.told["type"], one.job_id) for one in self.receiver.received] == list(expected)


@pytest.fixture
async def split(tmp_path: Path, postgres_url: str) -> AsyncIterator[Split]:
    moments = Moments()
    async with AsyncExitStack() as stack, asyncio.timeout(HANG_TIMEOUT):
        cloud = await stack.enter_async_context(watched_cloud(moments))
        receiver = await stack.enter_async_context(Receiver(moments))
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=HANG_TIMEOUT))
        state = (await client.get(f"{cloud.simulator.url}/_sim/state")).json()
        topic = {"topics": [state["smn"]["topic_urn"]], "origins": [cloud.simulator.url]}
        document = {
            "store": {"url": postgres_url},
            "sources": [cloud.source(name="prod", poll_every="1h")],
            "channels": [{"name": "hook", "kind": "webhook", "url": receiver.url("/hook"), "secret": SECRET}],
            "routes": [{"name": "tasks", "match": ["type=~task[.].*"], "channels": ["hook"]}],
            "alerts": {"channels": []},
            "web": {"listen": "127.0.0.1:0"},
            "doorbell": {"token": TOKEN, "smn": topic, "min_interval": "1s"},
            "log": {"format": "json"},
        }
        config = tmp_path / "notifier.yaml"
        config.write_text(json.dumps(document), encoding="utf-8")
        polling = await stack.enter_async_context(Program(config, moments, "--only", "poll,deliver"))
        web = await stack.enter_async_context(Program(config, moments, "--only", "web"))
        await polling.said("source.monitored")
        await web.said("web.listening")
        (listening,) = [line for line in map(json.loads, web.log.splitlines()) if line["event"] == "web.listening"]
        found = Split(web=web, url=listening["url"], cloud=cloud, receiver=receiver, client=client)
        try:
            yield found
        except BaseException as error:
            error.add_note(f"--- polling\n{polling.log}\n--- web\n{web.log}")
            raise


async def test_whoever_knows_the_token_or_a_topic_has_a_source_polled(split: Split) -> None:
    """Nothing else would poll it within the hour."""
    moments, asked = split.cloud.moments, split.cloud.moments.count["page asked"]
    split.cloud.show({"a": "Running"})
    refused = await split.client.post(f"{split.url}/doorbell/prod", headers={"Authorization": "Bearer wrong"})
    assert (refused.status_code, moments.count["page asked"]) == (401, asked)
    rung = await split.client.post(f"{split.url}/doorbell/prod", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (rung.status_code, rung.json()["rings"][0]["effect"]) == (202, "due")
    await split.told(("task.started", "a"))
    assert moments.count["page asked"] == asked + 1

    await split.steer(subscribe=[f"{split.url}/doorbell"])
    await split.web.said("doorbell.confirmed")
    split.cloud.show({"a": "Failed"})
    await split.steer(publish=[{"message": json.dumps({"source": "ignored"}), "subject": "[Alarm]", "times": 3}])
    await split.told(("task.started", "a"), ("task.failed", "a"))
    await split.web.said('"caller": "smn"')
    state = (await split.client.get(f"{split.cloud.simulator.url}/_sim/state")).json()["smn"]
    assert set(state["attempts"]) <= {200, 202}
    assert moments.count["page asked"] == asked + 2, "a message that comes three times rings once"
