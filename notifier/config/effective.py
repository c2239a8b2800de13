"""The effective configuration: every setting with its origin, without secrets."""

from collections.abc import Mapping

from notifier.config.config import Config
from notifier.config.document import Path, YamlDocument
from notifier.config.source_defaults import SECTION, written_path
from notifier.settings.effective import EffectiveValue, WrittenValue, effective_values

MAX_TRACED_VALUES = 5_000
"""Number of values of a file up to which it is remembered where each is written."""


def written_places(document: YamlDocument) -> Mapping[Path, WrittenValue]:
    """Return where each value of a file is written; nothing for a file that has very many."""
    if len(document.values) > MAX_TRACED_VALUES:
        return {}
    return {
        path: WrittenValue(
            line=document.place(path).line,
            variables=tuple(dict.fromkeys(one.name for one in document.borrowed.get(path, ()))),
        )
        for path in document.values
    }


def effective_configuration(config: Config) -> tuple[EffectiveValue, ...]:
    """Return every setting of a configuration, without secrets.

    The text of a list belongs to the whole list where one of its entries is taken from the environment.
    """
    config = config.as_written
    places = config.written_places
    borrowed: dict[Path, tuple[str, ...]] = {}
    for path, one in places.items():
        for length in range(1, len(path) if one.variables else 0):
            borrowed[path[:length]] = tuple(dict.fromkeys((*borrowed.get(path[:length], ()), *one.variables)))

    def written(path: Path) -> WrittenValue | None:
        path = written_path(path, places)
        found = places.get(path)
        if found is None or found.variables or path not in borrowed or path == (SECTION,):  # which shows names alone
            return found
        return WrittenValue(line=found.line, variables=borrowed[path])

    return tuple(effective_values(config, written))
