"""What acceptance tests share: the records that the program logs, kept apart from what it prints."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from notifier import logs


@pytest.fixture
def records() -> Iterator[io.StringIO]:
    """Log into memory, and leave logging as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
