"""Statements that run often: compiled once for each kind of database, and run on the driver's cursor.

SQLAlchemy takes about 20 µs to run a statement that is built already, and a few more for each row: a mapping of its
parameters, and a call for each value. That is several times what the database takes. So the statements that run for
every event or poll are marked with `compiled`. They stay written in Core, and `Session.execute` runs them by this
module. Nothing changes for its callers: the same parameters, types and exceptions, in the same transaction.

The text of such a statement never changes, so each of its lists is one parameter: see `is_in`.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import cached_property, partial
from itertools import repeat
from typing import Any, Final, Protocol, Self, TypeAlias, TypeVar

import msgspec
from sqlalchemy import (
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Insert,
    LargeBinary,
    Text,
    TypeDecorator,
    Update,
    bindparam,
    cast,
    column,
    func,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from notifier.store.driver_failures import is_lost
from notifier.store.schema import UtcDateTime
from notifier.store.values import TO_DRIVER, Columns

Parameters: TypeAlias = "Mapping[str, Any] | Sequence[Mapping[str, Any]]"

_Process: TypeAlias = Callable[[Any], Any]
"""Turns a value into what the driver takes for it, or back."""

StatementT = TypeVar("StatementT", bound=Any)

_FORMS: Final[dict[Any, dict[str, CompiledStatement]]] = {}
"""The compiled forms of each marked statement by the name of their dialect, once it has run."""


def compiled(statement: StatementT) -> StatementT:
    """Mark a statement to be compiled once, and return it as it is.

    Its parameters have names, and its lists are given with `is_in`.
    """
    _FORMS[statement] = {}
    return statement


def marked() -> Collection[Any]:
    """Return all statements that are marked."""
    return _FORMS.keys()


def form_of(statement: object, dialect: Dialect) -> CompiledStatement | None:
    """Return the compiled form of a statement; None where it is not marked."""
    forms = _FORMS.get(statement)
    if forms is None:
        return None
    form = forms.get(dialect.name)
    if form is None:
        form = forms[dialect.name] = CompiledStatement(statement, dialect)
    return form


class Result(Protocol):
    """What a statement returned: rows that have their columns by position and by name."""

    @property
    def rowcount(self) -> int:
        """Number of rows that it changed, for all sets of parameters together."""

    def __iter__(self) -> Iterator[Any]:
        """Return the rows, in order."""

    def all(self) -> Sequence[Any]:
        """Return all rows."""

    def first(self) -> Any | None:  # noqa: ANN401 - a row
        """Return the first row; None where there is none."""

    def one(self) -> Any:  # noqa: ANN401 - a row
        """Return the only row. Raises where there is none, or another one."""

    def one_or_none(self) -> Any | None:  # noqa: ANN401 - a row
        """Return the only row; None where there is none. Raises where there is another one."""

    def scalar(self) -> Any | None:  # noqa: ANN401 - a value
        """Return the first column of the first row; None where there is no row."""

    def scalar_one(self) -> Any:  # noqa: ANN401 - a value
        """Return the first column of the only row. Raises where there is none, or another one."""

    def scalars(self) -> Iterable[Any]:
        """Return the first column of each row."""

    def tuples(self) -> Iterable[Any]:
        """Return the rows by position alone: cheaper where there are many."""


class _Rows:
    """The result of a compiled statement."""

    __slots__ = ("_found", "_make", "rowcount")

    def __init__(self, found: Sequence[Any], make: _Process, rowcount: int) -> None:
        """`make` gives the columns of a tuple their names."""
        self._found = found
        self._make = make
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return map(self._make, self._found)

    def all(self) -> Sequence[Any]:
        return list(self)

    def first(self) -> Any | None:  # noqa: ANN401 - a row
        return next(iter(self), None)

    def one(self) -> Any:  # noqa: ANN401 - a row
        (row,) = self
        return row

    def one_or_none(self) -> Any | None:  # noqa: ANN401 - a row
        return self.one() if self._found else None

    def scalar(self) -> Any | None:  # noqa: ANN401 - a value
        return self._found[0][0] if self._found else None

    def scalar_one(self) -> Any:  # noqa: ANN401 - a value
        return self.one()[0]

    def scalars(self) -> Iterable[Any]:
        return [row[0] for row in self._found]

    def tuples(self) -> Iterable[Any]:
        return self._found


class CompiledStatement:
    """A statement as one kind of database takes it."""

    def __init__(self, statement: Any, dialect: Dialect) -> None:  # noqa: ANN401 - a statement of Core
        """Compile a statement for a dialect with positional parameters."""
        form: SQLCompiler = statement.compile(dialect=dialect)
        if form.post_compile_params or form.positiontup is None:
            raise TypeError(f"no text of its own (give a list with is_in), or no positional parameters: {form}")
        self._statement = statement
        self._sql = str(form)
        self._dialect = dialect
        self._binds = [_Bind(form.binds[name], dialect) for name in form.positiontup]
        self._columns: Sequence[ColumnElement[Any]] = list(getattr(statement, "exported_columns", ()))
        self._types = {bind.key: bind.type for bind in form.binds.values() if bind.required}
        # Nothing is prepared on PostgreSQL: the server would parse and plan a change again for each set of parameters.
        self._takes_rows = dialect.name == "postgresql" and isinstance(statement, Insert | Update) and not self._columns
        names = [column.name for column in self._columns]
        row: Any = namedtuple("Row", names)  # type: ignore[misc]  # noqa: PYI024 - their number is known here alone
        self._make: _Process = row._make
        self._processes: Sequence[tuple[int, _Process]] | None = None

    def execute(self, connection: Connection, cursor: Any, parameters: Parameters | None) -> _Rows:  # noqa: ANN401 - the driver's
        """Run the statement once for each mapping of parameters, in the transaction of `connection`.

        `cursor` is one of the driver's, on that connection. Raises SQLAlchemy's DBAPIError.
        """
        if isinstance(parameters, Sequence):
            columns = {name: [one[name] for one in parameters] for name in self._types}
            return self.execute_columns(connection, cursor, columns)
        with driver_errors_as_sqlalchemys(connection, self._sql):
            cursor.execute(self._sql, [bind.value(parameters or {}) for bind in self._binds])
            found = self._fetch(cursor) if self._columns else ()
        return _Rows(found, self._make, cursor.rowcount)

    def execute_columns(self, connection: Connection, cursor: Any, columns: Columns) -> _Rows:  # noqa: ANN401 - the driver's
        """Run the statement once for each row of `columns`, as `execute` does. It returns no rows."""
        if self._takes_rows:
            runs = [self._of_rows.execute(connection, cursor, {"rows": some}) for some in _parts(columns)]
            return _Rows((), self._make, sum(run.rowcount for run in runs))
        with driver_errors_as_sqlalchemys(connection, self._sql):
            cursor.executemany(self._sql, zip(*(bind.values(columns) for bind in self._binds), strict=True))
        return _Rows((), self._make, cursor.rowcount)

    @cached_property
    def _of_rows(self) -> CompiledStatement:
        return CompiledStatement(_of_rows(self._statement, self._types), self._dialect)

    def _fetch(self, cursor: Any) -> Sequence[Any]:  # noqa: ANN401 - the driver's
        if self._processes is None:  # the first time: what becomes of a column may depend on the driver's type of it
            described = zip(self._columns, cursor.description, strict=True)
            found = [self._process(column.type, description[1]) for column, description in described]
            self._processes = [(at, process) for at, process in enumerate(found) if process is not None]
        rows: Sequence[Any] = cursor.fetchall()
        if not rows or not self._processes:
            return rows
        # Column by column: so each value costs one call, and what needs none costs nothing.
        columns: list[Iterable[Any]] = list(zip(*rows, strict=True))
        for at, process in self._processes:
            columns[at] = map(process, columns[at])
        return list(zip(*columns, strict=True))

    def _process(self, type_: TypeEngine[Any], code: object) -> _Process | None:
        return type_.dialect_impl(self._dialect).result_processor(self._dialect, code)


@contextmanager
def driver_errors_as_sqlalchemys(connection: Connection, sql: str = "") -> Iterator[None]:
    """Turn the driver's errors into SQLAlchemy's. A connection that is lost is not used again."""
    dialect = connection.dialect
    try:
        yield
    except dialect.loaded_dbapi.Error as error:
        driver = connection.connection.driver_connection
        lost = dialect.is_disconnect(error, driver, None) or is_lost(getattr(error, "sqlstate", None))
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            sql,
            None,
            error,
            dialect.loaded_dbapi.Error,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=dialect,
        ) from error


class _Bind:
    """One position of a compiled statement: a named parameter, or a constant."""

    __slots__ = ("_constant", "_name", "_process")

    def __init__(self, bind: Any, dialect: Dialect) -> None:  # noqa: ANN401 - of some type
        process = _to_driver(bind.type, dialect)
        self._name: str | None = bind.key if bind.required else None
        self._process: _Process | None = process if bind.required else None
        self._constant = None if bind.required else _constant(bind.effective_value, process)

    def value(self, parameters: Mapping[str, Any]) -> object:
        """Return the value that the driver takes for these parameters."""
        if self._name is None:
            return self._constant
        value = parameters[self._name]
        return self._process(value) if self._process else value

    def values(self, columns: Columns) -> Iterable[Any]:
        """Return the values that the driver takes, one for each row."""
        if self._name is None:
            return repeat(self._constant, len(next(iter(columns.values()))))
        values = columns[self._name]
        return map(self._process, values) if self._process else values


def _constant(value: object, process: _Process | None) -> object:
    """Return what the driver takes for a constant: no member of an enumeration, which it would adapt at each run."""
    found = process(value) if process else value
    return found.value if isinstance(found, Enum) else found


def _to_driver(type_: TypeEngine[Any], dialect: Dialect) -> _Process | None:
    """Return what turns a value into the driver's; None where it takes it as it is.

    SQLAlchemy's own takes four times as long for a boolean, and wraps bytes, which both drivers take as they are.
    """
    if isinstance(type_, LargeBinary):
        return None
    own = TO_DRIVER.get((dialect.name, "boolean")) if isinstance(type_, Boolean) else None
    return own or type_.dialect_impl(dialect).bind_processor(dialect)


# ---- rows ----


ROWS_AT_ONCE: Final = 500
"""Rows in one list of rows. PostgreSQL keeps more of them in a file, and takes twice as long for each."""


def _parts(columns: Columns) -> Iterator[Columns]:
    """Cut columns into those of a few rows each."""
    count = len(next(iter(columns.values())))
    for start in range(0, count, ROWS_AT_ONCE):
        yield {name: values[start : start + ROWS_AT_ONCE] for name, values in columns.items()}


def _of_rows(statement: Insert | Update, types: Mapping[str, TypeEngine[Any]]) -> Any:  # noqa: ANN401 - as it is
    """Return the change that takes all sets of parameters at once, as the list `rows`. Its names have these types."""
    columns = [column(name, Text() if isinstance(type_, LargeBinary) else type_) for name, type_ in types.items()]
    times = frozenset(name for name, type_ in types.items() if isinstance(type_, UtcDateTime))
    listed = func.jsonb_to_recordset(cast(bindparam("rows", type_=_RowsOfColumns(times)), postgresql.JSONB))
    given = listed.table_valued(*columns).render_derived("given", with_types=True)
    values = {
        name: func.decode(given.c[name], "base64") if isinstance(type_, LargeBinary) else given.c[name]
        for name, type_ in types.items()
    }
    if isinstance(statement, Update):
        return visitors.replacement_traverse(statement, {}, partial(_value_of, values))
    whole = postgresql.insert(statement.table).from_select(list(types), select(*values.values()))
    whole._post_values_clause = statement._post_values_clause  # noqa: SLF001 - its ON CONFLICT, found nowhere else
    return whole


def _value_of(values: Mapping[str, ColumnElement[Any]], element: object, **_: object) -> ColumnElement[Any] | None:
    return values.get(element.key) if isinstance(element, BindParameter) and element.required else None


# ---- lists ----


class ListType(TypeDecorator[Collection[Any]]):
    """A list as one parameter: an array of PostgreSQL, or JSON for SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type of the parameter."""
        is_array = dialect.name == "postgresql"
        return dialect.type_descriptor(postgresql.ARRAY(self.item) if is_array else Text())

    def process_bind_param(self, value: Collection[Any] | None, dialect: Dialect) -> Any:  # noqa: ANN401 - the driver's
        """Return the parameter."""
        return TO_DRIVER[dialect.name, "list"](value or ())


class _RowsOfColumns(TypeDecorator[Columns]):
    """Rows as one parameter: a JSON list of objects."""

    impl = Text
    cache_ok = True

    def __init__(self, times: frozenset[str]) -> None:
        """`times`: names of the columns of times, of which JSON would carry one without a zone."""
        super().__init__()
        self.times = times

    def process_bind_param(self, value: Columns | None, dialect: Dialect) -> str:
        """Return the parameter. Raises ValueError for a time without a zone."""
        columns = value or {}
        as_time = TO_DRIVER[dialect.name, "time"]
        driver = [map(as_time, values) if name in self.times else values for name, values in columns.items()]
        return msgspec.json.encode([dict(zip(columns, row, strict=True)) for row in zip(*driver, strict=True)]).decode()


class _IsIn(FunctionElement[bool]):
    """A column, and the list that has its value."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: object = None) -> Self:  # noqa: ARG002 - whatever is around it
        """Return the condition as it is: SQLAlchemy would compare a function with 1, and no index would serve."""
        return self


def is_in(column: Column[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column of text or integers has one of the values in the list `name`.

    However many there are, they are one parameter, so that the text of the statement does not depend on them.
    """
    return _IsIn(column, bindparam(name, type_=ListType(column.type)))


@compiles(_IsIn, "sqlite")
def _is_in_sqlite(element: _IsIn, compiler: SQLCompiler, **how: Any) -> str:  # noqa: ANN401 - the compiler's
    column, values = element.clauses
    listed = f"json_each({compiler.process(values, **how)})"
    return f"{compiler.process(column, **how)} IN (SELECT value FROM {listed})"  # noqa: S608 - parts of a statement


@compiles(_IsIn, "postgresql")
def _is_in_postgresql(element: _IsIn, compiler: SQLCompiler, **how: Any) -> str:  # noqa: ANN401 - the compiler's
    column, values = element.clauses
    return f"{compiler.process(column, **how)} = ANY ({compiler.process(values, **how)})"
