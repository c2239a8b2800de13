"""Turning SQLAlchemy's exceptions into ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from notifier.core.errors import StoreError
from notifier.store import driver_failures


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn the database library's exceptions into ours, once, without the statement and its values."""
    try:
        yield
    except DBAPIError as error:
        raise _translate(error, url) from error
    except UnicodeDecodeError as error:
        if url.get_backend_name() != "sqlite":
            raise
        # SQLite quotes the malformed bytes of the file, which may not be text.
        raise driver_failures.damaged(place_of(url)) from error
    except SQLAlchemyError as error:
        raise StoreError(f"the database failed: {type(error).__name__}") from error


def _translate(error: DBAPIError, url: URL) -> StoreError:
    if url.get_backend_name() == "sqlite":
        return driver_failures.sqlite_failure(error.orig, place_of(url))
    operational, lost = isinstance(error, OperationalError), error.connection_invalidated
    return driver_failures.postgres_failure(error.orig, place_of(url), operational=operational, lost=lost)


def place_of(url: URL) -> str:
    """Return the name of a database in messages: its file, or its host and name."""
    if url.get_backend_name() == "sqlite":
        return url.database or ""
    return f"{url.host or 'the local socket'}/{url.database or ''}"


def names_no_database(error: Exception) -> bool:
    """Return whether a server answered that it has no database of that name."""
    return driver_failures.names_no_database(getattr(error.__cause__, "orig", None))
