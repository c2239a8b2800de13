"""Task lists that can be read, by kind. A class is imported only where its kind is used."""

from __future__ import annotations

from collections.abc import Mapping

SOURCES: Mapping[str, str] = {"gaussdb": "notifier.sources.gaussdb:GaussDBSource"}
"""Kind to `module:Class`. The class has `Settings` and implements `ports.TaskSource`."""
