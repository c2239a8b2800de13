"""Print the requirements of a lock from pyproject.toml: `python requirements/inputs.py NAME`; see `requirements`."""

import sys
import tomllib
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def requirements(project: dict[str, Any]) -> dict[str, list[str]]:
    """Return the requirements of each lock, by its name, from a parsed pyproject.toml."""
    extras = project["project"]["optional-dependencies"]
    groups = project["dependency-groups"]
    return {
        "run": [*project["project"]["dependencies"], *extras["postgres"]],
        "extras": [requirement for name, extra in extras.items() if name != "postgres" for requirement in extra],
        **{name: groups[name] for name in ("dev", "audit", "roundup", "synapse")},
        "build": project["build-system"]["requires"],
    }


if __name__ == "__main__":
    wanted = requirements(tomllib.loads(PROJECT.read_text(encoding="utf-8")))
    sys.stdout.write("\n".join(wanted[sys.argv[1]]) + "\n")
