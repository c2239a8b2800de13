"""`notifier` as a process: its descriptors, its signals, its configuration on what hangs, and what systemd is told."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from servers.program import COMMAND, environment, read_until, running

from notifier.cli.systemd import Systemd
from notifier.store.engine import open_store

SIGNALLED_WHILE_IMPORTED = """
import os, signal
from notifier.cli import main, startup
hear = startup.handle_early_signals
def hear_and_be_signalled(arguments):
    hear(arguments)
    os.kill(os.getpid(), signal.{name})
startup.handle_early_signals = hear_and_be_signalled
main()
"""
CONFIGURATION: dict[str, Any] = {
    "store": {"url": "sqlite:///notifier.db"},
    "sources": [
        {
            "name": "prod",
            "kind": "gaussdb",
            "region": "cn-north-4",
            "endpoint": "http://127.0.0.1:1",
            "project_id": "0611f1bd8b00d5d32f17c017f15b599f",
            "auth": {"kind": "aksk", "access_key": "AKAKAK", "secret_key": "sksksk"},
        }
    ],
    "channels": [{"name": "hook", "kind": "webhook", "url": "http://127.0.0.1:1/hook"}],
    "routes": [{"name": "everything", "channels": ["hook"]}],
    "log": {"format": "json"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a configuration and an empty database."""
    configure(tmp_path, CONFIGURATION)
    open_store(f"sqlite:///{tmp_path}/notifier.db").close()
    return tmp_path


def configure(folder: Path, document: Mapping[str, object]) -> None:
    (folder / "notifier.yaml").write_text(json.dumps(document), encoding="utf-8")


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `notifier …` with redirections; `$N` stands for the program."""
    script = line.replace("$N", f"{COMMAND[0]} -c '{COMMAND[2]}'")
    return subprocess.run(  # noqa: S603 - our own line
        ["/bin/bash", "-c", script], cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )


# ---- descriptors ----


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("command", "code"), [("--help", 0), ("health --json", 1), ("check", 0), ("nonsense", 2)])
def test_closed_descriptors_harm_nothing(folder: Path, closed: str, command: str, code: int) -> None:
    done = shell(f"$N {command} {closed}", folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_the_service_runs_with_closed_descriptors_and_a_clean_database(folder: Path, closed: str) -> None:
    with listening(folder / "notify") as told:
        script = f"exec {COMMAND[0]} -c '{COMMAND[2]}' run {closed}"
        with running(cwd=folder, command=["/bin/bash", "-c", script], env={"NOTIFY_SOCKET": told.name}) as process:
            assert told.next("READY=1")
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0
    assert (folder / "notifier.db").read_bytes().startswith(b"SQLite format 3")
    assert "0 unaccounted" in shell("$N audit", folder).stdout


@pytest.mark.parametrize(
    "command", ["--help", "run --help", "events --help", "db", "--version", "check", "tasks --json", "health --json"]
)
def test_a_full_disk_is_one_sentence(folder: Path, command: str) -> None:
    done = shell(f"$N {command} > /dev/full", folder)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1:] == ["error: cannot write to stdout: No space left on device"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["--help", "tasks --json", "check"])
def test_a_reader_that_goes_away_is_no_error(folder: Path, command: str) -> None:
    done = shell(f"$N {command} | true", folder)
    assert done.stderr == ""


# ---- signals before the service runs ----


def test_a_hangup_during_import_reloads_later(folder: Path) -> None:
    program = [sys.executable, "-c", SIGNALLED_WHILE_IMPORTED.format(name="SIGHUP")]
    with running("run", cwd=folder, command=program) as process:
        read_until(process.stderr, '"event": "reload.finished"', '"event": "service.started"')
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


@pytest.mark.parametrize(("command", "code"), [("run", 0), ("check", 128 + signal.SIGTERM)])
def test_a_stop_while_the_program_is_still_imported_ends_it(folder: Path, command: str, code: int) -> None:
    program = [sys.executable, "-c", SIGNALLED_WHILE_IMPORTED.format(name="SIGTERM")]
    with running(command, cwd=folder, command=program) as process:
        _, errors = process.communicate()
    assert (process.returncode, errors) == (code, "")


# ---- a configuration that cannot be read ----


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_works_while_the_first_configuration_hangs(folder: Path, stop: signal.Signals) -> None:
    os.mkfifo(folder / "pipe")
    with running("run", "-c", "pipe", cwd=folder, command=[sys.executable, "-c", WAITS_FOR_ITS_LOOP]) as process:
        read_until(process.stderr, "the loop runs")
        process.send_signal(stop)
        assert process.wait() == 0


WAITS_FOR_ITS_LOOP = """
import sys
from notifier.cli import event_loop, main
in_thread = event_loop.in_thread
def noted(work):
    print("the loop runs", file=sys.stderr, flush=True)
    return in_thread(work)
