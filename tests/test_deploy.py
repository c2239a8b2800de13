"""The files that install the program, held to the program."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from notifier import __version__
from notifier.cli.commands import COMMANDS, Invocation, load
from notifier.cli.root import app

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture
def unit() -> Mapping[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # keys of a unit are case sensitive
    parser.read(DEPLOY / "systemd" / "gaussdb-notifier.service")
    return parser["Service"]


@pytest.fixture
def manifests() -> Mapping[str, Any]:
    found = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
    return {document["kind"]: document for document in found}


@pytest.fixture
def pod(manifests: Mapping[str, Any]) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = manifests["Deployment"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def service() -> Mapping[str, Any]:
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    found: Mapping[str, Any] = document["services"]["notifier"]
    return found


def parses(words: list[str]) -> bool:
    (entry,) = (entry for entry in COMMANDS if entry.name == words[0])
    load(entry).make_context(entry.name, words[1:], obj=Invocation())
    return True


def test_the_unit_starts_the_service_from_the_guides_folders(unit: Mapping[str, str]) -> None:
    program, *words = shlex.split(unit["ExecStart"])
    guide = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert program in guide
    assert unit["EnvironmentFile"] in guide
    assert words[-1] in guide
    assert unit["Type"] == "notify"
    assert parses([words[0]])


def test_images_are_named_by_the_version(service: Mapping[str, Any], pod: Mapping[str, Any]) -> None:
    guide = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    named = [service["image"], pod["containers"][0]["image"], *re.findall(r"gaussdb-notifier:[\d.]+", guide)]
    assert set(named) == {f"gaussdb-notifier:{__version__}"}


def test_containers_run_as_the_user_of_the_image(service: Mapping[str, Any], pod: Mapping[str, Any]) -> None:
    (user,) = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    context = pod["securityContext"]
    assert {context[name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {int(user)}
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is service["read_only"] is True


def test_containers_write_to_the_volume_and_read_the_images_config(
    service: Mapping[str, Any], pod: Mapping[str, Any]
) -> None:
    (data,) = re.findall(r"^VOLUME (\S+)$", DOCKERFILE, re.MULTILINE)
    (config,) = re.findall(r"NOTIFIER_CONFIG=(\S+)", DOCKERFILE)
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts[data] is False
    assert mounts[str(Path(config).parent)] is True
    assert f"data:{data}" in service["volumes"]
    assert any(f":{config}:ro" in volume for volume in service["volumes"])


def test_probes_run_commands_that_there_are(pod: Mapping[str, Any]) -> None:
    probes = list(_probes(pod["containers"][0]))
    assert probes
    assert all(parses(words) for words in probes)


def _probes(container: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, probe in container.items():
        if name.endswith("Probe"):
            program, *words = probe["exec"]["command"]
            assert program == "notifier"
            yield words


def test_the_configuration_of_the_manifest_is_valid(manifests: Mapping[str, Any], tmp_path: Path) -> None:
    text = manifests["ConfigMap"]["data"]["notifier.yaml"]
    secrets = set(re.findall(r"/etc/notifier-secrets/(\w+)", text))
    for name in secrets:
        (tmp_path / name).write_text("OBVIOUSLYFAKE", encoding="utf-8")
        (tmp_path / name).chmod(0o600)
    config = tmp_path / "notifier.yaml"
    config.write_text(
        text.replace("/etc/notifier-secrets", str(tmp_path)).replace("/data/", f"{tmp_path}/"), encoding="utf-8"
    )
    checked = CliRunner().invoke(app, ["check", "-c", str(config)], env={"HUAWEICLOUD_SDK_AK": "OBVIOUSLYFAKE"})
    assert checked.exit_code == 0, checked.output
    assert secrets == {"secret_key"}
