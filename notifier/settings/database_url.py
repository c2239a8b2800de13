"""Parses the address of a database, without its library, so that checking a configuration stays quick.

No error quotes a part of an address: where a password is not percent-encoded, any part may belong to it.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from notifier.core.errors import ConfigurationError
from notifier.settings.words import FixedMessageError, closest_match

EXAMPLE = "postgresql://USER:PASSWORD@HOST/DATABASE"

_ENCODE = (
    "Percent-encode the special characters of USER and PASSWORD:"
    " % as %25, @ as %40, : as %3A, / as %2F, ? as %3F, # as %23."
)
_LAST_PORT = 65535

_POSTGRES = re.compile(
    r"(?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?(?P<hosts>[^/?]*)(?:/(?P<dbname>[^?]*))?(?:\?(?P<query>.*))?"
)
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.%]+)\]|(?P<name>[^\[\]:]*))(?::(?P<port>.*))?")
_HOST_IN_QUERY = re.compile(r"(?P<name>[A-Za-z0-9.-]+):(?P<port>\d+)")

_SCHEMA = frozenset({"schema", "currentschema", "search_path"})
# fmt: off
_KEYWORDS = frozenset((
    "application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname",
    "fallback_application_name", "gssdelegation", "gssencmode", "gsslib", "host", "hostaddr", "keepalives",
    "keepalives_count", "keepalives_idle", "keepalives_interval", "krbsrvname", "load_balance_hosts",
    "max_protocol_version", "min_protocol_version", "options", "passfile", "password", "port", "require_auth",
    "requirepeer", "service", "servicefile", "ssl_max_protocol_version", "ssl_min_protocol_version", "sslcert",
    "sslcertmode", "sslcompression", "sslcrl", "sslcrldir", "sslkey", "sslmode", "sslnegotiation", "sslpassword",
    "sslrootcert", "sslsni", "target_session_attrs", "tcp_user_timeout", "user",
))
# fmt: on
"""The parameters of libpq 18, except those that would make another kind of connection."""

_NUMBERS = frozenset(
    ("connect_timeout", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout")
)
_NUMBER = re.compile(r"(\s*[+-]?[0-9]{1,9}\s*)?")
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_PROTOCOL_VERSIONS = ("3.0", "3.2", "latest")
_VALUES: Mapping[str, Collection[str]] = {
    "channel_binding": ("disable", "prefer", "require"),
    "gssdelegation": ("0", "1"),
    "gssencmode": ("disable", "prefer", "require"),
    "load_balance_hosts": ("disable", "random"),
    "max_protocol_version": _PROTOCOL_VERSIONS,
    "min_protocol_version": _PROTOCOL_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "sslcertmode": ("disable", "allow", "require"),
    "sslcompression": ("0", "1"),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "sslsni": ("0", "1"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
"""Parameters with a closed set of values: libpq refuses any other, but only when it connects."""


@dataclass(frozen=True, slots=True)
class SqliteAddress:
    """A database in a file."""

    path: Path


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """A database on PostgreSQL. Of several servers, the one that accepts writes is used."""

    parameters: Mapping[str, str]
    """By libpq's keywords."""


def address_of(url: str) -> SqliteAddress | PostgresAddress:
    """Read the address in `store.url`. Raises ConfigurationError without repeating it: it may hold a password."""
    try:
        return parse_address(url)
    except ValueError as error:
        raise ConfigurationError(f"store.url {error}") from None


def parse_address(url: str) -> SqliteAddress | PostgresAddress:
    """Read an address. Raises FixedMessageError, whose sentence continues one that begins with its place."""
    scheme, separator, rest = url.strip().partition("://")
    kind = scheme.partition("+")[0]
    if not url.isprintable() and not url.strip().isprintable():
        raise FixedMessageError("must not contain line breaks or other control characters.")
    if scheme.startswith("jdbc:"):
        raise FixedMessageError(f"must not begin with jdbc: and have the user in front of the host: {EXAMPLE}.")
    if separator and kind == "sqlite":
        return _sqlite(rest)
    if separator and kind in ("postgresql", "postgres"):
        return _postgres(rest)
    raise FixedMessageError(f"must be sqlite:///FILE or {EXAMPLE}.")


