"""A PostgreSQL server for faults: restarted without warning, its connections cut or frozen."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import psycopg
from servers.postgres import postgres_server

SOCKET = ".s.PGSQL.5432"
END_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class Server:
    """A running server with one database for the run."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url: str = server.get_uri("chaos")
        self.empty()

    def empty(self) -> None:
        """Begin with an empty database."""
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS chaos WITH (FORCE)")
            connection.execute("CREATE DATABASE chaos")

    def restart(self) -> None:
        """Restart it immediately, as after a power cut."""
        data = self._server.pgdata
        subprocess.run(  # noqa: S603 - the server's own tool
            [self._server.bin_path / "pg_ctl", "-w", "-D", data, "-l", self._server.log, "-m", "immediate", "restart"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._server.system_user,
        )

    def end_sessions(self) -> None:
        """Cut every connection but this one."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(END_SESSIONS)


@contextmanager
def postgres() -> Iterator[Server]:
    """Start a server and delete it afterwards."""
    with postgres_server() as server:
        yield Server(server)


class Proxy:
    """A proxy of a server, with its own socket, that can be cut and frozen."""

    def __init__(self, url: str, folder: Path) -> None:
        self._behind = str(Path(parse_qs(urlsplit(url).query)["host"][0]) / SOCKET)
        self._front = folder
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.url = f"{url.partition('?')[0]}?host={quote(str(folder), safe='/')}"

    async def open(self) -> None:
        self._listening = await asyncio.start_unix_server(self._serve, self._front / SOCKET)

    def close(self) -> None:
        self._listening.close()
        self.cut()

    def freeze(self) -> None:
        """Silently stop all traffic in both directions."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def cut(self) -> None:
        """Cut every connection."""
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(OSError, asyncio.CancelledError):
            upstream, downstream = await asyncio.open_unix_connection(self._behind)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(reader, downstream))
                    both.create_task(self._pump(upstream, writer))
            finally:
                downstream.transport.abort()
                writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
