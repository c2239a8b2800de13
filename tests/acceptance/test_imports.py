"""What a command does not import: that decides how long it takes, more than what it does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import json, sys
sys.argv = ["notifier", *sys.argv[1:]]
from notifier.cli import main
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code, sorted(sys.modules)]), file=sys.stderr)
"""

NETWORK = {"httpx", "aiohttp", "slack_sdk", "uvicorn", "starlette", "aiosmtplib", "httptools"}
SERVICE = NETWORK | {"alembic", "jinja2", "babel", "apscheduler", "uvloop", "structlog", "notifier.wiring.app"}
STORE = {"sqlalchemy", "notifier.wiring.stores", "notifier.store.engine"}
SETTINGS = {"pydantic", "importlib.metadata", "notifier.config.config"}
LOOP = {"asyncio", "ssl"}
HELP = SERVICE | STORE | SETTINGS | LOOP | {"rich", "yaml", "msgspec", "sqlite3", "notifier.lookup"}

CONFIGURATION = """
timezone: Asia/Shanghai
store: {url: sqlite:///notifier.db}
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}, poll_every: 30s}
channels: [{name: hook, kind: webhook, url: "https://example.com/hook"}]
routes: [{name: failures, match: ["type=task.failed"], channels: [hook]}]
"""

LOOKUP = SERVICE | STORE | SETTINGS | LOOP


@pytest.fixture
def folder(tmp_path: Path, sqlite_url: str) -> Path:
    """Return a folder with a plain configuration and an empty database."""
    assert sqlite_url == f"sqlite:///{tmp_path}/notifier.db"
    (tmp_path / "notifier.yaml").write_text(CONFIGURATION, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "code", "absent"),
    [
        ("--help", 0, HELP),
        ("--version", 0, HELP),
        ("nonsense", 2, SERVICE | STORE | SETTINGS | LOOP),
        ("tasks --help", 0, LOOKUP),
        ("tasks", 1, LOOKUP),
        ("tasks --status failed --since 24h --unacked --limit 5 --json -c notifier.yaml", 1, LOOKUP),
        ("tasks --match environment=production -c notifier.yaml", 1, LOOKUP),
        ("task abc", 1, LOOKUP),
        ("events", 1, LOOKUP),
        ("explain abc", 1, LOOKUP),
        ("deliveries", 1, LOOKUP),
        ("audit", 0, LOOKUP),
        ("audit log", 1, LOOKUP),
        ("mutes", 1, LOOKUP),
        ("subscriptions", 1, LOOKUP),
        ("health", 1, LOOKUP),
        ("check", 0, SERVICE | STORE | {"asyncio"}),
    ],
)
def test_a_command_imports_no_more_than_it_needs(folder: Path, command: str, code: int, absent: set[str]) -> None:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", PROBE, *command.split()], cwd=folder, capture_output=True, text=True, check=False
    )
    ended, modules = json.loads(done.stderr.splitlines()[-1])
    assert (ended, absent & {*modules}) == (code, set()), done.stderr[:500]
