"""What `notifier run` costs with thousands of sources, and with one that idles: CPU, memory, loop lag, time to start.

The service is a process of its own, started as people start it, and so is the local server that answers every list from
memory. Each source has its own key and a list of finished tasks that does not change, which is what nearly all polls of
a day see. The peer is what a cron job with a loop would do: as many requests a minute on bare aiohttp, each answer
decoded and dropped. It runs after the service, on the same kind of event loop.

On a busy machine most of a lag is time in which other processes run. "own p99" is the part of the lags in which the
process can have computed itself.

    python benchmarks/many_sources.py [--sources 1000 5000] [--tasks 20] [--every 60] [--seconds 120] [--rounds 1]
    python benchmarks/many_sources.py --busy 5 [--sources 1000] [--every 60] [--longest 300]
    python benchmarks/many_sources.py --idle [--seconds 60]

With --busy, one project in twenty has a task every two minutes, which runs for one. Fixed polling is compared with one
that polls so often while something happens, and else at the longest interval. The server knows when it has shown each
change first.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from figures import Measure, Report, Rows, add_arguments

Loop = TypeVar("Loop", bound=asyncio.AbstractEventLoop)

PROGRAM = (sys.executable, "-c", "from notifier.cli import main; main()", "run")
PROBED = (sys.executable, "-c", "from many_sources import run_probed; run_probed()", "run")
PROBE_INTERVAL = 0.02
"""Time between two checks of the event loop's clock, in seconds."""
SETTLING = 10
"""Time after a start before a measurement, in seconds."""
TICKS = os.sysconf("SC_CLK_TCK")
FOLDER = Path(__file__).parent


# ---- the server ----


def page(tasks: int, latest: str = "Completed", number: int = 0) -> bytes:
    """Return one page of a list, as the API writes it. The first task has a status and a number."""
    rows = [
        {
            "instance_info": {
                "instance_id": f"{n:032x}in14",
                "instance_name": f"gauss-{n}",
                "instance_status": "normal",
            },
            "job_id": f"{n or number:08x}-135c-4245-8bd8-b0bc6d3350b3",
            "name": "BackupSnapshotGaussDBV5InInstance",
            "status": "Completed" if n else latest,
            "created_at": "2026-01-05T08:15:07+0800",
            **({} if n == 0 and latest == "Running" else {"ended_at": "2026-01-06T03:06:52+0800"}),
        }
        for n in range(tasks)
    ]
    return json.dumps({"tasks": rows, "total_count": tasks}).encode()


class Happenings:
    """The tasks of busy projects: one in each cycle, running for its first half. Keeps when each change was shown."""

    CYCLE = 120.0
    """Seconds from one task to the next."""
    SHARE = 20
    """One in so many projects is busy."""

    def __init__(self, tasks: int) -> None:
        self._tasks = tasks
        self._quiet = answer(page(tasks))
        self._shown: dict[int, int] = {}
        self.delays: list[float] = []

    def answer(self, project: int) -> bytes:
        """Return the list of a project now."""
        if project % self.SHARE:
            return self._quiet
        # The cycles of projects are shifted, so that something changes all the time.
        changes, since = divmod(time.monotonic() + project * 7.3 % self.CYCLE, self.CYCLE / 2)
        number, running = int(changes) // 2, int(changes) % 2 == 0
        if self._shown.get(project, int(changes)) != int(changes):
            self.delays.append(since)
        self._shown[project] = int(changes)
        return answer(page(self._tasks, "Running" if running else "Completed", 0x10000 + number))


def answer(body: bytes) -> bytes:
    """Return a reply with a body."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def serve(tasks: int, *, busy: bool) -> None:
    """Answer every request with a list.

    Answers SIGUSR1 with the number of requests, the time of the first, and the delays with which changes were shown.
    """
    same, happenings = answer(page(tasks)), Happenings(tasks)
    count, first = 0, 0.0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count, first
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                count, first = count + 1, first or time.monotonic()
                project = request.partition(b"/v3/")[2][24:32]
                writer.write(happenings.answer(int(project, 16)) if busy else same)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def report() -> None:
        nonlocal first
        print(json.dumps([count, first, _percentiles(happenings.delays)]), flush=True)
        first = 0.0
        happenings.delays.clear()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=4096)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, report)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Asked:
    """A process that answers SIGUSR1 with a line of JSON."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def read(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()

    def ask(self) -> Any:  # noqa: ANN401 - what the process prints
        self.process.send_signal(signal.SIGUSR1)
        return json.loads(self.read())


