"""Proof that a database takes changes. Light: without a database library."""

from typing import Any


def prove_writable(cursor: Any, database: str) -> None:  # noqa: ANN401 - the driver's
    """Write something that changes nothing, in a transaction of the caller. Raises the driver's errors.

    Reads succeed on a full disk, and on a server that has become read-only.
    """
    if database == "postgresql":
        cursor.execute("UPDATE sources SET failures = 0 WHERE false")
    else:  # a page is written, so that a full disk shows
        (version,) = cursor.execute("PRAGMA user_version").fetchone()
        cursor.execute(f"PRAGMA user_version = {int(version)}")