event_loop.in_thread = noted
main()
"""


def test_a_configuration_that_hangs_at_a_reload_holds_up_nothing(folder: Path) -> None:
    with running("run", cwd=folder) as process:
        read_until(process.stderr, '"event": "service.started"')
        (folder / "notifier.yaml").unlink()
        os.mkfifo(folder / "notifier.yaml")
        process.send_signal(signal.SIGHUP)
        read_until(process.stderr, '"event": "reload.started"')
        process.send_signal(signal.SIGTERM)
        read_until(process.stderr, '"event": "service.stopping"')
        assert process.wait() == 0


def test_a_configuration_that_hangs_is_named_after_a_while(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    short = "from notifier.cli import configured, main; configured.CONFIG_READ_TIMEOUT = 0.1; main()"
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", short, "check", "-c", "pipe"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "cannot read pipe within 0.1 s" in done.stderr


# ---- reloads ----


def test_a_reload_reports_changes_by_name_and_no_secret(folder: Path) -> None:
    with running("run", cwd=folder) as process:
        read_until(process.stderr, '"event": "service.started"')
        (source,) = CONFIGURATION["sources"]
        changed = source | {"auth": source["auth"] | {"secret_key": "another-secret"}}
        more = {"name": "ops", "kind": "console"}
        routes = [{"name": "failures", "match": ["type=task.failed"], "channels": ["ops"]}]
        configure(folder, CONFIGURATION | {"sources": [changed], "channels": [more], "routes": routes})
        process.send_signal(signal.SIGHUP)
        said = read_until(process.stderr, '"event": "reload.finished"', '"event": "service.started"')
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    (line,) = [json.loads(line) for line in said.splitlines() if '"event": "reload.finished"' in line]
    named = {key: value for key, value in line.items() if key.endswith(("_added", "_removed", "_changed"))}
    assert named == {
        "sources_changed": ["prod"],
        "channels_added": ["ops"],
        "channels_removed": ["hook"],
        "routes_added": ["failures"],
        "routes_removed": ["everything"],
    }
    assert '"event": "reload.started"' in said
    assert "stopping" not in said
    assert "another-secret" not in said


# ---- systemd ----


class Told:
    """A socket such as systemd listens on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)

    def next(self, state: str) -> list[str]:
        """Wait for the next datagram that says this, and return its lines."""
        while state not in (lines := self._socket.recv(4096).decode().split("\n")):
            assert lines == ["WATCHDOG=1"], lines
        return lines

    def close(self) -> None:
        self._socket.close()


@contextmanager
def listening(name: object) -> Iterator[Told]:
    told = Told(str(name))
    try:
        yield told
    finally:
        told.close()


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_notified_of_each_state(folder: Path, *, abstract: bool) -> None:
    name = f"@notifier-{os.getpid()}" if abstract else folder / "notify"
    with listening(name) as told:
        env = {"NOTIFY_SOCKET": str(name), "WATCHDOG_USEC": "300000"}
        with running("run", cwd=folder, env=env) as process:
            told.next("READY=1")
            told.next("WATCHDOG=1")
            told.next("WATCHDOG=1")
            process.send_signal(signal.SIGHUP)
            reloading = told.next("RELOADING=1")
            assert any(line.startswith("MONOTONIC_USEC=") and int(line.partition("=")[2]) > 0 for line in reloading)
            told.next("READY=1")
            (folder / "notifier.yaml").write_text("sources: broken", encoding="utf-8")
            process.send_signal(signal.SIGHUP)
            told.next("RELOADING=1")
            told.next("READY=1")  # the old configuration stays
            process.send_signal(signal.SIGTERM)
            told.next("STOPPING=1")
            assert process.wait() == 0


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, float("inf")),
        ({"WATCHDOG_USEC": "3000000"}, 1.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, float("inf")),
        ({"WATCHDOG_USEC": "0"}, float("inf")),
        ({"WATCHDOG_USEC": "soon"}, float("inf")),
    ],
)
def test_a_sign_of_life_is_given_well_within_the_time(environ: dict[str, str], interval: float) -> None:
    assert Systemd(environ).interval == interval


@pytest.mark.parametrize("name", ["", "relative", "/nowhere/at/all", "@nobody-listens"])
def test_a_missing_listener_is_no_error(name: str) -> None:
    manager = Systemd({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000"})
    manager.ready()
    manager.alive()
    manager.reloading()
    manager.stopping()
