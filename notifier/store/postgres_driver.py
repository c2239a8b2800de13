"""The parameters of PostgreSQL connections, and what a server reports. Light: without SQLAlchemy."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from notifier.core.errors import ConfigurationError
from notifier.settings.database_url import PostgresAddress

APPLICATION = "gaussdb-notifier"

DEFAULTS = {
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
        **DEFAULTS,
        **given,
        "options": options,
        "client_encoding": "utf8",
        "prepare_threshold": None,  # a pooler that hands out connections by transaction knows no prepared statements
    }


def _environment(known: Sequence[Any]) -> Iterator[tuple[str, bytes]]:
    """Return what libpq took from its environment variables: it would ignore them beside our parameters."""
    for option in known:
        name = option.keyword.decode()
        if (name in DEFAULTS or name == "options") and option.val not in (None, b"", option.compiled):
            yield name, option.val


def is_read_only(server: ServerInfo) -> bool:
    """Return whether a server reports that it is read-only. PostgreSQL before 14 and some poolers report nothing."""
    return "on" in {server.parameter_status(name) for name in ("default_transaction_read_only", "in_hot_standby")}


def require_utf8(encoding: str | None) -> None:
    """Raise ConfigurationError for a database whose encoding cannot hold every text."""
    if encoding != "UTF8":
        raise ConfigurationError(
            f"store.url leads to a database with the encoding {encoding}, which cannot hold every text: create one with"
            " CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
