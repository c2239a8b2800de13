"""What somebody without the notifier would write: an app of Slack's Bolt on uvicorn that lists failures by SQL.

    .venv-peers/bin/python benchmarks/chat/bolt.py DATABASE

Prints its address, and ends when its input does.
"""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from slack_bolt.adapter.starlette.async_handler import AsyncSlackRequestHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

sys.path.insert(0, str(Path(__file__).parent.parent))
from chat import signing

FAILED = """
    FROM tasks WHERE status = 'failed' AND (created_at >= :since OR ended_at >= :since OR changed_at >= :since)
    AND (instance_id = :instance OR lower(instance_name) LIKE '%' || :instance || '%')
"""


def find(path: str, instance: str) -> tuple[int, list[tuple[Any, ...]]]:
    """Return how many tasks of an instance failed in a day, and the latest ten. A connection for each call."""
    asked = {"since": str(datetime.now(UTC) - timedelta(days=1)), "instance": instance}
    connection = sqlite3.connect(path)
    try:
        (count,) = connection.execute(f"SELECT count(*) {FAILED}", asked).fetchone()
        rows = f"SELECT name, instance_name, ended_at, fail_reason {FAILED} ORDER BY changed_at DESC LIMIT 10"
        return count, connection.execute(rows, asked).fetchall()
    finally:
        connection.close()


async def authorize(**_: object) -> AuthorizeResult:
    """Return a bot; without it, Bolt would ask Slack for each request."""
    return AuthorizeResult(enterprise_id=None, team_id="T0BENCH", bot_user_id="U0BOT", bot_id="B0BOT", bot_token="-")  # noqa: S106 - none


def application(path: str) -> Starlette:
    """Return the app."""
    app = AsyncApp(signing_secret=signing.SECRET, authorize=authorize)

    @app.command("/gaussdb")
    async def answer(ack: Any, command: Any) -> None:  # noqa: ANN401 - Bolt's
        instance = command["text"].split()[-1]
        count, rows = await asyncio.to_thread(find, path, instance)
        texts = [f"{count} tasks failed", *(f"*{name}* {of} {ended}: {why}" for name, of, ended, why in rows)]
        await ack(blocks=[{"type": "section", "text": {"type": "mrkdwn", "text": text}} for text in texts])

    handler = AsyncSlackRequestHandler(app)

    async def endpoint(request: Request) -> Response:
        reply: Response = await handler.handle(request)
        return reply

    return Starlette(routes=[Route("/slack/commands", endpoint, methods=["POST"])])


async def main(path: str) -> None:
    """Serve."""
    server = uvicorn.Server(uvicorn.Config(application(path), access_log=False, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
