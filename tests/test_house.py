"""The rules of the house that no tool knows: locks, package, imports and documents in step with the code."""

from __future__ import annotations

import ast
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.core import TyperGroup

from notifier.channels.kinds import installed_kinds
from notifier.channels.rate_limits import known_limits
from notifier.cli.commands import COMMANDS, Invocation, load
from notifier.core.delivery import DeliveryState
from notifier.core.events import EventType
from notifier.core.model import Scope, TaskStatus
from notifier.service.reporting import SETTLED_EVENTS
from notifier.store.schema import metadata

ROOT = Path(__file__).parent.parent
LOCKS = ("build", "run", "extras", "dev", "audit", "roundup", "synapse")


# ---- locks ----


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))


def asked_for(lock: str) -> set[str]:
    """The pins that the lock notes as asked for by us rather than by another package."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)
    return {block.partition("==")[0] for block in blocks if re.search(r"(# via|#  ) -r -$", block, re.MULTILINE)}


def declared(lock: str) -> dict[str, Requirement]:
    requirements = runpy.run_path(str(ROOT / "requirements" / "inputs.py"))["requirements"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = [Requirement(line) for line in requirements(project)[lock]]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_exactly_what_the_project_declares(lock: str) -> None:
    assert asked_for(lock) == set(declared(lock)), "run `make lock`"
    wrong = [str(r) for name, r in declared(lock).items() if not r.specifier.contains(pins(lock)[name])]
    assert wrong == [], "run `make lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_hashed_and_names_no_address(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins(lock))
    assert [block for block in blocks if "--hash=sha256:" not in block] == []
    assert re.findall(r"://|^--| @ ", text, re.MULTILINE) == []


def test_the_locks_agree_on_what_they_share() -> None:
    run, extras, dev, build = pins("run"), pins("extras"), pins("dev"), pins("build")
    assert {name: version for name, version in extras.items() if run.get(name, version) != version} == {}
    others = run | extras | build
    assert {name: version for name, version in dev.items() if others.get(name, version) != version} == {}
    assert {name: version for name, version in build.items() if run.get(name, version) != version} == {}


# ---- imports ----


def trees(folder: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


COMPUTING = {"notifier/core/patterns.py": {"re2"}, "notifier/core/cron.py": {"cronsim"}}
"""Libraries that compute and do nothing else, by the one module of the core that may import them."""


def test_the_core_imports_the_standard_library_and_itself() -> None:
    foreign = {
        f"{path}: {name}"
        for path, tree in trees("notifier/core")
        for name in imported(tree)
        if name.partition(".")[0] not in sys.stdlib_module_names | COMPUTING.get(str(path), set())
        and not name.startswith(
            ("notifier.core", "notifier.core.durations")
        )  # which imports nothing but the library itself
    }
    assert foreign == set()


RIM = ("notifier.store", "notifier.sources", "notifier.integrations")
KINDS = re.compile(r"notifier\.sources(\.(account_settings|base|cloud_settings|kinds)(\.\w+)?)?")
"""Modules of the rim that the configuration needs: the settings of every source, and how a kind is found."""


def within(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_only_the_wiring_names_what_stands_at_the_rim() -> None:
    named = {
        f"{path}: {name}"
        for path, tree in trees("notifier")
        if not path.is_relative_to("notifier/wiring") and not within(".".join(path.with_suffix("").parts), RIM)
        for name in imported(tree)
        if within(name, RIM) and not KINDS.fullmatch(name)
    }
    assert named == set()


def reads_environment(tree: ast.Module) -> bool:
    return any(
        (isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"})
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {"environ", "getenv"} & {a.name for a in node.names}
        )
        for node in ast.walk(tree)
    )


def test_only_the_configuration_reads_the_environment() -> None:
    readers = {str(path) for path, tree in trees("notifier") if reads_environment(tree)}
    assert {path for path in readers if not path.startswith("notifier/config")} == set()


def test_public_classes_and_constants_have_names_of_their_own() -> None:
    places: dict[str, list[str]] = {}
    for path, tree in trees("notifier"):
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path))
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name) and len(target.id) > 1 and not target.id.islower():
                        places.setdefault(target.id, []).append(str(path))
    assert {name: found for name, found in places.items() if name[0] != "_" and len(found) > 1} == {}


# ---- the package ----


def image_context(target: Path) -> Path:
    """Copy what `.dockerignore` lets through: the image has nothing else to build from."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    admitted = [line[1:] for line in lines if line.startswith("!")]
    for path in ROOT.iterdir():
        if any(fnmatch(path.name, name) for name in admitted):
            if path.is_dir():
                shutil.copytree(path, target / path.name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (target / path.name).write_bytes(path.read_bytes())
    return target


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_context(tmp_path_factory.mktemp("context"))


@pytest.fixture(scope="module")
def wheel(context: Path) -> zipfile.Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "dist"]
    subprocess.run(command, cwd=context, check=True, capture_output=True)  # noqa: S603 - every word of it is ours
    (built,) = (context / "dist").glob("*.whl")
    return zipfile.Path(built)


