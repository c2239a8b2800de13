"""The section `telemetry`: where traces of the program's own work go."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from notifier.settings.base import Settings
from notifier.settings.types import AccountPassword, CaFile, HttpUrl
from notifier.settings.words import HEADER_PATTERN


class TraceSettings(Settings):
    """A collector of traces, which takes OTLP over HTTP. The library is the extra `otel`."""

    url: HttpUrl
    """Whole URL for traces, such as http://127.0.0.1:4318/v1/traces. Proxies of `network` are not used."""
    headers: Mapping[Annotated[str, Field(pattern=HEADER_PATTERN)], AccountPassword] = {}
    """Headers by which the collector knows us, such as `Authorization: Bearer …`."""
    sample: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the traces that are sent, from 0 to 1: each is sent as a whole or not at all."""
    ca_file: CaFile = None
    """PEM file of the authorities to trust instead of those of the operating system."""


class TelemetrySettings(Settings):
    """What the program reports of its own work, besides its log and `/metrics`."""

    traces: TraceSettings | None = None
    """Spans of polls, calls of the API, plans, attempts to deliver, commands of chats and requests; absent: none."""
