"""Plain values of the command line become what typer makes of them, and all others are typer's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.testing import CliRunner

from notifier.cli.commands import COMMANDS, CommandEntry, load
from notifier.cli.root import app

TASKS = next(entry for entry in COMMANDS if entry.name == "tasks")
TEXTS = [
    "",
    "a",
    "7",
    "0",
    "-1",
    "10001",
    "1e3",
    "７",
    "30m",
    "yesterday",
    "failed",
    "FAILED",
    "task.failed",
    ".",
    "/none",
]


def parameters(entry: CommandEntry) -> Iterator[tuple[Any, Any]]:
    """Yield every parameter of a command, with a context."""
    command: Any = load(entry)
    for leaf in [*command.commands.values()] if isinstance(command, TyperGroup) else [command]:
        context = leaf.make_context(entry.name, [], resilient_parsing=True)
        yield from ((parameter, context) for parameter in leaf.get_params(context))


def converted(convert: Any, value: object, parameter: Any, context: Any) -> object:
    try:
        found = convert.coerce(value, param=parameter, ctx=context)
        return list(found) if isinstance(found, tuple) else found
    except TyperException as error:
        return type(error), error.message


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_a_parameter_becomes_what_typer_makes_of_it(entry: CommandEntry) -> None:
    for parameter, context in parameters(entry):
        ours, typers = parameter.get_runtime_param(), type(parameter).get_runtime_param(parameter)
        listed = parameter.multiple or parameter.nargs == -1
        for value in [None, *([(text, "b") for text in TEXTS] if listed else TEXTS)]:
            found, wanted = (converted(convert, value, parameter, context) for convert in (ours, typers))
            assert found == wanted, (parameter.name, value)


def test_plain_values_have_the_declared_types() -> None:
    found = {parameter.name: (parameter, context) for parameter, context in parameters(TASKS)}
    given = {"since": "24h", "limit": "5", "status": "failed", "instance": "x"}
    values = {name: converted(found[name][0].get_runtime_param(), text, *found[name]) for name, text in given.items()}
    assert values == {"since": timedelta(hours=24), "limit": 5, "status": "failed", "instance": "x"}


def test_a_path_need_not_exist(tmp_path: Path) -> None:
    found = {parameter.name: (parameter, context) for parameter, context in parameters(TASKS)}
    config, context = found["config"]
    assert config.get_runtime_param().coerce(str(tmp_path / "none"), param=config, ctx=context) == tmp_path / "none"


@pytest.mark.parametrize("command", ["mute", "unmute", "ack", "explain", "events --match", "resolve"])
def test_an_argument_that_is_not_utf_8_gets_one_clear_error(command: str, tmp_path: Path) -> None:
    (tmp_path / "notifier.yaml").write_text("sources: []\n", encoding="utf-8")
    found = CliRunner().invoke(app, ["-c", str(tmp_path / "notifier.yaml"), *command.split(), "\udcff*"])
    assert found.exit_code == 2
    assert r"'\udcff*' is not text in UTF-8" in found.output


def test_a_path_may_have_any_bytes(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["-c", str(tmp_path / "\udcff.yaml"), "open"])
    assert found.exit_code == 2
    assert "No such file or directory" in found.output
