"""Whole commands, from the start of the process to its end: processor time and wall time.

Beside them the interpreter alone, a peer that people know (`pip --version`, `alembic --help`), and a floor: a script
that reads the same configuration and rows with argparse, yaml and sqlite3 alone. Each is run once a round, in turn.

    python benchmarks/startup.py [--tasks 100000] [--rounds 9] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from chat import work
from figures import Measure, Report, add_arguments

from notifier.store.engine import open_store

CONFIGURATION = """
timezone: Asia/Shanghai
store: {url: sqlite:///notifier.db}
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}}
channels: [{name: hook, kind: webhook, url: "https://example.com/hook"}]
routes: [{name: failures, match: ["type=task.failed"], channels: [hook]}]
"""

FLOOR = """
import argparse, sqlite3, yaml
parser = argparse.ArgumentParser()
parser.add_argument("--config", default="notifier.yaml")
with open(parser.parse_args().config) as file:
    url = yaml.load(file, yaml.CSafeLoader)["store"]["url"]
rows = sqlite3.connect(url.removeprefix("sqlite:///")).execute(
    "SELECT job_id, name, status, instance_name, changed_at FROM tasks ORDER BY changed_at DESC LIMIT 50"
)
for row in rows:
    print(*row)
"""

BARE, FLOOR_NAME = "python -c pass", "argparse, yaml, sqlite3"


def commands() -> Mapping[str, Sequence[str]]:
    """Return what is run, by its name."""
    ours = ("--help", "tasks --help", "tasks", "events", "deliveries", "explain", "health", "check")
    job = {"explain": ["00000001"]}
    notifier = [sys.executable, "-c", "from notifier.cli import main; main()"]
    return {
        BARE: [sys.executable, "-c", "pass"],
        FLOOR_NAME: [sys.executable, "-c", FLOOR],
        "pip --version": [sys.executable, "-m", "pip", "--version"],
        "alembic --help": [sys.executable, "-m", "alembic", "--help"],
        **{f"notifier {name}": [*notifier, *name.split(), *job.get(name, [])] for name in ours},
    }


def cost(command: Sequence[str], folder: str) -> Mapping[str, float]:
    """Run a command; return milliseconds."""
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    return {"CPU ms": 1000 * (usage.ru_utime + usage.ru_stime), "wall ms": 1000 * wall}


async def prepare(folder: Path, tasks: int) -> None:
    """Write a configuration and a database with tasks."""
    (folder / "notifier.yaml").write_text(CONFIGURATION, encoding="utf-8")
    store = open_store(f"sqlite:///{folder}/notifier.db")
    await work.fill(store, tasks)
    await store.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure whole commands.")
    parser.add_argument("--tasks", type=int, default=100_000)
    add_arguments(parser, rounds=9)
    arguments = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {name: {} for name in commands()}
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(prepare(Path(folder), arguments.tasks))
        for command in commands().values():  # once before, so that all is compiled and cached
            cost(command, folder)
        for _ in range(arguments.rounds):
            for name, command in commands().items():
                for measure, value in cost(command, folder).items():
                    found[name].setdefault(measure, []).append(value)
    measures = [Measure(name="CPU ms", peers=[BARE, FLOOR_NAME]), Measure(name="wall ms")]
    Report("startup", arguments.json).table(f"whole commands: {arguments.tasks:,} tasks", found, measures)


if __name__ == "__main__":
    main()
