"""One write transaction on one connection, and what the parts of a transaction share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable, Table, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from notifier.store import statements
from notifier.store.compiled import Parameters, Result, driver_errors_as_sqlalchemys, form_of
from notifier.store.query_texts import query_text
from notifier.store.values import Columns

T = TypeVar("T")

CHUNK = 500
"""Values in one IN list. SQLite allows 32,766 parameters; a plan for that many takes longer than several statements."""


def chunks(values: Collection[T]) -> Iterator[list[T]]:
    """Cut values into lists short enough for one statement."""
    listed = list(values)
    return (listed[start : start + CHUNK] for start in range(0, len(listed), CHUNK))


class Session:
    """Runs statements on one connection, whose transaction belongs to the caller."""

    def __init__(self, connection: Connection, time: Callable[[Session], datetime]) -> None:
        """`time` returns that of `now`."""
        self.connection = connection
        self._time = time
        self.after_commit: list[Callable[[], None]] = []
        """Steps that the caller takes once the transaction has committed."""
        self._notified = False
        self._cursor: Any = None
        """The driver's, for compiled statements."""

    def now(self) -> datetime:
        """Return the time that everybody who shares the database agrees on."""
        return self._time(self)

    @property
    def is_postgresql(self) -> bool:
        """Return whether the database is PostgreSQL, and not SQLite."""
        return self.connection.dialect.name == "postgresql"

    def execute(self, statement: Executable, parameters: Parameters | None = None) -> Result:
        """Run a statement once for each mapping of parameters.

        One that is marked with `compiled` runs in its compiled form.
        """
        form = form_of(statement, self.connection.dialect)
        if form is None:
            return self.connection.execute(statement, parameters)
        return form.execute(self.connection, self._driver_cursor(), parameters)

    def execute_columns(self, statement: Executable, columns: Columns) -> int:
        """Run a statement that is marked with `compiled` once for each row of `columns`; return how many it changed."""
        form = form_of(statement, self.connection.dialect)
        if form is None:
            raise TypeError(f"not marked as compiled: {statement}")
        return form.execute_columns(self.connection, self._driver_cursor(), columns).rowcount

    def execute_chunks(
        self, statement: Executable, values: Collection[T], name: str = "ids", **parameters: object
    ) -> Iterator[Result]:
        """Run a statement for a few of the values at a time, which it takes as the list `name`."""
        return (self.execute(statement, parameters | {name: some}) for some in chunks(values))

    def query(self, name: str, /, **parameters: object) -> Sequence[Any]:
        """Return the rows of a statement of `query_statements`."""
        return self.on_driver(lambda cursor, database: query_text(name, database).run(cursor, parameters))

    def on_driver(self, work: Callable[[Any, str], T]) -> T:
        """Return the result of work on the driver's cursor, in this transaction. It is told the kind of database."""
        with driver_errors_as_sqlalchemys(self.connection):
            return work(self._driver_cursor(), self.connection.dialect.name)

    def _driver_cursor(self) -> Any:  # noqa: ANN401 - the driver's
        if self._cursor is None:
            self._cursor = self.connection.connection.cursor()
        return self._cursor

    def close(self) -> None:
        """Close the driver's cursor, in the thread that used it; called at the end of the transaction.

        Cursors of one SQLite connection share prepared statements. One that lives on in the traceback of a failure is
        freed in any thread, at any time, and resets a statement that another cursor is running then: its next row is
        refused as "Error binding parameter 0".
        """
        if self._cursor is not None:
            with suppress(self.connection.dialect.loaded_dbapi.Error):  # the connection may be lost
                self._cursor.close()

    def insert(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        """Return an INSERT that can handle conflicts."""
        return postgresql.insert(table) if self.is_postgresql else sqlite.insert(table)

    def insert_isolated(self, values: Sequence[T], execute: Callable[[Sequence[T]], object]) -> Sequence[T]:
        """Write rows so that one that the database refuses costs only itself; return the refused rows."""
        if not values:
            return []
        self.execute(statements.SAVEPOINT)
        try:
            execute(values)
        except (DBAPIError, UnicodeEncodeError) as error:
            if not _row_is_to_blame(error):
                raise
            self.execute(statements.ROLL_BACK)
            if len(values) == 1:
                return values
            return [row for value in values for row in self.insert_isolated([value], execute)]
        self.execute(statements.RELEASE)
        return []

    def lock_named(self, table: Table, statement: Executable, name: str) -> Any:  # noqa: ANN401 - a row
        """Return the row of a name, which a statement selects and locks. It is inserted where there is none."""
        row = self.execute(statement, {"of_name": name}).one_or_none()
        if row is None:
            self.execute(self.insert(table).values(name=name).on_conflict_do_nothing())
            row = self.execute(statement, {"of_name": name}).one()
        return row

    def swap(self, table: Table, name: str, column: str, was: datetime | None, value: datetime | None) -> bool:
        """Set a column that still is what it was. A second writer waits for the first, and changes nothing."""
        self.execute(self.insert(table).values(name=name).on_conflict_do_nothing())
        unchanged = table.c[column].is_not_distinct_from(was)
        change = update(table).where(table.c.name == name, unchanged).values({column: value})
        return self.execute(change).rowcount == 1

    def notify_listeners(self) -> None:
        """Wake the other processes when this transaction commits. SQLite has no other process to wake."""
        if self.is_postgresql and not self._notified:
            self.execute(statements.NOTIFY)
            self._notified = True


def _row_is_to_blame(error: DBAPIError | UnicodeEncodeError) -> bool:
    """Return whether a row can cause the error: text that cannot be stored, or a key too long for an index."""
    too_long = getattr(getattr(error, "orig", None), "sqlstate", None) == "54000"
    return too_long or isinstance(error, DataError | IntegrityError | UnicodeEncodeError)
