"""What the root of the command line knows and every command may ask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """The options that come before or after any command."""

    config: Path | None = None
    """None looks at $NOTIFIER_CONFIG, then at ./notifier.yaml."""
    debug: bool = False
