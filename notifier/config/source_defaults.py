"""`source_defaults`: settings that every source takes where it does not give its own. Light: no settings class.

They are filled into the sources before these are validated, so every part of the program sees complete sources. A value
that a source has from here is reported, and shown, where it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any, TypeAlias

from notifier.config.document import Path, Problem, YamlDocument
from notifier.settings.words import did_you_mean

SECTION = "source_defaults"
OWN_SETTINGS = frozenset({"name", "kind"})
"""What each source gives for itself: it says which source this is."""

KeysOfKind: TypeAlias = "Callable[[str], Collection[str]]"
"""Returns the keys of the settings that a kind of sources has."""


def filled(entry: Mapping[str, Any], defaults: Mapping[str, Any], takes: Container[str]) -> dict[str, Any]:
    """Return a source with those of the defaults that its kind `takes`. Labels are merged by name."""
    found = {key: value for key, value in defaults.items() if key in takes and not _gives(entry, key)} | dict(entry)
    own, shared = entry.get("labels"), defaults.get("labels")
    if isinstance(own, dict) and isinstance(shared, dict):
        found["labels"] = {**shared, **own}
    return found


def _gives(entry: Mapping[str, Any], key: str) -> bool:
    """Return whether a source has its own value of a key. A secret and the file that holds it are one setting."""
    return not {key, f"{key}_file", key.removesuffix("_file")}.isdisjoint(entry)


def defaults_of(data: object) -> Mapping[str, Any]:
    """Return the defaults of a configuration; none where they are not a mapping."""
    found = data.get(SECTION) if isinstance(data, Mapping) else None
    return {key: value for key, value in found.items() if key not in OWN_SETTINGS} if isinstance(found, dict) else {}


def written_path(path: Path, written: Container[Path]) -> Path:
    """Return where the value at a path is written: in its source, or in the defaults that the source takes it from."""
    if path[:1] != ("sources",) or len(path) < len(("sources", 0, "key")):
        return path
    own = path[:4] if path[2] == "labels" else path[:3]
    shared = (SECTION, *own[2:])
    return path if own in written or shared not in written else (SECTION, *path[2:])


def with_defaults(document: YamlDocument, keys_of_kind: KeysOfKind, kinds: Iterable[str]) -> YamlDocument:
    """Return a document whose sources are filled, with a problem for each default that none of the kinds has."""
    data = document.data
    if not isinstance(data, dict) or SECTION not in data:
        return document
    keys = {kind: keys_of_kind(kind) for kind in kinds}
    problems = tuple(
        Problem(what=what, place=document.place((SECTION, key), on_key=True), path=(SECTION, key))
        for key, what in _misplaced(data[SECTION], list(dict.fromkeys(chain(*keys.values()))))
    )
    if isinstance(entries := data.get("sources"), list):
        defaults = defaults_of(data)
        data = {**data, "sources": [_filled_entry(entry, defaults, keys) for entry in entries]}
    return replace(document, data=data, problems=(*document.problems, *problems))


def _filled_entry(entry: object, defaults: Mapping[str, Any], keys: Mapping[str, Collection[str]]) -> object:
    """Return a source with its defaults; anything else, whose fault is reported for itself, as it is."""
    if not isinstance(entry, dict) or entry.get("kind") not in keys:
        return entry
    return filled(entry, defaults, keys[entry["kind"]])


def _misplaced(defaults: object, known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the keys that cannot be defaults, and why."""
    for key in defaults if isinstance(defaults, dict) else ():
        if key in OWN_SETTINGS:
            yield key, "every source has its own. Give it there."
        elif key not in known:
            others = [one for one in known if one not in OWN_SETTINGS]
            yield key, f"no kind of sources has this setting. {did_you_mean(key, others, otherwise='Known settings')}"
