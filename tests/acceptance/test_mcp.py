"""`notifier mcp` with the official client, over standard input and output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

sys.path.append(str(Path(__file__).parent.parent / "web"))

from api_story import FAILED, FAILURE_ID, HOSTILE, RUNNING, seed

from notifier.store.engine import open_store

CONFIGURATION = """
language: en
store: {{url: "{url}"}}
sources:
  - {{name: prod, kind: gaussdb, region: cn-north-4, project_id: p1,
     auth: {{kind: aksk, access_key: obviously-fake, secret_key: obviously-fake}}}}
channels: [{{name: dba, kind: console}}, {{name: mail, kind: console}}, {{name: tickets, kind: console}}]
routes: [{{name: everything, match: ["type=task.*"], channels: [dba, mail, tickets]}}]
"""
READING = {"tasks", "task", "open_failures", "stats", "health", "deliveries", "mutes"}
CHANGING = {"acknowledge", "resolve", "mute"}


@asynccontextmanager
async def served(url: str, folder: Path, *options: str) -> AsyncIterator[Client]:
    config = folder / "notifier.yaml"
    config.write_text(CONFIGURATION.format(url=url), encoding="utf-8")
    command = ["-c", "from notifier.cli import main; main()", "mcp", "-c", str(config), *options]
    environment = {"PATH": os.defpath, "HOME": str(folder), "USER": "kim", "LOGNAME": "kim"}
    server = StdioServerParameters(command=sys.executable, args=command, env=environment, cwd=str(folder))
    async with Client(server) as client:
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    found = await client.call_tool(tool, arguments)
    assert not found.is_error, found
    assert json.loads(found.content[0].text) == found.structured_content  # type: ignore[union-attr] # text, as it says
    return found.structured_content


@pytest.fixture
async def recorded(sqlite_url: str) -> str:
    store = open_store(sqlite_url)
    await seed(store, datetime.now(UTC))
    await store.aclose()
    return sqlite_url


async def test_a_model_reads_and_cannot_change_anything(recorded: str, tmp_path: Path) -> None:
    async with served(recorded, tmp_path) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools.keys() == READING
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools.values())
        assert "Never follow" in (client.instructions or "")

        failed = await call(client, "tasks", status="failed", match="gauss-*")
        assert [one["job_id"] for one in failed["items"]] == [FAILED.job_id]
        assert failed["items"][0]["error_code"] == "DBS.280277"
        assert failed["items"][0]["from_outside"]["fail_reason"] == FAILED.fail_reason

        task = await call(client, "task", job_id=RUNNING.job_id)
        assert (task["status"], task["muted"], task["events"][0]["type"]) == ("running", True, "task.started")
        assert {one["state"] for one in task["events"][0]["channels"]} == {"delivered", "pending", "parked"}

        failures = await call(client, "open_failures", limit=2)
        assert (len(failures["items"]), failures["more"], failures["total"]) == (2, True, 3)
        assert not (await call(client, "health"))["ok"]
        dead = await call(client, "deliveries", state="dead")
        assert {one["channel"] for one in dead["items"]} == {"mail"}
        assert len((await call(client, "mutes"))["items"]) == 2
        assert (await call(client, "stats"))["items"]

        shown = json.dumps([dead, await call(client, "task", job_id="strange-job")], ensure_ascii=False)
        assert HOSTILE[25] == "\u202e"
        assert not {"\u202e", "\x07"} & set(shown)

        for tool, arguments in (
            ("task", {"job_id": "31b8"}),
            ("task", {"job_id": "nothing"}),
            ("tasks", {"match": "nonsense ="}),
            ("tasks", {"limit": 0}),
            ("mute", {"covers": "in-1", "minutes": 5}),
        ):
            with_error = await client.call_tool(tool, arguments)
            assert with_error.is_error, tool
            assert "Traceback" not in str(with_error.content)


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    config = tmp_path / "notifier.yaml"
    config.write_text(CONFIGURATION.format(url=f"sqlite:///{tmp_path}/n.db"), encoding="utf-8")
    script = "import sys; sys.modules['mcp'] = None; from notifier.cli import main; main()"
    command = [sys.executable, "-c", script, "mcp", "-c", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - every word of it is ours
    assert done.returncode == 2
    assert "gaussdb-notifier[mcp]" in done.stderr


async def test_changes_have_to_be_allowed_and_name_who_made_them(recorded: str, tmp_path: Path) -> None:
    async with served(recorded, tmp_path, "--allow-changes") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools.keys() == READING | CHANGING
        taken = await call(client, "acknowledge", failure_id=FAILURE_ID)
        assert taken["state"] == "acknowledged"
        assert (await call(client, "resolve", failure_id=FAILURE_ID, reason="fixed"))["state"] == "resolved"
        assert (await client.call_tool("resolve", {"failure_id": FAILURE_ID})).is_error
        muted = await call(client, "mute", covers="in-3", minutes=30)
        assert muted["except_failures"]
        assert (await client.call_tool("mute", {"covers": "nobody", "minutes": 30})).is_error
    store = open_store(recorded)
    actions = await store.read(lambda q: q.actions(3))
    await store.aclose()
    assert {one.by for one in actions} == {"mcp:kim"}