@contextmanager
def serving(tasks: int, *extra: str) -> Iterator[tuple[Asked, int]]:
    """Run the server; yield it and its port."""
    command = [sys.executable, __file__, "--serve", "--tasks", str(tasks), *extra]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        server = Asked(process)
        try:
            yield server, int(server.read())
        finally:
            process.terminate()


# ---- the lag of an event loop ----


class LagProbe:
    """Asks to be called at intervals and keeps how late that happens; answers SIGUSR1 with the lags since the last.

    On a busy machine most of a lag is time in which the process was not allowed to run. So the probe also keeps how
    much of each lag the process can have computed itself.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lags: list[float] = []
        self._own: list[float] = []
        self._due, self._used = time.monotonic(), time.process_time()
        loop.call_soon(self._check)
        loop.add_signal_handler(signal.SIGUSR1, self._report)

    def _check(self) -> None:
        now, used = time.monotonic(), time.process_time()
        self._lags.append(now - self._due)
        self._own.append(min(now - self._due, used - self._used))
        self._due, self._used = now + PROBE_INTERVAL, used
        self._loop.call_later(PROBE_INTERVAL, self._check)

    def _report(self) -> None:
        print(json.dumps([_percentiles(self._lags), _percentiles(self._own)]), flush=True)
        self._lags, self._own = [], []


def _percentiles(values: Sequence[float]) -> Sequence[float]:
    """Return the median, the 99th percentile and the maximum; zeros where there are no values."""
    found = sorted(values) or [0.0]
    return [found[int(share * (len(found) - 1))] for share in (0.5, 0.99, 1)]


def probed(new_loop: Callable[[], Loop]) -> Callable[[], Loop]:
    """Return a factory of event loops, the first of which has a probe."""
    probes: list[LagProbe] = []

    def new() -> Loop:
        loop = new_loop()
        probes.extend([] if probes else [LagProbe(loop)])
        return loop

    return new


def run_probed() -> None:
    """Run the program with a probe in its event loop."""
    import uvloop  # noqa: PLC0415 - the server and the parent do without

    from notifier.cli import main  # noqa: PLC0415 - as above

    uvloop.new_event_loop = probed(uvloop.new_event_loop)
    main()


# ---- the peer ----


async def poll_bare(port: int, sources: int, every: int) -> None:
    """Fetch and decode one list for each source and interval, evenly spread."""
    import aiohttp  # noqa: PLC0415 - the server and the parent do without

    async with aiohttp.ClientSession() as session:

        async def fetch(number: int) -> None:
            query = f"http://127.0.0.1:{port}/v3/{number:032x}/tasks?offset=0&limit=100"
            async with session.get(query, headers={"X-Language": "en-us"}) as reply:
                json.loads(await reply.read())

        loop = asyncio.get_running_loop()
        began, under_way = loop.time(), set[asyncio.Task[None]]()
        for number in itertools.count():
            await asyncio.sleep(began + number * every / sources - loop.time())
            under_way.add(task := asyncio.create_task(fetch(number % sources)))
            task.add_done_callback(under_way.discard)


def run_peer(port: int, sources: int, every: int) -> None:
    import uvloop  # noqa: PLC0415 - the server and the parent do without

    with asyncio.Runner(loop_factory=probed(uvloop.new_event_loop)) as runner:
        runner.run(poll_bare(port, sources, every))


# ---- measuring a process from outside ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """CPU time that a process has used, in seconds, and its memory."""

    cpu: float
    loop: float
    """Of its main thread, which runs the event loop. The others use the database."""
    at: float
    mib: int


def usage(pid: int) -> Usage:
    """Read what the kernel counts: of all threads, also those that have ended, and of the main one."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    loop = int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    cpu = (int(fields[11]) + int(fields[12])) / TICKS
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    mib = int(status.partition("VmRSS:")[2].split()[0]) // 1024
    return Usage(cpu=cpu, loop=loop, at=time.monotonic(), mib=mib)


def configuration(
    sources: int, port: int, every: int, channels: str = "[{name: dba, kind: console}]", *, busy: int | None = None
) -> str:
    """Return a configuration, written as people write it."""
    lines = ["sources:"]
    for n in range(sources):
        lines += [
            f"  - name: source-{n:05}",
            "    kind: gaussdb",
            "    region: cn-north-4",
            f"    project_id: 0611f1bd8b00d5d32f17c017{n:08x}",
            f"    endpoint: http://127.0.0.1:{port}",
            f"    poll_every: {every}s",
            *([f"    poll_busy_every: {busy}s"] if busy else []),
            f"    auth: {{kind: aksk, access_key: AK{n:08}, secret_key: not-a-secret}}",
        ]
    failed = "routes: [{name: failed, match: [type=task.failed], channels: [dba]}]"
    lines += [f"channels: {channels}", "alerts: {channels: []}", failed, ""]
    return "\n".join(lines)