def test_the_wheel_holds_the_whole_program_and_the_migrations(context: Path, wheel: zipfile.Path) -> None:
    expected = {
        f"{prefix}{path.relative_to(context)}"
        for folder, prefix in (("notifier", ""), ("migrations", "notifier/"))
        for path in (context / folder).rglob("*")
        if path.is_file()
    }
    packed = {name for name in wheel.root.namelist() if ".dist-info/" not in name and name[-1] != "/"}
    assert packed == expected


def test_the_wheel_installs_the_command_and_the_channels(wheel: zipfile.Path) -> None:
    (names,) = (entry for entry in wheel.iterdir() if entry.name.endswith(".dist-info"))
    entry_points = (names / "entry_points.txt").read_text(encoding="utf-8")
    assert "notifier = notifier.cli:main" in entry_points
    assert {
        kind
        for kind in ("console", "email", "mattermost", "rocketchat", "slack", "webhook")
        if f"\n{kind} = notifier.integrations." in entry_points
    }


@pytest.fixture
def installed(wheel: zipfile.Path) -> Iterator[Path]:
    """The wheel unpacked where anybody may read and nobody may write, beside a data folder that anybody may write."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        program, data = place / "program", place / "data"
        wheel.root.extractall(program)
        data.mkdir()
        for path in (place, program, *program.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        data.chmod(0o777)
        yield place
        for path in (place, program, *program.rglob("*")):
            path.chmod(0o755)


# Root may write anywhere; without its capabilities it is as bound by the mode of a file as anybody.
POWERLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs") if os.geteuid() == 0 else ()

USE_WITHOUT_POWER = """
import os
import notifier
from notifier.store.engine import open_store
assert not os.access(notifier.__file__, os.W_OK)
open_store("sqlite:///notifier.db", exclusive=True).close()
"""


def test_the_installed_program_writes_nothing_but_its_data(installed: Path) -> None:
    done = subprocess.run(  # noqa: S603 - every word of it is ours
        [*POWERLESS, sys.executable, "-P", "-c", USE_WITHOUT_POWER],
        cwd=installed / "data",
        env={"PATH": os.defpath, "PYTHONPATH": str(installed / "program")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in (installed / "data").iterdir()) == ["notifier.db", "notifier.db.lock"]


# ---- log events ----

LEVELS = frozenset({"debug", "info", "warning", "error", "exception"})
THROTTLES = {"ErrorThrottle": ("error", "info"), "RejectionLog": ("warning",)}
"""Classes that log events which their callers name, and at which levels."""

COMPUTED = {"self._failed_event", "self._recovered_event", "str(event.type)", "SETTLED_EVENTS[settlement.state]"}
"""Events that are no literals: those of a throttle, of an alert and of a settlement."""


def levels_of(function: ast.expr) -> set[str]:
    """Return the levels at which a called expression logs: `log.info`, or `(log.info if … else log.debug)`."""
    found = {
        part.attr
        for part in ast.walk(function)
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "log"
    }
    return {"error" if level == "exception" else level for level in found & LEVELS}


def logged_events() -> dict[str, set[str]]:
    """Return the levels of every event that the package logs."""
    tasks = ("task.", "alarm.")
    alerts = [kind for kind in EventType if not kind.startswith(tasks) and kind is not EventType.SOURCE_GAP]
    logged = {str(kind): {"error" if kind.traits.bad_news else "info"} for kind in alerts}
    for state, name in SETTLED_EVENTS.items():
        logged[name] = {"debug" if state is DeliveryState.DELIVERED else "warning"}
    for path, tree in trees("notifier"):
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args):
            if levels := levels_of(call.func):
                event = call.args[0]
                if not isinstance(event, ast.Constant):
                    assert ast.unparse(event) in COMPUTED, f"{path}: a log event is a literal, or named here"
                    continue
                logged.setdefault(str(event.value), set()).update(levels)
            elif isinstance(call.func, ast.Name) and call.func.id in THROTTLES:
                for event, level in zip(call.args, THROTTLES[call.func.id], strict=False):
                    assert isinstance(event, ast.Constant), f"{path}: a log event is a literal"
                    logged.setdefault(str(event.value), set()).add(level)
    return logged


def documented_events() -> dict[str, set[str]]:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    table = text.partition("| `event` | level |")[2].partition("\n\n")[0]
    return {
        name: set(levels.split(", "))
        for name, levels in re.findall(r"^\| `([^`]+)` \| ([a-z, ]+) \|", table, re.MULTILINE)
    }


def test_log_events_are_identifiers() -> None:
    assert [event for event in logged_events() if not re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", event)] == []


def test_operations_lists_every_log_event_with_its_levels() -> None:
    assert documented_events() == logged_events()


# ---- make and the documents ----


def test_make_help_lists_what_a_newcomer_needs() -> None:
    make = shutil.which("make")
    assert make
    shown = subprocess.run([make, "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603 - ours
    listed = set(re.findall(r"^ +make (\w+)", shown, re.MULTILINE))
    assert listed >= {"help", "demo", "test", "check", "fmt", "lock", "bench", "schema", "clean"}


@pytest.mark.parametrize("term", [*EventType, *DeliveryState, *TaskStatus, *Scope])
def test_the_glossary_explains_every_term_of_the_model(term: str) -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert f"`{term}`" in glossary


@pytest.mark.parametrize("document", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda path: path.name)
def test_the_files_that_a_document_names_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [document.parent / link for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)]
    code = [
        ROOT / name
        for name in re.findall(r"`((?:notifier|tests|migrations|config|docs|requirements|benchmarks)/[\w./-]+)`", text)
    ]
    assert [str(path) for path in (*links, *code) if not path.exists()] == []


@pytest.mark.parametrize("decision", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda path: path.stem)
def test_a_decision_has_its_four_parts(decision: Path) -> None:
    text = decision.read_text(encoding="utf-8")
    assert re.findall(r"^#+ .*", text, re.MULTILINE)[1:] == [
        "## Status",
        "## Context",
        "## Decision",
        "## Consequences",
    ]
    assert text.startswith(f"# {int(decision.stem.partition('-')[0])}. ")


def defined_names() -> set[str]:
    """Every module, class, function, method, constant and table of the program."""
    names = set(metadata.tables)
    for path, tree in trees("notifier"):
        names.add(path.stem)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names | {path.name for path in (ROOT / "notifier").iterdir()}


def test_the_architecture_names_only_what_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    quoted = {name for span in re.findall(r"`([A-Za-z_.]+)`", text) for name in span.removesuffix(".py").split(".")}
    assert quoted - defined_names() - {"job_id", "importlinter", ""} == set()


@pytest.mark.parametrize("module", sorted(path.name for path in (ROOT / "notifier" / "core").glob("[a-z]*.py")))
def test_the_architecture_says_what_each_module_of_the_core_decides(module: str) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert f"`notifier/core/{module}`" in text


@pytest.mark.parametrize("kind", installed_kinds())
def test_the_overview_of_channels_has_every_kind(kind: str) -> None:
    text = (ROOT / "docs" / "channels.md").read_text(encoding="utf-8")
    for heading in ("Outcomes", "Lost replies and rate limits"):
        table = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        first_cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
        assert [cell for cell in first_cells if f"`{kind}`" in cell] != [], heading
    limits = [name for name in known_limits() if name == kind or name.startswith(f"{kind}-")]
    assert limits != []


def documented_commands() -> Iterator[tuple[str, str]]:
    """Every command line of the program in the documents: in a block or between backticks."""
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        text = document.read_text(encoding="utf-8")
        blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
        found = re.findall(r"`notifier +([^`\n]+)`", text) + re.findall(r"^ *notifier +([^\n]+)", blocks, re.MULTILINE)
        yield from ((document.name, line.partition("#")[0].strip()) for line in found)


@pytest.mark.parametrize(("document", "line"), sorted(set(documented_commands())))
def test_a_command_that_a_document_shows_parses(document: str, line: str) -> None:
    words = [word for word in shlex.split(line) if not word.startswith("-c")]
    entry = next((entry for entry in COMMANDS if entry.name == words[0]), None)
    assert entry, f"{document}: there is no command {words[0]!r}"
    loaded, arguments = load(entry), words[1:]
    if isinstance(loaded, TyperGroup) and (not loaded.invoke_without_command or arguments[:1] == ["log"]):
        loaded.commands[arguments.pop(0)].make_context(entry.name, arguments, obj=Invocation())
    else:
        loaded.make_context(entry.name, arguments, obj=Invocation())
