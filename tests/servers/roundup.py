"""A real Roundup on loopback, with the classic tracker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers.processes import ServerProcess, free_port, server_process, server_python

APP = Path(__file__).parent / "roundup_app.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Roundup:
    """A tracker. `admin` may do everything, `demo` what a user may; their passwords are their names."""

    url: str
    """Of the tracker, without a slash at its end: `http://127.0.0.1:PORT/tracker`."""
    process: ServerProcess


@contextmanager
def roundup_server(folder: Path) -> Iterator[Roundup]:
    """Run Roundup with its data in a folder."""
    command, port = [server_python("roundup"), "-P", str(APP), str(folder)], free_port()
    with server_process([*command, str(port)], port, folder) as process:
        yield Roundup(url=f"http://127.0.0.1:{port}/tracker", process=process)