@contextmanager
def running(command: Sequence[str], folder: str) -> Iterator[tuple[Asked, float]]:
    """Run a service in a folder; yield it once it has started, and the seconds that took."""
    log = Path(folder) / "log"
    with log.open("wb") as errors:
        began = time.monotonic()
        with subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(FOLDER)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process:
            try:
                while b"service.started" not in log.read_bytes():
                    if process.poll() is not None:
                        raise SystemExit(log.read_text(encoding="utf-8"))
                    time.sleep(0.01)
                yield Asked(process), time.monotonic() - began
            finally:
                process.terminate()


def shares(now: Usage, before: Usage) -> dict[str, float]:
    """Return the shares of a core since an earlier moment, in per cent, and the memory."""
    elapsed = now.at - before.at
    cpu, loop = (now.cpu - before.cpu) / elapsed * 100, (now.loop - before.loop) / elapsed * 100
    return {"% of a core": cpu, "loop %": loop, "threads %": cpu - loop, "MiB": now.mib}


def lag(probe: Asked) -> dict[str, float]:
    """Return the lags since the last call: of the event loop, and what of them the process may have computed itself."""
    waited, computed = ([1000 * value for value in values] for values in probe.ask())
    return {"lag p50 ms": waited[0], "lag p99 ms": waited[1], "lag max ms": waited[2], "own p99 ms": computed[1]}


# ---- what is measured ----

BARE = "bare aiohttp"
MEASURES = (
    Measure(name="start s", digits=2),
    Measure(name="start CPU s", digits=2),
    Measure(name="first poll s", digits=2),
    Measure(name="each polled s"),
    Measure(name="% of a core", digits=1, peers=(BARE,)),
    Measure(name="loop %", digits=1),
    Measure(name="threads %", digits=1),
    Measure(name="MiB"),
    Measure(name="lag p50 ms", digits=1),
    Measure(name="lag p99 ms", digits=1),
    Measure(name="lag max ms", digits=1),
    Measure(name="own p99 ms", digits=1),
    Measure(name="ms CPU a poll", digits=2, peers=(BARE,)),
    Measure(name="% of due polls"),
    Measure(name="calls a minute"),
    Measure(name="found p50 s", digits=1),
    Measure(name="found p99 s", digits=1),
)


