"""Fixtures of the tests of the page."""

from __future__ import annotations

import pytest

from pages.history import Histories


@pytest.fixture(scope="session")
def histories(tmp_path_factory: pytest.TempPathFactory) -> Histories:
    """Return the histories of this session: each is made once, and a test gets a copy."""
    return Histories(tmp_path_factory.mktemp("histories"))
