"""Slash commands of Mattermost, from the socket to the store."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from test_slack_chat import free_port

from notifier.config.loading import loads
from notifier.wiring.app import open_app, open_endpoints

TOKEN = "obviously-fake-token"
CONFIGURATION = """
store: {url: "sqlite:///FOLDER/notifier.db"}
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}}
chat: {mattermost: {token: obviously-fake-token, allow: [boss]}}
web: {listen: "127.0.0.1:PORT"}
"""


@pytest.mark.parametrize(
    ("text", "user", "said"),
    [
        (
            "status",
            "anybody",
            "⚠️ Not well: 1 source blind\n- ✗ source prod: not polled yet → `notifier check --online`",
        ),
        ("running", "anybody", "**No task is running**"),
        ("faild", "anybody", "⚠️ There is no command `faild`. Did you mean: `/gaussdb failed 24h`"),
        ("subscribe failed", "anybody", "⚠️ Direct messages cannot be sent from here"),
        ("subscribe here failed", "boss", "⚠️ Direct messages cannot be sent from here"),
        (
            "failed 24h prod-* operation=backup",
            "anybody",
            "No task failed in the last 24 h \\(`prod-* operation=backup`\\)",
        ),
        ("failed 24h duration>1h", "anybody", "⚠️ `duration narrows no list; fields that do are instance,"),
        ("watch x", "anybody", "⚠️ No task found whose job ID begins with `x`"),
        ("mute prod-1 2h", "anybody", "⚠️ You are not on the list of people who may do this"),
        ("mute prod-1 2h", "boss", "⚠️ No tasks found for instance `prod-1`, so nothing was muted"),
    ],
)
async def test_a_command_is_answered_in_markdown(tmp_path: Path, text: str, user: str, said: str) -> None:
    port = free_port()
    config = loads(CONFIGURATION.replace("FOLDER", str(tmp_path)).replace("PORT", str(port)), {})
    async with open_app(config) as app, open_endpoints(app, lambda: None), httpx.AsyncClient() as client:
        answer = await client.post(
            f"http://127.0.0.1:{port}/mattermost/commands",
            data={"command": "/gaussdb", "text": text, "user_id": user, "user_name": user, "token": TOKEN},
            headers={"Authorization": f"Token {TOKEN}"},
        )
        assert answer.status_code == 200
        assert answer.json()["response_type"] == "ephemeral"
        assert answer.json()["text"].startswith(said)
        without = await client.post(f"http://127.0.0.1:{port}/mattermost/commands", data={"token": TOKEN})
        assert without.status_code == 401
