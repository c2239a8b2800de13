"""Find the installed kinds of channels: entry points of the group `notifier.channels`, ours and those of others.

An entry point names the settings class of its kind, whose `channel_class` says where the channel class is; or the
channel class itself, with the settings class in its attribute `Settings`. The first form keeps the network library of
a kind out of the commands that only read a configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from importlib.util import find_spec
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from notifier.channels.settings import ChannelSettings
from notifier.core.errors import ConfigurationError
from notifier.settings.words import did_you_mean

if TYPE_CHECKING:
    from notifier.channels.base import BaseChannel

GROUP = "notifier.channels"


def installed_kinds() -> Sequence[str]:
    """Return the names of all kinds that are installed."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def settings_class(kind: str) -> type[ChannelSettings]:
    """Import and return the settings class of a kind. Raises ConfigurationError for a kind that cannot be used."""
    location = _location(kind)
    named = _load(kind, location)
    settings: type[ChannelSettings] = named if _is_settings(named) else _load(kind, f"{location}.Settings")
    return settings


def channel_class(kind: str) -> type[BaseChannel[Any]]:
    """Import and return the channel class of a kind. Raises ConfigurationError for a kind that cannot be used."""
    named = _load(kind, _location(kind))
    if _is_settings(named) and (missing := missing_library(named)):
        raise ConfigurationError(f"channel kind {kind!r} cannot be used: {missing}")
    channel: type[BaseChannel[Any]] = _load(kind, named.channel_class) if _is_settings(named) else named
    return channel


def missing_library(settings: type[ChannelSettings]) -> str | None:
    """Return what to install for a kind whose library is missing; None where it needs none or has it."""
    if not settings.library or find_spec(settings.library):
        return None
    return f"install the extra {settings.extra}: make extras, or pip install 'gaussdb-notifier[{settings.extra}]'"


def _is_settings(named: Any) -> bool:  # noqa: ANN401 - whatever the entry point names
    return isinstance(named, type) and issubclass(named, ChannelSettings)


def _location(kind: str) -> str:
    """Return what the entry point of a kind names, as `package.module:Class`."""
    found = sorted({point.value for point in entry_points(group=GROUP, name=kind)})
    if not found:
        remedy = did_you_mean(kind, installed_kinds(), otherwise="Known kinds")
        raise ConfigurationError(f"unknown channel kind {kind!r}. {remedy}")
    if len(found) > 1:
        raise ConfigurationError(f"channel kind {kind!r} is claimed by {' and '.join(found)}; uninstall one")
    return found[0]


def _load(kind: str, location: str) -> Any:  # noqa: ANN401 - a class of anybody's
    try:
        return resolve_name(location)
    except (ImportError, AttributeError, ValueError) as error:
        place = location or "channel_class"
        raise ConfigurationError(f"channel kind {kind!r} cannot be loaded from {place}: {error}") from error
