"""Writes docs/openapi.json: the description of the API. `make openapi` runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

from notifier.web.api.application import API_PATH, build_paths
from notifier.web.api.description import describe, written

PAGE = Path(__file__).parent.parent / "docs" / "openapi.json"


def page() -> str:
    """Return the description. No path is called, so that no store is needed."""
    return written(describe(build_paths(cast("Any", Mock())), API_PATH))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
