"""One policy for the network: what `network` says holds for sources, channels and chats alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from servers.http import HttpServer, reply
from servers.tls import make_certificate

from notifier.config.loading import loads
from notifier.wiring.channels import open_channel
from notifier.wiring.checks import check_online

CONFIGURATION = """
store: {{url: "sqlite:///{folder}/notifier.db"}}
sources:
  - {{name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f, endpoint: {url},
     auth: {{kind: token, iam_endpoint: {url}, domain: d, username: u, password: p}}}}
channels:
  - {{name: hook, kind: webhook, url: {url}/hook}}
  - {{name: bot, kind: slack, api_url: {url}/api/, bot_token: xoxb-fake, channel: C0123ABCD}}
  - {{name: chat, kind: mattermost, webhook_url: {url}/hooks/fake}}
routes: [{{name: all, channels: [hook, bot, chat]}}]
chat: {{slack: {{app_token: xapp-fake, api_url: {url}/api/}}}}
network: {{{network}}}
"""


async def findings(folder: Path, url: str, network: str) -> dict[str, str]:
    """Return what is wrong online, by what it is about."""
    config = loads(CONFIGURATION.format(folder=folder, url=url, network=network), {})
    found = [finding for finding in await check_online(config) if finding.what != "store"]
    assert len(found) >= 5
    return {f"{finding.what} {number}": finding.detail for number, finding in enumerate(found) if not finding.ok}


@pytest.mark.parametrize("status", [407, 502])
async def test_a_blocking_proxy_is_named_by_everything(tmp_path: Path, status: int) -> None:
    async with HttpServer(reply(status)) as proxy:
        wrong = await findings(tmp_path, "https://cloud.invalid", f"proxy: {proxy.url()}")
    assert len(wrong) >= 5, wrong
    for about, detail in wrong.items():
        assert f"the proxy 127.0.0.1:{proxy.port} answered HTTP {status}" in detail, about


async def test_an_address_that_is_denied_is_refused_to_everything(tmp_path: Path) -> None:
    async with HttpServer() as server:
        wrong = await findings(tmp_path, server.url(""), "deny: [127.0.0.0/8]")
    assert server.connections == 0
    assert len(wrong) >= 5, wrong
    for about, detail in wrong.items():
        assert "an address that network.deny lists" in detail, about


async def test_an_authority_of_the_network_is_trusted_by_everything(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with HttpServer(tls=certificate.server_context()) as server:
        without = await findings(tmp_path, server.url(""), "")
        trusting = await findings(tmp_path, server.url(""), f"ca_file: {certificate.authority}")
    assert all("not accepted" in detail and "ca_file" in detail for detail in without.values())
    assert not any("not accepted" in detail for detail in trusting.values())


async def test_a_channel_may_trust_an_authority_of_its_own(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with HttpServer(tls=certificate.server_context()) as server:
        text = CONFIGURATION.format(folder=tmp_path, url=server.url(""), network="")
        own = text.replace(f"{server.url('')}/hook}}", f"{server.url('')}/hook, ca_file: {certificate.authority}}}", 1)
        async with open_channel(loads(own, {}), "hook") as channel:
            (answers,) = await channel.check()
        async with open_channel(loads(own, {}), "chat") as channel:
            (refused,) = await channel.check()
    assert answers.ok
    assert "not accepted" in refused.detail
