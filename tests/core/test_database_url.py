"""Addresses of databases: which work, and what is said of those that do not, without a word of a password."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.config.loading import InvalidConfiguration, loads
from notifier.settings.database_url import PostgresAddress, SqliteAddress, parse_address

CONFIGURATION = Path("config/notifier.yaml")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///notifier.db", "notifier.db"),
        ("sqlite:////var/lib/notifier.db", "/var/lib/notifier.db"),
        ("sqlite+pysqlite:///notifier.db", "notifier.db"),
        ("sqlite:///a folder/100%.db\n", "a folder/100%.db"),
    ],
)
def test_a_file_is_named_by_its_path(url: str, path: str) -> None:
    assert parse_address(url) == SqliteAddress(Path(path))


@pytest.mark.parametrize(
    ("url", "parameters"),
    [
        (
            "postgresql://u:p@host:5433/db?sslmode=require",
            {"user": "u", "password": "p", "host": "host", "port": "5433", "dbname": "db", "sslmode": "require"},
        ),
        ("postgres://u@host/db", {"user": "u", "host": "host", "dbname": "db"}),
        ("postgresql+psycopg://host/db", {"host": "host", "dbname": "db"}),
        (
            "postgresql://u:p%40ss%2Fw%3Ard@host/db",
            {"user": "u", "password": "p@ss/w:rd", "host": "host", "dbname": "db"},
        ),
        ("postgresql://u:a/b?c#d@host/db", {"user": "u", "password": "a/b?c#d", "host": "host", "dbname": "db"}),
        ("postgresql://u@realm:p@host/db", {"user": "u@realm", "password": "p", "host": "host", "dbname": "db"}),
        ("postgresql://one,two:5433,[::1]:5434/db", {"host": "one,two,::1", "port": ",5433,5434", "dbname": "db"}),
        ("postgresql:///db?host=one:5432&host=two:5433", {"host": "one,two", "port": "5432,5433", "dbname": "db"}),
        ("postgresql:///db?host=one,two&port=5432,5433", {"host": "one,two", "port": "5432,5433", "dbname": "db"}),
        ("postgresql://postgres:@/db?host=/run/socket", {"user": "postgres", "host": "/run/socket", "dbname": "db"}),
        ("postgresql://%2Frun%2Fsocket/db", {"host": "/run/socket", "dbname": "db"}),
        ("postgresql://?service=notifier", {"service": "notifier"}),
        (
            "postgresql:///db?ssl_min_protocol_version=tlsv1.3&keepalives_idle=30&sslmode=verify-ca",
            {"dbname": "db", "ssl_min_protocol_version": "tlsv1.3", "keepalives_idle": "30", "sslmode": "verify-ca"},
        ),
        (
            "postgresql://host/db?options=-csearch_path%3Dx&application_name=a&connect_timeout=3",
            {
                "host": "host",
                "dbname": "db",
                "options": "-csearch_path=x",
                "application_name": "a",
                "connect_timeout": "3",
            },
        ),
    ],
)
def test_a_postgresql_address_becomes_the_parameters_of_libpq(url: str, parameters: dict[str, str]) -> None:
    assert parse_address(url) == PostgresAddress(parameters)


WRONG = {
    "postgresql://u:p@S3cr3t/x@host/db": "has an @ too many. Percent-encode .* @ as %40",
    "postgresql://u:p@S3cr3t@host/db": "has an @ too many",
    "postgresql://u:S3cr3t/db": "must have a number from 1 to 65535 as its port",
    "postgresql://u:p@host:S3cr3t/db": "must have a number",
    "postgresql://u:p@host:0/db": "must have a number",
    "postgresql://u:p@host:65536/db": "must have a number",
    "postgresql://u:p@one:5432,two:S3cr3t/db": "must have a number",
    "postgresql://u:p@[::1/db": "must have a number",
    "postgresql://u:p@host/db?schema=S3cr3t": r"has no setting for the schema: write \?options=-csearch_path%3DNAME",
    "postgresql://u:p@host/db?currentSchema=S3cr3t": "has no setting for the schema",
    "postgresql://u:p@host/db?ssl_mode=S3cr3t": "has the setting ssl_mode, which .* Did you mean sslmode",
    "postgresql://u:p@host/db?connect_timeout=S3cr3t": "must have a whole number as the value of connect_timeout",
    "postgresql://u:p@host/db?sslmode=S3cr3t": "must have one of disable, allow, .*verify-full as the value of sslmode",
    "postgresql://u:p@host/db?target_session_attrs=S3cr3t": "must have one of any, read-write",
    "postgresql://u:p@h?S3cr3t=1@host/db": "has a setting after the question mark that PostgreSQL does not know",
    "postgresql://u:p@host/db?S3cr3t": "must have settings after the question mark as NAME=VALUE",
    "postgresql://u:S3cr3t@host": "names no database",
    "postgresql://u:S3cr3t@host/": "names no database",
    "jdbc:postgresql://host/db?user=u&password=S3cr3t": "must not begin with jdbc:",
    "mysql://u:S3cr3t@host/db": "must be sqlite:///FILE or postgresql://USER",
    "S3cr3t": "must be sqlite:///FILE or postgresql://USER",
    "sqlite://": "must name a file",
    "sqlite:///": "must name a file",
    "sqlite:///:memory:": "must name a file",
    "sqlite:///f.db?S3cr3t=1": "must not have settings",
    "sqlite:////tmp": "names a folder. Name a file in it",
    "postgresql://u:S3c\nr3t@host/db": "has inside it a line end",
}


@pytest.mark.parametrize("url", WRONG, ids=range(len(WRONG)))
def test_an_unusable_address_is_refused_with_place_and_remedy(url: str) -> None:
    text = re.sub(r"(?m)^  url: sqlite.*$", "  url: ${DATABASE}", CONFIGURATION.read_text(encoding="utf-8"))
    line = text[: text.index("${DATABASE}")].count("\n") + 1
    environ = dict.fromkeys(re.findall(r"\$\{(\w+)", text), "xoxb-1") | {"DATABASE": url}
    with pytest.raises(InvalidConfiguration) as caught:
        loads(text, environ, origin="n.yaml")
    (told,) = [str(problem) for problem in caught.value.problems if problem.path == ("store", "url")]
    assert re.match(rf"{line}:8: store\.url: {WRONG[url]}", told)
    assert "S3cr3t" not in told


@given(
    password=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=4), tail=st.text("@:/?#%=,[]&")
)
def test_no_address_is_quoted_whatever_is_in_it(password: str, tail: str) -> None:
    secret = f"S3cr3t{password}{tail}S3cr3t"
    urls = (f"postgresql://u:{secret}@host/db", f"postgresql://{secret}/db", f"{secret}://x", f"sqlite:///?{secret}")
    assert "S3cr3t" not in "".join(map(_said_of, urls))


def _said_of(url: str) -> str:
    try:
        parse_address(url)
    except ValueError as error:
        return str(error)
    return ""
