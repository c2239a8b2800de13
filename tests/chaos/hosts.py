"""Faults of the host: disk, database and clock. Each lasts a while beside a run."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from chaos.harness import Harness
from chaos.postgres import Proxy, Server
from notifier.store.driver_failures import BUSY_SECONDS
from notifier.store.sqlite_driver import sqlite_module

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
HostFault = Callable[[Harness], Awaitable[None]]


async def warmed_up(harness: Harness) -> None:
    """Wait until the program works: a message has arrived."""
    while not harness.oracle.transitions or not harness.receiver.arrivals:
        await asyncio.sleep(0.1)


@asynccontextmanager
async def host_fault(harness: Harness, kind: str) -> AsyncIterator[None]:
    """Record that, in this context, every program may lose the outcome of its latest work."""
    await warmed_up(harness)
    start = harness.killer.now()
    harness.oracle.blind = True
    try:
        yield
    finally:
        harness.killer.record_disturbance(kind, start, None)
        harness.oracle.blind = False


# ---- disk ----


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a disk of this size. Raises PermissionError without root."""
    disk = folder / "disk"
    disk.mkdir()
    if os.geteuid() or not _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(disk)):
        raise PermissionError("mounting a small disk takes root")
    try:
        yield disk
    finally:
        _run("umount", "-l", str(disk))


def read_only(disk: Path, *, yes: bool) -> bool:
    """Remount a disk for reading only, or for writing again."""
    return _run("mount", "-o", f"remount,{'ro' if yes else 'rw'}", str(disk))


def _run(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603 - fixed words and our paths


def full_disk(disk: Path, seconds: float) -> HostFault:
    """Fill a disk to the last byte, and empty it again."""

    async def happen(harness: Harness) -> None:
        filler = disk / "filler"
        async with host_fault(harness, "full disk"):
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            await asyncio.sleep(seconds)
            filler.unlink()
            await asyncio.sleep(3)  # an answer that could not be noted is noted now

    return happen


def limit_file_size(seconds: float) -> HostFault:
    """Limit the size of the program's files (RLIMIT_FSIZE): like a full disk, without mounting one."""

    async def happen(harness: Harness) -> None:
        (program,) = harness.programs
        async with host_fault(harness, "file size limit"):
            assert program.process
            pid, (_, hard) = program.process.pid, resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (8192, hard))
            await asyncio.sleep(seconds)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
            await asyncio.sleep(3)

    return happen


# ---- SQLite ----


def locked(database: Path, seconds: float = BUSY_SECONDS + 2) -> HostFault:
    """Hold the lock of a SQLite file for longer than the program waits for it."""

    async def happen(harness: Harness) -> None:
        async with host_fault(harness, "locked database"):
            connection = sqlite_module().connect(database, timeout=BUSY_SECONDS, isolation_level=None)
            connection.execute("BEGIN EXCLUSIVE")
            await asyncio.sleep(seconds)
            connection.execute("ROLLBACK")
            connection.close()
            await asyncio.sleep(3)

    return happen


def damage(source: Path, target: Path, seed: int, flips: int = 100) -> None:
    """Copy a database with some of its bytes changed."""
    rng = random.Random(f"damage {seed}")
    content = bytearray(source.read_bytes())
    for _ in range(flips):
        content[rng.randrange(len(content))] = rng.randrange(256)
    target.write_bytes(content)


# ---- the clock ----


def faked(file: Path) -> dict[str, str]:
    """Return the environment in which `file` sets the offset of a program's clock."""
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def clock_jumps(file: Path, jumps: tuple[str, ...], seconds: float) -> HostFault:
    """Set the clock forward and back (`+3600`, `-3600`), each for `seconds`, and right at the end."""

    async def happen(harness: Harness) -> None:
        await warmed_up(harness)
        for jump in (*jumps, "+0"):
            file.write_text(jump)
            await asyncio.sleep(seconds)

    return happen


# ---- PostgreSQL ----


def restarts(server: Server, times: int, pause: float) -> HostFault:
    """Restart the server without warning, again and again."""

    async def happen(harness: Harness) -> None:
        for _ in range(times):
            await _apply(harness, "restart", server.restart)
            await asyncio.sleep(pause)

    return happen


def cuts(server: Server, times: int, pause: float) -> HostFault:
    """End every session on the server, again and again."""

    async def happen(harness: Harness) -> None:
        for _ in range(times):
            await _apply(harness, "sessions ended", server.end_sessions)
            await asyncio.sleep(pause)

    return happen


async def _apply(harness: Harness, kind: str, how: Callable[[], Any]) -> None:
    async with host_fault(harness, kind):
        await asyncio.to_thread(how)
        await asyncio.sleep(0.5)


def partition(proxy: Proxy, seconds: float) -> HostFault:
    """Freeze one program's connection to the database for longer than its leases, then cut it."""

    async def happen(harness: Harness) -> None:
        await warmed_up(harness)
        harness.killer.record_disturbance("partition", harness.killer.now(), 0)
        proxy.freeze()
        await asyncio.sleep(seconds)
        start = harness.killer.now()
        harness.cloud.disturb(0)
        proxy.cut()
        proxy.thaw()
        await asyncio.sleep(2)
        harness.killer.record_disturbance("partition's end", start, 0, late=True)

    return happen
