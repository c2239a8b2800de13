"""The command line as a process: streams, exit codes, signals, and what `--help` costs."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import typer
from servers.program import completed, running
from timeouts import HANG_TIMEOUT
from typer.testing import CliRunner

from notifier import __version__
from notifier.cli import event_loop
from notifier.cli.commands import COMMANDS, CommandEntry
from notifier.cli.root import app


def notifier(*args: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return completed(*args, cwd=cwd, env={"COLUMNS": "80"} | dict(env or {}))


def test_help_names_every_command_and_fits_80_columns(tmp_path: Path) -> None:
    shown = notifier("--help", cwd=tmp_path)
    assert shown.returncode == 0
    lines = [line.split(maxsplit=1) for line in shown.stdout.splitlines()]
    assert all([entry.name, entry.summary] in lines for entry in COMMANDS)
    assert max(map(len, shown.stdout.splitlines())) <= 80


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_each_command_has_help_of_its_own(entry: CommandEntry) -> None:
    shown = CliRunner().invoke(app, [entry.name, "--help"], env={"COLUMNS": "80"})
    assert shown.exit_code == 0
    assert f"notifier {entry.name}" in shown.stdout or f"root {entry.name}" in shown.stdout


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_help_breaks_no_word_and_shows_no_type_of_python(entry: CommandEntry) -> None:
    shown = CliRunner().invoke(app, [entry.name, "--help"], env={"COLUMNS": "80"}).stdout
    assert not re.search(r"<(bool|str|int|float|path|timedelta|list)", shown)
    assert not re.search(r"\w\|\w", shown), "choices joined without spaces are broken inside a word"
    prose = re.split(r"\n(?:Arguments|Options):\n", shown)[0].strip().splitlines()
    folded = [(a, b) for a, b in itertools.pairwise(map(str.strip, prose)) if a and b and not b.startswith("--json")]
    assert all(len(a) + 1 + len(b.split()[0]) > 78 for a, b in folded), "a line ends where the source folds"


@pytest.mark.parametrize("args", [["db"], []])
def test_a_missing_command_is_reported_below_the_help(args: list[str], tmp_path: Path) -> None:
    shown = notifier(*args, cwd=tmp_path)
    assert shown.returncode == 2
    assert shown.stderr.startswith("error: Missing command.\n       See: ")


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_each_command_documents_its_json_where_it_has_any(entry: CommandEntry) -> None:
    target = entry.imported()
    functions = [c.callback for c in target.registered_commands] if isinstance(target, typer.Typer) else [target]
    for function in functions:
        assert ("as_json" in function.__annotations__) == ("--json" in (function.__doc__ or ""))


def test_the_version_is_shown(tmp_path: Path) -> None:
    shown = notifier("--version", cwd=tmp_path)
    assert (shown.returncode, shown.stdout) == (0, f"gaussdb-notifier {__version__}\n")


def test_an_unknown_command_is_a_usage_error_with_near_names(tmp_path: Path) -> None:
    shown = notifier("taks", cwd=tmp_path)
    assert shown.returncode == 2
    assert "Did you mean" in shown.stderr
    assert "tasks" in shown.stderr


def test_a_missing_configuration_is_one_error_on_stderr(tmp_path: Path) -> None:
    shown = notifier("tasks", "--json", cwd=tmp_path)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.startswith("error: ")
    assert "notifier.yaml" in shown.stderr
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_configuration_option_works_before_and_after_the_command(tmp_path: Path, place: str) -> None:
    option = ["-c", "elsewhere.yaml"]
    shown = notifier(
        *(option if place == "before" else []), "tasks", *(option if place == "after" else []), cwd=tmp_path
    )
    assert shown.returncode == 2
    assert "elsewhere.yaml" in shown.stderr


def test_the_configuration_can_be_named_by_the_environment(tmp_path: Path) -> None:
    shown = notifier("tasks", cwd=tmp_path, env={"NOTIFIER_CONFIG": "by-environment.yaml"})
    assert shown.returncode == 2
    assert "by-environment.yaml" in shown.stderr


def test_a_bad_value_is_a_usage_error_with_an_example(tmp_path: Path) -> None:
    shown = notifier("tasks", "--since", "yesterday", cwd=tmp_path)
    assert shown.returncode == 2
    assert "24h" in shown.stderr or "30s" in shown.stderr


def test_the_simulator_prints_a_source_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    with running("simulate", "--json", "--project", "cn-east-3", "--form", "no_trace=404", cwd=tmp_path) as process:
        assert process.stdout is not None
        document = ""
        while not document.endswith("\n}\n"):
            document += process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=HANG_TIMEOUT)
    printed = json.loads(document)
    source = printed["source"]
    assert source["endpoint"] == printed["url"]
    assert printed["projects"]["cn-north-4"] == source["project_id"] != printed["projects"]["cn-east-3"]
    assert printed["topic"] == f"urn:smn:cn-north-4:{source['project_id']}:gaussdb"
    assert (process.returncode, rest) == (0, "")
    assert "Stopped after 0 calls" in errors


@pytest.mark.parametrize(
    ("option", "right"), [("--faults", "truncate"), ("--form", "trace_response"), ("--deny", "cts:trace:list")]
)
def test_a_bad_option_of_the_simulator_names_what_would_be_right(tmp_path: Path, option: str, right: str) -> None:
    shown = notifier("simulate", option, "bogus", cwd=tmp_path)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "bogus" in shown.stderr
    assert right in shown.stderr


def _broken(_ctx: typer.Context) -> None:
    raise ZeroDivisionError("secret-in-message")


def test_a_defect_is_one_line_without_its_details(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.cli.simulate.simulate", _broken)
    shown = CliRunner().invoke(app, ["simulate"])
    assert shown.exit_code == 1
    assert shown.stderr.count("\n") == 1
    assert "ZeroDivisionError" in shown.stderr
    assert "--debug" in shown.stderr
    assert "secret-in-message" not in shown.stderr


@pytest.mark.parametrize("args", [["--debug", "simulate"], ["simulate", "--debug"]])
def test_debug_shows_where_a_defect_is(monkeypatch: pytest.MonkeyPatch, args: list[str]) -> None:
    monkeypatch.setattr("notifier.cli.simulate.simulate", _broken)
    shown = CliRunner().invoke(app, args)
    assert shown.exit_code == 1
    assert "Traceback" in shown.stderr


def test_ctrl_c_in_a_short_command_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_ctx: typer.Context) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("notifier.cli.simulate.simulate", interrupted)
    shown = CliRunner().invoke(app, ["simulate"])
    assert (shown.exit_code, shown.output) == (130, "")


def test_a_reader_that_goes_away_causes_no_complaint(tmp_path: Path) -> None:
    script = "import sys\nsys.argv = ['notifier', 'simulate', '--json']\nfrom notifier.cli import main\nmain()"
    reader, writer = os.pipe()
    os.close(reader)
    shown = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", script], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (shown.returncode, shown.stderr) == (141, "")


# ---- the loop ----


async def name_of_the_loop() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


def test_commands_run_on_uvloop_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert event_loop.run(name_of_the_loop()) == "uvloop"
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert event_loop.run(name_of_the_loop()) == "asyncio"


def test_usage_errors_have_one_format(tmp_path: Path) -> None:
    done = notifier("tasks", "--status", "bogus", cwd=tmp_path)
    shown = done.stderr
    assert done.returncode == 2
    assert shown.startswith("error: Invalid value for '--status': 'bogus' is not one of 'running', 'completed'")
    assert shown.endswith(" tasks --help\n")
    assert "Value error" not in shown
    before = notifier("--nope", cwd=tmp_path)
    assert before.stderr.startswith("error: No such option: --nope\n       See: ")
    assert before.returncode == 2
