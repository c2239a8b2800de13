"""Access to the database for look-ups alone, with as few imports as that takes."""

from collections.abc import Callable
from typing import TypeVar

from notifier.lookup import Lookup
from notifier.store import reading
from notifier.store.reading import OtherSchema

__all__ = ["OtherSchema"]  # what it passes on, besides its own names

T = TypeVar("T")


def read_database(url: str, query: Callable[[Lookup], T]) -> T:
    """Return the result of a query on one consistent view. Raises StoreError, ConfigurationError and OtherSchema."""
    return reading.read(url, query)


def read_writable_database(url: str, query: Callable[[Lookup], T]) -> T:
    """Do the same, and prove that the database takes changes. Raises StoreError where it does not."""
    return reading.read_writable(url, query)
