"""Find the kinds of sources: the settings class of each, and the class that reads it."""

from collections.abc import Mapping
from functools import cache
from pkgutil import resolve_name
from typing import Any

from notifier.core.errors import ConfigurationError
from notifier.settings.words import did_you_mean
from notifier.sources.cloud_settings import CloudSettings

SOURCES: Mapping[str, str] = {
    "gaussdb": "notifier.sources.gaussdb_settings:GaussDBSettings",
    "gaussdb_account": "notifier.sources.account_settings:GaussDBAccountSettings",
    "gaussdb_events": "notifier.sources.gaussdb_events_settings:GaussDBEventsSettings",
}
"""Settings class of each kind, as `package.module:Class`. Its `source_class` implements `ports.TaskSource`."""


def settings_class(kind: str) -> type[CloudSettings]:
    """Import and return the settings class of a kind. Raises ConfigurationError for an unknown kind."""
    if kind not in SOURCES:
        remedy = did_you_mean(kind, SOURCES, otherwise="Known kinds")
        raise ConfigurationError(f"unknown source kind {kind!r}. {remedy}")
    settings: type[CloudSettings] = _resolve(SOURCES[kind])
    return settings


def source_class(settings: CloudSettings) -> Any:  # noqa: ANN401 - the constructors of the kinds differ
    """Import and return the class that reads such a source."""
    return _resolve(settings.source_class)


@cache
def _resolve(place: str) -> Any:  # noqa: ANN401 - a class of any kind
    return resolve_name(place)
