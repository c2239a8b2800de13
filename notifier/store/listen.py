"""Hearing at once, on PostgreSQL, that another process has planned deliveries: LISTEN on a connection of its own.

It only saves time. Whoever delivers looks by itself as well, so a notification that is lost costs no more than the
time until the next look; a connection that is lost is opened again, and what was missed meanwhile is looked for.
"""

from __future__ import annotations

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
from notifier.store.postgres import is_read_only
from notifier.store.statements import LISTEN_CHANNEL

log = structlog.get_logger("notifier.store")

ASK_EVERY = 10.0
"""Seconds without a notification after which the server is asked whether it is still there."""

ANSWER_WITHIN = 5.0
"""Seconds that it gets for the answer. A frozen server or a network that swallows packets sends no error."""

SHORTEST_PAUSE, LONGEST_PAUSE = timedelta(milliseconds=200), timedelta(seconds=10)
"""Before connecting anew; doubled at every failure in a row."""


async def listen(parameters: Mapping[str, Any], wake: Callable[[], None]) -> NoReturn:
    """Call `wake` for every notification, and after every connection, until cancelled. Raises nothing else.

    `parameters` are psycopg's own for a connection.
    """
    failures = 0
    while True:
        try:
            async with _listening(parameters) as connection:
                if failures:
                    log.info("listen.recovered")
                failures = 0
                wake()  # whatever was planned before this moment was not heard
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
        async for _ in connection.notifies(timeout=ASK_EVERY):
            wake()
        await _ask(connection, sql.SQL("SELECT 1"))
        if is_read_only(connection.info):  # those who plan deliveries are on another server now
            raise psycopg.OperationalError("the server takes no changes any more")


async def _ask(connection: psycopg.AsyncConnection, statement: sql.SQL | sql.Composed) -> None:
    """Run a statement; hang up when there is no answer in time, or nobody waits for it any more.

    The driver alone would go on to wait until the server, which does not answer, confirms that it is cancelled.
    """
    asking = asyncio.ensure_future(connection.execute(statement))
    try:
        await asyncio.wait({asking}, timeout=ANSWER_WITHIN)
    finally:
        if not asking.done():
            with socket(fileno=os.dup(connection.fileno())) as line:
                line.shutdown(SHUT_RDWR)
            await asyncio.wait({asking})
    asking.result()


def _said(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
