"""The checks between sections of a configuration: names are unique, and referenced names exist.

They read plain data of any shape, so that they also work on a configuration that is invalid elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from notifier.config.document import Path, dotted
from notifier.core.routing import parse_matcher
from notifier.settings.explain import did_you_mean

CheckResult = tuple[Path, str]
"""Place in the configuration, and the problem there."""


def find_cross_problems(data: object) -> Iterator[CheckResult]:
    """Yield the problems between sections."""
    for section in ("sources", "channels", "routes"):
        yield from _repeated_names(data, section)
    yield from _unknown_channels(data)
    yield from _unknown_names_in_matchers(data)


def _repeated_names(data: object, section: str) -> Iterator[CheckResult]:
    seen: dict[str, Path] = {}
    for path, entry in _entries(data, section):
        name = entry.get("name")
        if isinstance(name, str) and seen.setdefault(name, path) != path:
            yield (*path, "name"), f"the name is taken by {dotted(seen[name])}."


def _unknown_channels(data: object) -> Iterator[CheckResult]:
    known = _names(data, "channels")
    alerts = data.get("alerts") if isinstance(data, Mapping) else None
    for path, name in (*_texts(data, "channels"), *_listed(alerts, ("alerts",), "channels")):
        if name not in known:
            yield path, f"no channel is called {name!r}. {did_you_mean(name, known, otherwise='Channels')}"


def _unknown_names_in_matchers(data: object) -> Iterator[CheckResult]:
    for path, text in _texts(data, "match"):
        field, name = _named_part(text)
        known = _names(data, f"{field}s")
        if name and name not in known:
            yield path, f"no {field} is called {name!r}. {did_you_mean(name, known, otherwise=f'{field.title()}s')}"


def _named_part(text: str) -> tuple[str, str]:
    """Return the kind and the name that a matcher refers to; empty for one that names no source or channel."""
    try:
        matcher = parse_matcher(text)
    except ValueError:
        return "", ""  # reported for the route itself
    named = matcher.field in ("source", "channel") and matcher.op in ("=", "!=")
    return (matcher.field, matcher.value) if named else ("", "")


def _entries(data: object, section: str) -> Iterator[tuple[Path, Mapping[str, object]]]:
    entries = data.get(section) if isinstance(data, Mapping) else None
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, Mapping):
            yield (section, index), entry


def _names(data: object, section: str) -> list[str]:
    names = (entry.get("name") for _, entry in _entries(data, section))
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def _texts(data: object, key: str) -> Iterator[tuple[Path, str]]:
    """Yield the texts in one list of every route."""
    for path, route in _entries(data, "routes"):
        yield from _listed(route, path, key)


def _listed(section: object, path: Path, key: str) -> Iterator[tuple[Path, str]]:
    """Yield the texts in one list of a section."""
    listed = section.get(key) if isinstance(section, Mapping) else None
    for index, text in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(text, str):
            yield (*path, key, index), text