def _sqlite(rest: str) -> SqliteAddress:
    path = rest.removeprefix("/")
    if path == rest or path in ("", ":memory:"):
        raise FixedMessageError(
            "must name a file, for example sqlite:///notifier.db or sqlite:////var/lib/notifier.db."
        )
    if "?" in path:
        raise FixedMessageError("must not have settings after a question mark: SQLite has none here.")
    return SqliteAddress(Path(path))


def _postgres(rest: str) -> PostgresAddress:
    found = _POSTGRES.fullmatch(rest)
    if found is None or "@" in (found["hosts"] + (found["dbname"] or "")):
        raise FixedMessageError(f"has an @ too many. {_ENCODE}")
    named = {key: unquote(found[key]) for key in ("user", "password", "dbname") if found[key]}
    hosts = _joined([_host(part) for part in found["hosts"].split(",")]) if found["hosts"] else {}
    parameters = named | hosts | _query(found["query"] or "")
    if not parameters.keys() & {"dbname", "service"}:
        raise FixedMessageError(f"names no database: write {EXAMPLE}.")
    return PostgresAddress(parameters)


def _host(text: str) -> tuple[str, str]:
    """Parse `host`, `host:5432` or `[::1]:5432`."""
    found = _HOST.fullmatch(text)
    port = (found and found["port"]) or ""
    if found is None or (port and not (port.isascii() and port.isdigit() and 0 < int(port[:9]) <= _LAST_PORT)):
        raise FixedMessageError(
            f"must have a number from 1 to {_LAST_PORT} as its port, after HOST and a colon. {_ENCODE}"
        )
    return found["ipv6"] or unquote(found["name"]), port


def _joined(hosts: list[tuple[str, str]]) -> dict[str, str]:
    names, ports = (",".join(part) for part in zip(*hosts, strict=True))
    return {"host": names} | ({"port": ports} if ports.strip(",") else {})


def _query(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))
    except ValueError:
        raise FixedMessageError(
            f"must have settings after the question mark as NAME=VALUE&NAME=VALUE. {_ENCODE}"
        ) from None
    for name, value in pairs:
        if name not in _KEYWORDS:
            raise FixedMessageError(_unknown(name, shown="@" not in text))
        if name in _NUMBERS and not _NUMBER.fullmatch(value):
            raise FixedMessageError(f"must have a whole number as the value of {name}.")
        if name in _VALUES and value.lower() not in map(str.lower, _VALUES[name]):
            raise FixedMessageError(f"must have one of {', '.join(_VALUES[name])} as the value of {name}.")
    several = {name: ",".join(value for other, value in pairs if other == name) for name in ("host", "port")}
    settings = dict(pairs) | {name: values for name, values in several.items() if values}
    hosts = [*_hosts_in_query(several["host"])]
    return settings | (_joined(hosts) if any(port for _, port in hosts) else {})


def _hosts_in_query(text: str) -> Iterator[tuple[str, str]]:
    """Parse `host=a:5432`, which libpq does not know, besides a host or the folder of a socket."""
    for part in text.split(","):
        found = _HOST_IN_QUERY.fullmatch(part)
        yield (found["name"], found["port"]) if found else (part, "")


def _unknown(name: str, *, shown: bool) -> str:
    if name.lower() in _SCHEMA:
        return "has no setting for the schema: write ?options=-csearch_path%3DNAME, or set it for the role."
    if not (shown and re.fullmatch(r"[A-Za-z_]{1,40}", name)):
        return f"has a setting after the question mark that PostgreSQL does not know. {_ENCODE}"
    guess = closest_match(name, _KEYWORDS)
    return f"has the setting {name}, which PostgreSQL does not know." + (f" Did you mean {guess}?" if guess else "")
