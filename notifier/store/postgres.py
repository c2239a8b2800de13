"""PostgreSQL: the parameters of a connection, and which connections are kept."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import DisconnectionError

from notifier.core.errors import ConfigurationError
from notifier.settings.database_url import PostgresAddress
from notifier.store.errors import is_lost

APPLICATION = "gaussdb-notifier"

_DEFAULTS = {
    "application_name": APPLICATION,
    "connect_timeout": "10",
    # A network that swallows packets must end in an error: within these seconds, or milliseconds, of silence.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    # After a failover a name may still lead to the old server, and of several hosts only one takes changes.
    "target_session_attrs": "read-write",
}
"""Parameters of a connection that the user may set otherwise."""

# A replica that was stopped inside a transaction must not hold the others up for much longer than its lease. The zone:
# a time near the year 9999 or 1 could not be loaded in every other one.
_OPTIONS = "-c timezone=UTC -c lock_timeout=10s -c statement_timeout=60s -c idle_in_transaction_session_timeout=20s"
"""Settings of a session. The user's follow, and of two the later counts."""

POSTGRES_THREADS = 8
"""Maximum number of concurrent transactions of this process."""

_DRIVER_MISSING = "PostgreSQL needs the psycopg driver: pip install 'gaussdb-notifier[postgres]'"


class ServerInfo(Protocol):
    """What the driver knows about the server of a connection (psycopg.ConnectionInfo)."""

    def parameter_status(self, param_name: str) -> str | None:
        """Return a setting that the server reported with its latest answer."""


def postgres_parameters(address: PostgresAddress) -> dict[str, Any]:
    """Return the driver's parameters: the address's over libpq's environment over ours. Raises ConfigurationError."""
    try:
        from psycopg import pq  # noqa: PLC0415 - an extra, which SQLite does without
    except ImportError:
        raise ConfigurationError(_DRIVER_MISSING) from None
    given = {name: value.decode() for name, value in _environment(pq.Conninfo.get_defaults())} | dict(
        address.parameters
    )
    options = " ".join(filter(None, (_OPTIONS, given.get("options"))))
    return {
        **_DEFAULTS,
        **given,
        "options": options,
        "client_encoding": "utf8",
        "prepare_threshold": None,  # a pooler that hands out connections by transaction knows no prepared statements
    }


def _environment(known: Sequence[Any]) -> Iterator[tuple[str, bytes]]:
    """Return what libpq took from its environment variables: it would ignore them beside our parameters."""
    for option in known:
        name = option.keyword.decode()
        if (name in _DEFAULTS or name == "options") and option.val not in (None, b"", option.compiled):
            yield name, option.val


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
    if parameters["target_session_attrs"] == _DEFAULTS["target_session_attrs"]:
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


def is_read_only(server: ServerInfo) -> bool:
    """Return whether a server reports that it is read-only. PostgreSQL before 14 and some poolers report nothing."""
    return "on" in {server.parameter_status(name) for name in ("default_transaction_read_only", "in_hot_standby")}


def require_utf8(connection: Connection) -> None:
    """Raise ConfigurationError for a database whose encoding cannot hold every text."""
    encoding = connection.execute(text("SHOW server_encoding")).scalar()
    if encoding != "UTF8":
        raise ConfigurationError(
            f"store.url leads to a database with the encoding {encoding}, which cannot hold every text: create one with"
            " CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def dump_command(address: PostgresAddress, target: Path) -> str:
    """Return the command that copies a database to a file. It asks for the password."""
    given = address.parameters
    flags = {"host": given.get("host"), "port": given.get("port"), "username": given.get("user")}
    named = [f"--{flag}={value.partition(',')[0]}" for flag, value in flags.items() if value]
    return shlex.join(["pg_dump", "--format=custom", f"--file={target}", *named, given.get("dbname", "")])
