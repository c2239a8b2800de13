"""PostgreSQL: the parameters of a connection, and which connections are kept."""

import shlex
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import DisconnectionError

from notifier.settings.database_url import PostgresAddress
from notifier.store.driver_failures import is_lost
from notifier.store.postgres_driver import DEFAULTS, is_read_only, postgres_parameters

POSTGRES_THREADS = 8
"""Maximum number of concurrent transactions of this process."""


def postgres_engine(address: PostgresAddress, readers: int) -> Engine:
    """Return an engine with enough connections for the store's threads, none of them to a server that is read-only."""
    parameters = postgres_parameters(address)
    engine = create_engine(
        URL.create("postgresql+psycopg", host=parameters.get("host"), database=parameters.get("dbname")),
        pool_size=POSTGRES_THREADS + readers,
        max_overflow=0,
        pool_pre_ping=True,
        paramstyle="format",  # positional, as compiled statements need it
        connect_args=parameters,
    )
    event.listen(engine, "handle_error", _discard_lost)
    if parameters["target_session_attrs"] == DEFAULTS["target_session_attrs"]:
        event.listen(engine, "checkout", _refuse_read_only)
    return engine


def _discard_lost(context: ExceptionContext) -> None:
    """Let the pool replace a connection after any error that makes it useless, not only after those that end it."""
    if is_lost(getattr(context.original_exception, "sqlstate", None)):
        context.is_disconnect = True


def _refuse_read_only(connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401 - the driver's connection
    # The pool has just pinged the server, so that what it reported is current.
    if is_read_only(connection.info):
        raise DisconnectionError("the server takes no changes any more")


def dump_command(address: PostgresAddress, target: Path) -> str:
    """Return the command that copies a database to a file. It asks for the password."""
    given = address.parameters
    flags = {"host": given.get("host"), "port": given.get("port"), "username": given.get("user")}
    named = [f"--{flag}={value.partition(',')[0]}" for flag, value in flags.items() if value]
    return shlex.join(["pg_dump", "--format=custom", f"--file={target}", *named, given.get("dbname", "")])