def measure(arguments: argparse.Namespace, sources: int) -> Mapping[str, Mapping[str, float]]:
    """Measure the service with this many sources, started for the first time and again, and then the peer."""
    with serving(arguments.tasks) as (server, port), tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "notifier.yaml").write_text(configuration(sources, port, arguments.every), encoding="utf-8")
        with started(folder, server, sources) as (_, first):
            pass
        with started(folder, server, sources) as (service, again):
            ours = watch(service, server, sources, arguments)
        command = [sys.executable, __file__, "--peer", str(port), str(sources), str(arguments.every)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            time.sleep(SETTLING)
            Asked(process).ask()
            bare = watch(Asked(process), server, sources, arguments)
            process.terminate()
        return {"first start": first, "restart": again, "service": ours, BARE: bare}


@contextmanager
def started(folder: str, server: Asked, sources: int) -> Iterator[tuple[Asked, dict[str, float]]]:
    """Start the service; yield it once it has polled each source, and what that took."""
    before, began = server.ask()[0], time.monotonic()
    with running(PROBED, folder) as (service, elapsed):
        at_start = usage(service.process.pid)
        while not (first := server.ask()[1]):
            time.sleep(0.01)
        while server.ask()[0] - before < sources:
            time.sleep(1)
        now = usage(service.process.pid)
        times = {"start s": elapsed, "start CPU s": at_start.cpu, "first poll s": first - began}
        yield service, times | {"each polled s": now.at - began} | shares(now, at_start) | lag(service)


def watch(polling: Asked, server: Asked, sources: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Return what a process costs for a while."""
    calls, before = int(server.ask()[0]), usage(polling.process.pid)
    time.sleep(arguments.seconds)
    now = usage(polling.process.pid)
    calls = int(server.ask()[0]) - calls
    wanted = sources * (now.at - before.at) / arguments.every
    polls = {"ms CPU a poll": (now.cpu - before.cpu) / max(calls, 1) * 1000, "% of due polls": calls / wanted * 100}
    return shares(now, before) | lag(polling) | polls


def measure_busy(arguments: argparse.Namespace, sources: int) -> Mapping[str, Mapping[str, float]]:
    """Measure fixed polling, and adaptive polling of the same projects."""
    found = {}
    ways = {
        f"fixed: {arguments.every} s": (arguments.every, None),
        f"{arguments.longest} s, {arguments.busy} s while busy": (arguments.longest, arguments.busy),
    }
    for name, (every, busy) in ways.items():
        with serving(arguments.tasks, "--busy", "1") as (server, port), tempfile.TemporaryDirectory() as folder:
            text = configuration(sources, port, every, busy=busy)
            (Path(folder) / "notifier.yaml").write_text(text, encoding="utf-8")
            with started(folder, server, sources) as (service, _):
                time.sleep(max(every, Happenings.CYCLE))  # until the busy projects are known
                lag(service)
                calls, before = server.ask()[0], usage(service.process.pid)
                time.sleep(arguments.seconds)
                now, (later, _, delays) = usage(service.process.pid), server.ask()
                minutes = (now.at - before.at) / 60
                found[name] = (
                    shares(now, before)
                    | lag(service)
                    | {"calls a minute": (later - calls) / minutes, "found p50 s": delays[0], "found p99 s": delays[1]}
                )
    return found


IDLE_CHANNELS = (
    "[{{name: dba, kind: slack, bot_token: xoxb-0, channel: C0123ABCD, api_url: 'http://127.0.0.1:{port}/api/'}},"
    " {{name: hook, kind: webhook, url: 'http://127.0.0.1:{port}/hook',"
    " secret: whsec_bm90LWEtc2VjcmV0LW5vdC1hLXNlY3JldC1ub3Q=}}]"
)


def measure_idle(arguments: argparse.Namespace) -> Mapping[str, Mapping[str, float]]:
    """Measure the service with one source, a Slack channel and a webhook, and nothing to send."""
    with serving(arguments.tasks) as (_, port), tempfile.TemporaryDirectory() as folder:
        text = configuration(1, port, 30, IDLE_CHANNELS.format(port=port))
        (Path(folder) / "notifier.yaml").write_text(text, encoding="utf-8")
        found = {}
        for name in ("first start", "restart"):
            with running(PROGRAM, folder) as (service, elapsed):
                time.sleep(SETTLING)
                before = usage(service.process.pid)
                time.sleep(arguments.seconds)
                found[name] = {"start s": elapsed} | shares(usage(service.process.pid), before)
        return found


def rows(rounds: Sequence[Mapping[str, Mapping[str, float]]]) -> Rows:
    """Return the values of all rounds."""
    return {
        name: {measure: [values[name][measure] for values in rounds] for measure in found}
        for name, found in rounds[0].items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sources", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--tasks", type=int, default=20, help="tasks in each list")
    parser.add_argument("--every", type=int, default=60, help="seconds between two polls of a source")
    parser.add_argument("--busy", type=int, help="compare with polls so many seconds apart while something happens")
    parser.add_argument("--longest", type=int, default=300, help="seconds between two polls of a quiet source then")
    parser.add_argument("--seconds", type=int, default=120, help="how long to measure")
    parser.add_argument("--idle", action="store_true", help="measure only one source with nothing to do")
    add_arguments(parser, rounds=1)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peer", type=int, nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.tasks, busy=bool(arguments.busy)))
    elif arguments.peer:
        run_peer(*arguments.peer)
    elif arguments.busy:
        report = Report("many_sources", arguments.json)
        for sources in arguments.sources:
            found = [measure_busy(arguments, sources) for _ in range(arguments.rounds)]
            report.table(f"{sources:,} sources, one in {Happenings.SHARE} of them busy", rows(found), MEASURES)
    else:
        report = Report("many_sources", arguments.json)
        for sources in () if arguments.idle else arguments.sources:
            found = [measure(arguments, sources) for _ in range(arguments.rounds)]
            report.table(f"{sources:,} sources: each polled every {arguments.every} s", rows(found), MEASURES)
        found = [measure_idle(arguments) for _ in range(arguments.rounds)]
        report.table("idle: one source", rows(found), MEASURES)


if __name__ == "__main__":
    main()
