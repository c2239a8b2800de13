"""What no single part of a configuration can know: whether names are unique and whether they lead somewhere.

These look at plain data of any shape, so that they speak up beside whatever else is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from notifier.config.document import Path, dotted
from notifier.core.routing import parse_matcher
from notifier.validation import did_you_mean

Finding = tuple[Path, str]
"""Where, and what is wrong there."""


def cross_checks(data: object) -> Iterator[Finding]:
    """Find what is wrong between the parts."""
    for section in ("sources", "channels", "routes"):
        yield from _repeated_names(data, section)
    yield from _unknown_channels(data)
    yield from _unknown_sources(data)


def _repeated_names(data: object, section: str) -> Iterator[Finding]:
    seen: dict[str, Path] = {}
    for path, entry in _entries(data, section):
        name = entry.get("name")
        if isinstance(name, str) and seen.setdefault(name, path) != path:
            yield (*path, "name"), f"the name is taken by {dotted(seen[name])}."


def _unknown_channels(data: object) -> Iterator[Finding]:
    known = _names(data, "channels")
    for path, name in _texts(data, "channels"):
        if name not in known:
            yield path, f"no channel is called {name!r}. {did_you_mean(name, known, otherwise='Channels')}"


def _unknown_sources(data: object) -> Iterator[Finding]:
    known = _names(data, "sources")
    for path, text in _texts(data, "match"):
        name = _source_in(text)
        if name is not None and name not in known:
            yield path, f"no source is called {name!r}. {did_you_mean(name, known, otherwise='Sources')}"


def _source_in(text: str) -> str | None:
    """Return the source that a matcher names, if it does."""
    try:
        matcher = parse_matcher(text)
    except ValueError:
        return None  # said by the route itself
    return matcher.value if matcher.field == "source" and matcher.op in ("=", "!=") else None


def _entries(data: object, section: str) -> Iterator[tuple[Path, Mapping[str, object]]]:
    entries = data.get(section) if isinstance(data, Mapping) else None
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, Mapping):
            yield (section, index), entry


def _names(data: object, section: str) -> list[str]:
    names = (entry.get("name") for _, entry in _entries(data, section))
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def _texts(data: object, key: str) -> Iterator[tuple[Path, str]]:
    """Go through the texts in one list of every route."""
    for path, route in _entries(data, "routes"):
        listed = route.get(key)
        for index, text in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(text, str):
                yield (*path, key, index), text
