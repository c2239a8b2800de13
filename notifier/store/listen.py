"""LISTEN on a connection of its own: PostgreSQL announces the deliveries that other processes plan.

It only saves time. Idle workers query by themselves as well, so a lost notification costs no more than the time until
the next query. A lost connection is opened again, and then a query finds what was missed.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from socket import SHUT_RDWR, socket
from typing import Any, NoReturn

import psycopg
import structlog
from psycopg import sql

from notifier.core import retry
from notifier.store.postgres_driver import is_read_only
from notifier.store.statements import LISTEN_CHANNEL

log = structlog.get_logger("notifier.store")

PROBE_INTERVAL = 10.0
"""Time without a notification after which the server is probed, in seconds."""

PROBE_TIMEOUT = 5.0
"""Maximum time for its answer, in seconds. A frozen server, or a network that drops packets, causes no error."""

SHORTEST_PAUSE, LONGEST_PAUSE = timedelta(milliseconds=200), timedelta(seconds=10)
"""Pause before another connection. It doubles at every failure in a row."""


async def listen(parameters: Mapping[str, Any], wake: Callable[[], None]) -> NoReturn:
    """Call `wake` for every notification and every new connection until cancelled. `parameters` are psycopg's."""
    failures = 0
    while True:
        try:
            async with _listening(parameters) as connection:
                if failures:
                    log.info("listen.recovered")
                failures = 0
                wake()  # deliveries planned before this moment were not announced to this connection
                await _pass_on(connection, wake)
        except (psycopg.Error, OSError) as error:
            failures += 1
            if failures == 1:
                log.warning("listen.failed", msg="due deliveries are found by a query every second", error=_said(error))
            await asyncio.sleep(retry.backoff(failures, SHORTEST_PAUSE, LONGEST_PAUSE).total_seconds())


@asynccontextmanager
async def _listening(parameters: Mapping[str, Any]) -> AsyncIterator[psycopg.AsyncConnection]:
    connection = await psycopg.AsyncConnection.connect(**parameters, autocommit=True)
    try:
        await _ask(connection, sql.SQL("LISTEN {}").format(sql.Identifier(LISTEN_CHANNEL)))
        yield connection
    finally:
        await connection.close()


async def _pass_on(connection: psycopg.AsyncConnection, wake: Callable[[], None]) -> NoReturn:
    while True:
        async for _ in connection.notifies(timeout=PROBE_INTERVAL):
            wake()
        await _ask(connection, sql.SQL("SELECT 1"))
        if is_read_only(connection.info):  # the processes that plan deliveries use another server now
            raise psycopg.OperationalError("the server takes no changes any more")


async def _ask(connection: psycopg.AsyncConnection, statement: sql.SQL | sql.Composed) -> None:
    """Run a statement. Close the socket when there is no answer in time, or when this is cancelled.

    The driver alone would wait until the server, which does not answer, confirms the cancellation.
    """
    asking = asyncio.ensure_future(connection.execute(statement))
    try:
        await asyncio.wait({asking}, timeout=PROBE_TIMEOUT)
    finally:
        if not asking.done():
            with socket(fileno=os.dup(connection.fileno())) as line:
                line.shutdown(SHUT_RDWR)
            await asyncio.wait({asking})
    asking.result()


def _said(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
