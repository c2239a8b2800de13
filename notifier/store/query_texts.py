"""The SQL of look-ups, compiled ahead of time: running it takes no library but the driver.

`query_statements` holds the statements in Core and writes them as files, one for each kind of database; see there. A
condition between `/*if NAME*/` and `/*end*/` counts only where the parameter NAME is given and not None.
"""

import re
from collections import namedtuple
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from notifier.store.values import FROM_DRIVER, TO_DRIVER, Conversion

_CONDITION = re.compile(r"/\*if (\w+)\*/(.*?)/\*end\*/", re.DOTALL)


@dataclass(frozen=True, slots=True)
class QueryText:
    """One statement for one kind of database."""

    sql: str
    takes: Mapping[str, Conversion | None]
    """Conversion of each parameter."""
    make: Any
    """Makes a row of its columns."""
    gives: Sequence[tuple[int, Conversion]]
    """Columns that are converted, with their conversion."""
    _variants: dict[frozenset[str], str] = field(default_factory=dict)

    def run(self, cursor: Any, parameters: Mapping[str, object]) -> Sequence[Any]:  # noqa: ANN401 - the driver's
        """Return the rows, with their columns by name. Raises the driver's errors. `cursor` is the driver's."""
        given = {name: value for name, value in parameters.items() if value is not None}
        cursor.execute(self.text(given.keys()), {name: self._value(name, given) for name in self.takes})
        return [self.make(self._converted(row)) for row in cursor.fetchall()]

    def text(self, given: Collection[str]) -> str:
        """Return the SQL with the conditions of these parameters alone."""
        given = frozenset(given)
        text = self._variants.get(given)
        if text is None:
            text = _CONDITION.sub(lambda found: found[2] if found[1] in given else "1 = 1", self.sql)
            self._variants[given] = text
        return text

    def _value(self, name: str, given: Mapping[str, object]) -> object:
        process = self.takes[name]
        return process(given[name]) if process and name in given else given.get(name)

    def _converted(self, row: Sequence[object]) -> Sequence[object]:
        values = list(row)
        for at, process in self.gives:
            values[at] = process(values[at])
        return values


def query_text(name: str, database: str) -> QueryText:
    """Return a statement by its name, for a kind of database: `sqlite` or `postgresql`."""
    return _parsed(database, name)


def path_of(database: str) -> Path:
    """Return the file that holds the statements for a kind of database."""
    return Path(__file__).with_name(f"queries.{database}.sql")


@cache
def _texts(database: str) -> Mapping[str, str]:
    blocks = path_of(database).read_text(encoding="utf-8").split("-- name: ")[1:]
    return {name: block for name, _, block in (block.partition("\n") for block in blocks)}


@cache
def _parsed(database: str, name: str) -> QueryText:
    takes, gives, sql = _texts(database)[name].split("\n", 2)
    columns = [_declared(one) for one in _listed(gives)]
    row: Any = namedtuple("Row", [column for column, _ in columns])  # type: ignore[misc]  # noqa: PYI024 - data decides
    conversions = ((at, FROM_DRIVER.get((database, kind))) for at, (_, kind) in enumerate(columns))
    return QueryText(
        sql=sql.strip().removesuffix(";"),
        takes={name: TO_DRIVER.get((database, kind)) for name, kind in map(_declared, _listed(takes))},
        make=row._make,
        gives=[(at, process) for at, process in conversions if process],
    )


def _listed(line: str) -> Iterable[str]:
    """Return the entries of a line such as `-- gives: id, at time`."""
    return filter(None, line.partition(":")[2].strip().split(", "))


def _declared(entry: str) -> tuple[str, str]:
    name, _, kind = entry.partition(" ")
    return name, kind
