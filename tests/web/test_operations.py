"""Probes and metrics as a configuration puts them together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from notifier.config.loading import loads
from notifier.core.health_facts import Role
from notifier.telemetry.ports import NoMeters
from notifier.telemetry.process import ProcessStage, ProcessStatus
from notifier.web.metrics import METRICS
from notifier.web.observed import Observed
from notifier.web.probes import HEALTHZ, READYZ
from notifier.wiring.app import open_app
from notifier.wiring.telemetry import open_telemetry
from notifier.wiring.web import build_web

CONFIGURATION = """
store:
  url: sqlite:///${FOLDER}/notifier.db
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}}
channels: [{name: dba, kind: console}]
routes: [{name: everything, channels: [dba]}]
web: {listen: "127.0.0.1:8080", password: obviously-fake, metrics_open_to: [10.0.0.0/8]}
"""


@asynccontextmanager
async def served(folder: Path, address: str = "127.0.0.1") -> AsyncIterator[httpx.AsyncClient]:
    config = loads(CONFIGURATION, {"FOLDER": str(folder)})
    assert config.web is not None
    process = ProcessStatus([Role.WEB])
    process.stage = ProcessStage.SERVING
    async with open_telemetry(config, [Role.WEB]) as telemetry, open_app(config, telemetry=telemetry) as app:
        site = Observed(build_web(app, config.web, wake=lambda: None, beside=(), process=process), telemetry)
        transport = httpx.ASGITransport(site, client=(address, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://10.1.2.3:8080") as client:
            yield client


async def test_anybody_may_ask_whether_a_process_lives_and_works(sqlite_url: str, tmp_path: Path) -> None:
    assert str(tmp_path) in sqlite_url
    async with served(tmp_path) as client:
        answers = [await client.get(HEALTHZ), await client.get(READYZ)]
    assert [answer.status_code for answer in answers] == [200, 200]


@pytest.mark.parametrize(("address", "status"), [("10.9.8.7", 200), ("192.0.2.1", 401)])
async def test_metrics_are_for_the_configured_networks(
    sqlite_url: str, tmp_path: Path, address: str, status: int
) -> None:
    assert str(tmp_path) in sqlite_url
    async with served(tmp_path, address) as client:
        found = await client.get(METRICS)
        again = await client.get(METRICS)
    assert found.status_code == status
    if status == 200:
        assert 'gaussdb_notifier_http_requests_total{method="GET",route="/metrics",status="200"} 1.0' in again.text
        assert 'gaussdb_notifier_source_healthy{source="prod"} 0.0' in again.text


async def test_a_process_without_the_role_web_counts_nothing(tmp_path: Path) -> None:
    config = loads(CONFIGURATION, {"FOLDER": str(tmp_path)})
    async with open_telemetry(config, [Role.POLL]) as telemetry:
        assert isinstance(telemetry.meters, NoMeters)
