"""The section `log`: what is written to stderr."""

from __future__ import annotations

from typing import Literal

from notifier.settings.base import Settings


class LogSettings(Settings):
    """The log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """`auto` is `console` on a terminal, else `json`: one object per line."""
