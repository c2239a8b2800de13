"""Access to the database for look-ups alone, with as few imports as that takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from notifier.core.errors import NotifierError
from notifier.lookup import Lookup
from notifier.store import reading
from notifier.store.reading import OtherSchema

if TYPE_CHECKING:
    from notifier.config.config import Config

__all__ = ["OtherSchema"]  # what it passes on, besides its own names

T = TypeVar("T")


def read_database(url: str, query: Callable[[Lookup], T]) -> T:
    """Return the result of a query on one consistent view. Raises StoreError, ConfigurationError and OtherSchema."""
    return reading.read(url, query)


def read_writable_database(url: str, query: Callable[[Lookup], T]) -> T:
    """Do the same, and prove that the database takes changes. Raises StoreError where it does not."""
    return reading.read_writable(url, query)


def with_known_projects(config: Config) -> Config:
    """Return a configuration with the sources that its accounts have become, as far as the database can be read.

    Where it cannot, or has to be upgraded first, nothing is known: whatever needs it says so.
    """
    if not config.accounts:
        return config
    try:
        found = reading.read(config.store.url, lambda q: q.found_projects())
    except (NotifierError, OtherSchema):
        return config
    return config.with_found(found.projects, found.revisions)
