"""The differences between two configurations: names only, so that they contain no secret."""

from collections.abc import Iterable
from typing import Any

from notifier.config.config import Config

NAMED = ("sources", "channels", "routes")
"""Sections whose entries have names."""


def changes(old: Config, new: Config) -> dict[str, list[str]]:
    """Return the names of added, removed and changed entries, and of other sections that changed.

    Keys are `sources_added`, `channels_changed` and so on, and `sections_changed`. Empty ones are left out.
    """
    found: dict[str, list[str]] = {}
    for section in NAMED:
        before, after = _named(getattr(old, section)), _named(getattr(new, section))
        found[f"{section}_added"] = sorted(after.keys() - before.keys())
        found[f"{section}_removed"] = sorted(before.keys() - after.keys())
        found[f"{section}_changed"] = sorted(n for n in before.keys() & after.keys() if before[n] != after[n])
    others = [name for name in Config.model_fields if name not in NAMED]
    found["sections_changed"] = [name for name in others if getattr(old, name) != getattr(new, name)]
    return {key: names for key, names in found.items() if names}


def _named(entries: Iterable[Any]) -> dict[str, Any]:
    return {entry.name: entry for entry in entries}
