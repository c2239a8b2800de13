"""The pages of channels: what they show to be copied is read, checked and rendered by the program."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml
from factories import make_event, make_task, open_channel
from servers.brokers import find_program
from servers.processes import free_port, server_process
from servers.program import completed
from servers.tls import Certificate
from streams import send, stream_context

from notifier.core.delivery import Delivered
from notifier.core.events import EventType
from notifier.core.model import TaskStatus
from notifier.http import HttpClient

TICKETS = ("github", "gitlab", "jira", "jsm", "pagerduty", "redmine", "roundup", "servicenow", "zendesk")
PAGES = Path(__file__).parent.parent.parent / "docs" / "channels"
SIGNING = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
SOURCE = {
    "name": "prod",
    "kind": "gaussdb",
    "region": "cn-north-4",
    "project_id": "p",
    "environment": "production",
    "auth": {"kind": "ecs_agency"},
}


def configuration(page: str, certificate: Certificate, *, commented: bool = False) -> dict[str, Any]:
    """Return one configuration with the channels and routes of a page, and a route to each channel without one.

    With `commented`, the settings in comments count.
    """
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    text = re.sub(r"^( +)# (?=\w+: )", r"\1", text, flags=re.MULTILINE) if commented else text
    blocks = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    channels = [channel for block in blocks for channel in block["channels"]]
    routes = [route for block in blocks for route in block.get("routes", ())]
    names = [channel["name"] for channel in channels]
    for number, channel in enumerate(channels):
        if channel["name"] in names[:number]:  # another way to configure the same channel
            channel["name"] += f"-{number}"
        for key in {"ca_file", "cert_file", "key_file"} & channel.keys():
            channel[key] = str(certificate.authority if key == "ca_file" else certificate.chain)
        channel.pop("key_password", None)
    led_to = {name for route in routes for name in route["channels"]}
    rest = [channel["name"] for channel in channels if channel["name"] not in led_to]
    routes += [{"name": "rest", "channels": rest}] if rest else []
    return {"sources": [SOURCE], "channels": channels, "routes": routes}


def example_of(variable: str) -> str:
    """Return an obviously fake value for a variable of a page, in the form that the settings want."""
    if variable.endswith("_URL"):
        return "https://chat.example.com/hooks/obviously-fake?key=k&token=t&sig=s"
    if "WEBHOOK" in variable:
        return SIGNING
    return {"TELEGRAM_BOT_TOKEN": "123456789:obviously-fake"}.get(variable, "obviously-fake")


def run(folder: Path, config: dict[str, Any], *command: str) -> CompletedProcess[str]:
    text = json.dumps(config, ensure_ascii=False, default=str)  # a date, which YAML has a type for
    secrets = {name: example_of(name) for name in re.findall(r"\$\{(\w+)\}", text)}
    path = folder / "notifier.yaml"
    path.write_text(text, encoding="utf-8")
    return completed("--config", str(path), *command, cwd=folder, env=secrets)


@pytest.mark.parametrize(
    "page",
    [
        *("webhook", "nats", "kafka", "rabbitmq"),
        *("dingtalk", "discord", "feishu", "google-chat", "matrix", "mattermost", "teams", "telegram", "wecom"),
        *TICKETS,
    ],
)
def test_what_a_page_shows_passes_the_check(page: str, certificate: Certificate, tmp_path: Path) -> None:
    certificate.chain.chmod(0o600)
    config = configuration(page, certificate)
    assert config["channels"]
    done = run(tmp_path, config, "check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗" not in done.stdout


@pytest.mark.parametrize("page", ["github", "gitlab", "zendesk"])
def test_what_a_page_shows_in_comments_passes_too(page: str, certificate: Certificate, tmp_path: Path) -> None:
    done = run(tmp_path, configuration(page, certificate, commented=True), "check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_check_would_find_a_template_that_fails(certificate: Certificate, tmp_path: Path) -> None:
    config = configuration("webhook", certificate)
    (splunk,) = (channel for channel in config["channels"] if channel["name"] == "splunk")
    splunk["body_template"] = '{"event": "{{ data.task.name }}"}'  # an event about a source has no task
    done = run(tmp_path, config, "check")
    assert done.returncode != 0
    assert "splunk" in done.stdout


async def test_the_recipe_for_alertmanager_opens_and_ends_an_alert(
    certificate: Certificate, tmp_path: Path, http: HttpClient
) -> None:
    (settings,) = (
        channel for channel in configuration("webhook", certificate)["channels"] if channel["name"] == "alertmanager"
    )
    config = tmp_path / "alertmanager.yml"
    config.write_text("global: {resolve_timeout: 24h}\nroute: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    port = free_port()
    command = [
        find_program("prometheus-alertmanager"),
        f"--config.file={config}",
        f"--storage.path={tmp_path}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    url = f"http://127.0.0.1:{port}/api/v2/alerts"
    now = datetime.now(UTC)
    task = make_task(ended_at=now - timedelta(minutes=5))
    failed = make_event(task, observed_at=now - timedelta(minutes=5), occurred_at=now - timedelta(minutes=5))
    fixed = make_event(replace(task, status=TaskStatus.COMPLETED), type=EventType.TASK_COMPLETED, observed_at=now)

    async def alerts() -> list[dict[str, Any]]:
        reply = await http.exchange("GET", url, deadline=5, max_bytes=100_000)
        found: list[dict[str, Any]] = json.loads(reply.body)
        return found

    with server_process(command, port, tmp_path):
        channel = open_channel("webhook", settings | {"url": url}, stream_context(http))
        assert isinstance(await send(channel, failed), Delivered)
        (alert,) = await alerts()
        assert alert["labels"]["operation"] == "CreateGaussDBV5Instance"
        assert alert["annotations"]["summary"].startswith("Instance creation failed on")
        assert isinstance(await send(channel, fixed), Delivered)
        assert await alerts() == []
