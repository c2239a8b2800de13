"""What `notifier run` costs with thousands of sources: share of a core, memory, and whether each is polled in time.

The service is a process of its own, and so is the local server that answers every list from memory. Each source has
its own key and a list of finished tasks that does not change, which is what nearly all polls of a day see.

    python benchmarks/many_sources.py [--sources 5000] [--tasks 20] [--every 60] [--seconds 120]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PROGRAM = (sys.executable, "-c", "from notifier.cli import main; main()")


# ---- the server ----


def page(tasks: int) -> bytes:
    rows = [
        {
            "instance_info": {
                "instance_id": f"{n:032x}in14",
                "instance_name": f"gauss-{n}",
                "instance_status": "normal",
            },
            "job_id": f"{n:08x}-135c-4245-8bd8-b0bc6d3350b3",
            "name": "BackupSnapshotGaussDBV5InInstance",
            "status": "Completed",
            "created_at": "2026-01-05T08:15:07+0800",
            "ended_at": "2026-01-06T03:06:52+0800",
        }
        for n in range(tasks)
    ]
    return json.dumps({"tasks": rows, "total_count": tasks}).encode()


async def serve(tasks: int) -> None:
    """Answer every request with the same list, and SIGUSR1 with the number of requests so far."""
    body = page(tasks)
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    count = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                count += 1
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=4096)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: print(count, flush=True))
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Server:
    """The server, as a process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = self._read()

    def _read(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())

    def requests(self) -> int:
        self._process.send_signal(signal.SIGUSR1)
        return self._read()


@contextmanager
def serving(tasks: int) -> Iterator[Server]:
    command = [sys.executable, __file__, "--serve", "--tasks", str(tasks)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process)
        finally:
            process.terminate()


# ---- the service ----


def configuration(sources: int, port: int, every: int) -> str:
    """Return a configuration, written as people write it."""
    lines = ["log: {level: warning}", "sources:"]
    for n in range(sources):
        lines += [
            f"  - name: source-{n:05}",
            "    kind: gaussdb",
            "    region: cn-north-4",
            f"    project_id: 0611f1bd8b00d5d32f17c017{n:08x}",
            f"    endpoint: http://127.0.0.1:{port}",
            f"    poll_every: {every}s",
            f"    auth: {{kind: aksk, access_key: AK{n:08}, secret_key: not-a-secret}}",
        ]
    return "\n".join([*lines, "channels: [{name: dba, kind: console}]", "routes: [{name: all, channels: [dba]}]", ""])


def seconds_used(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid: int) -> int:
    """Return the memory of a process, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


def measure(arguments: argparse.Namespace) -> None:
    with serving(arguments.tasks) as server, tempfile.TemporaryDirectory() as folder:
        text = configuration(arguments.sources, server.port, arguments.every)
        (Path(folder) / "notifier.yaml").write_text(text, encoding="utf-8")
        polling_since = time.monotonic()
        with subprocess.Popen([*PROGRAM, "run"], cwd=folder) as service:
            try:
                while server.requests() < arguments.sources:
                    time.sleep(1)
                first = time.monotonic() - polling_since
                used = seconds_used(service.pid)
                print(f"{arguments.sources} sources polled once after {first:.0f} s, {used:.1f} s of CPU")
                calls, used, since = server.requests(), seconds_used(service.pid), time.monotonic()
                time.sleep(arguments.seconds)
                elapsed = time.monotonic() - since
                calls, used = server.requests() - calls, seconds_used(service.pid) - used
            finally:
                service.terminate()
            memory = resident(service.pid)
        wanted = arguments.sources * elapsed / arguments.every
        print(f"then {calls / elapsed:.1f} polls a second ({calls / wanted:.0%} of those that were due)")
        print(f"{used / elapsed:.0%} of a core, {1000 * used / max(calls, 1):.1f} ms a poll, {memory} MiB resident")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sources", type=int, default=5000)
    parser.add_argument("--tasks", type=int, default=20, help="tasks in each list")
    parser.add_argument("--every", type=int, default=60, help="seconds between two polls of a source")
    parser.add_argument("--seconds", type=int, default=120, help="how long to measure")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.tasks))
    else:
        measure(arguments)


if __name__ == "__main__":
    main()
