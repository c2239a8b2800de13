"""Checks passwords one at a time, beside the event loop: however many are tried, that takes one core at most."""

import asyncio
from typing import Final

from notifier.web.access.passwords import accepts

MAX_WAITING: Final = 8
"""Number of passwords that may wait to be checked; beyond it people are asked to try again."""


class TooManyWaiting(Exception):
    """So many passwords are being checked that this one would wait too long."""


class PasswordChecker:
    """Checks passwords."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._waiting = 0

    async def accepts(self, stored: str, password: str) -> bool:
        """Return whether a password is the stored one. Raises TooManyWaiting."""
        if self._waiting >= MAX_WAITING:
            raise TooManyWaiting
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                return await asyncio.to_thread(accepts, stored, password)
        finally:
            self._waiting -= 1
